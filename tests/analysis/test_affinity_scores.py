from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.affinity_scores import boundaries_of_affinities, score_affinities
from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from analysis.label_borders import membrane_mask

LABELS = np.ones((2, 4, 6), int)
LABELS[:, :, 3:] = 2


def affinities_of(labels):
    """Connect each voxel to the one a step back where their labels are equal."""
    affinities = np.ones((3, *labels.shape), np.float32)
    for axis in range(3):
        here, there = [slice(None)] * 3, [slice(None)] * 3
        here[axis], there[axis] = slice(1, None), slice(None, -1)
        affinities[(axis, *here)] = labels[tuple(here)] == labels[tuple(there)]
    return affinities


def test_channels_are_scored_one_by_one():
    truth = affinities_of(LABELS)
    truth[1, 0, 2, 0] = 0
    proposal = np.where(truth == 1, 0.8, 0.3)
    proposal[1, 0, 2, 0] = 0.9
    scores = score_affinities(proposal, truth == 0, np.ones(truth.shape, bool))
    assert list(scores) == ["y", "x"]  # nothing is cut along z
    assert scores["x"].auc == 1.0
    assert scores["y"].auc == 0.0


def test_unknown_edges_are_left_out():
    truth = affinities_of(LABELS)
    proposal = np.where(truth == 1, 0.8, 0.3)
    proposal[2, :, :, 0] = 0.0
    known = np.ones(truth.shape, bool)
    assert score_affinities(proposal, truth == 0, known)["x"].auc < 1
    known[2, :, :, 0] = False
    assert score_affinities(proposal, truth == 0, known)["x"].auc == 1


def test_boundaries_drawn_by_hand():
    affinities = np.ones((3, 1, 2, 4))
    affinities[2, 0, 0, 2] = 0.25
    affinities[2, 0, 0, 0] = 0.0  # leaves the volume
    affinities[1, 0, 1, 3] = 0.5
    expected = [[0, 0.75, 0.75, 0.5], [0, 0, 0, 0.5]]
    assert boundaries_of_affinities(affinities)[0].tolist() == expected


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.int64, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(1, 3)
    ),
    st.booleans(),
)
def test_true_affinities_give_the_true_membrane(labels, in_plane):
    boundaries = boundaries_of_affinities(affinities_of(labels), in_plane=in_plane)
    membrane = membrane_mask(labels, in_plane=in_plane)
    np.testing.assert_array_equal(boundaries == 1, membrane)
    if membrane.any() and not membrane.all():
        assert score_boundaries(boundaries, membrane).auc == 1.0


def test_wrong_input_is_refused():
    good = np.full((3, 2, 2, 2), 0.5)
    mask = np.ones(good.shape, bool)
    with pytest.raises(InputError, match=r"affinities must have axes \(3, z, y, x\)"):
        boundaries_of_affinities(good[0])
    with pytest.raises(InputError, match=r"affinities must lie in \[0, 1\]"):
        boundaries_of_affinities(good + 1)
    with pytest.raises(InputError, match="is_known must be bool of shape"):
        score_affinities(good, mask, mask[:, :1])
    with pytest.raises(InputError, match="labels must hold cut and connected neighbours"):
        score_affinities(good, mask, mask)
