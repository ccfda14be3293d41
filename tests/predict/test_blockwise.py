from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.blockwise import (
    BLOCKS,
    SHARED_BLOCKS,
    aligned,
    choose_block,
    plan_blocks,
    predict_block,
    predict_regions,
    predict_volume,
    read_reflected,
)
from predict.boundary_network import BoundaryNetwork, NetworkConfig
from predict.box import Box, whole
from predict.compute_device import choose_device
from predict.convnet import ConvNetConfig
from predict.image_normalisation import ImageNormalisation
from predict.unet import UNetConfig
from predict.views import choose_views, turned_back

DEVICE = choose_device("cpu", bfloat16=False)
SAME = ImageNormalisation(0, 1)
CONFIGS = {
    "isotropic": UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 6)),
    "anisotropic": UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6, 8)),
    "two_dimensional": UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6), two_dimensional=True),
    "full_resolution": UNetConfig((4, 6), ((1, 1, 1), (2, 2, 2)), ((3, 3, 3), (3, 3, 3))),
    "embedding": UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 6), embedding=2),
    "convnet": ConvNetConfig.for_voxel_size((8, 8, 8), widths=(4, 5)),
    "convnet_anisotropic": ConvNetConfig.for_voxel_size((30, 6, 6), widths=(4, 5)),
}


def _network(config: NetworkConfig, seed: int = 0) -> BoundaryNetwork:
    torch.manual_seed(seed)
    return config.build().eval()


def _image(shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("block", [(8, 8, 8), (5, 11, 17), (64, 3, 16)])
def test_same_result_wherever_the_blocks_are_cut(name, block):
    networks = [_network(CONFIGS[name])]
    image = _image((11, 22, 19))
    options = {"normalisation": SAME, "device": DEVICE}
    at_once = predict_volume(networks, image, block_vox=(64, 64, 64), **options)
    cut = predict_volume(networks, image, block_vox=block, **options)
    assert at_once.std() > 1e-3
    np.testing.assert_allclose(cut, at_once, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("isotropic", (8, 8, 8)),
        ("anisotropic", (30, 6, 6)),
        ("two_dimensional", (30, 6, 6)),
        ("convnet", (8, 8, 8)),
    ],
)
def test_the_mean_over_views_is_that_of_turned_volumes_wherever_the_blocks_are_cut(name, size):
    config = CONFIGS[name]
    networks = [_network(config)]
    image = _image((16, 24, 24))  # whole periods of the pooling grid, which turns with the image
    n_views = {"isotropic": 10, "anisotropic": 10, "two_dimensional": 8, "convnet": 8}[name]
    views = choose_views(config, size, n_views)
    options = {"normalisation": SAME, "device": DEVICE}
    found = np.zeros((4, *image.shape), np.float32)
    for block in plan_blocks(whole(image.shape), (7, 24, 10)):
        found[:, *block.slices] = predict_block(networks, image, block, views=views, **options)
    expected = np.zeros_like(found)
    for view in views:
        turned = predict_volume(networks, np.ascontiguousarray(view.apply(image)), **options)
        expected += turned_back(turned, view) / n_views
    assert np.abs(found[0] - predict_volume(networks, image, **options)[0]).max() > 1e-3
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    for axis in range(3):  # a turned volume has no edge where the image's first one leads out
        inner = tuple(slice(1, None) if other == axis else slice(None) for other in range(3))
        np.testing.assert_allclose(found[1 + axis][inner], expected[1 + axis][inner], atol=1e-5)


def test_bfloat16_agrees_within_its_rounding():
    networks = [_network(CONFIGS["isotropic"])]
    image = _image((16, 24, 24))
    low = choose_device("cpu", bfloat16=True)
    at_once = predict_volume(networks, image, normalisation=SAME, device=low)
    cut = predict_volume(networks, image, normalisation=SAME, device=low, block_vox=(7, 9, 24))
    exact = predict_volume(networks, image, normalisation=SAME, device=DEVICE)
    np.testing.assert_allclose(cut, at_once, atol=0.02)
    np.testing.assert_allclose(at_once, exact, atol=0.05)


def test_inside_a_larger_volume_a_crop_is_predicted_the_same():
    config = CONFIGS["anisotropic"]
    networks = [_network(config)]
    halo = config.halo_vox
    image = _image((8 + 2 * halo[0], 16 + 2 * halo[1], 16 + 2 * halo[2]))
    block = Box(halo, (halo[0] + 8, halo[1] + 16, halo[2] + 16))
    options = {"normalisation": SAME, "device": DEVICE}
    inside = predict_block(networks, image, block, **options)
    whole_volume = predict_volume(networks, image, **options)
    np.testing.assert_allclose(inside, whole_volume[:, *block.slices], atol=1e-5)


def test_embeddings_of_networks_stand_one_behind_the_other_and_are_of_the_first_view():
    first, second = (_network(CONFIGS["embedding"], seed) for seed in (0, 1))
    image = _image((11, 22, 19))
    options = {"normalisation": SAME, "device": DEVICE}
    a, b = (predict_volume([network], image, **options) for network in (first, second))
    assert a.shape == (6, *image.shape)
    assert all(channel.std() > 1e-3 for channel in np.concatenate([a, b]))
    views = choose_views(CONFIGS["embedding"], (8, 8, 8), 3)
    block = Box((3, 4, 1), (9, 20, 18))
    for seen in (views[:1], views):
        both = predict_block([first, second], image, block, views=seen, **options)
        expected = np.concatenate([(a[:4] + b[:4]) / 2, a[4:], b[4:]])[:, *block.slices]
        np.testing.assert_allclose(both[4:], expected[4:], atol=1e-5)
        assert np.allclose(both[:4], expected[:4], atol=1e-5) == (len(seen) == 1)
    regions = [(Box((0, 0, 0), (11, 12, 19)), [first]), (Box((0, 12, 0), (11, 22, 19)), [second])]
    parted = predict_regions(regions, image, whole(image.shape), **options)
    np.testing.assert_allclose(parted[:, :, :12], a[:, :, :12], atol=1e-5)
    np.testing.assert_allclose(parted[:, :, 12:], b[:, :, 12:], atol=1e-5)


