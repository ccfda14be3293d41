from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from analysis.input_error import InputError
from predict.blockwise import plan_blocks
from predict.boundary_network import CHANNELS, AffinityBoundary, channels_of
from predict.boundary_targets import boundary_targets
from predict.box import whole
from predict.unet import UNetConfig

small_labels = arrays(
    np.int32, array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(1, 3)
)


def test_hand_drawn_row():
    affinities = np.zeros((3, 1, 1, 4), np.float32)
    affinities[2, 0, 0] = [0, 0.75, 0.5, 0.25]  # the first leaves the volume
    block = whole((1, 1, 4))
    least = AffinityBoundary("least", False).apply(affinities, block, (1, 1, 4))
    mean = AffinityBoundary("mean", False).apply(affinities, block, (1, 1, 4))
    np.testing.assert_array_equal(least, [[[0.25, 0.5, 0.75, 0.75]]])
    np.testing.assert_array_equal(mean, [[[0.25, 0.375, 0.625, 0.75]]])


@settings(max_examples=60, deadline=None)
@given(small_labels, st.booleans())
def test_the_least_of_true_affinities_is_the_target(labels, in_section):
    target, _ = boundary_targets(labels, zero_is_membrane=False, in_section=in_section)
    rule = AffinityBoundary("least", in_section)
    found = rule.apply(target[1:], whole(labels.shape), labels.shape)
    np.testing.assert_array_equal(found, target[0])


@settings(max_examples=60, deadline=None)
@given(small_labels, st.booleans())
def test_the_mean_of_true_affinities_is_the_share_of_neighbours_that_differ(labels, in_section):
    target, _ = boundary_targets(labels, zero_is_membrane=False, in_section=in_section)
    rule = AffinityBoundary("mean", in_section)
    found = rule.apply(target[1:], whole(labels.shape), labels.shape)
    for here in np.ndindex(labels.shape):
        cut = []
        for axis in range(1 if in_section else 0, 3):
            for step in (-1, 1):
                there = list(here)
                there[axis] += step
                if 0 <= there[axis] < labels.shape[axis]:
                    cut.append(labels[here] != labels[tuple(there)])
        assert found[here] == pytest.approx(np.mean(cut) if cut else 0, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**20),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.sampled_from(["least", "mean"]),
    st.booleans(),
)
def test_blocks_see_what_lies_behind_them(seed, shape, block_vox, take, in_section):
    affinities = np.random.default_rng(seed).uniform(size=(3, *shape)).astype(np.float32)
    rule = AffinityBoundary(take, in_section)
    at_once = rule.apply(affinities, whole(shape), shape)
    for block in plan_blocks(whole(shape), block_vox):
        reach = rule.reach(block, shape)
        # the voxel before a block belongs to its neighbour, its edge to the block
        found = rule.apply(affinities[:, *reach.slices], block, shape)
        np.testing.assert_array_equal(found, at_once[block.slices])


def test_channels_and_bad_rule():
    own = UNetConfig.for_voxel_size((8, 8, 8))
    made = UNetConfig.for_voxel_size((8, 8, 8), boundary=AffinityBoundary("least", False))
    assert channels_of(own) == CHANNELS
    assert channels_of(made) == ("affinity_z", "affinity_y", "affinity_x")
    with pytest.raises(InputError, match="take must be least or mean, got 'most'"):
        AffinityBoundary("most", False)  # pyright: ignore[reportArgumentType]
