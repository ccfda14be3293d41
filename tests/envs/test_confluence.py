"""The result does not depend on the order of work, with every kind of action."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs import statistics as st
from envs.actions import LEAVE, MERGE, QUERY, REIMAGE
from envs.asking import Asking
from envs.asking_rollout import play_asking_episode
from envs.features import N_SHAPE_FEATURES
from envs.human import SimulatedHuman
from envs.instance import Instance
from envs.prices import Prices
from envs.truth_rows import truth_table
from tests.envs.human_twin import answer_on
from tests.envs.merge_twin import Decision, MergeTwin, Pair
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    constant_network,
    random_labels,
    random_network,
    volumes,
)

modest = settings(max_examples=60, deadline=None)
TISSUE = volumes(max_side=5, max_regions=14)


def second_look(volume: Volume, seed: int) -> Volume:
    rng = np.random.default_rng(seed + 1)
    shape = volume.superpixels.shape
    return volume._replace(boundaries=rng.integers(0, 256, shape, dtype=np.uint8))


def statuses(twin: MergeTwin) -> dict[Pair, str]:
    """Return how the edges stand; the keys of decided ones mean nothing."""
    return {pair: edge.status for pair, edge in twin.edges.items()}


def decide_by_chance(seed: int) -> Callable[[MergeTwin, Pair], Decision]:
    """Decide by nothing but the clusters of an edge and what is known of them."""

    def decide(twin: MergeTwin, pair: Pair) -> Decision:
        seen = [
            *(tuple(sorted(twin.members[u])) for u in pair),
            *(twin.region_sums(u).tobytes() for u in pair),
            twin.contact_sums(pair).tobytes(),
            seed,
        ]
        kinds: list[Decision] = ["merge", "leave", "yes", "no"]
        if not twin.members[twin.smaller(pair)] <= twin.imaged:
            kinds.extend(["look", "look"])
        return kinds[zlib.crc32(repr(seen).encode()) % len(kinds)]

    return decide


@modest
@given(TISSUE, SEEDS, SEEDS, hs.booleans())
def test_any_order_with_answers_and_second_looks(
    volume: Volume, seed: int, order_seed: int, has_ties: bool
) -> None:
    """Ready edges may be processed in any order, whatever is decided of each."""
    graph, clear = volume.graph(), second_look(volume, seed).graph()
    network = constant_network(0.5) if has_ties else random_network(seed)
    decide = decide_by_chance(seed)
    queue = MergeTwin(graph, network, clear)
    queue.play(decide)
    rng = np.random.default_rng(order_seed)
    other = MergeTwin(graph, network, clear)
    other.play(decide, lambda ready: ready[rng.integers(len(ready))])
    assert sorted(other.merges) == sorted(queue.merges)
    assert sorted(other.decisions) == sorted(queue.decisions)
    assert other.partition() == queue.partition()
    assert other.imaged == queue.imaged
    assert statuses(other) == statuses(queue)


@modest
@given(TISSUE, SEEDS, SEEDS)
def test_blocks_with_answers_and_second_looks(volume: Volume, seed: int, block_seed: int) -> None:
    """A block decides what is ready among regions without a neighbour outside; then the whole."""
    graph, clear = volume.graph(), second_look(volume, seed).graph()
    network, decide = random_network(seed), decide_by_chance(seed)
    queue = MergeTwin(graph, network, clear)
    queue.play(decide)
    blocks = MergeTwin(graph, network, clear)
    block = np.random.default_rng(block_seed).integers(0, 3, graph.n_regions)
    frozen = {int(u) for pair in graph.edges for u in pair if len(set(block[pair])) > 1}
    while True:  # all blocks at once: they share no region
        pairs = [pair for pair in blocks.open_pairs() if not frozen & set(pair)]
        ready = [pair for pair in pairs if blocks.is_ready(pair)]
        if not ready:
            break
        pair = ready[0]
        if blocks.edges[pair].is_stale:
            blocks.rescore(pair)
        else:
            blocks.do(pair, decide(blocks, pair))
    blocks.play(decide)
    assert sorted(blocks.merges) == sorted(queue.merges)
    assert sorted(blocks.decisions) == sorted(queue.decisions)
    assert statuses(blocks) == statuses(queue)


def bits_lost(a: float, b: float, n: float) -> float:
    def x_log_x(x: float) -> float:
        return x * np.log2(x)

    return (x_log_x(a + b) - x_log_x(a) - x_log_x(b)) / n


def saved(p: float, error: float) -> float:
    """Return the fall of the probability of a wrong decision, over both answers there can be."""
    wrong = 0.0
    for likelihood_same, likelihood_apart in ((1 - error, error), (error, 1 - error)):
        wrong += min(p * likelihood_same, (1 - p) * likelihood_apart)
    return min(p, 1 - p) - wrong


RULES = hs.sampled_from(["never", "uncertainty", "value"])
COSTS = hs.sampled_from([(0.0, 0.0), (0.0, 0.01), (0.0, 0.2), (0.3, 0.003), (0.3, 0.05)])
"""Error rate and price of answers; errors and no price would be a tie wherever errors are likelier
than doubts."""


@modest
@given(TISSUE, SEEDS, RULES, RULES, COSTS)
def test_the_compiled_episode_is_the_twin_s(
    volume: Volume, seed: int, query: str, reimage: str, costs: tuple[float, float]
) -> None:
    """Play with a simulated human and a microscope; the rules are written out again here."""
    error, price = costs
    graph, clear = volume.graph(), second_look(volume, seed).graph()
    labels = np.maximum(random_labels(seed, volume.superpixels.shape, 3), 1)
    truth = truth_table(graph.ids, volume.superpixels, labels)
    network = random_network(seed, n_features=N_SHAPE_FEATURES)
    human = SimulatedHuman(error_rate=error, seed=seed)
    asking = Asking(query=query, reimage=reimage, human_error=error, clear_error=0.2)  # type: ignore[arg-type]
    prices = Prices(query=price, reimage=0.001 + 50 * price)
    episode = play_asking_episode(
        Instance(graph, truth, clear),
        network,
        asking=asking,
        human=human,
        prices=prices,
    )
    n_voxels = int(graph.regions[:, st.SIZE].sum())

    def answer(twin: MergeTwin, pair: Pair) -> bool:
        """Ask about two clusters on a graph of their own: the answer is a function of the pair."""
        return answer_on(human, graph, truth, twin.members[pair[0]], twin.members[pair[1]])

    def decide(twin: MergeTwin, pair: Pair) -> Decision:
        score = twin.decision_score(pair)
        p = 1 / (1 + np.exp(abs(score)))  # of the less likely of the two
        small = twin.smaller(pair)
        sizes = [int(twin.region_sums(u)[st.SIZE]) for u in pair]
        stakes = bits_lost(sizes[0], sizes[1], n_voxels)
        unseen = twin.members[small] - twin.imaged
        n_left = int(graph.regions[sorted(unseen), st.SIZE].sum())
        best, choice = 0.0, None
        if reimage == "uncertainty" and n_left and 4 * p * (1 - p) >= 0.5:
            return "look"
        if reimage == "value" and n_left:
            net = stakes * saved(p, 0.2) - prices.reimage * n_left / n_voxels
            if net > best:
                best, choice = net, "look"
        if query == "uncertainty" and 4 * p * (1 - p) >= 0.5:
            choice = "ask"
        if query == "value" and stakes * saved(p, error) - prices.query > best:
            choice = "ask"
        if choice == "look":
            return "look"
        if choice == "ask":
            return "yes" if answer(twin, pair) else "no"
        return "merge" if score >= 0 else "leave"

    twin = MergeTwin(graph, network, clear)
    twin.play(decide)
    if query == reimage == "never":
        twin.decisions = [d for d in twin.decisions if d[1] == "merge"]
    names = {"merge": MERGE, "leave": LEAVE, "yes": QUERY, "no": QUERY, "look": REIMAGE}
    expected = [(*pair, names[decision]) for pair, decision in twin.decisions]
    n = len(expected)
    steps = [
        (*pair, kind)
        for pair, kind in zip(episode.pairs.tolist(), episode.kinds.tolist(), strict=True)
    ]
    assert steps[:n] == expected
    assert len(steps) - n <= 1  # stop
    merges = [
        (u, v, key)
        for (u, v), key in zip(episode.merges.tolist(), episode.heights.tolist(), strict=True)
    ]
    assert merges == twin.merges
    assert episode.n_queries == sum(decision in ("yes", "no") for _, decision in twin.decisions)
    assert (np.diff(episode.keys[:n]) <= 0).all()
    spent = episode.n_queries * prices.query + prices.reimage * episode.n_imaged / n_voxels
    fall = episode.error[0] - episode.error[1]
    np.testing.assert_allclose(episode.rewards.sum(), fall - spent, atol=1e-9)
