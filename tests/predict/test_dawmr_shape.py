from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.dawmr_shape import FeatureConfig, ScaleConfig, field_of_view

CONFIGS = {
    "isotropic": FeatureConfig.for_voxel_size((8, 8, 8), (3, 2)),
    "wide": FeatureConfig.for_voxel_size((8, 8, 8), (2,), wide=True),
    "anisotropic": FeatureConfig.for_voxel_size((30, 6, 6), (2, 3)),
    "two_dimensional": FeatureConfig.for_voxel_size((30, 6, 6), (4,), two_dimensional=True),
}


def test_shapes_follow_the_voxel_size():
    cubic = CONFIGS["wide"]
    assert [scale.factor[0] for scale in cubic.scales] == [1, 2, 4]
    assert {scale.patch for scale in cubic.scales} == {(5, 5, 5)}
    assert cubic.scales[0].pools == ((0, 0, 0), (1, 1, 1), (3, 3, 3))
    assert (cubic.stride, cubic.halo_vox, cubic.field_vox) == ((4,) * 3, (12,) * 3, (28,) * 3)
    assert cubic.n_features == (2 * 2 + 2) * 7
    assert CONFIGS["isotropic"].field_vox == (20, 20, 20)
    assert field_of_view((cubic, *[CONFIGS["isotropic"]] * 2)) == (60, 60, 60)
    thick = CONFIGS["anisotropic"]
    assert [scale.factor for scale in thick.scales] == [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    assert [scale.patch for scale in thick.scales] == [(1, 5, 5), (3, 5, 5), (5, 5, 5)]
    assert thick.scales[0].pools == ((0, 0, 0), (0, 1, 1), (1, 3, 3))
    assert thick.field_vox == (5, 20, 20)  # 150 × 120 × 120 nm
    flat = CONFIGS["two_dimensional"]
    assert flat.two_dimensional
    assert not thick.two_dimensional
    assert flat.field_vox == (1, 20, 20)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 12), st.booleans())
def test_the_field_is_about_as_long_along_each_axis(ratio, wide):
    config = FeatureConfig.for_voxel_size((6 * ratio, 6, 6), (1,), wide=wide)
    z, y, x = config.field_vox
    assert y == x == (28 if wide else 20)
    # at the finest axis' 4 voxels a cell, half a cell and a section may be missing or too much on
    # either side
    assert abs(z * ratio - y) <= 2 * max(4, ratio) + 2 * ratio


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScaleConfig((0, 1, 1), (3, 3, 3), ((0, 0, 0),)), "factor must be positive"),
        (lambda: ScaleConfig((1, 1, 1), (3, 2, 3), ((0, 0, 0),)), "patch must be odd"),
        (lambda: ScaleConfig((1, 1, 1), (1, 1, 1), ((0, 0, 0),)), "more than one voxel"),
        (lambda: ScaleConfig((1, 1, 1), (3, 3, 3), ()), "pools must be different radii"),
        (lambda: FeatureConfig((), (1,)), "scales must not be empty"),
        (lambda: replace(CONFIGS["wide"], atoms=(3, 0)), r"atoms must be positive.*\(3, 0\)"),
        (lambda: replace(CONFIGS["wide"], contrast_floor=0.0), "contrast_floor positive"),
        (
            lambda: replace(CONFIGS["wide"], scales=CONFIGS["wide"].scales[::-1]),
            "every factor must be a multiple of the one before",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
