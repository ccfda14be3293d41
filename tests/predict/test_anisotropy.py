from __future__ import annotations

import pytest

from analysis.input_error import InputError
from predict.anisotropy import is_strongly_anisotropic, shrink_pattern, validate_voxel_size


def test_isotropic_takes_every_axis():
    assert shrink_pattern((8, 8, 8), 2) == (((2, 2, 2),) * 2, ((3, 3, 3),) * 2)


def test_thick_sections_wait_until_the_pixels_are_as_coarse():
    # 30 x 6 x 6, then 30 x 12 x 12 (ratio 2.5), then 30 x 24 x 24 (ratio 1.25)
    shrinks, kernels = shrink_pattern((30, 6, 6), 3)
    assert shrinks == ((1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert kernels == ((1, 3, 3), (3, 3, 3), (3, 3, 3))


def test_two_dimensional_never_looks_along_z():
    shrinks, kernels = shrink_pattern((8, 8, 8), 3, two_dimensional=True)
    assert shrinks == ((1, 2, 2),) * 3
    assert kernels == ((1, 3, 3),) * 3


@pytest.mark.parametrize(
    ("voxel_size_nm", "strong"), [((8, 8, 8), False), ((29, 4, 10), True), ((11, 4, 4), False)]
)
def test_strong_anisotropy(voxel_size_nm, strong):
    assert is_strongly_anisotropic(voxel_size_nm) == strong


@pytest.mark.parametrize("size", [(8, 8), (8, 0, 8), (8, float("nan"), 8)])
def test_bad_voxel_size(size):
    with pytest.raises(InputError, match="voxel_size_nm must be three positive numbers"):
        validate_voxel_size(size)