def test_several_networks_are_averaged():
    first, second = _network(CONFIGS["isotropic"], 0), _network(CONFIGS["isotropic"], 1)
    image = _image((8, 8, 8))
    options = {"normalisation": SAME, "device": DEVICE}
    a, b = (predict_volume([network], image, **options) for network in (first, second))
    both = predict_volume([first, second], image, **options)
    np.testing.assert_allclose(both, (a + b) / 2, atol=1e-6)


def test_each_region_is_predicted_by_its_own_networks():
    first, second = ([_network(CONFIGS["isotropic"], seed)] for seed in (0, 1))
    image = _image((8, 20, 16))
    options = {"normalisation": SAME, "device": DEVICE}
    regions = [(Box((0, 0, 0), (8, 9, 16)), first), (Box((0, 9, 0), (8, 20, 16)), second)]
    block = Box((2, 5, 0), (8, 15, 16))
    found = predict_regions(regions, image, block, **options)
    by_first, by_second = (predict_volume(one, image, **options) for one in (first, second))
    np.testing.assert_allclose(found[:, :, :4], by_first[:, 2:, 5:9], atol=1e-5)
    np.testing.assert_allclose(found[:, :, 4:], by_second[:, 2:, 9:15], atol=1e-5)


def test_two_dimensional_says_nothing_about_the_next_section():
    predicted = predict_volume(
        [_network(CONFIGS["two_dimensional"])],
        _image((2, 16, 16)),
        normalisation=SAME,
        device=DEVICE,
    )
    assert (predicted[1] == 0).all()
    assert (predicted[[0, 2, 3]] > 0).all()


@pytest.mark.parametrize("name", ["isotropic", "convnet"])
def test_boundary_map_and_affinities_are_the_networks_own_channels(name):
    network = _network(CONFIGS[name])
    z, y, x = network.config.halo_vox
    image = _image((2 * z + 4, 2 * y + 8, 2 * x + 12))
    block = Box((z, y, x), (z + 4, y + 8, x + 12))
    found = predict_block([network], image, block, normalisation=SAME, device=DEVICE)
    with torch.inference_mode():
        logits = network(torch.from_numpy(image)[None, None], inner_only=True)
    np.testing.assert_allclose(found, torch.sigmoid(logits[0]), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.integers(-9, 9)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
)
def test_reflection_is_that_of_numpy(shape, start, extent):
    image = np.arange(np.prod(shape)).reshape(shape)
    stop = (start[0] + extent[0], start[1] + extent[1], start[2] + extent[2])
    padded = np.pad(image, 24, mode="reflect")
    expected = padded[tuple(slice(a + 24, b + 24) for a, b in zip(start, stop, strict=True))]
    np.testing.assert_array_equal(read_reflected(image, Box(start, stop)), expected)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 9)] * 3), st.data())
def test_blocks_tile_a_region_and_lie_on_the_global_grid(shape, block, data):
    start = tuple(data.draw(st.integers(0, extent - 1)) for extent in shape)
    region = Box(start, shape)
    count = np.zeros(shape, int)
    for part in plan_blocks(region, block):
        count[part.slices] += 1
        for axis in range(3):
            assert part.start[axis] // block[axis] == (part.stop[axis] - 1) // block[axis]
    inside = np.zeros(shape, int)
    inside[region.slices] = 1
    np.testing.assert_array_equal(count, inside)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 2000)] * 3))
def test_the_largest_block_that_leaves_enough_to_share_is_chosen(shape):
    chosen = choose_block(shape)
    counts = [len(plan_blocks(whole(shape), block)) for block in BLOCKS]
    larger = BLOCKS.index(chosen)
    assert all(count < SHARED_BLOCKS for count in counts[:larger])
    assert counts[larger] >= SHARED_BLOCKS or larger == len(BLOCKS) - 1


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_read_is_what_the_network_is_given(name, monkeypatch):
    network, given = _network(CONFIGS[name]), []
    forward = network.forward

    def spy(image, inner_only=False):
        given.append(tuple(image.shape[-3:]))
        return forward(image, inner_only)

    monkeypatch.setattr(network, "forward", spy)
    block, image = Box((3, 5, 8), (11, 21, 19)), _image((11, 40, 19))
    predict_block([network], image, block, normalisation=SAME, device=DEVICE)
    assert given == [aligned(block, network.config.stride, network.config.halo_vox).shape]


def test_bad_input():
    network = [_network(CONFIGS["isotropic"])]
    with pytest.raises(InputError, match=r"block_vox must be positive, got \(0, 4, 4\)"):
        plan_blocks(whole((4, 4, 4)), (0, 4, 4))
    with pytest.raises(InputError, match=r"image must be a non-empty \(z, y, x\) array"):
        predict_volume(network, np.zeros((4, 4)), normalisation=SAME, device=DEVICE)
    image = np.zeros((8, 8, 8), np.float32)
    image[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        predict_volume(network, image, normalisation=SAME, device=DEVICE)
