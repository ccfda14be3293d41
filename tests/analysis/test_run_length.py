from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.skeleton_file import read_skeleton
from analysis.input_error import InputError
from analysis.run_length import RUN_LENGTH_CONVENTIONS, Skeleton, expected_run_length

NEURONS = Path(__file__).parents[2].parent / "shared" / "data" / "hemibrain_da1_neurons"


def line(name: str, lengths: list[float], y: float = 0.0) -> Skeleton:
    """Draw a straight skeleton along x with edges of the given lengths."""
    x = np.r_[0.0, np.cumsum(lengths)]
    nodes = np.stack([np.zeros_like(x), np.full_like(x, y), x], axis=1)
    ends = np.arange(x.size)
    return Skeleton(name, nodes, np.stack([ends[:-1], ends[1:]], axis=1))


def test_a_perfect_segmentation_reaches_the_largest_run_length():
    skeletons = [line("a", [3.0, 1.0]), line("b", [2.0])]
    lengths = expected_run_length(skeletons, [[7, 7, 7], [8, 8]])
    assert lengths.expected_run_length_nm == lengths.largest_run_length_nm == (16 + 4) / 6
    assert lengths.share("correct") == 1
    assert lengths.merged_segments.size == 0


def test_a_split_drawn_by_hand():
    run = expected_run_length([line("a", [3.0, 1.0, 2.0])], [[5, 5, 6, 6]]).runs[0]
    assert (run.correct_nm, run.split_nm, run.merged_nm, run.omitted_nm) == (5, 1, 0, 0)
    assert run.expected_run_length_nm == (9 + 4) / 6
    assert (run.n_segments, run.n_splits, run.length_nm) == (2, 1, 6)


def test_a_node_in_no_segment_omits_both_its_edges():
    run = expected_run_length([line("a", [3.0, 1.0, 2.0])], [[5, 0, 5, 5]]).runs[0]
    assert (run.correct_nm, run.split_nm, run.omitted_nm) == (2, 0, 4)
    assert run.expected_run_length_nm == 4 / 6
    assert run.n_segments == 1


def test_a_merger_counts_nothing_in_either_skeleton():
    skeletons = [line("a", [3.0, 1.0, 2.0]), line("b", [4.0, 4.0], y=9.0)]
    lengths = expected_run_length(skeletons, [[5, 5, 6, 6], [5, 5, 8]])
    assert lengths.merged_segments.tolist() == [5]
    first, second = lengths.runs
    assert (first.merged_nm, first.correct_nm, first.split_nm) == (3, 2, 1)
    assert (second.merged_nm, second.split_nm, second.correct_nm) == (4, 4, 0)
    assert lengths.expected_run_length_nm == (4 + 0) / 14
    assert lengths.share("merged") == 0.5


def test_a_touch_within_the_tolerance_is_no_merger():
    skeletons = [line("a", [3.0, 1.0, 2.0]), line("b", [4.0, 4.0], y=9.0)]
    segments = [[5, 5, 5, 5], [5, 8, 8]]
    assert expected_run_length(skeletons, segments).merged_segments.tolist() == [5]
    for tolerance, merged in ((1.9, [5]), (2.0, [])):
        lengths = expected_run_length(skeletons, segments, merge_tolerance_nm=tolerance)
        assert lengths.merged_segments.tolist() == merged
        assert lengths.merge_tolerance_nm == tolerance
    assert lengths.runs[0].expected_run_length_nm == 6
    assert (lengths.runs[1].correct_nm, lengths.runs[1].split_nm) == (4, 4)


def test_a_segment_that_comes_back_is_one():
    run = expected_run_length([line("a", [2.0, 1.0, 1.0, 2.0])], [[5, 5, 6, 5, 5]]).runs[0]
    assert run.expected_run_length_nm == 16 / 6


def test_branches_and_islands_are_one_skeleton():
    nodes = np.array([[0, 0, 0], [0, 0, 3], [0, 4, 0], [9, 9, 9], [9, 9, 10]], float)
    skeleton = Skeleton("y", nodes, np.array([[0, 1], [0, 2], [3, 4]]))
    assert skeleton.length_nm == 8
    run = expected_run_length([skeleton], [np.full(5, 3)]).runs[0]
    assert run.expected_run_length_nm == 8
    kept = skeleton.inside(np.array([True, False, True, True, True]))
    assert kept.edges.tolist() == [[0, 1], [2, 3]]
    assert kept.length_nm == 5


