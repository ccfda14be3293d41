from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from analysis.input_error import InputError
from analysis.label_borders import membrane_mask
from predict.augmentation import symmetries
from predict.boundary_targets import boundary_targets, zero_means_membrane

small_labels = arrays(
    np.int32, array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(0, 3)
)


def test_hand_drawn_touching_labels():
    labels = np.array([[[1, 1, 2], [1, 1, 2], [3, 3, 3]], [[1, 1, 1], [1, 1, 1], [3, 3, 3]]])
    target, known = boundary_targets(labels, zero_is_membrane=False, in_section=False)
    np.testing.assert_array_equal(
        target[0], [[[0, 1, 1], [1, 1, 1], [1, 1, 1]], [[0, 0, 1], [1, 1, 1], [1, 1, 1]]]
    )
    assert known[0].all()
    np.testing.assert_array_equal(target[1, 1], [[1, 1, 0], [1, 1, 0], [1, 1, 1]])  # to z − 1
    np.testing.assert_array_equal(target[2, 0], [[0, 0, 0], [1, 1, 1], [0, 0, 0]])  # to y − 1
    np.testing.assert_array_equal(target[3, 0], [[0, 1, 0], [0, 1, 0], [0, 1, 1]])  # to x − 1
    assert not known[1, 0].any()
    assert known[1, 1].all()
    np.testing.assert_array_equal(known[2].all((0, 2)), [False, True, True])
    np.testing.assert_array_equal(known[3].all((0, 1)), [False, True, True])


def test_hand_drawn_in_section_ignores_the_next_section():
    labels = np.array([[[1, 1, 1]], [[2, 2, 2]]])
    target, _ = boundary_targets(labels, zero_is_membrane=False, in_section=True)
    assert not target[0].any()
    assert not target[1].any()  # but the affinity along z is cut


