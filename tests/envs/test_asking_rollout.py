from __future__ import annotations

import copy
from collections.abc import Callable

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.actions import LEAVE, MERGE, QUERY, REIMAGE, STOP
from envs.asking import Asking
from envs.asking_rollout import NOBODY, AskingEpisode, is_nobody, play_asking_episode
from envs.confluent_rule import start_state
from envs.generator import VoronoiGenerator
from envs.human import Human, RecordedHuman, SimulatedHuman
from envs.instance import Instance
from envs.merge_tree import joined_regions
from envs.objective import OBJECTIVES, ObjectiveName
from envs.prices import Prices
from envs.rollout import play_episode
from envs.scorers import (
    MeanBoundary,
    Oracle,
    Policy,
    QuantileBoundary,
    RandomScores,
    scorer_of,
)
from envs.truth_rows import majority_of, start_rows
from tests.envs.random_tissue import SEEDS, Volume, random_network, volumes
from tests.envs.stepped_episode import play_stepped_episode
from tests.envs.test_actions import draw_instance
from tests.envs.test_objective import error_from_scratch, problem_of

modest = settings(max_examples=40, deadline=None)
TISSUE = volumes(max_side=5, max_regions=14)
Maker = Callable[[Instance], Policy]
INFINITE = Prices(query=np.inf, reimage=np.inf)
FREE = Prices(merge=0.0, query=0.0, reimage=0.0)


@hs.composite
def policies(draw: hs.DrawFn) -> Maker:
    """Draw a maker of policies of each kind."""
    seed = draw(SEEDS)
    kind = draw(hs.sampled_from(["network", "mean", "quantile", "random", "oracle"]))
    made: dict[str, Policy] = {
        "network": random_network(seed),
        "mean": MeanBoundary(0.5),
        "quantile": QuantileBoundary(0.5, 0.75),
        "random": RandomScores(seed),
    }
    return Oracle.of if kind == "oracle" else lambda _: made[kind]


RULES = hs.sampled_from(["never", "random", "uncertainty", "value"])
ASKING = hs.builds(
    Asking,
    query=RULES,
    query_level=hs.floats(0, 1),
    human_error=hs.sampled_from([0.0, 0.2]),
    reimage=RULES,
    reimage_level=hs.floats(0, 1),
    clear_error=hs.sampled_from([0.0, 0.2]),
    reveal=hs.sampled_from([None, random_network(0)]),
    seed=hs.integers(0, 99),
)
PRICES = hs.builds(
    Prices,
    merge=hs.sampled_from([0.0, 0.01]),
    query=hs.sampled_from([0.0, 0.02]),
    reimage=hs.sampled_from([0.0, 0.1]),
    stop=hs.sampled_from([0.0, 0.3]),
)


@hs.composite
def humans(draw: hs.DrawFn, instance: Instance) -> Human:
    """Draw someone who errs often, someone who knows some answers, or nobody."""
    kind = draw(hs.sampled_from(["simulated", "recorded", "nobody"]))
    ids, seed = instance.graph.ids, draw(SEEDS)
    if kind == "nobody" or (kind == "recorded" and len(ids) < 2):
        return NOBODY
    if kind == "simulated":
        return SimulatedHuman(0.5, seed=seed)
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.choice(ids, 2, replace=False) for _ in range(6)])
    return RecordedHuman(pairs, rng.random(6) < 0.5)


def costs_of(episode: AskingEpisode, instance: Instance, prices: Prices) -> float:
    kinds = episode.kinds.tolist()
    n_voxels = float(instance.graph.regions[:, 0].sum())
    return (
        prices.merge * kinds.count(MERGE)
        + prices.query * kinds.count(QUERY)
        + prices.reimage * episode.n_imaged / n_voxels
        + prices.stop * kinds.count(STOP)
    )


