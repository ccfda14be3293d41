from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.input_error import InputError
from predict.augmentation import Symmetry, symmetries
from predict.boundary_targets import boundary_targets
from predict.unet import UNetConfig
from predict.views import choose_views, turned_back

CUBIC = UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 5))


@given(
    hnp.arrays(
        np.int64, hnp.array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(1, 3)
    ),
    st.sampled_from(symmetries((8, 8, 8))),
)
def test_the_truth_of_a_turned_volume_is_the_turned_truth(labels, view):
    truth, _ = boundary_targets(labels, zero_is_membrane=False, in_section=False)
    turned, _ = boundary_targets(view.apply(labels), zero_is_membrane=False, in_section=False)
    found = turned_back(np.asarray(turned, np.float32), view)
    np.testing.assert_array_equal(found[0], truth[0])
    for axis in range(3):  # the first edge along an axis leads out of the volume
        inner = tuple(slice(1, None) if other == axis else slice(None) for other in range(3))
        np.testing.assert_array_equal(found[1 + axis][inner], truth[1 + axis][inner])


def test_a_mirrored_row_by_hand():
    mirrored = np.zeros((4, 1, 1, 3), np.float32)
    mirrored[0, 0, 0] = [0.3, 0.2, 0.1]
    mirrored[3, 0, 0] = [9, 0.7, 0.6]  # edges of the row c, b, a: (outside), b–c, a–b
    found = turned_back(mirrored, Symmetry((0, 1, 2), (False, False, True)))
    np.testing.assert_array_equal(found[0, 0, 0], np.array([0.1, 0.2, 0.3], np.float32))
    np.testing.assert_array_equal(found[3, 0, 0], np.array([0, 0.6, 0.7], np.float32))


def test_the_first_view_is_the_image():
    predicted = np.random.default_rng(0).random((4, 2, 3, 4)).astype(np.float32)
    (view,) = choose_views(CUBIC, (8, 8, 8))
    np.testing.assert_array_equal(turned_back(predicted, view), predicted)


@pytest.mark.parametrize(
    ("size", "flat", "n_most"),
    [((8, 8, 8), False, 48), ((30, 6, 6), False, 16), ((8, 8, 8), True, 8)],
)
def test_there_are_as_many_views_as_the_voxels_allow(size, flat, n_most):
    config = UNetConfig.for_voxel_size(size, widths=(4, 5), two_dimensional=flat)
    views = choose_views(config, size, n_most)
    assert len(set(views)) == n_most
    assert len({one.order[0] for one in views}) == (3 if n_most == 48 else 1)
    for wrong in (0, n_most + 1):
        with pytest.raises(InputError, match=f"--views: .* 1 to {n_most} views, {wrong} asked"):
            choose_views(config, size, wrong)


def test_axes_that_the_network_treats_differently_are_not_exchanged():
    config = UNetConfig(
        widths=(4, 5), shrinks=((2, 2, 2), (1, 2, 2)), kernels=((3, 3, 3), (3, 3, 3))
    )
    assert {one.order[0] for one in choose_views(config, (8, 8, 8), 16)} == {0}
    with pytest.raises(InputError, match="1 to 16 views"):
        choose_views(config, (8, 8, 8), 17)
