"""A whole episode in one compiled call.

The policy merges the best edge of the queue as long as its key is at least `threshold`. An episode
is a pure function of graph, truth, network, noise seed and threshold; the step-by-step environment
(`envs.agglomeration_env`) calls the same transitions and is tested against it action by action.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.confluent_rule import best_edge, drop_edge, start_state
from envs.merge_state import N_SCORES, NODE, SMALLEST, MergeState, blank_state, see
from envs.region_graph import RegionGraph
from envs.scorers import Policy, join_in_scorer, scorer_of
from envs.transitions import merge
from envs.truth_rows import NO_TRUTH, TruthTable, errors_of_rows, join_rows, merge_gains, start_rows


class Episode(NamedTuple):
    """What happened, and what was seen on the way.

    Attributes:
        merges: (M, 2) int32, smallest member region of the two merged, smaller index first.
        heights: (M,) float64, keys at which they merged; never increasing.
        gains_vi: (M,) float64, bits by which VI fell at each merge.
        gains_rand: (M,) float64, by which the Rand index rose.
        decisions: (D, F) float32, features of the decided edges: merges in order, then the edges
            refused with a key of at least `record_floor`; empty where nothing was recorded.
        decision_gains: (D, 2) float64, VI gain and Rand gain a merge of them made or would make.
        vi: (2,) float64, VI in bits at start and end (0 without truth).
        rand: (2,) float64, Rand index at start and end (1 without truth).
        n_scores: how many edges were scored.
        n_truth_voxels: voxels with truth.
    """

    merges: npt.NDArray[np.int32]
    heights: npt.NDArray[np.float64]
    gains_vi: npt.NDArray[np.float64]
    gains_rand: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.float32]
    decision_gains: npt.NDArray[np.float64]
    vi: npt.NDArray[np.float64]
    rand: npt.NDArray[np.float64]
    n_scores: int
    n_truth_voxels: int

    @property
    def has_truth(self) -> bool:
        """Tell whether the episode was played against a truth, so that VI means something."""
        return self.n_truth_voxels > 0


def play_episode(
    graph: RegionGraph,
    policy: Policy,
    *,
    truth: TruthTable = NO_TRUTH,
    threshold: float = 0.0,
    record_floor: float | None = None,
    noise: float = 0.0,
    noise_seed: int = 0,
) -> Episode:
    """Agglomerate a region graph under a policy until no key reaches the threshold.

    Args:
        graph: regions and contacts.
        policy: what scores the edges.
        truth: contingency table of the regions, for gains and errors.
        threshold: key below which nothing is merged; −inf merges whatever touches.
        record_floor: record features and gains of every decision, refused edges down to this key
            included; None records nothing.
        noise: standard deviation of Gaussian noise on every score.
        noise_seed: seed of that noise.
    """
    scorer = scorer_of(policy)
    floor = np.inf if record_floor is None else float(record_floor)
    state = start_state(
        graph, scorer, floor=min(threshold, floor), noise=noise, noise_seed=noise_seed
    )
    rows = start_rows(truth, graph.n_regions)
    n_most = max(graph.n_regions - 1, 0)
    merges = np.zeros((n_most, 2), np.int32)
    heights = np.zeros(n_most, np.float64)
    gains = np.zeros((n_most, 2), np.float64)
    is_recorded = record_floor is not None
    n_records = n_most + graph.n_edges if is_recorded else 0
    decisions = np.zeros((n_records, scorer.n_features), np.float32)
    decision_gains = np.zeros((n_records, 2), np.float64)
    errors = np.zeros((2, 2), np.float64)
    errors[0] = errors_of_rows(rows)
    n_merges, n_decisions = _play(
        state,
        rows,
        scorer,
        float(threshold),
        floor,
        float(noise),
        np.uint64(noise_seed % 2**64),
        is_recorded,
        merges,
        heights,
        gains,
        decisions,
        decision_gains,
    )
    errors[1] = errors_of_rows(rows)
    return Episode(
        merges[:n_merges].copy(),
        heights[:n_merges].copy(),
        gains[:n_merges, 0].copy(),
        gains[:n_merges, 1].copy(),
        decisions[:n_decisions].copy(),
        decision_gains[:n_decisions].copy(),
        errors[:, 0].copy(),
        errors[:, 1].copy(),
        int(state.counters[N_SCORES]),
        int(rows.n_voxels[0]),
    )


@njit(cache=True)
def _play(
    state: MergeState,
    rows,
    scorer,
    threshold,
    record_floor,
    noise,
    noise_seed,
    is_recorded,
    out_merges,
    out_heights,
    out_gains,
    out_decisions,
    out_decision_gains,
):
    """Run the episode; return the numbers of merges and of recorded decisions."""
    n_merges, n_decisions = 0, 0
    while True:
        edge = best_edge(state, scorer, noise, noise_seed)
        if edge < 0:
            break
        key = state.key[edge]
        is_merge = key >= threshold
        if not is_merge and not (is_recorded and key >= record_floor):
            break
        u, v = state.links[2 * edge, NODE], state.links[2 * edge + 1, NODE]
        gain_vi, gain_rand = merge_gains(rows, u, v)
        if is_recorded:
            see(state, edge)
            out_decisions[n_decisions] = state.features
            out_decision_gains[n_decisions, 0] = gain_vi
            out_decision_gains[n_decisions, 1] = gain_rand
            n_decisions += 1
        drop_edge(state, edge)
        if is_merge:
            a, b = state.places[u, SMALLEST], state.places[v, SMALLEST]
            out_merges[n_merges, 0] = min(a, b)
            out_merges[n_merges, 1] = max(a, b)
            out_heights[n_merges] = key
            out_gains[n_merges, 0] = gain_vi
            out_gains[n_merges, 1] = gain_rand
            n_merges += 1
            kept, gone = merge(state, edge)
            join_rows(rows, kept, gone)
            join_in_scorer(scorer, kept, gone)
    return n_merges, n_decisions


@njit(cache=True)
def _see_all(state, out_features):
    """Write the features of every edge of the unmerged graph."""
    for edge in range(len(out_features)):
        see(state, edge)
        out_features[edge] = state.features


@njit(cache=True)
def _gain_all(rows, edges, out_gains):
    """Write the gains of every edge of the unmerged graph."""
    for edge in range(len(edges)):
        out_gains[edge, 0], out_gains[edge, 1] = merge_gains(rows, edges[edge, 0], edges[edge, 1])


def initial_decisions(
    graph: RegionGraph, truth: TruthTable, policy: Policy
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return features (E, F) and gains (E, 2: VI, Rand) of all edges before any merge."""
    scorer = scorer_of(policy)
    state = blank_state(graph, scorer.n_features, 1)
    features = np.zeros((graph.n_edges, scorer.n_features), np.float32)
    gains = np.zeros((graph.n_edges, 2), np.float64)
    _see_all(state, features)
    _gain_all(start_rows(truth, graph.n_regions), np.array(graph.edges), gains)
    return features, gains
