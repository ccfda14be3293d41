from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict import dawmr
from predict.blockwise import predict_block, predict_volume
from predict.box import Box
from predict.compute_device import choose_device
from predict.dawmr import BoundaryDawmr, DawmrConfig, DawmrStage
from predict.dawmr_shape import FeatureConfig, ScaleConfig
from predict.image_normalisation import ImageNormalisation

SAME: dict[str, Any] = {
    "normalisation": ImageNormalisation(0, 1),
    "device": choose_device("cpu", bfloat16=False),
}
SMALL: dict[str, Any] = {"atoms": (4, 2), "hidden": 6, "n_iterations": 2}
LINEAR: dict[str, Any] = {**SMALL, "hidden": 0, "n_iterations": 1}
COARSE_ONLY = FeatureConfig((ScaleConfig((2, 2, 2), (3, 3, 3), ((0, 0, 0), (1, 0, 1))),), (3,))
CONFIGS = {
    "isotropic": DawmrConfig.for_voxel_size((8, 8, 8), **SMALL),
    "anisotropic": DawmrConfig.for_voxel_size((30, 6, 6), **SMALL),
    "two_dimensional": DawmrConfig.for_voxel_size((30, 6, 6), two_dimensional=True, **SMALL),
    "linear": DawmrConfig.for_voxel_size((8, 8, 8), **LINEAR),
    "coarse_only": DawmrConfig((COARSE_ONLY,), 5),
}


def _randomise(stage: DawmrStage, seed: int) -> None:
    """Give a stage random dictionaries, standardisation and head."""
    generator = torch.Generator().manual_seed(seed)
    for buffer in stage.features.buffers():
        buffer.copy_(torch.randn(buffer.shape, generator=generator))
        buffer.mul_(2 / buffer[0].numel() ** 0.5)
        buffer.sub_(buffer.mean(dim=(1, 2, 3, 4), keepdim=True))
    stage.shift.copy_(torch.rand(stage.shift.shape, generator=generator))
    stage.scale.copy_(0.5 + torch.rand(stage.scale.shape, generator=generator))
    for parameter in stage.parameters():
        spread = 1 / parameter.shape[-1] ** 0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread


def _network(config: DawmrConfig, seed: int = 0) -> BoundaryDawmr:
    network = config.build().eval()
    for k in range(len(config.iterations)):
        _randomise(_stage(network, k), seed + k)
    return network


def _stage(network: BoundaryDawmr, k: int) -> DawmrStage:
    stage = network.stages[k]
    assert isinstance(stage, DawmrStage)
    return stage


def _image(shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("tile", [(16, 32, 32), (4, 8, 3)])
def test_pooling_after_the_weights_is_the_head_of_all_features(name, tile, monkeypatch):
    monkeypatch.setattr(dawmr, "TILE", tile)
    stage = _stage(_network(CONFIGS[name]), -1)
    features = stage.features.config
    extents = [2 * h + 3 * s for h, s in zip(features.halo_vox, features.stride, strict=True)]
    channels = torch.from_numpy(_image((2, len(features.atoms), *extents)))
    with torch.no_grad():
        found = stage(channels)
        expected = stage.head(stage.features.dense(channels).movedim(1, 4)).movedim(4, 1)
    assert found.shape == (2, 4, *(3 * s for s in features.stride))
    assert found.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_network_is_its_stages_one_after_the_other():
    config = CONFIGS["isotropic"]
    network = _network(config)
    image = torch.from_numpy(_image((1, 1, 48, 44, 48)))
    with torch.no_grad():
        first = torch.sigmoid(network.stages[0](image))[:, 1:]
        both = torch.cat([image[..., 12:-12, 12:-12, 12:-12], first], dim=1)
        expected = network.stages[1](both)
        np.testing.assert_allclose(network(image), expected, atol=1e-5)
        np.testing.assert_allclose(network(image, inner_only=True), expected, atol=1e-5)


def test_a_two_dimensional_network_passes_on_nothing_along_z():
    network = _network(CONFIGS["two_dimensional"])
    passed = network.passed_on(torch.ones(1, 4, 1, 2, 2))
    assert passed.shape == (1, 3, 1, 2, 2)
    assert (passed[:, 0] == 0).all()
    np.testing.assert_allclose(passed[:, 1:], 1 / (1 + np.exp(-1)), rtol=1e-6)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(sorted(CONFIGS)),
    st.tuples(st.integers(3, 24), st.integers(5, 24), st.integers(5, 24)),
)
def test_same_result_wherever_the_blocks_are_cut(name, block):
    networks = [_network(CONFIGS[name])]
    image = _image((11, 17, 14))
    at_once = predict_volume(networks, image, block_vox=(64, 64, 64), **SAME)
    cut = predict_volume(networks, image, block_vox=block, **SAME)
    assert at_once.std() > 1e-2
    np.testing.assert_allclose(cut, at_once, atol=1e-5)


