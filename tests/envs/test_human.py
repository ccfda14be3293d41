from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.input_error import InputError
from envs import statistics as st
from envs.human import (
    Human,
    HumanState,
    RecordedHuman,
    SimulatedHuman,
    answer_of,
    has_answer,
    join_human,
)
from envs.region_graph import RegionGraph
from envs.truth_rows import TruthRows, TruthTable, join_rows, start_rows
from tests.envs.random_tissue import SEEDS

modest = settings(max_examples=60, deadline=None)
N = 8


def graph_of(ids: npt.ArrayLike) -> RegionGraph:
    """Make a graph without contacts; humans look at its ids only."""
    names = np.asarray(ids, np.uint64)
    return RegionGraph(
        names,
        np.zeros((len(names), st.N_REGION_STATISTICS), np.int64),
        np.zeros((0, 2), np.int32),
        np.zeros((0, st.N_CONTACT_STATISTICS), np.int64),
    )


def table_of(counts: npt.NDArray) -> TruthTable:
    """Make a contingency table of counts (R, labels)."""
    region, label = np.nonzero(counts)
    return TruthTable(
        region.astype(np.int32), label.astype(np.int32), counts[region, label].astype(np.int64)
    )


class Clusters:
    """Clusters of regions that a human is asked about, and their members."""

    def __init__(self, human: Human, counts: npt.NDArray) -> None:
        n = len(counts)
        self.human: HumanState = human.start(graph_of(np.arange(n) * 10 + 10))
        self.rows: TruthRows = start_rows(table_of(counts), n)
        self.members = {u: {u} for u in range(n)}

    def join(self, kept: int, gone: int) -> None:
        join_human(self.human, kept, gone)
        join_rows(self.rows, kept, gone)
        self.members[kept] |= self.members.pop(gone)

    def ask(self, u: int, v: int, size_small: int = 1000) -> bool:
        smallest = min(self.members[u]), min(self.members[v])
        return bool(answer_of(self.human, self.rows, u, v, *smallest, size_small))

    def grow(self, groups: list[list[int]], rng: np.random.Generator) -> list[int]:
        """Merge every group in random order and roles; return what stands for each."""
        todo = [[int(u) for u in rng.permutation(group)] for group in groups]
        while any(len(group) > 1 for group in todo):
            group = todo[int(rng.choice([i for i, g in enumerate(todo) if len(g) > 1]))]
            gone = group.pop(int(rng.integers(len(group))))
            self.join(group[int(rng.integers(len(group)))], gone)
        return [group[0] for group in todo]


@hs.composite
def truths(draw: hs.DrawFn) -> npt.NDArray[np.int64]:
    """Draw counts of N regions by four labels, with ties and with regions without truth."""
    rng = np.random.default_rng(draw(SEEDS))
    counts = rng.integers(0, draw(hs.sampled_from([2, 4, 100])), (N, 4))
    counts[rng.random(N) < 0.2] = 0
    counts[0, 0] += 1
    return counts


@hs.composite
def partitions(draw: hs.DrawFn) -> list[list[int]]:
    """Draw a partition of N regions."""
    group = draw(hs.lists(hs.integers(0, 4), min_size=N, max_size=N))
    return [[u for u in range(N) if group[u] == g] for g in sorted(set(group))]


@hs.composite
def records(draw: hs.DrawFn) -> RecordedHuman:
    """Draw answers on pairs of regions 10, 20, …, repeated and contradicting ones among them."""
    pair = hs.lists(hs.integers(1, N), min_size=2, max_size=2, unique=True)
    pairs = draw(hs.lists(pair, max_size=14))
    answers = draw(hs.lists(hs.booleans(), min_size=len(pairs), max_size=len(pairs)))
    return RecordedHuman(
        np.array(pairs, np.uint64).reshape(-1, 2) * np.uint64(10), np.array(answers, np.bool_)
    )


def test_drawn_answers_of_a_simulated_human() -> None:
    counts = np.array(
        [
            [3, 0, 1],  # label 0
            [2, 2, 0],  # a tie: the lower, 0
            [0, 2, 2],  # a tie: 1
            [0, 5, 0],  # label 1
            [0, 0, 0],  # none
        ]
    )
    clusters = Clusters(SimulatedHuman(), counts)
    yes = {(u, v) for u, v in combinations(range(5), 2) if clusters.ask(u, v)}
    assert yes == {(0, 1), (2, 3)}
    assert not clusters.ask(4, 4)
    clusters.join(4, 3)  # the union has the truth of 3
    assert clusters.ask(4, 2)
    clusters.join(1, 2)  # 2 4 2: label 1
    assert clusters.ask(1, 4)
    assert not clusters.ask(1, 0)
    assert has_answer(clusters.human, 0, 1)


