from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from numba import njit
from skimage.metrics import adapted_rand_error

from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.segmentation_scores import score_segmentation
from analysis.warping_error import segmentation_warping_error
from envs.instance import Instance, LabelledVolume
from envs.objective import (
    OBJECTIVES,
    ObjectiveName,
    ObjectiveState,
    error_of,
    gain_of,
    join_objective,
    start_objective,
    terminal_gain,
    warping_of,
)
from envs.skeleton_runs import skeletons_of
from envs.synapse_rows import synapse_table
from envs.truth_rows import MAX_EXACT_VOXELS, NO_TRUTH, TruthTable, truth_table
from tests.envs.random_tissue import SEEDS, Volume, cell_instance, cell_labels, volumes
from tests.envs.test_skeleton_runs import run_length, whole_run_length

modest = settings(max_examples=40, deadline=None)
names = pytest.mark.parametrize("name", OBJECTIVES)


class Problem(NamedTuple):
    """An instance with all that objectives ask for, and what it was made of."""

    instance: Instance
    superpixels: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    points: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]


def problem_of(volume: Volume, labels: npt.NDArray, rng: np.random.Generator) -> Problem:
    """Add random synapses and skeletons; every kind of 0 is among them."""
    superpixels = volume.superpixels
    voxels = np.argwhere(np.ones(superpixels.shape, bool))
    inside = np.argwhere(superpixels)[0]
    labels[tuple(inside)] = 1
    points = np.concatenate([inside[None], voxels[rng.integers(len(voxels), size=15)]])
    weights = rng.integers(1, 9, len(points))
    neuron = rng.integers(3, size=len(points))
    neuron[:2] = 1
    points[1] = (points[0] + 1) % superpixels.shape
    edges = {(0, 1)}
    for a, b in rng.integers(len(points), size=(20, 2)).tolist():
        if a != b and neuron[a] == neuron[b]:
            edges.add((min(a, b), max(a, b)))
    graph = volume.graph()
    instance = Instance(
        graph,
        truth_table(graph.ids, superpixels, labels),
        volume=LabelledVolume(superpixels, volume.image, labels),
        synapses=synapse_table(graph.ids, superpixels, points, labels, weights),
        skeletons=skeletons_of(
            graph.ids, superpixels, points, neuron, np.array(sorted(edges)), (40.0, 8.3, 7.9)
        ),
    )
    return Problem(instance, superpixels, labels, points, weights)


@hs.composite
def problems(draw: hs.DrawFn) -> Problem:
    """Draw small volumes with label 0 in superpixels and truth."""
    volume = draw(volumes())
    if volume.superpixels.size == 1:
        volume = Volume(*(np.tile(array, (1, 1, 2)) for array in volume))
    rng = np.random.default_rng(draw(SEEDS))
    n_labels = draw(hs.integers(1, 4))
    return problem_of(volume, rng.integers(0, n_labels + 1, volume.superpixels.shape), rng)


def error_from_scratch(name: ObjectiveName, problem: Problem, clusters: npt.NDArray) -> float:
    """Measure the relabelled volume; clusters: (R,)."""
    graph = problem.instance.graph
    table = np.append(clusters + 1, 0)
    index = np.searchsorted(graph.ids, problem.superpixels.astype(np.uint64))
    segments = table[np.where(problem.superpixels == 0, graph.n_regions, index)]
    if name == "warping":
        return segmentation_warping_error(segments, problem.labels).error
    if name == "run_length":
        whole = whole_run_length(problem.instance.skeletons)
        return (whole - run_length(problem.instance.skeletons, clusters)) / whole
    labels = problem.labels
    if name == "synapse_vi":
        where = tuple(problem.points.T)
        segments = np.repeat(segments[where], problem.weights)
        labels = np.repeat(labels[where], problem.weights)
    scores = score_segmentation(contingency_table(segments, labels, ignore_segmentation_zero=True))
    if name == "rand":
        return 1 - scores.rand_index
    return scores.adapted_rand_error if name == "adapted_rand" else scores.vi


def flat(state: Any) -> list[npt.NDArray]:
    """List copies of all arrays of nested tuples."""
    if isinstance(state, tuple):
        return [array for part in state for array in flat(part)]
    return [state.copy()]


