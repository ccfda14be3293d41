from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from analysis.input_error import InputError
from predict.box import Box, whole
from predict.deformation import Deformation, Displacement, random_spline, source_of, warp

ALWAYS = Deformation(elastic_patches=1, misaligned_patches=1, reach_nm=30, spacing_nm=80)
CUBIC = (10.0, 10.0, 10.0)
THICK = (50.0, 5.0, 5.0)


def _apply(volume: np.ndarray, place: Box, allowed: Box, displacement: Displacement):
    source = source_of(place, allowed, displacement)
    part = volume[source.slices]
    image, index = warp(part.astype(np.float32), source, place, allowed, displacement)
    return image, part.ravel()[index]


def _still(shape) -> Displacement:
    return Displacement(
        np.zeros((3, *shape), np.float32), np.zeros((shape[0], 2), np.int64), np.zeros(3, "f4")
    )


def test_hand_drawn_slip():
    volume = np.arange(3 * 3 * 4).reshape(3, 3, 4)
    place, allowed = Box((0, 0, 1), (3, 2, 3)), whole((3, 3, 4))
    slip = _still((3, 2, 2))
    slip.shifts[1] = 1, -1
    image, nearest = _apply(volume, place, allowed, slip)
    np.testing.assert_array_equal(nearest[[0, 2]], volume[[0, 2], :2, 1:3])
    np.testing.assert_array_equal(nearest[1], volume[1, 1:3, 0:2])
    np.testing.assert_array_equal(image, nearest)


def test_half_a_voxel_is_the_mean_of_two():
    volume = np.array([[[0.0, 4.0, 8.0, 0.0]]])
    half = _still((1, 1, 2))
    half.field[2] = 0.5
    moved = half._replace(reach_vox=np.array([0, 0, 0.1], np.float32))  # hardly any taper
    image, _ = _apply(volume, Box((0, 0, 1), (1, 1, 3)), Box((0, 0, -9), (1, 1, 9)), moved)
    np.testing.assert_allclose(image, [[[6, 4]]])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_against_scipy_where_there_is_room(seed, in_plane):
    rng = np.random.default_rng(seed)
    volume = rng.integers(0, 1000, (26, 34, 34))
    place, allowed = Box((10, 12, 12), (16, 20, 22)), whole(volume.shape)
    drawn = replace(ALWAYS, in_plane=in_plane, reach_nm=25).draw(place, allowed, CUBIC, rng)
    assert drawn is not None
    image, nearest = _apply(volume, place, Box((-99, -99, -99), (99, 99, 99)), drawn)
    at = np.indices(place.shape) + np.array(place.start)[:, None, None, None] + drawn.field
    at[1:] += drawn.shifts.T[:, :, None, None]
    expected = ndimage.map_coordinates(volume.astype(float), at, order=1)
    np.testing.assert_allclose(image, expected, atol=0.1)
    np.testing.assert_array_equal(nearest, volume[tuple(np.floor(at + 0.5).astype(int))])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([CUBIC, THICK, (20.0, 10.0, 10.0)]),
    st.tuples(*[st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 5))] * 3),
)
def test_nothing_outside_is_looked_at_and_nothing_moves_too_far(seed, size, extents):
    """Each voxel says where it lies, so a warped box says where its voxels come from."""
    rng = np.random.default_rng(seed)
    before, within, after = (np.array(along) for along in zip(*extents, strict=True))
    z, y, x = (int(voxel) for voxel in before)
    d, h, w = (int(voxel) for voxel in within)
    place = Box((z, y, x), (z + d, y + h, x + w))
    shape = tuple(int(voxel) for voxel in before + within + after)
    allowed = whole(shape)
    drawn = ALWAYS.draw(place, allowed, size, rng)
    assert drawn is not None
    source = source_of(place, allowed, drawn)
    assert source.intersect(allowed) == source
    for axis in range(3):
        where = np.indices(shape)[axis]
        image, nearest = _apply(where, place, allowed, drawn)
        own = where[place.slices].astype(float)
        if axis > 0:
            own = own + drawn.shifts[:, axis - 1, None, None]
        assert own.min() >= 0
        assert own.max() < shape[axis]
        moved = image - own
        assert np.abs(moved).max() <= ALWAYS.reach_nm / size[axis] + 1e-3
        assert np.abs(nearest - image).max() <= 0.5 + 1e-3
        at_border = (own == 0) | (own == shape[axis] - 1)
        assert np.abs(moved[at_border]).max(initial=0) < 1e-3