def test_drawn_answers_of_a_recorded_human() -> None:
    pairs = np.array([[10, 30], [30, 20], [40, 10], [10, 40]], np.uint64)
    human = RecordedHuman(pairs, np.array([True, False, True, False]))
    clusters = Clusters(human, np.zeros((5, 1), int))
    known = {(u, v) for u, v in combinations(range(5), 2) if has_answer(clusters.human, u, v)}
    assert known == {(0, 2), (1, 2), (0, 3)}
    assert clusters.ask(0, 2)
    assert clusters.ask(2, 0)
    assert not clusters.ask(1, 2)
    assert not clusters.ask(0, 3)  # contradicting answers: no
    assert not clusters.ask(0, 4)
    clusters.join(4, 2)
    assert clusters.ask(4, 0)
    assert not has_answer(clusters.human, 4, 3)
    clusters.join(1, 0)  # 10 and 20 against 30: yes and no
    assert has_answer(clusters.human, 1, 4)
    assert not clusters.ask(1, 4)


@modest
@given(records(), partitions(), SEEDS)
def test_recorded_answers_are_those_on_members(
    human: RecordedHuman, groups: list[list[int]], seed: int
) -> None:
    """Compare with a search through all recorded pairs, whatever the order of merges was."""
    clusters = Clusters(human, np.zeros((N, 1), int))
    heads = clusters.grow(groups, np.random.default_rng(seed))
    for u, v in combinations(heads, 2):
        mine, theirs = clusters.members[u], clusters.members[v]
        said = [
            bool(answer)
            for (a, b), answer in zip(human.pairs // 10 - 1, human.answers, strict=True)
            if (int(a) in mine and int(b) in theirs) or (int(b) in mine and int(a) in theirs)
        ]
        for one, other in ((u, v), (v, u)):
            assert has_answer(clusters.human, one, other) == (len(said) > 0)
            assert clusters.ask(one, other) == (len(said) > 0 and all(said))


@modest
@given(truths(), partitions(), SEEDS, hs.sampled_from([0.0, 0.3, 0.5]))
def test_simulated_answers_are_independent_of_the_order_of_merges(
    counts: npt.NDArray, groups: list[list[int]], seed: int, error_rate: float
) -> None:
    """Compare two orders, and the right answers with the majority of summed counts."""
    rng = np.random.default_rng(seed)
    human = SimulatedHuman(error_rate, size_exponent=0.5, seed=seed)
    seen = []
    for _ in range(2):
        clusters = Clusters(human, counts)
        heads = clusters.grow(groups, rng)
        seen.append(
            [
                clusters.ask(u, v, 50 * min(len(clusters.members[w]) for w in (u, v)))
                for u, v in combinations(heads, 2)
            ]
        )
    assert seen[0] == seen[1]
    if error_rate == 0:
        sums = [counts[group].sum(0) for group in groups]
        assert seen[0] == [
            bool(a.any() and b.any() and a.argmax() == b.argmax()) for a, b in combinations(sums, 2)
        ]


@modest
@given(truths(), partitions(), SEEDS)
def test_a_perfect_human_never_contradicts_himself(
    counts: npt.NDArray, groups: list[list[int]], seed: int
) -> None:
    """Answers are transitive, and merging what he joined changes none of the others."""
    rng = np.random.default_rng(seed)
    clusters = Clusters(SimulatedHuman(), counts)
    heads = clusters.grow(groups, rng)
    yes = {(u, v) for u in heads for v in heads if u != v and clusters.ask(u, v)}
    assert all((v, u) in yes for u, v in yes)
    assert all((u, w) in yes for u, v in yes for x, w in yes if x == v and u != w)
    for u, v in sorted(yes):
        if u in clusters.members and v in clusters.members:
            clusters.join(u, v)
            for a, b in combinations(clusters.members, 2):
                assert clusters.ask(a, b) == ((a, b) in yes)


def flips(human: SimulatedHuman, n: int, size_small: int = 1000) -> npt.NDArray[np.bool_]:
    """Return which of all pairs of n regions of one label are answered wrongly."""
    clusters = Clusters(human, np.ones((n, 1), int))
    return np.array([not clusters.ask(u, v, size_small) for u, v in combinations(range(n), 2)])


def test_errors_are_as_frequent_as_they_should_be() -> None:
    n, n_pairs = 150, 150 * 149 // 2

    def is_near(wrong: npt.NDArray[np.bool_], rate: float) -> bool:
        return abs(wrong.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / n_pairs)

    assert is_near(flips(SimulatedHuman(0.05, seed=1), n), 0.05)
    assert not flips(SimulatedHuman(0.0, 1.0), n, 10).any()
    assert is_near(flips(SimulatedHuman(0.05, 0.5, seed=1), n, 250), 0.1)
    assert is_near(flips(SimulatedHuman(0.2, 1.0, seed=1), n, 4000), 0.05)
    assert is_near(flips(SimulatedHuman(0.2, 1.0, seed=1), n, 1), 0.5)
    one, other = (flips(SimulatedHuman(0.5, seed=seed), n) for seed in (1, 2))
    assert is_near(one != other, 0.5)
    # A larger rate adds errors to those of a smaller one.
    assert not (flips(SimulatedHuman(0.1, seed=1), n) & ~one).any()


def test_errors_belong_to_superpixels_not_to_their_places_in_a_graph() -> None:
    """A block that holds some of the superpixels hears the same answers."""
    rows = start_rows(table_of(np.ones((4, 1), int)), 4)
    for seed in range(-10, 10):
        human = SimulatedHuman(0.5, seed=seed)
        whole = human.start(graph_of([3, 5, 2**63, 11 * 2**60]))
        part = human.start(graph_of([5, 2**63]))
        assert answer_of(whole, rows, 1, 2, 1, 2, 9) == answer_of(part, rows, 0, 1, 0, 1, 9)
        assert answer_of(whole, rows, 1, 2, 1, 2, 9) == answer_of(whole, rows, 2, 1, 2, 1, 9)


def test_states_of_both_humans_are_of_one_type() -> None:
    none = RecordedHuman(np.empty((0, 2), np.uint64), np.empty(0, np.bool_))
    states = [human.start(graph_of([1, 2])) for human in (SimulatedHuman(), none)]
    assert [a.dtype for a in states[0]] == [a.dtype for a in states[1]]
    assert not has_answer(states[1], 0, 1)
    join_human(states[1], 1, 0)


def test_wrong_humans_are_told() -> None:
    for arguments, message in (
        ({"error_rate": 0.6}, r"error_rate must lie in \[0, 0.5\], not 0.6"),
        ({"error_rate": float("nan")}, "error_rate must lie in"),
        ({"size_exponent": -1.0}, "size_exponent must be finite and ≥ 0, not -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            SimulatedHuman(**arguments)  # pyright: ignore[reportArgumentType]
    pairs, answers = np.array([[1, 2]]), np.array([True])
    for wrong_pairs, wrong_answers, message in (
        (pairs[0], answers, r"pairs must be \(Q, 2\) integer ids, not int64 of shape \(2,\)"),
        (pairs.astype(float), answers, r"pairs must be \(Q, 2\) integer ids, not float64"),
        (pairs, np.array([1]), r"answers must be 1 bools, not int64 of shape \(1,\)"),
        (pairs, np.array([True, False]), r"answers must be 1 bools, not bool of shape \(2,\)"),
        (np.array([[4, 4]]), answers, "pairs ask superpixel 4 about itself"),
        (np.array([[4, 0]]), answers, "pairs must hold positive ids; seen 0"),
    ):
        with pytest.raises(InputError, match=message):
            RecordedHuman(wrong_pairs, wrong_answers)
    many = np.stack([np.arange(1, 9), np.arange(2, 10)], 1)
    with pytest.raises(InputError, match="do not exist: 1, 3, 4, 6, 7 and 2 more"):
        RecordedHuman(many, np.ones(8, np.bool_)).start(graph_of([2, 5]))
    with pytest.raises(InputError, match=r"superpixels that do not exist: 9007199254740993$"):
        RecordedHuman(np.array([[2**53, 2**53 + 1]]), answers).start(graph_of([2**53]))