@modest
@given(hs.data(), TISSUE, SEEDS, policies(), ASKING, PRICES)
def test_the_compiled_episode_is_the_stepped_one(
    data: hs.DataObject, volume: Volume, seed: int, policy: Maker, asking: Asking, prices: Prices
) -> None:
    """Action by action, reward by reward, pair by pair, under every objective."""
    if volume.superpixels.size == 1:
        volume = Volume(*(np.tile(array, (1, 1, 2)) for array in volume))
    rng = np.random.default_rng(seed)
    problem = problem_of(volume, rng.integers(0, 4, volume.superpixels.shape), rng)
    clear = draw_instance(volume, seed).clear
    instance = problem.instance._replace(clear=clear if data.draw(hs.booleans()) else None)
    human = data.draw(humans(instance))
    objective: ObjectiveName = data.draw(hs.sampled_from(OBJECTIVES))
    threshold = data.draw(hs.sampled_from([0.0, -0.2, 0.3, -np.inf]))
    episode = play_asking_episode(
        instance,
        policy(instance),
        asking=asking,
        human=human,
        objective=objective,
        prices=prices,
        threshold=threshold,
    )
    stepped = play_stepped_episode(
        instance,
        policy,
        asking=asking,
        human=human,
        objective=objective,
        prices=prices,
        threshold=threshold,
        n_candidates=data.draw(hs.integers(1, 4)),
    )
    assert episode.kinds.tolist() == stepped.kinds
    assert [tuple(pair) for pair in episode.pairs.tolist()] == stepped.pairs
    assert episode.keys.tolist() == stepped.keys
    assert episode.rewards.tolist() == stepped.rewards
    assert [tuple(pair) for pair in episode.merges.tolist()] == stepped.merges
    assert episode.heights.tolist() == stepped.heights
    assert (np.diff(episode.heights) <= 0).all()
    assert episode.n_queries == stepped.kinds.count(QUERY)
    start, end = episode.error
    assert episode.rewards.sum() == pytest.approx(
        start - end - costs_of(episode, instance, prices), abs=1e-9
    )
    clusters = joined_regions(instance.graph.n_regions, episode.merges)
    assert start == pytest.approx(
        error_from_scratch(objective, problem, np.arange(len(clusters))), abs=1e-9
    )
    assert end == pytest.approx(error_from_scratch(objective, problem, clusters), abs=1e-9)
    if objective != "warping":
        assert stepped.error == pytest.approx((start, end), abs=1e-9)


@modest
@given(TISSUE, SEEDS, policies(), PRICES, hs.booleans())
def test_at_an_infinite_price_nothing_is_asked(
    volume: Volume, seed: int, policy: Maker, prices: Prices, is_infinite: bool
) -> None:
    """Merges and heights are those of the episode without questions, bit for bit."""
    instance = draw_instance(volume, seed)
    price = np.inf if is_infinite else 1e9
    episode = play_asking_episode(
        instance,
        policy(instance),
        asking=Asking(query="value", reimage="value", clear_error=0.0),
        human=SimulatedHuman(seed=seed),
        prices=prices._replace(query=price, reimage=price),
    )
    plain = play_episode(instance.graph, policy(instance), truth=instance.truth)
    np.testing.assert_array_equal(episode.merges, plain.merges)
    np.testing.assert_array_equal(episode.heights, plain.heights)
    assert set(episode.kinds.tolist()) <= {MERGE, LEAVE, STOP}
    is_merge = episode.kinds == MERGE
    gains = plain.gains_vi - prices.merge
    np.testing.assert_allclose(episode.rewards[is_merge], gains, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(episode.error, plain.vi)


def test_at_no_price_everything_is_asked_and_at_an_infinite_one_nothing() -> None:
    instance = VoronoiGenerator(side_vox=12, n_superpixels=20)(np.random.default_rng(0))
    for asking, kind in ((Asking(query="value"), QUERY), (Asking(reimage="value"), REIMAGE)):
        for prices, is_asked in ((FREE, True), (INFINITE, False)):
            episode = play_asking_episode(
                instance, MeanBoundary(0.5), asking=asking, human=SimulatedHuman(), prices=prices
            )
            assert episode.kinds[0] == (kind if is_asked else MERGE)
            assert (kind in episode.kinds.tolist()) == is_asked


def segments_by_majority(instance: Instance) -> npt.NDArray[np.int64]:
    """Name every region by the smallest of those it hangs together with in one majority label."""
    graph = instance.graph
    rows = start_rows(instance.truth, graph.n_regions)
    label = [majority_of(rows, u) for u in range(graph.n_regions)]
    linked = nx.Graph()
    linked.add_nodes_from(range(graph.n_regions))
    linked.add_edges_from((u, v) for u, v in graph.edges.tolist() if label[u] == label[v] >= 0)
    names = np.zeros(graph.n_regions, np.int64)
    for component in nx.connected_components(linked):
        names[sorted(component)] = min(component)
    return names


@modest
@given(TISSUE, SEEDS, policies(), hs.sampled_from(["value", "random"]), hs.booleans())
def test_free_answers_without_error_find_the_majority(
    volume: Volume, seed: int, policy: Maker, rule: str, is_clear: bool
) -> None:
    """Whatever orders the queue: what hangs together and has one majority label is one segment."""
    instance = draw_instance(volume, seed)
    episode = play_asking_episode(
        instance if is_clear else instance._replace(clear=None),
        policy(instance),
        asking=Asking(query=rule, query_level=1.0, reimage=rule, reimage_level=0.5),  # pyright: ignore
        human=SimulatedHuman(),
        prices=FREE,
    )
    np.testing.assert_array_equal(
        joined_regions(instance.graph.n_regions, episode.merges), segments_by_majority(instance)
    )


@pytest.mark.parametrize("seed", range(4))
def test_free_answers_without_error_are_the_greedy_oracle(seed: int) -> None:
    """On superpixels without error, of which each lies in one neuron."""
    instance = VoronoiGenerator(side_vox=14, n_superpixels=40, n_neurons=5)(
        np.random.default_rng(seed)
    )
    greedy = play_episode(
        instance.graph,
        Oracle.of(instance),
        truth=instance.truth,
        threshold=float(np.nextafter(np.float32(0), np.float32(1))),
    )
    expected = joined_regions(instance.graph.n_regions, greedy.merges)
    policies: tuple[Policy, ...] = (
        random_network(seed),
        MeanBoundary(0.2),
        QuantileBoundary(0.9, 0.5),
        RandomScores(seed),
        Oracle.of(instance),
    )
    for policy in policies:
        for asking in (Asking(query="value"), Asking(query="uncertainty", query_level=0.0)):
            episode = play_asking_episode(
                instance, policy, asking=asking, human=SimulatedHuman(), prices=FREE
            )
            clusters = joined_regions(instance.graph.n_regions, episode.merges)
            np.testing.assert_array_equal(clusters, expected)
            assert episode.error[1] == pytest.approx(greedy.vi[1], abs=1e-12)
            if isinstance(policy, Oracle):
                break  # worn out: it is for one episode


def test_certain_scores_are_asked_about_at_no_price() -> None:
    """Scores so large that the logistic of them is 1."""
    instance = draw_instance(volume_of_cells(), 3)
    network = random_network(3)
    network = network._replace(w3=1e3 * network.w3)
    keys = start_state(instance.graph, scorer_of(network)).key
    assert (np.abs(keys) > 40).mean() > 0.5
    episode = play_asking_episode(
        instance, network, asking=Asking(query="value"), human=SimulatedHuman(), prices=FREE
    )
    assert set(episode.kinds.tolist()) == {QUERY}


def volume_of_cells() -> Volume:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (2, 6, 6, 6), dtype=np.uint8)
    superpixels = np.arange(27).reshape(3, 3, 3).repeat(2, 0).repeat(2, 1).repeat(2, 2) + 1
    return Volume(superpixels, *values)