@names
@modest
@given(problem=problems(), seed=SEEDS)
def test_gains_telescope_to_errors_made_from_scratch(
    name: ObjectiveName, problem: Problem, seed: int
) -> None:
    """Join regions in random order and roles, as far as chance will have it."""
    instance = problem.instance
    rng = np.random.default_rng(seed)
    objective = start_objective(name, instance)
    clusters = np.arange(instance.graph.n_regions)
    start = before = error_from_scratch(name, problem, clusters)
    if name != "warping":
        assert error_of(objective) == pytest.approx(start, abs=1e-9)
    left, total = clusters.tolist(), 0.0
    for _ in range(int(rng.integers(len(left)))):
        u, v = (int(w) for w in rng.choice(left, 2, replace=False))
        untouched = flat(objective)
        gain = gain_of(objective, u, v)
        assert gain_of(objective, v, u) == pytest.approx(gain, abs=1e-12)
        assert all(map(np.array_equal, untouched, flat(objective)))
        join_objective(objective, u, v)
        left.remove(v)
        clusters[clusters == v] = u
        total += gain
        if name == "warping":
            continue
        after = error_from_scratch(name, problem, clusters)
        assert gain == pytest.approx(before - after, abs=1e-9)
        assert error_of(objective) == pytest.approx(after, abs=1e-9)
        before = after
    total += terminal_gain(name, instance, clusters)
    assert total == pytest.approx(start - error_from_scratch(name, problem, clusters), abs=1e-9)


def test_drawn_volume_under_every_objective() -> None:
    """Two superpixels of one neuron and one of another, seven voxels of which six count.

    superpixels 2 2 4 4 6 6 0, truth 1 1 1 0 8 8 1.
    """
    superpixels = np.array([[[2, 2, 4, 4, 6, 6, 0]]])
    labels = np.array([[[1, 1, 1, 0, 8, 8, 1]]])
    nothing = np.zeros(superpixels.shape, np.uint8)
    graph = Volume(superpixels, nothing, nothing).graph()
    points = np.array([[0, 0, 0], [0, 0, 2], [0, 0, 4]])
    instance = Instance(
        graph,
        truth_table(graph.ids, superpixels, labels),
        volume=LabelledVolume(superpixels, nothing, labels),
        synapses=synapse_table(graph.ids, superpixels, points, labels, np.array([1, 1, 2])),
        skeletons=skeletons_of(
            graph.ids, superpixels, points, np.array([1, 1, 8]), np.array([[0, 1]]), (1.0, 1.0, 5.0)
        ),
    )
    # Five voxels in clusters 2 2 4 6 6, truth 1 1 1 8 8; merging the first two leaves no error.
    entropy = 2 / 5 * np.log2(3 / 2) + 1 / 5 * np.log2(3)
    expected = {
        "vi": entropy,
        "rand": 2 / 10,
        "adapted_rand": 1 - 2 * (4 + 1 + 4) / ((4 + 1 + 4) + (9 + 4)),
        "synapse_vi": 2 / 4,
        "run_length": 1.0,
        "warping": 0.0,
    }
    for name in OBJECTIVES:
        objective = start_objective(name, instance)
        assert error_of(objective) == pytest.approx(expected[name]), name
        assert gain_of(objective, 0, 1) == pytest.approx(expected[name]), name
        join_objective(objective, 1, 0)
        assert error_of(objective) == pytest.approx(0, abs=1e-12), name
        assert gain_of(objective, 1, 2) < 0 or name == "warping"
    # All interior until the border between 2 and 4 goes; of the truth, the fourth is membrane.
    whole = np.array([0, 0, 2])
    assert terminal_gain("warping", instance, whole) == pytest.approx(
        warping_of(instance, np.arange(3)) - warping_of(instance, whole)
    )
    assert terminal_gain("vi", instance, whole) == 0


def test_warping_falls_when_a_split_neuron_is_mended() -> None:
    """Three superpixels, the first two of them one neuron; the split is the only error."""
    truth = np.ones((1, 9, 9), np.int64)
    truth[:, 6:] = 2
    superpixels = truth + 1
    superpixels[:, :6, 4:] = 1
    nothing = np.zeros(truth.shape, np.uint8)
    graph = Volume(superpixels, nothing, nothing).graph()
    instance = Instance(graph, NO_TRUTH, volume=LabelledVolume(superpixels, nothing, truth))
    start = warping_of(instance, np.arange(3))
    assert start > 0
    assert terminal_gain("warping", instance, np.array([1, 1, 2])) == start
    assert terminal_gain("warping", instance, np.array([0, 0, 0], np.int32)) < start
    assert terminal_gain("warping", instance, np.arange(3)) == 0


def pairs_as_integers(objective: ObjectiveState) -> list[int]:
    return [int(high) * 2**20 + int(low) for high, low in objective.pairs]


