from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.dawmr_features import DawmrFeatures, box_sum
from predict.dawmr_shape import FeatureConfig, ScaleConfig

CONFIGS = {
    "isotropic": FeatureConfig.for_voxel_size((8, 8, 8), (3, 2)),
    "wide": FeatureConfig.for_voxel_size((8, 8, 8), (2,), wide=True),
    "anisotropic": FeatureConfig.for_voxel_size((30, 6, 6), (2, 3)),
    "two_dimensional": FeatureConfig.for_voxel_size((30, 6, 6), (4,), two_dimensional=True),
    "odd": FeatureConfig(
        (
            ScaleConfig((1, 1, 2), (3, 1, 3), ((0, 2, 1),)),
            ScaleConfig((3, 1, 2), (1, 3, 5), ((0, 0, 0), (1, 0, 2))),
        ),
        (2, 1),
        threshold=0.2,
        contrast_floor=0.5,
    ),
}


def _features(config: FeatureConfig, seed: int = 0) -> DawmrFeatures:
    """Return a feature stage with random zero-mean dictionaries."""
    rng = np.random.default_rng(seed)
    features = DawmrFeatures(config)
    for index, scale in enumerate(config.scales):
        for channel, n_atoms in enumerate(config.atoms):
            filters = rng.normal(size=(n_atoms, int(np.prod(scale.patch)))).astype(np.float32)
            filters -= filters.mean(axis=1, keepdims=True)
            features.set_filters(index, channel, filters)
    return features


def _channels(config: FeatureConfig, n: int = 1, cells: int = 1, seed: int = 0) -> torch.Tensor:
    """Return random input whose inner box has so many cells of the coarsest scale."""
    extents = [2 * h + cells * s for h, s in zip(config.halo_vox, config.stride, strict=True)]
    values = np.random.default_rng(seed).normal(size=(n, len(config.atoms), *extents))
    return torch.from_numpy(values.astype(np.float32))


