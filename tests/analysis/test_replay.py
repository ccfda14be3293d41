from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from analysis.replay import (
    clusters_after,
    error_curve,
    joining_merges,
    labels_after,
    least_sure,
    merged_sizes,
    most_harmful,
    most_useful,
)
from tests.analysis.drawn_episode import (
    drawn_recording,
    naive_clusters,
    random_merges,
    random_recording,
    scores_of,
)

SEEDS = st.integers(0, 2**32 - 1)


def test_the_drawn_episode_at_every_moment() -> None:
    recording = drawn_recording()
    rows = [labels_after(recording, recording.view, n)[0].tolist() for n in range(4)]
    assert rows == [
        [10, 10, 20, 20, 30, 30, 40, 40],
        [10, 10, 10, 10, 30, 30, 40, 40],
        [10, 10, 10, 10, 30, 30, 30, 30],
        [10, 10, 10, 10, 10, 10, 10, 10],
    ]
    assert recording.n_merges == 3
    assert recording.n_policy_merges == 2
    assert [recording.n_merges_at(key) for key in (3, 2, 0.5, -1, -2)] == [0, 1, 2, 3, 3]


def test_the_errors_of_the_drawn_episode() -> None:
    curve = error_curve(drawn_recording())
    np.testing.assert_allclose(curve.vi_split, [1.0, 0.5, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(curve.vi_merge, [0.0, 0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(curve.vi, [1.0, 0.5, 0.0, 1.0], atol=1e-12)
    same, pairs = 16 * 15 / 2, 32 * 31 / 2  # of a neuron, of all voxels
    start = 1 - (2 * same - 4 * 8 * 7 / 2) / pairs
    expected = [start, (start + 1) / 2, 1.0, 2 * same / pairs]
    np.testing.assert_allclose(curve.rand_index, expected)


def test_the_sizes_of_the_drawn_episode() -> None:
    recording = drawn_recording()
    assert merged_sizes(recording).tolist() == [[8, 8], [8, 8], [16, 16]]
    assert merged_sizes(recording, np.array([1, 2, 3, 4])).tolist() == [[1, 2], [3, 4], [3, 7]]
    assert recording.sizes_vox.tolist() == [8, 8, 8, 8]


def test_only_merges_of_the_policy_are_named_harmful_or_useful() -> None:
    recording = drawn_recording()
    assert most_useful(recording, 5).tolist() == [0, 1]
    assert most_useful(recording, 1).tolist() == [0]
    assert most_harmful(recording, 5).tolist() == []
    assert least_sure(recording, 5).tolist() == [1, 0]
    to_the_end = dataclasses.replace(recording, threshold=-5.0)
    assert most_harmful(to_the_end, 5).tolist() == [2]
    assert least_sure(to_the_end, 2).tolist() == [2, 1]
    assert least_sure(dataclasses.replace(recording, threshold=9.0), 2).tolist() == []


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_clusters_are_those_of_a_naive_merge(seed: int) -> None:
    recording = random_recording(seed, has_truth=False, n_left=1)
    for n in range(recording.n_merges + 1):
        expected = naive_clusters(len(recording.ids), recording.merges[:n])
        assert clusters_after(recording, n).tolist() == expected
        labels = labels_after(recording, recording.view, n)
        assert np.array_equal(labels == 0, recording.view.superpixels < 0)
        assert np.unique(labels[labels != 0]).size == len(recording.ids) - n


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_errors_are_those_counted_from_scratch(seed: int) -> None:
    recording = random_recording(seed)
    curve = error_curve(recording)
    truth = recording.view.truth
    assert truth is not None
    for n in range(recording.n_merges + 1):
        expected = scores_of(labels_after(recording, recording.view, n), truth)
        found = (curve.vi[n], curve.vi_split[n], curve.vi_merge[n], curve.rand_index[n])
        wanted = (expected.vi, expected.vi_split, expected.vi_merge, expected.rand_index)
        np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert (np.diff(curve.vi_split) < 1e-9).all()
    assert (np.diff(curve.vi_merge) > -1e-9).all()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_pair_is_joined_by_the_first_merge_that_unites_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_regions = int(rng.integers(1, 14))
    merges = random_merges(rng, n_regions, int(rng.integers(1, n_regions + 1)))
    pairs = rng.integers(0, n_regions, (20, 2)).astype(np.int32)
    states = [naive_clusters(n_regions, merges[:n]) for n in range(len(merges) + 1)]
    expected = [
        next((n for n, state in enumerate(states) if state[u] == state[v]), len(merges) + 1) - 1
        for u, v in pairs.tolist()
    ]
    assert joining_merges(merges, n_regions, pairs).tolist() == expected


def test_kernels_take_read_only_arrays() -> None:
    recording = drawn_recording()
    recording.merges.flags.writeable = False
    recording.sizes_vox.flags.writeable = False
    pairs = np.array([[0, 3], [2, 2]], np.int32)
    pairs.flags.writeable = False
    assert merged_sizes(recording)[2].tolist() == [16, 16]
    assert joining_merges(recording.merges, 4, pairs).tolist() == [2, -1]


def test_long_chains_are_followed_to_their_end() -> None:
    n = 3000
    superpixels = np.arange(1, n + 1, dtype=np.uint64)[None]
    downwards = np.array([(n - 2 - i, n - 1 - i) for i in range(n - 1)], np.int32)
    recording = dataclasses.replace(
        random_recording(0, has_truth=False),
        ids=superpixels[0],
        sizes_vox=np.ones(n, np.int64),
        merges=downwards,
        heights=np.zeros(n - 1),
        places_vox=np.zeros((n - 1, 3)),
        contact_faces=np.ones(n - 1, np.int64),
        close_ups={},
    )
    assert (clusters_after(recording, n - 1) == 0).all()
    assert merged_sizes(recording)[:, 1].tolist() == list(range(1, n))
    pairs = np.array([(0, n - 1), (5, 4)], np.int32)
    assert joining_merges(downwards, n, pairs).tolist() == [n - 2, n - 5 - 1]


@pytest.mark.parametrize("n_merges", [-1, 4])
def test_a_moment_outside_the_episode_is_refused(n_merges: int) -> None:
    with pytest.raises(InputError, match=rf"n_merges must lie in 0 … 3, but is {n_merges}\."):
        clusters_after(drawn_recording(), n_merges)


@pytest.mark.parametrize("ask", [error_curve, lambda r: most_harmful(r, 1)])
def test_errors_of_an_episode_without_truth_are_refused(ask) -> None:
    with pytest.raises(InputError, match="was recorded without labels"):
        ask(random_recording(1, has_truth=False))
