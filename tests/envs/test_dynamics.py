from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.actions import LEAVE, MERGE, QUERY, REIMAGE, STOP
from envs.asking_rollout import NOBODY
from envs.confluent_rule import start_state
from envs.dynamics import Dynamics
from envs.features import N_FEATURES, N_SHAPE_FEATURES
from envs.human import RecordedHuman, SimulatedHuman
from envs.merge_state import NODE, OPEN, SMALLEST
from envs.objective import OBJECTIVES, ObjectiveName
from envs.prices import Prices
from envs.rollout import play_episode
from envs.scorers import MeanBoundary, Oracle, RandomScores, scorer_of
from tests.envs.random_tissue import SEEDS, Volume, cell_instance, random_network, volumes
from tests.envs.test_actions import draw_instance, drawn_instance
from tests.envs.test_objective import error_from_scratch, problem_of, problems

modest = settings(max_examples=40, deadline=None)
PRICES = Prices(merge=0.125, query=0.25, reimage=4.0, stop=0.5)


def started(dynamics: Dynamics, seed: int = 3) -> Dynamics:
    """Begin an episode on random cells with a second look."""
    volume, _ = cell_instance(seed)
    dynamics.reset(draw_instance(volume, seed), "vi", PRICES)
    return dynamics


def all_kinds(n_candidates: int = 4, **keywords: object) -> Dynamics:
    return Dynamics(
        RandomScores(1),
        n_candidates=n_candidates,
        human=SimulatedHuman(0.5),
        has_microscope=True,
        **keywords,  # pyright: ignore[reportArgumentType]
    )


def play_at_random(dynamics: Dynamics, rng: np.random.Generator, n_most: int = 10**6) -> list:
    """Take allowed actions but stop."""
    transitions = []
    while len(transitions) < n_most and dynamics.mask[:-1].any():
        transitions.append(dynamics.step(int(rng.choice(np.flatnonzero(dynamics.mask[:-1])))))
    return transitions


@pytest.mark.parametrize("objective", OBJECTIVES)
@modest
@given(problem=problems(), seed=SEEDS, n_candidates=hs.integers(1, 5), n_most=hs.integers(1, 40))
def test_gains_are_the_fall_of_the_error(
    objective: ObjectiveName, problem, seed: int, n_candidates: int, n_most: int
) -> None:
    """Random actions on random graphs, label 0 and a human who is wrong half of the time."""
    instance = problem.instance
    volume = Volume(problem.superpixels, *2 * [instance.volume.image])
    clear = draw_instance(volume, seed).clear
    dynamics = all_kinds(n_candidates)
    dynamics.reset(instance._replace(clear=clear), objective, PRICES)
    start = error_from_scratch(objective, problem, np.arange(instance.graph.n_regions))
    transitions = play_at_random(dynamics, np.random.default_rng(seed), n_most)
    end = error_from_scratch(objective, problem, dynamics.clusters())
    gain = sum(transition.gain for transition in transitions)
    if objective == "warping":
        assert (gain, dynamics.error) == (0, 0)
        return
    assert gain == pytest.approx(start - end, abs=1e-9)
    assert dynamics.error == pytest.approx(end, abs=1e-9)
    fixed = {MERGE: 0.125, QUERY: 0.25, LEAVE: 0.0}
    for transition in transitions:
        if transition.kind in fixed:
            assert transition.cost == fixed[transition.kind]
        else:
            assert 0 < transition.cost <= 4.0


@modest
@given(volumes(max_side=5, max_regions=14), SEEDS)
def test_a_no_holds_for_whatever_the_two_become(volume: Volume, seed: int) -> None:
    """A human who is often wrong contradicts himself; what he forbade is never offered again."""
    dynamics = all_kinds(30)
    dynamics.reset(draw_instance(volume, seed), "vi", PRICES)
    rng = np.random.default_rng(seed)
    said_no: list[tuple[int, int]] = []
    while dynamics.mask[:-1].any():
        clusters = dynamics.clusters()
        apart = {tuple(sorted((int(clusters[u]), int(clusters[v])))) for u, v in said_no}
        places, links = dynamics.process.merging.places, dynamics.process.merging.links
        for edge in dynamics.candidates:
            ends = places[links[2 * edge : 2 * edge + 2, NODE], SMALLEST]
            assert tuple(sorted(ends.tolist())) not in apart
        n_merges = len(dynamics.merges)
        transition = dynamics.step(int(rng.choice(np.flatnonzero(dynamics.mask[:-1]))))
        if transition.kind == QUERY and len(dynamics.merges) == n_merges:
            said_no.append(transition.pair)
    clusters = dynamics.clusters()
    assert all(clusters[u] != clusters[v] for u, v in said_no)