def test_hand_drawn_unlabelled_voxel():
    labels = np.array([[[1, 1, 0, 2, 3]]])
    target, known = boundary_targets(labels, zero_is_membrane=False, in_section=False)
    np.testing.assert_array_equal(target[0, 0, 0], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(known[0, 0, 0], [1, 0, 0, 1, 1])
    np.testing.assert_array_equal(known[3, 0, 0], [0, 1, 0, 0, 1])


def test_hand_drawn_membrane_voxel():
    labels = np.array([[[1, 1, 0, 0, 3]]])
    target, known = boundary_targets(labels, zero_is_membrane=True, in_section=False)
    np.testing.assert_array_equal(target[0, 0, 0], [0, 0, 1, 1, 0])
    np.testing.assert_array_equal(target[3, 0, 0], [0, 1, 0, 0, 0])
    assert known[0].all()


def test_hand_drawn_mask():
    labels = np.array([[[1, 1, 0, 2, 3, 3]]])
    mask = np.array([[[True, True, False, True, True, False]]])
    target, known = boundary_targets(labels, zero_is_membrane=True, in_section=False, mask=mask)
    np.testing.assert_array_equal(target[0, 0, 0], [0, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(known[0, 0, 0], [1, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(target[3, 0, 0], [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(known[3, 0, 0], [0, 1, 0, 0, 1, 0])


@settings(max_examples=50, deadline=None)
@given(small_labels, st.booleans())
def test_a_mask_over_every_zero_is_not_to_know_them(labels, in_section):
    masked = boundary_targets(
        labels, zero_is_membrane=True, in_section=in_section, mask=labels != 0
    )
    unknown = boundary_targets(labels, zero_is_membrane=False, in_section=in_section)
    for one, other in zip(masked, unknown, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=80, deadline=None)
@given(small_labels, st.booleans(), st.booleans(), st.none() | st.integers(0, 10**6))
def test_against_voxel_by_voxel_definition(labels, zero_is_membrane, in_section, seed):
    mask = None if seed is None else np.random.default_rng(seed).uniform(size=labels.shape) < 0.8
    target, known = boundary_targets(
        labels, zero_is_membrane=zero_is_membrane, in_section=in_section, mask=mask
    )
    told = np.ones(labels.shape, bool) if mask is None else mask
    if not zero_is_membrane:
        told = told & (labels != 0)
    for here in np.ndindex(labels.shape):
        touching, unlabelled = False, False
        for axis in range(3):
            for step in (-1, 1):
                there = list(here)
                there[axis] += step
                if not 0 <= there[axis] < labels.shape[axis]:
                    if step == -1:
                        assert not known[(1 + axis, *here)]
                    continue
                pair = int(labels[here]), int(labels[tuple(there)])
                both = told[here] and told[tuple(there)]
                if step == -1:
                    assert known[(1 + axis, *here)] == both
                    assert target[(1 + axis, *here)] == (both and pair[0] == pair[1] != 0)
                if not (in_section and axis == 0):
                    touching |= both and 0 not in pair and pair[0] != pair[1]
                    unlabelled |= not told[tuple(there)]
        is_membrane = told[here] and labels[here] == 0
        assert target[(0, *here)] == (touching or is_membrane)
        assert known[(0, *here)] == (told[here] and (touching or is_membrane or not unlabelled))


@settings(max_examples=30, deadline=None)
@given(small_labels, st.booleans())
def test_membrane_is_what_the_evaluation_calls_membrane(labels, in_section):
    target, _ = boundary_targets(labels, zero_is_membrane=True, in_section=in_section)
    np.testing.assert_array_equal(target[0] > 0, membrane_mask(labels, in_plane=in_section))


@settings(max_examples=50, deadline=None)
@given(small_labels, st.sampled_from(symmetries((1, 1, 1))))
def test_affinities_follow_the_symmetry(labels, symmetry):
    """Edges as unordered pairs of original voxels have the same target under any symmetry."""

    def edges(volume, index):
        target, known = boundary_targets(volume, zero_is_membrane=False, in_section=False)
        found = {}
        for axis in range(3):
            for here in np.argwhere(known[1 + axis]):
                there = here.copy()
                there[axis] -= 1
                pair = frozenset((int(index[tuple(here)]), int(index[tuple(there)])))
                found[pair] = float(target[(1 + axis, *here)])
        boundary = {int(i): float(b) for i, b in zip(index.flat, target[0].flat, strict=True)}
        return found, boundary

    index = np.arange(labels.size).reshape(labels.shape)
    moved = edges(symmetry.apply(labels), symmetry.apply(index))
    assert moved == edges(labels, index)


def test_zero_rule():
    touching = np.array([[[1, 1, 2, 2], [3, 3, 2, 0]]])
    parted = np.array([[[1, 0, 2, 2], [0, 0, 2, 2], [3, 0, 0, 0]]])
    assert not zero_means_membrane(touching)
    assert zero_means_membrane(parted)
    labelled = np.array([[[1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]])
    assert zero_means_membrane(labelled)  # a background that nobody labelled is misjudged …
    assert not zero_means_membrane(labelled, labelled != 0)  # … unless a mask says so


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 3), int), r"got shape \(3, 3\)"),
        (np.zeros((0, 3, 3), int), r"got shape \(0, 3, 3\)"),
        (np.zeros((2, 2, 2)), "got dtype float64"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(InputError, match=message):
        boundary_targets(labels, zero_is_membrane=True, in_section=False)
    with pytest.raises(InputError, match=message):
        zero_means_membrane(labels)


def test_bad_mask():
    labels = np.ones((2, 2, 2), int)
    masks: list[np.ndarray] = [np.ones((2, 2, 1), bool), np.ones((2, 2, 2), np.uint8)]
    for mask in masks:
        with pytest.raises(InputError, match=r"mask must be bool of .* \(2, 2, 2\), got"):
            boundary_targets(labels, zero_is_membrane=True, in_section=False, mask=mask)
        with pytest.raises(InputError, match=r"mask must be bool of .* \(2, 2, 2\), got"):
            zero_means_membrane(labels, mask)
