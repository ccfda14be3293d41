from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from analysis.input_error import InputError
from predict.augmentation import BLUR_VOX, IntensityChange, Symmetry, symmetries


@pytest.mark.parametrize(
    ("voxel_size_nm", "two_dimensional", "n"),
    [
        ((8, 8, 8), False, 48),
        ((30, 6, 6), False, 16),
        ((30, 6, 9), False, 8),
        ((8, 8, 8), True, 16),
    ],
)
def test_symmetries_are_all_and_only_those_of_the_grid(voxel_size_nm, two_dimensional, n):
    found = symmetries(voxel_size_nm, two_dimensional=two_dimensional)
    volume = np.arange(27).reshape(3, 3, 3)
    images = {symmetry.apply(volume).tobytes() for symmetry in found}
    assert len(found) == len(images) == n


def test_hand_drawn_symmetry():
    symmetry = Symmetry((0, 2, 1), (False, False, True))
    volume = np.array([[[1, 2, 3], [4, 5, 6]]])
    np.testing.assert_array_equal(symmetry.apply(volume), [[[4, 1], [5, 2], [6, 3]]])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(symmetries((1, 1, 1))), st.permutations([2, 3, 5]))
def test_source_shape_leads_to_the_wanted_shape(symmetry, shape):
    wanted = (shape[0], shape[1], shape[2])
    source = np.zeros(symmetry.source_shape(wanted))
    assert symmetry.apply(source).shape == wanted


def test_no_change_is_the_identity():
    image = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    nothing = IntensityChange(0, 0, 0, 0, 0, 0)
    np.testing.assert_allclose(nothing.apply(image, np.random.default_rng(1)), image, atol=1e-6)


def test_changes_keep_type_and_order_and_depend_on_the_seed_alone():
    image = np.linspace(-1, 2, 60, dtype=np.float32).reshape(3, 4, 5)
    smooth = IntensityChange(noise=0, bad_patches=0)
    changed = smooth.apply(image, np.random.default_rng(3))
    assert changed.dtype == np.float32
    assert (np.diff(changed.ravel()) > 0).all()
    np.testing.assert_array_equal(changed, smooth.apply(image, np.random.default_rng(3)))
    assert not np.allclose(changed, smooth.apply(image, np.random.default_rng(4)))


def test_bad_sections_are_whole_sections_along_z():
    image = np.random.default_rng(0).normal(size=(200, 6, 6)).astype(np.float32)
    bad = IntensityChange(0, 0, 0, 0, bad_patches=1, bad_sections=0.2)
    changed = bad.apply(image, np.random.default_rng(0))
    deviation = changed.std(axis=(1, 2)) / image.std(axis=(1, 2))
    missing, faint = deviation < 1e-5, np.isclose(deviation, 0.3, atol=1e-3)
    whole = np.isclose(deviation, 1, atol=1e-3)
    blurred = ~missing & ~faint & ~whole
    for defect in (missing, faint, blurred):
        assert 5 < defect.sum() < 25
    for z in np.flatnonzero(blurred):
        expected = ndimage.gaussian_filter(image[z], BLUR_VOX)
        np.testing.assert_allclose(changed[z], expected, atol=1e-4)


def test_a_constant_patch_stays_finite():
    changed = IntensityChange().apply(np.ones((4, 4, 4), np.float32), np.random.default_rng(0))
    assert np.isfinite(changed).all()


def test_bad_strength():
    with pytest.raises(InputError, match="noise must be a number of at least 0, got -1"):
        IntensityChange(noise=-1)