@modest
@given(volumes(max_side=5, max_regions=14), SEEDS, hs.integers(1, 6))
def test_the_window_shows_the_best_open_contacts(
    volume: Volume, seed: int, n_candidates: int
) -> None:
    """After any action: in strict order of keys, first the best, whatever was left is gone."""
    dynamics = all_kinds(n_candidates)
    dynamics.reset(draw_instance(volume, seed), "vi", PRICES)
    rng = np.random.default_rng(seed)
    while True:
        merging = dynamics.process.merging
        open_edges = np.flatnonzero(merging.status == OPEN)
        order = open_edges[np.lexsort((open_edges, -merging.key[open_edges]))]
        np.testing.assert_array_equal(dynamics.candidates, order[:n_candidates])
        n = len(dynamics.candidates)
        by_kind = dynamics.mask[:-1].reshape(4, n_candidates)
        assert by_kind[[0, 1, 3], :n].all()
        assert not by_kind[:, n:].any()
        assert dynamics.mask[-1]
        if not n:
            assert dynamics.n_regions_left == len(set(dynamics.clusters().tolist()))
            return
        dynamics.step(int(rng.choice(np.flatnonzero(dynamics.mask[:-1]))))


def test_actions_are_numbered_kind_by_kind() -> None:
    dynamics = all_kinds(3)
    assert dynamics.kinds == (MERGE, QUERY, REIMAGE, LEAVE)
    assert dynamics.n_actions == 13
    dynamics.reset(drawn_instance(), "vi", PRICES)
    assert len(dynamics.candidates) == 3
    ends = [
        tuple(dynamics.process.merging.links[2 * edge : 2 * edge + 2, NODE].tolist())
        for edge in dynamics.candidates
    ]
    for kind in dynamics.kinds:
        for k in range(3):
            again = copy.deepcopy(dynamics)
            transition = again.step(dynamics.kinds.index(kind) * 3 + k)
            assert (transition.kind, transition.pair) == (kind, ends[k])
            assert not transition.is_forbidden
    assert dynamics.step(12) == (STOP, (-1, -1), 0.0, 0.5, False)
    assert dynamics.is_over
    for keywords, kinds in (
        ({}, (MERGE,)),
        ({"human": SimulatedHuman()}, (MERGE, QUERY, LEAVE)),
        ({"has_microscope": True}, (MERGE, REIMAGE, LEAVE)),
        ({"human": copy.deepcopy(NOBODY)}, (MERGE,)),
    ):
        assert Dynamics(**keywords).kinds == kinds  # pyright: ignore[reportArgumentType]


def test_what_cannot_be_asked_or_imaged_is_masked() -> None:
    human = RecordedHuman(np.array([[3, 9]]), np.array([True]))
    dynamics = Dynamics(n_candidates=3, human=human, has_microscope=True)
    dynamics.reset(drawn_instance(), "vi", PRICES)
    assert dynamics.candidates.tolist() == [0, 1, 2]  # (3, 7), (3, 9), (7, 9): all alike
    assert dynamics.mask.tolist() == [*3 * [1], 0, 1, 0, *3 * [1], *3 * [1], 1]
    transition = dynamics.step(6)  # image 7 again
    assert (transition.kind, transition.cost) == (REIMAGE, 4.0 * 2 / 16)
    links = dynamics.process.merging.links
    by_pair = {
        tuple(links[2 * edge : 2 * edge + 2, NODE].tolist()): dynamics.mask[6 + k]
        for k, edge in enumerate(dynamics.candidates)
    }
    assert by_pair == {(0, 1): False, (0, 2): True, (1, 2): False}
    before = dynamics.process.merging.regions.copy()
    forbidden = np.flatnonzero(~dynamics.mask).tolist()
    assert len(forbidden) == 4
    for action in (*forbidden, -1, 13, 10**9):
        assert dynamics.step(action) == (STOP, (-1, -1), 0.0, 0.0, True)
    np.testing.assert_array_equal(dynamics.process.merging.regions, before)
    assert not dynamics.is_over