def test_nothing_is_folded():
    """Along each axis the voxels keep their order, even at the full reach."""
    widest = Deformation(elastic_patches=1, reach_nm=80, spacing_nm=200)
    shape = (40, 40, 40)
    for seed in range(5):
        place = Box((20, 20, 20), (60, 60, 60))
        drawn = widest.draw(place, whole((80, 80, 80)), CUBIC, np.random.default_rng(seed))
        assert drawn is not None
        for axis in range(3):
            steps = np.diff(np.indices(shape)[axis] + drawn.field[axis], axis=axis)
            assert steps.min() > 0


def test_splines_are_bounded_smooth_and_not_zero():
    spline = random_spline(3, (30, 31, 32), (8, 9, 10), np.random.default_rng(0))
    assert spline.shape == (3, 30, 31, 32)
    assert spline.dtype == np.float32
    assert np.abs(spline).max() < 1
    assert spline.std() > 0.1
    for axis in (1, 2, 3):
        assert np.abs(np.diff(spline, n=2, axis=axis)).max() < 4 / 8**2


def test_misaligned_is_one_section_or_the_rest():
    slips = replace(ALWAYS, elastic_patches=0)
    place, allowed = Box((3, 20, 20), (9, 30, 30)), whole((12, 50, 50))
    rng = np.random.default_rng(0)
    n_slips = n_steps = 0
    for _ in range(60):
        drawn = slips.draw(place, allowed, THICK, rng)
        assert drawn is not None
        assert not drawn.field.any()
        assert np.abs(drawn.shifts).max() <= slips.slip_nm / 5
        moved = np.flatnonzero(drawn.shifts.any(axis=1))
        if len(moved) == 0:
            continue
        assert (drawn.shifts[moved] == drawn.shifts[moved[0]]).all()
        if len(moved) == 1 and moved[0] < 5:
            n_slips += 1
        else:
            np.testing.assert_array_equal(moved, np.arange(moved[0], 6))
            n_steps += 1
    assert n_slips > 10
    assert n_steps > 10
    tight = slips.draw(place, place, THICK, rng)
    assert tight is not None
    assert not tight.shifts.any()


def test_shares_and_repetition():
    place, allowed = Box((8, 8, 8), (16, 16, 16)), whole((24, 24, 24))
    some = Deformation(elastic_patches=0.3, misaligned_patches=0)

    def draws(seed):
        rng = np.random.default_rng(seed)
        return [some.draw(place, allowed, CUBIC, rng) for _ in range(200)]

    first, second = draws(1), draws(1)
    assert 40 < sum(drawn is not None for drawn in first) < 80
    for one, other in zip(first, second, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_array_equal(one.field, other.field)
    alone = Deformation(elastic_patches=0, misaligned_patches=1)
    one_section = Box((8, 8, 8), (9, 16, 16))
    assert alone.draw(one_section, allowed, THICK, np.random.default_rng(0)) is None


def test_sections_decide_what_suits_the_data():
    cubic = Deformation.for_voxel_size(CUBIC)
    assert cubic.misaligned_patches == 0
    assert not cubic.in_plane
    thick = Deformation.for_voxel_size(THICK)
    assert thick.misaligned_patches > 0
    assert thick.in_plane
    flat = Deformation.for_voxel_size(THICK, two_dimensional=True)
    assert flat.misaligned_patches == 0
    assert flat.in_plane
    drawn = replace(thick, elastic_patches=1).draw(
        Box((8, 8, 8), (16, 16, 16)), whole((24, 24, 24)), THICK, np.random.default_rng(0)
    )
    assert drawn is not None
    assert not drawn.field[0].any()
    assert drawn.field[1:].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elastic_patches": 1.5}, r"elastic_patches must be in 0..1, got 1.5"),
        ({"misaligned_patches": -0.1}, r"misaligned_patches must be in 0..1, got -0.1"),
        ({"reach_nm": -1}, "reach_nm must be at least 0, got -1"),
        ({"slip_nm": np.nan}, "slip_nm must be at least 0, got nan"),
        ({"spacing_nm": 0}, "spacing_nm must be positive, got 0"),
        ({"reach_nm": 90}, r"at most 0.4 of spacing_nm \(200\), got 90"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        Deformation(**change)