@st.composite
def tissues(draw):
    """Draw trees and the segment at each of their nodes."""
    skeletons, segments = [], []
    for i in range(draw(st.integers(1, 4))):
        n = draw(st.integers(2, 8))
        parents = [draw(st.integers(0, j - 1)) for j in range(1, n)]
        nodes = np.array([[i, 0, j * j] for j in range(n)], float)
        edges = np.array([[j, parent] for j, parent in enumerate(parents, 1)])
        skeletons.append(Skeleton(f"{i}", nodes, edges))
        segments.append(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    return skeletons, segments


@settings(max_examples=100, deadline=None)
@given(tissues(), st.sampled_from([0.0, 1.0, 7.5]))
def test_equals_brute_force_over_pieces_of_path(tissue, tolerance):
    """Chop every edge into its length in pieces; each sees the run of its own segment."""
    skeletons, segments = tissue
    held: dict[int, int] = {}
    for segment in range(1, 5):
        for skeleton, own in zip(skeletons, segments, strict=True):
            path = sum(
                0.5 * abs(skeleton.nodes_nm[a, 2] - skeleton.nodes_nm[b, 2])
                for edge in skeleton.edges
                for a, b in (edge, edge[::-1])
                if own[a] == segment
            )
            held[segment] = held.get(segment, 0) + (path > tolerance)
    runs = []
    for skeleton, own in zip(skeletons, segments, strict=True):
        pieces = []
        for a, b in skeleton.edges:
            same = own[a] == own[b] != 0 and held[own[a]] < 2
            n_pieces = round(abs(skeleton.nodes_nm[a, 2] - skeleton.nodes_nm[b, 2]))
            pieces += [own[a] if same else 0] * n_pieces
        runs += [pieces.count(piece) if piece else 0 for piece in pieces]
    lengths = expected_run_length(skeletons, segments, merge_tolerance_nm=tolerance)
    assert lengths.expected_run_length_nm == pytest.approx(np.mean(runs), abs=1e-9)
    assert lengths.length_nm == len(runs)
    total = sum(lengths.share(kind) for kind in ("correct", "split", "merged", "omitted"))
    assert total == pytest.approx(1.0)
    assert lengths.expected_run_length_nm <= lengths.largest_run_length_nm + 1e-9


def test_runs_on_real_neurons():
    files = sorted(NEURONS.glob("*.swc"))
    if not files:
        pytest.skip(f"no {NEURONS}")
    skeletons = [read_skeleton(file, argument="--skeletons", unit_nm=8.0) for file in files]
    assert all(2e6 < skeleton.length_nm < 3e6 for skeleton in skeletons)
    whole = [np.full(len(s.nodes_nm), i) for i, s in enumerate(skeletons, 1)]
    perfect = expected_run_length(skeletons, whole)
    assert perfect.expected_run_length_nm == pytest.approx(perfect.largest_run_length_nm, rel=1e-12)
    # Cut the first neuron in two at a node: the part below it is the subtree of that node.
    cut = [one.copy() for one in whole]
    parent_of = dict(skeletons[0].edges.tolist())
    for node in range(len(cut[0])):
        above = node
        while above in parent_of and above != 300:
            above = parent_of[above]
        cut[0][node] = 9 if above == 300 else 1
    assert 100 < (cut[0] == 9).sum() < len(cut[0]) - 100
    split = expected_run_length(skeletons, cut)
    assert split.runs[0].n_splits == 1
    parts = [skeletons[0].inside(cut[0] == segment).length_nm for segment in (1, 9)]
    expected = (parts[0] ** 2 + parts[1] ** 2) / skeletons[0].length_nm
    assert split.runs[0].expected_run_length_nm == pytest.approx(expected, rel=1e-9)
    merged = expected_run_length(
        skeletons, [whole[0], whole[0][:1].repeat(len(whole[1])), *whole[2:]]
    )
    assert merged.merged_segments.tolist() == [1]
    assert merged.runs[0].expected_run_length_nm == merged.runs[1].expected_run_length_nm == 0
    assert merged.expected_run_length_nm < split.expected_run_length_nm


def test_every_number_has_a_convention():
    assert {"expected_run_length_nm", "largest_run_length_nm"} <= set(RUN_LENGTH_CONVENTIONS)


@pytest.mark.parametrize(
    ("skeletons", "segments", "tolerance", "message"),
    [
        ([], [], 0.0, "skeletons must name at least one skeleton"),
        ([line("a", [1.0])], [[1, 1]], -1.0, "merge_tolerance_nm must not be negative, but is -1"),
        ([line("a", [1.0])], [[1, 1]], float("nan"), "merge_tolerance_nm must not be negative"),
        ([line("a", [1.0])], [[1, 1], [2]], 0.0, "2 are for 1 skeletons"),
        ([line("a", [1.0])], [[1, 1, 1]], 0.0, r"segments of skeleton a must have shape \(2,\)"),
        ([line("a", [1.0])], [[1.0, 1.0]], 0.0, "skeleton a must hold integer labels"),
        ([line("a", [1.0])], [[1, -1]], 0.0, "must not hold negative labels"),
        ([line("a", [0.0])], [[1, 1]], 0.0, "skeleton a has no path"),
    ],
)
def test_wrong_input_is_refused(skeletons, segments, tolerance, message):
    with pytest.raises(InputError, match=message):
        expected_run_length(skeletons, segments, merge_tolerance_nm=tolerance)


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        (np.zeros((2, 2)), np.array([[0, 1]]), r"nodes_nm of skeleton s must have shape \(N, 3\)"),
        (np.full((2, 3), np.nan), np.array([[0, 1]]), "nodes_nm of skeleton s must be finite"),
        (np.zeros((2, 3)), np.array([0, 1]), r"must be integers of shape \(E, 2\)"),
        (np.zeros((2, 3)), np.array([[0.0, 1.0]]), r"must be integers of shape \(E, 2\)"),
        (np.zeros((2, 3)), np.array([[0, 2]]), "must join nodes 0 … 1, but name 0 … 2"),
    ],
)
def test_a_skeleton_that_is_none_is_refused(nodes, edges, message):
    with pytest.raises(InputError, match=message):
        Skeleton("s", nodes, edges)