def test_a_copy_goes_its_own_way() -> None:
    rng = np.random.default_rng(0)
    dynamics = started(all_kinds())
    play_at_random(dynamics, rng, 10)
    for twin in (copy.deepcopy(dynamics), pickle.loads(pickle.dumps(dynamics))):
        ahead = copy.deepcopy(twin)
        play_at_random(ahead, np.random.default_rng(5))
        assert len(ahead.merges) > len(dynamics.merges)
        assert twin.merges == dynamics.merges
        original = copy.deepcopy(dynamics)
        expected = play_at_random(original, np.random.default_rng(6))
        assert play_at_random(twin, np.random.default_rng(6)) == expected
        np.testing.assert_array_equal(twin.clusters(), original.clusters())
    fresh = dynamics.anew()
    assert (fresh.is_over, fresh.kinds, fresh.n_actions) == (True, dynamics.kinds, 17)
    assert fresh.human is dynamics.human
    assert len(fresh.candidates) == 0
    assert not hasattr(fresh, "process")


def test_an_episode_leaves_its_instance_as_it_was() -> None:
    volume, _ = cell_instance(4)
    instance = draw_instance(volume, 4)
    assert instance.clear is not None
    arrays = [
        instance.graph.regions,
        instance.graph.contacts,
        instance.graph.edges,
        instance.clear.regions,
        instance.clear.contacts,
        *instance.truth,
    ]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    dynamics = all_kinds()
    seen = []
    for _ in range(2):
        dynamics.reset(instance, "vi", PRICES)
        seen.append(play_at_random(dynamics, np.random.default_rng(1)))
    assert seen[0] == seen[1]
    for array, before in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, before)


def test_a_function_makes_a_policy_for_each_instance() -> None:
    """The oracle's rows are of one episode; the second one is as the first."""
    _, instance = cell_instance(5)
    dynamics = Dynamics(Oracle.of, n_candidates=1)
    assert dynamics.n_features == N_FEATURES
    plain = play_episode(
        instance.graph, Oracle.of(instance), truth=instance.truth, threshold=-np.inf
    )
    for _ in range(2):
        dynamics.reset(instance, "vi", Prices())
        heights = []
        while len(dynamics.candidates):
            heights.append(dynamics.process.merging.key[dynamics.candidates[0]])
            dynamics.step(0)
        np.testing.assert_array_equal(heights, plain.heights)
        assert [list(pair) for pair in dynamics.merges] == plain.merges.tolist()
    shape = random_network(0, n_features=N_SHAPE_FEATURES)
    with pytest.raises(ValueError, match=f"look at {N_FEATURES} features, not {N_SHAPE_FEATURES}"):
        Dynamics(lambda _: shape).reset(instance, "vi", Prices())


def test_the_queue_is_that_of_the_policy() -> None:
    _, instance = cell_instance(6)
    for policy in (None, random_network(3), RandomScores(7)):
        dynamics = Dynamics(policy, n_candidates=1000)
        dynamics.reset(instance, "vi", Prices())
        key = start_state(instance.graph, scorer_of(policy or MeanBoundary(0.0))).key
        order = np.lexsort((np.arange(len(key)), -key))
        np.testing.assert_array_equal(dynamics.candidates, order)


def test_impossible_dynamics_are_told() -> None:
    _, instance = cell_instance(1)
    with pytest.raises(ValueError, match="n_candidates must be positive, not 0"):
        Dynamics(n_candidates=0)
    with pytest.raises(ValueError, match=r"policy must be Oracle\.of, not an Oracle"):
        Dynamics(Oracle.of(instance))
    with pytest.raises(ValueError, match="instances with a clear graph, but this has none"):
        Dynamics(has_microscope=True).reset(instance, "vi", Prices())
    with pytest.raises(ValueError, match="price of merge must be at least 0, not -1"):
        Dynamics().reset(instance, "vi", Prices(merge=-1))


def test_warping_is_paid_at_the_end_only() -> None:
    rng = np.random.default_rng(0)
    volume, _ = cell_instance(0)
    problem = problem_of(volume, rng.integers(0, 4, volume.superpixels.shape), rng)
    dynamics = Dynamics()
    dynamics.reset(problem.instance, "warping", Prices())
    assert dynamics.step(0).gain == 0
    assert dynamics.error == 0