def _by_hand(features: DawmrFeatures, channels: np.ndarray, voxel: tuple[int, ...]) -> list[float]:
    """Compute the features of one voxel of (C, z, y, x) from the definition."""
    config = features.config
    found = []
    for index, scale in enumerate(config.scales):
        fz, fy, fx = scale.factor
        c, z, y, x = channels.shape
        cells = channels.astype(float).reshape(c, z // fz, fz, y // fy, fy, x // fx, fx)
        coarse = cells.mean(axis=(2, 4, 6))
        centre = [v // f for v, f in zip(voxel, scale.factor, strict=True)]
        for pool in scale.pools:
            for channel in range(len(config.atoms)):
                atoms = features.filters(index, channel)[:, 0].numpy().astype(float)
                total, moments, count = np.zeros((2, len(atoms))), np.zeros(2), 0
                for offset in np.ndindex(*(2 * r + 1 for r in pool)):
                    low = [
                        p + o - r - extent // 2
                        for p, o, r, extent in zip(centre, offset, pool, scale.patch, strict=True)
                    ]
                    assert min(low) >= 0
                    box = tuple(slice(a, a + e) for a, e in zip(low, scale.patch, strict=True))
                    patch = coarse[channel][box]
                    assert patch.shape == scale.patch
                    moments += patch.mean(), patch.std()
                    patch = (patch - patch.mean()) / np.sqrt(patch.var() + config.contrast_floor)
                    response = (atoms * patch).sum(axis=(1, 2, 3))
                    total[0] += np.maximum(0, response - config.threshold)
                    total[1] += np.maximum(0, -response - config.threshold)
                    count += 1
                found += [*(total / count).ravel(), *(moments / count)]
    return found


def test_a_feature_drawn_by_hand():
    config = FeatureConfig((ScaleConfig((1, 1, 1), (1, 1, 3), ((0, 0, 0),)),), (1,), 0.5, 1.0)
    features = DawmrFeatures(config)
    features.set_filters(0, 0, np.array([[-1, 0, 1]], np.float32))
    channels = torch.tensor([0.0, 0, 3, 6, 3]).view(1, 1, 1, 1, 5)
    found = features.dense(channels)[0, :, 0, 0]
    # patches 0 0 3, 0 3 6, 3 6 3: differences 3, 6, 0, variances 2, 6, 2
    up = [3 / 3**0.5 - 0.5, 6 / 7**0.5 - 0.5, 0]
    mean, deviation = [1, 3, 4], [2**0.5, 6**0.5, 2**0.5]
    np.testing.assert_allclose(found, [up, [0, 0, 0], mean, deviation], atol=1e-6)
    found = features.dense(-channels)[0, :, 0, 0]
    np.testing.assert_allclose(found, [[0, 0, 0], up, [-1, -3, -4], deviation], atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_those_of_the_definition(name):
    config = CONFIGS[name]
    features = _features(config)
    channels = _channels(config, n=2) * 2 + 1
    inner = [s for s in config.stride]
    rng = np.random.default_rng(3)
    positions = np.stack([rng.integers(0, e, 4) for e in (2, *inner)], axis=1)
    found = features.at(channels, torch.from_numpy(positions)).numpy()
    assert found.shape == (4, config.n_features)
    assert found.dtype == np.float32
    assert (found > 0).any()
    for row, (which, *position) in zip(found, positions, strict=True):
        voxel = tuple(p + h for p, h in zip(position, config.halo_vox, strict=True))
        expected = _by_hand(features, channels[which].numpy(), voxel)
        np.testing.assert_allclose(row, expected, atol=2e-5)


def test_encoding_is_the_centre_pool():
    config = CONFIGS["isotropic"]
    features = _features(config)
    channels = _channels(config)
    maps = features.encode(channels)
    dense = features.dense(channels)
    width = config.n_maps
    for index, first in ((0, 0), (1, 3 * width), (2, 5 * width)):
        factor = config.scales[index].factor[0]
        cell = config.halo_vox[0] // factor - 2
        assert maps[index].shape[1] == width
        assert maps[index].shape[2] == channels.shape[2] // factor - 4
        np.testing.assert_allclose(
            maps[index][0, :, cell, cell, cell], dense[0, first : first + width, 0, 0, 0], atol=1e-5
        )


def test_a_large_offset_does_not_spoil_the_contrast():
    config = CONFIGS["two_dimensional"]
    features = _features(config)
    channels = torch.round(_channels(config) * 8)  # whole numbers stay exact after the shift
    near, far = features.dense(channels), features.dense(channels + 4096)
    is_mean = np.arange(config.n_features) % config.n_maps == config.n_maps - 2
    np.testing.assert_allclose(far[:, ~is_mean], near[:, ~is_mean], atol=0.02)
    np.testing.assert_allclose(far[:, is_mean], near[:, is_mean] + 4096, rtol=1e-5)
    np.testing.assert_allclose(features.dense(channels.double()), near, atol=1e-5)
    flat = features.dense(torch.full_like(channels, 1e5))
    np.testing.assert_allclose(flat[:, ~is_mean], 0, atol=0.1)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_box_sums_are_those_of_the_windows(radius, extent):
    shape = tuple(2 * r + e for r, e in zip(radius, extent, strict=True))
    values = np.random.default_rng(0).integers(-9, 10, (2, *shape, 3)).astype(np.float32)
    found = box_sum(torch.from_numpy(values), radius).numpy()
    for z, y, x in np.ndindex(*extent):
        box = values[:, z:, y:, x:][:, : 2 * radius[0] + 1, : 2 * radius[1] + 1]
        expected = box[:, :, :, : 2 * radius[2] + 1].sum(axis=(1, 2, 3))
        np.testing.assert_array_equal(found[:, z, y, x], expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_feature_sees_its_field_and_nothing_else(name):
    config = replace(CONFIGS[name], threshold=0.0)
    features = _features(config)
    seen = np.zeros(3, int)
    for phase in range(max(config.stride)):  # along all axes at once
        channels = _channels(config, cells=1).requires_grad_()
        position = [min(phase, s - 1) for s in config.stride]
        found = features.at(channels, torch.tensor([[0, *position]]))
        (gradient,) = torch.autograd.grad(found.sum(), channels)
        touched = np.argwhere((gradient[0] != 0).any(dim=0).numpy())
        extent = touched.max(axis=0) - touched.min(axis=0) + 1
        seen = np.maximum(seen, extent)
    assert tuple(seen) == config.field_vox


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: _features(CONFIGS["wide"]).set_filters(1, 0, np.zeros((2, 9), np.float32)),
            r"filters of scale 1 and channel 0 must have shape \(2, 125\), got \(2, 9\)",
        ),
        (
            lambda: _features(CONFIGS["wide"]).dense(torch.zeros(1, 2, 28, 28, 28)),
            r"channels must be \(n, 1, z, y, x\), got shape \(1, 2, 28, 28, 28\)",
        ),
        (
            lambda: _features(CONFIGS["wide"]).at(
                torch.zeros(1, 1, 28, 28, 32), torch.tensor([[0, 3, 3, 8]])
            ),
            r"positions must lie in the inner box, 0 to less than \[1, 4, 4, 8\]",
        ),
        (
            lambda: _features(CONFIGS["wide"]).encode(torch.zeros(1, 1, 28, 28, 30)),
            r"multiples of \(4, 4, 4\)",
        ),
        (
            lambda: _features(CONFIGS["wide"]).dense(torch.zeros(1, 1, 28, 24, 28)),
            r"twice \(12, 12, 12\), got \(28, 24, 28\)",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
