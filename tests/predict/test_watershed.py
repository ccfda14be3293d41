from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from analysis.input_error import InputError
from predict.watershed import WatershedConfig, watershed_superpixels

PLAIN = WatershedConfig(sigma_vox=0, min_size_vox=0)


def _smooth_map(shape, seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def test_hand_drawn_walls_part_four_rooms():
    boundaries = np.zeros((1, 7, 7), np.float32)
    boundaries[0, 3, :] = boundaries[0, :, 3] = 0.9
    superpixels = watershed_superpixels(boundaries, config=PLAIN)
    assert superpixels.dtype == np.uint64
    rooms = superpixels[0, [0, 0, 6, 6], [0, 6, 0, 6]]
    assert sorted(rooms) == [1, 2, 3, 4]
    for room, (y, x) in zip(rooms, [(0, 0), (0, 4), (4, 0), (4, 4)], strict=True):
        assert (superpixels[0, y : y + 3, x : x + 3] == room).all()
    assert set(np.unique(superpixels)) == {1, 2, 3, 4}


def test_a_gap_in_a_wall_is_closed_by_the_distance():
    boundaries = np.zeros((1, 9, 19), np.float32)
    boundaries[0, :, 9] = 0.9
    boundaries[0, 4, 9] = 0.0
    superpixels = watershed_superpixels(boundaries, config=PLAIN)
    assert superpixels[0, 4, 4] != superpixels[0, 4, 14]


def test_small_ones_go_to_their_neighbours():
    boundaries = np.zeros((3, 12, 12), np.float32)
    boundaries[:, 9, :] = boundaries[:, :, 9] = 0.9
    many = watershed_superpixels(boundaries, config=PLAIN)
    few = watershed_superpixels(
        boundaries, config=WatershedConfig(sigma_vox=0, min_size_vox=3 * 2 * 2 + 9)
    )
    assert many.max() == 4
    assert 1 <= few.max() < 4
    assert np.bincount(few.ravel().astype(int))[1:].min() >= 21
    assert few.min() == 1


def test_sections_alone_have_ids_of_their_own():
    boundaries = np.zeros((2, 5, 9), np.float32)
    boundaries[:, :, 4] = 0.9
    config = WatershedConfig(sigma_vox=0, min_size_vox=0, two_dimensional=True)
    superpixels = watershed_superpixels(boundaries, (30, 4, 4), config)
    assert set(np.unique(superpixels[0])) == {1, 2}
    assert set(np.unique(superpixels[1])) == {3, 4}
    alone = watershed_superpixels(boundaries[1:], (30, 4, 4), config)
    np.testing.assert_array_equal(superpixels[1] - 2, alone[0])


def test_distance_respects_the_voxel_size():
    # a wide and a narrow room, one section high: only thick sections tell them apart
    boundaries = np.ones((3, 11, 18), np.float32)
    boundaries[1, 1:10, 1:10] = boundaries[1, 1:10, 11:14] = 0
    config = WatershedConfig(sigma_vox=0, min_size_vox=0, min_distance_vox=3)
    assert watershed_superpixels(boundaries, (1, 1, 1), config).max() == 2
    assert watershed_superpixels(boundaries, (100, 1, 1), config).max() == 1


@pytest.mark.parametrize("two_dimensional", [False, True])
def test_map_without_membrane_is_one_superpixel(two_dimensional):
    boundaries = np.full((2, 6, 6), 0.1, np.float32)
    config = WatershedConfig(two_dimensional=two_dimensional)
    superpixels = watershed_superpixels(boundaries, config=config)
    assert superpixels.max() == (2 if two_dimensional else 1)


def test_nothing_but_membrane_is_parted_at_its_crest():
    boundaries = np.full((1, 5, 9), 0.7, np.float32)
    boundaries[0, :, 4] = 1.0
    boundaries[0, 2, 1] = boundaries[0, 2, 7] = 0.6
    superpixels = watershed_superpixels(boundaries, config=PLAIN)
    assert superpixels.max() == 2
    assert superpixels[0, 2, 1] != superpixels[0, 2, 7]


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 8), st.integers(4, 16), st.integers(4, 16)),
    st.integers(0, 10**6),
    st.floats(0.2, 0.8),
    st.sampled_from([0.0, 1.0]),
    st.booleans(),
)
def test_superpixels_tile_are_connected_and_numbered(shape, seed, threshold, sigma, flat):
    config = WatershedConfig(threshold, sigma, min_size_vox=5, two_dimensional=flat)
    boundaries = _smooth_map(shape, seed)
    superpixels = watershed_superpixels(boundaries, (2, 1, 1), config)
    ids, first = np.unique(superpixels, return_index=True)
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    assert (np.diff(first) > 0).all()  # in raster order
    sizes = np.bincount(superpixels.ravel().astype(int))[1:]
    assert (sizes >= 5).all() or len(ids) == (shape[0] if flat else 1)
    for superpixel in ids:
        where = superpixels == superpixel
        parts = np.empty(shape, np.int32)
        assert ndimage.label(where, output=parts) == 1
        if flat:
            assert where.any(axis=(1, 2)).sum() == 1
    again = watershed_superpixels(boundaries, (2, 1, 1), config)
    np.testing.assert_array_equal(superpixels, again)


def test_more_smoothing_gives_fewer_superpixels():
    boundaries = _smooth_map((12, 30, 30), 0)
    counts = [
        int(watershed_superpixels(boundaries, config=WatershedConfig(0.5, sigma)).max())
        for sigma in (0.0, 1.0, 3.0)
    ]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize(
    ("boundaries", "message"),
    [
        (np.zeros((3, 4, 4, 4)), r"affinities or channels of shape \(3, 4, 4, 4\)"),
        (np.zeros((4, 4)), r"non-empty \(z, y, x\) array, got shape \(4, 4\)"),
        (np.zeros((0, 4, 4)), r"got shape \(0, 4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), "floats in 0..1, got dtype uint8"),
        (np.array([[[0.5, np.nan]]]), "not finite"),
        (np.array([[[0.5, 1.5]]]), "got values from 0.5 to 1.5"),
    ],
)
def test_bad_maps(boundaries, message):
    with pytest.raises(InputError, match=message):
        watershed_superpixels(boundaries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.0}, "threshold must lie between 0 and 1, got 1.0"),
        ({"distance_weight": 2.0}, r"distance_weight must be in 0\.\.1, got 2.0"),
        ({"sigma_vox": -1.0}, "sigma_vox must be a number of at least 0, got -1.0"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(InputError, match=message):
        WatershedConfig(**change)
