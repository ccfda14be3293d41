from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.input_error import InputError
from predict.unet import BoundaryUNet, UNetConfig

CONFIGS = {
    "isotropic": UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 6, 8)),
    "anisotropic": UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6, 8)),
    "two_dimensional": UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6), two_dimensional=True),
    "full_resolution": UNetConfig((4, 6), ((1, 1, 1), (2, 2, 2)), ((3, 3, 3), (3, 3, 3))),
    "embedding": UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6), embedding=3),
}


def _network(config: UNetConfig) -> BoundaryUNet:
    torch.manual_seed(1)
    network = BoundaryUNet(config).eval()
    for parameter in network.parameters():  # positive weights: no ReLU hides a dependency
        parameter.data = parameter.data.abs() + 0.01
    return network


@pytest.mark.parametrize("name", CONFIGS)
def test_halo_bounds_what_a_cell_of_the_grid_depends_on(name):
    config = CONFIGS[name]
    network = _network(config)
    stride, halo = np.array(config.stride), np.array(config.halo_vox)
    first = halo + stride
    image = torch.rand(1, 1, *(2 * first + stride).tolist(), requires_grad=True)
    cell = tuple(slice(a, a + s) for a, s in zip(first.tolist(), stride.tolist(), strict=True))
    (gradient,) = torch.autograd.grad(network(image)[:, :, *cell].sum(), image)
    touched = np.argwhere(gradient[0, 0].numpy() != 0)
    before = first - touched.min(axis=0)
    after = touched.max(axis=0) - (first + stride - 1)
    np.testing.assert_array_equal(before, after)
    assert (before <= halo).all()
    assert (before > halo - stride).all()  # the bound is the tightest multiple of the stride


@pytest.mark.parametrize("name", CONFIGS)
def test_inner_only_is_the_inner_box_of_the_whole_output(name):
    config = CONFIGS[name]
    network = _network(config)
    stride, halo = np.array(config.stride), np.array(config.halo_vox)
    shape = tuple((2 * halo + 2 * stride).tolist())
    image = torch.randn(2, 1, *shape)
    with torch.inference_mode():
        whole = network(image)
        inner = network(image, inner_only=True)
    cut = tuple(slice(h, s - h) for h, s in zip(halo.tolist(), shape, strict=True))
    assert inner.shape == (2, 4 + config.embedding, *(2 * stride).tolist())
    torch.testing.assert_close(inner, whole[:, :, *cut], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_output_moves_with_the_image_by_whole_strides(name):
    config = CONFIGS[name]
    network = _network(config)
    stride, halo = np.array(config.stride), np.array(config.halo_vox)
    shape = 2 * halo + 3 * stride
    image = torch.randn(1, 1, *shape.tolist())
    z, y, x = stride.tolist()
    with torch.inference_mode():
        here = network(image[..., : -z or None, :-y, :-x], inner_only=True)
        there = network(image[..., z:, y:, x:], inner_only=True)
    torch.testing.assert_close(
        here[..., z:, y:, x:], there[..., :-z, :-y, :-x], atol=1e-4, rtol=1e-5
    )


def test_two_dimensional_sections_do_not_see_each_other():
    config = CONFIGS["two_dimensional"]
    network = _network(config)
    assert config.two_dimensional
    assert config.halo_vox[0] == 0
    image = torch.randn(1, 1, 3, 32, 32)
    with torch.inference_mode():
        stack = network(image)
        alone = network(image[:, :, 1:2])
    torch.testing.assert_close(stack[:, :, 1:2], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["isotropic", "full_resolution"])
def test_an_embedding_leaves_the_other_channels_as_they_are(name):
    networks = []
    for n_embedding in (0, 3):
        torch.manual_seed(1)
        networks.append(replace(CONFIGS[name], embedding=n_embedding).build().eval())
    plain, embedding = networks
    assert (plain.n_embedding, embedding.n_embedding) == (0, 3)
    own = embedding.state_dict()
    assert all(torch.equal(weight, own.pop(key)) for key, weight in plain.state_dict().items())
    assert {key.split(".")[0] for key in own} == {"embed"}
    image = torch.randn(2, 1, 16, 16, 24)
    with torch.inference_mode():
        found = embedding(image)
        assert found.shape == (2, 7, 16, 16, 24)
        torch.testing.assert_close(found[:, :4], plain(image))
    assert (found[:, 4:].std((0, 2, 3, 4)) > 1e-3).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (4,)}, "one entry a level"),
        ({"widths": (4, 0, 8)}, "widths must be positive"),
        ({"embedding": -1}, "embedding must not be negative, got -1"),
        ({"kernels": ((3, 3, 3), (5, 3, 3), (3, 3, 3))}, "kernels must be 1 or 3"),
        ({"shrinks": ((2, 2, 2), (2, 4, 2), (2, 2, 2))}, "shrinks must be 1 or 2"),
    ],
)
def test_bad_shape(change, message):
    with pytest.raises(InputError, match=message):
        replace(CONFIGS["isotropic"], **change)