def test_an_episode_without_questions_ends_with_a_stop_where_contacts_are_left() -> None:
    instance, network = draw_instance(volume_of_cells(), 1), random_network(0)
    heights = play_asking_episode(instance, network, threshold=-np.inf).heights
    for threshold, n_merges in ((np.inf, 0), (float(heights[12]), 13), (-np.inf, 26)):
        episode = play_asking_episode(
            instance, network, prices=Prices(stop=0.5), threshold=threshold
        )
        assert len(episode.merges) == n_merges
        is_stop = n_merges < 26
        assert episode.kinds.tolist() == n_merges * [MERGE] + is_stop * [STOP]
        if is_stop:
            assert (episode.rewards[-1], episode.keys[-1]) == (-0.5, 0)
            assert episode.pairs[-1].tolist() == [-1, -1]


def test_nobody_is_nobody_after_a_journey() -> None:
    """A copy, as another process has it, asks nothing either."""
    nobody = copy.deepcopy(NOBODY)
    assert nobody is not NOBODY
    assert is_nobody(nobody)
    assert not is_nobody(SimulatedHuman())
    assert not is_nobody(RecordedHuman(np.array([[1, 2]]), np.array([True])))
    instance = draw_instance(volume_of_cells(), 1)
    one, other = (
        play_asking_episode(
            instance, random_network(1), asking=Asking(query="value"), human=human, threshold=0.5
        )
        for human in (NOBODY, nobody)
    )
    assert one.kinds.tolist() == other.kinds.tolist()
    assert one.kinds[-1] == STOP


def test_negative_prices_are_told() -> None:
    instance = draw_instance(volume_of_cells(), 1)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"price of query must be at least 0, not {wrong}"):
            play_asking_episode(instance, MeanBoundary(0.5), prices=Prices(query=wrong))