def test_adapted_rand_is_exact_for_a_million_million_voxels() -> None:
    """Counts up to the limit: sums of pairs equal Python's integers after each merge."""
    rng = np.random.default_rng(0)
    _, instance = cell_instance(0)
    n_regions, n_labels = instance.graph.n_regions, 5
    counts = rng.integers(1, 2**40 // (n_regions * n_labels), (n_regions, n_labels))
    counts[0, 0] += MAX_EXACT_VOXELS - counts.sum()
    region, label = np.indices(counts.shape, dtype=np.int32).reshape(2, -1)
    table = TruthTable(region, label, counts.reshape(-1))
    objective = start_objective("adapted_rand", instance._replace(truth=table))
    exact = counts.astype(object)
    total = 0.0

    def sums() -> list[int]:
        return [int((c**2).sum()) for c in (exact, exact.sum(1), exact.sum(0))]

    def error() -> Fraction:
        joint, segments, labels = sums()
        return 1 - Fraction(2 * joint, segments + labels)

    start = error()
    assert error_of(objective) == pytest.approx(float(start), rel=1e-15)
    left = list(range(n_regions))
    while len(left) > 1:
        u, v = (int(w) for w in rng.choice(left, 2, replace=False))
        before, gain = error(), gain_of(objective, u, v)
        join_objective(objective, u, v)
        left.remove(v)
        exact[u] += exact[v]
        exact[v] = 0
        assert pairs_as_integers(objective) == sums()
        assert (objective.pairs[:, 1] >> 20 == 0).all()
        assert gain == pytest.approx(float(before - error()), abs=1e-15)
        total += gain
    assert total == pytest.approx(float(start - error()), abs=1e-14)
    table.counts[0] += 1
    with pytest.raises(InputError, match="exact up to 1099511627776 voxels with truth, but there"):
        start_objective("adapted_rand", instance._replace(truth=table))


def test_adapted_rand_is_scikit_image_s_but_for_pairs_of_a_voxel_with_itself() -> None:
    rng = np.random.default_rng(2)
    superpixels = cell_labels(rng, 12, 30)
    labels = cell_labels(rng, 12, 8)
    labels[rng.random(labels.shape) < 0.1] = 0
    problem = problem_of(Volume(superpixels, *2 * [labels.astype(np.uint8)]), labels, rng)
    objective = start_objective("adapted_rand", problem.instance)
    joint, segments, true = pairs_as_integers(objective)
    n = np.count_nonzero(labels)
    error, precision, recall = adapted_rand_error(labels, superpixels, ignore_labels=(0,))
    # scikit-image's precision is of the truth's pairs, our recall.
    assert sorted([precision, recall]) == pytest.approx(
        sorted([(joint - n) / (segments - n), (joint - n) / (true - n)])
    )
    assert error == pytest.approx(1 - 2 * (joint - n) / (segments + true - 2 * n))
    assert error_of(objective) == pytest.approx(1 - 2 * joint / (segments + true))


def test_without_truth_nothing_is_gained() -> None:
    _, instance = cell_instance(1)
    for name in ("vi", "rand", "adapted_rand"):
        objective = start_objective(name, instance._replace(truth=NO_TRUTH))
        assert (error_of(objective), gain_of(objective, 0, 1)) == (0, 0)
        join_objective(objective, 0, 1)
        assert error_of(objective) == 0


@njit
def _play(objective, pairs):
    """Join pairs of regions and add up the gains."""
    total = 0.0
    for i in range(len(pairs)):
        total += gain_of(objective, pairs[i, 0], pairs[i, 1])
        join_objective(objective, pairs[i, 0], pairs[i, 1])
    return total


def test_one_compiled_kernel_serves_all_objectives() -> None:
    rng = np.random.default_rng(5)
    volume, _ = cell_instance(5)
    problem = problem_of(volume, cell_labels(rng, 9, 4), rng)
    for column in (*problem.instance.skeletons, *problem.instance.synapses):
        column.setflags(write=False)
    pairs = np.array([[3, 1], [3, 5], [2, 3], [0, 2]], np.int32)
    for name in OBJECTIVES:
        objective = start_objective(name, problem.instance)
        start = error_of(objective)
        assert _play(objective, pairs) == pytest.approx(start - error_of(objective), abs=1e-12)
    assert len(_play.signatures) == 1


def test_what_an_objective_lacks_is_told() -> None:
    _, instance = cell_instance(1)
    with pytest.raises(ValueError, match="objective must be one of vi, rand, adapted_rand, synaps"):
        start_objective("VI", instance)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="synapse_vi needs an instance with synapses, but it has"):
        start_objective("synapse_vi", instance)
    with pytest.raises(InputError, match="run_length needs an instance with skeletons, but theirs"):
        start_objective("run_length", instance)
    clusters = np.arange(instance.graph.n_regions)
    with pytest.raises(InputError, match="warping needs an instance with its volume, but it has"):
        start_objective("warping", instance)
    with pytest.raises(InputError, match="warping needs an instance with its volume, but it has"):
        terminal_gain("warping", instance, clusters)
    few = np.ones((2, 2, 2), np.int64)
    other = instance._replace(volume=LabelledVolume(few, few.astype(np.uint8), few))
    with pytest.raises(InputError, match="superpixels hold 1 ids that are not the 14 of the graph"):
        terminal_gain("warping", other, clusters)
