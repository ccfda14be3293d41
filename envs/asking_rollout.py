"""A whole episode with all kinds of action, in one compiled call.

Edges are decided in the order of the queue. Where nothing can be asked, the episode is that of
`envs.rollout.play_episode`; where something can, the queue is worked through to its end, since a
question may be worth its price far below the threshold. The step-by-step environment does the same
through the same functions and is tested against it action by action, reward by reward.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.actions import QUERY, REIMAGE, STOP, Process, act, n_to_image
from envs.asking import Asking, decide
from envs.confluent_rule import best_edge, decision_score, drop_edge, start_state
from envs.human import Human, RecordedHuman
from envs.instance import Instance
from envs.merge_state import N_SCORES, NODE, OPEN, SMALLEST
from envs.merge_tree import joined_regions
from envs.objective import ObjectiveName, error_of, start_objective, warping_of
from envs.prices import Prices, checked_prices
from envs.scorers import Policy, Scorer, scorer_of
from envs.truth_rows import NO_TRUTH, start_rows

NOBODY = RecordedHuman(np.empty((0, 2), np.uint64), np.empty(0, np.bool_))
"""A human who can answer nothing."""


def is_nobody(human: Human) -> bool:
    """Tell whether a human can answer nothing, as `NOBODY` and copies of it."""
    return isinstance(human, RecordedHuman) and not len(human.pairs)


class AskingEpisode(NamedTuple):
    """What happened.

    Attributes:
        kinds: (T,) int8 actions of `envs.actions`, in order.
        pairs: (T, 2) int32, smallest members of the two regions of the candidate, smaller first;
            −1 for stop.
        keys: (T,) float32 key of the candidate; never increasing along questions and merges of an
            episode without second looks.
        rewards: (T,) float64; their sum is error(start) − error(end) − costs.
        merges: (M, 2) int32, smallest members of the merged, smaller first.
        heights: (M,) float64 keys at which they merged, never increasing.
        error: (2,) float64, error at start and end.
        n_queries: questions asked.
        n_imaged: voxels imaged again.
        n_scores: edges scored.
    """

    kinds: npt.NDArray[np.int8]
    pairs: npt.NDArray[np.int32]
    keys: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float64]
    merges: npt.NDArray[np.int32]
    heights: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    n_queries: int
    n_imaged: int
    n_scores: int


def start_process(
    instance: Instance,
    scorer: Scorer,
    *,
    human: Human = NOBODY,
    objective: ObjectiveName = "vi",
    prices: Prices | None = None,
    floor: float = -np.inf,
) -> Process:
    """Lay out an episode of an instance.

    Args:
        instance: what is agglomerated; second looks need its `clear` graph.
        scorer: orders the queue.
        human: who is asked.
        objective: what rewards are made of.
        prices: what actions cost; by default those of `Prices`.
        floor: edges with a lower key are not queued; for who decides none of them.
    """
    answers = human.start(instance.graph)
    is_known = not is_nobody(human)
    return Process(
        start_state(instance.graph, scorer, clear=instance.clear, floor=floor),
        start_objective(objective, instance),
        start_rows(
            instance.truth if is_known else NO_TRUTH, instance.graph.n_regions if is_known else 0
        ),
        answers,
        checked_prices(Prices() if prices is None else prices),
    )


def play_asking_episode(
    instance: Instance,
    policy: Policy,
    *,
    asking: Asking | None = None,
    human: Human = NOBODY,
    objective: ObjectiveName = "vi",
    prices: Prices | None = None,
    threshold: float = 0.0,
) -> AskingEpisode:
    """Agglomerate an instance under a policy that may ask.

    Args:
        instance: graph, truth, and a clear graph where regions can be imaged again.
        policy: what scores edges.
        asking: when to ask; by default never.
        human: who is asked.
        objective: what rewards are made of.
        prices: what actions cost.
        threshold: score from which on an edge is merged without asking.
    """
    scorer = scorer_of(policy)
    rule = (Asking() if asking is None else asking).rule()
    asks = (rule.query > 0 and not is_nobody(human)) or (
        rule.reimage > 0 and instance.clear is not None
    )
    process = start_process(
        instance,
        scorer,
        human=human,
        objective=objective,
        prices=prices,
        floor=-np.inf if asks else threshold,
    )
    r, e = instance.graph.n_regions, instance.graph.n_edges
    n_most = e + r + 1
    kinds = np.zeros(n_most, np.int8)
    pairs = np.full((n_most, 2), -1, np.int32)
    keys = np.zeros(n_most, np.float32)
    rewards = np.zeros(n_most, np.float64)
    merged_at = np.zeros(max(r - 1, 0), np.int64)
    error = np.zeros(2)
    error[0] = error_of(process.objective)
    n_steps, n_merges, n_imaged = _play(
        process, scorer, rule, float(threshold), asks, kinds, pairs, keys, rewards, merged_at
    )
    error[1] = error_of(process.objective)
    merged_at = merged_at[:n_merges]
    merges = pairs[merged_at]
    has_open = bool((process.merging.status == OPEN).any())  # queued or below the floor
    if has_open or n_steps == 0:
        kinds[n_steps] = STOP
        rewards[n_steps] = -process.prices.stop
        n_steps += 1
    if objective == "warping":
        clusters = joined_regions(r, merges)
        error[:] = warping_of(instance, np.arange(r)), warping_of(instance, clusters)
        rewards[n_steps - 1] += error[0] - error[1]
    return AskingEpisode(
        kinds[:n_steps].copy(),
        pairs[:n_steps].copy(),
        keys[:n_steps].copy(),
        rewards[:n_steps].copy(),
        merges,
        keys[merged_at].astype(np.float64),
        error,
        int((kinds[:n_steps] == QUERY).sum()),
        int(n_imaged),
        int(process.merging.counters[N_SCORES]),
    )


@njit(cache=True)
def _play(
    process,
    scorer,
    rule,
    threshold,
    asks,
    out_kinds,
    out_pairs,
    out_keys,
    out_rewards,
    out_merged_at,
):
    """Run the episode; return numbers of steps, merges and voxels imaged again."""
    merging = process.merging
    n_steps, n_merges, n_imaged = 0, 0, 0
    while True:
        edge = best_edge(merging, scorer, 0.0, np.uint64(0))
        if edge < 0:
            break
        score = decision_score(merging, scorer, edge)
        if not asks and score < threshold:
            break
        kind = decide(process, rule, score, threshold, edge)
        a = merging.places[merging.links[2 * edge, NODE], SMALLEST]
        b = merging.places[merging.links[2 * edge + 1, NODE], SMALLEST]
        out_kinds[n_steps] = kind
        out_pairs[n_steps, 0], out_pairs[n_steps, 1] = min(a, b), max(a, b)
        out_keys[n_steps] = merging.key[edge]
        if kind == REIMAGE:
            n_imaged += n_to_image(merging, edge)
        else:
            drop_edge(merging, edge)
        outcome = act(process, scorer, kind, edge)
        out_rewards[n_steps] = outcome.gain - outcome.cost
        if outcome.kept >= 0:
            out_merged_at[n_merges] = n_steps
            n_merges += 1
        n_steps += 1
    return n_steps, n_merges, n_imaged