@pytest.mark.parametrize("name", ["isotropic", "anisotropic"])
def test_inside_a_larger_volume_a_crop_is_predicted_the_same(name):
    config = CONFIGS[name]
    network = _network(config)
    halo = config.halo_vox
    image = _image([2 * h + 8 for h in halo])
    stop = (halo[0] + 8, halo[1] + 8, halo[2] + 8)
    inside = predict_block([network], image, Box(halo, stop), **SAME)
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.from_numpy(image)[None, None]))[0]
    np.testing.assert_allclose(inside, expected, atol=1e-5)


def test_bfloat16_agrees_within_its_rounding():
    networks = [_network(CONFIGS["isotropic"])]
    image = _image((10, 12, 14))
    low: dict[str, Any] = SAME | {"device": choose_device("cpu", bfloat16=True)}
    at_once = predict_volume(networks, image, **low)
    cut = predict_volume(networks, image, block_vox=(7, 9, 24), **low)
    exact = predict_volume(networks, image, **SAME)
    np.testing.assert_allclose(cut, at_once, atol=0.02)
    np.testing.assert_allclose(at_once, exact, atol=0.05)


def test_only_heads_are_trained_and_everything_is_saved():
    config = CONFIGS["isotropic"]
    network, other = _network(config, 0), _network(config, 7)
    heads = {name.split(".", 2)[2] for name, _ in network.named_parameters()}
    assert heads == {"first.weight", "first.bias", "last.2.weight", "last.2.bias"}
    other.load_state_dict(network.state_dict())
    image = torch.from_numpy(_image((1, 1, *[2 * h + 4 for h in config.halo_vox])))
    with torch.no_grad():
        np.testing.assert_array_equal(other(image), network(image))


@pytest.mark.parametrize("name", ["isotropic", "linear"])
def test_a_head_learns_from_features_of_sampled_voxels(name):
    torch.manual_seed(0)
    stage = _stage(_network(CONFIGS[name]), 0).train()
    channels = torch.from_numpy(_image((2, 1, 28, 28, 28)))
    positions = torch.cartesian_prod(torch.arange(2), *[torch.arange(4)] * 3)
    features = stage.features.at(channels, positions)
    stage.shift.copy_(features.mean(dim=0))
    stage.scale.copy_(features.std(dim=0) + 1e-3)
    wanted = (features[:, :4] > features[:, :4].median(dim=0).values).float()
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    optimiser = torch.optim.Adam(stage.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = loss_of(stage.head(features), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_the_field_of_view_of_three_iterations():
    config = DawmrConfig.for_voxel_size((8, 8, 8))
    assert config.field_vox == (60, 60, 60)
    assert config.halo_vox == config.lost_vox == (28, 28, 28)
    assert [f.n_features for f in config.iterations] == [1806, 3312, 3312]
    assert not config.two_dimensional
    fields = [DawmrConfig.for_voxel_size((8, 8, 8), n_iterations=n).field_vox[0] for n in (1, 2)]
    assert fields == [28, 44]
    assert CONFIGS["two_dimensional"].two_dimensional
    assert CONFIGS["two_dimensional"].field_vox == (1, 44, 44)


@pytest.mark.parametrize("name", ["isotropic", "anisotropic"])
def test_an_output_voxel_sees_its_field_and_nothing_else(name):
    config = CONFIGS[name]
    iterations = tuple(replace(f, threshold=0.0) for f in config.iterations)
    network = _network(replace(config, iterations=iterations))
    extents = [2 * h + s for h, s in zip(config.halo_vox, config.stride, strict=True)]
    image = torch.from_numpy(_image((1, 1, *extents))).requires_grad_()
    logits = network(image)
    (gradient,) = torch.autograd.grad(logits[0, :, 0, 0, 0].sum(), image)
    touched = np.argwhere(gradient[0, 0].numpy() != 0)
    assert tuple(touched.max(axis=0) - touched.min(axis=0) + 1) == config.field_vox


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": ()}, "iterations must not be empty"),
        ({"hidden": -1}, "hidden must be at least 0, got -1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and less than 1, got 1.0"),
        ({"in_channels": 0}, "in_channels must be positive, got 0"),
        ({"in_channels": 2}, "iteration 0 must have dictionaries for 2 channels, got 1"),
        (
            {"iterations": CONFIGS["isotropic"].iterations[:1] * 2},
            "iteration 1 must have dictionaries for 4 channels, got 1",
        ),
        (
            {"iterations": (COARSE_ONLY, CONFIGS["isotropic"].iterations[1])},
            "all iterations must have the same stride",
        ),
    ],
)
def test_bad_shape(change, message):
    with pytest.raises(InputError, match=message):
        replace(CONFIGS["isotropic"], **change)


def test_an_image_smaller_than_the_field_is_refused():
    with pytest.raises(InputError, match=r"multiples of \(4, 4, 4\)"):
        _network(CONFIGS["linear"])(torch.zeros(1, 1, 24, 28, 28))
