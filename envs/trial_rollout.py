"""Episodes that are played to learn from, and not as the policy would decide.

Two executions besides that of `envs.rollout`, on the same transitions and the same queue:

* *truth* (strict): an edge is merged if the truth calls the merge good and left if it calls it bad,
  whatever the policy thinks; the policy gives the order alone (Nunez-Iglesias et al. 2013). What
  the truth does not know is merged from key 0 on.
* *chance*: an edge with logit f is merged with probability 1 / (1 + e^−f), else left. The logit is
  that of the present sums, not the key, so that the probability of an episode is a differentiable
  function of the policy (Williams 1992). The coin depends on seed, pair and time.

An edge that is left stays so; where it is joined with one that is open, their contact is open and
will be decided anew.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.confluent_rule import best_edge, drop_edge, start_state
from envs.hashing import hashed
from envs.merge_state import CLOCK, LEFT, NODE, chance, see
from envs.region_graph import RegionGraph
from envs.scorers import Policy, join_in_scorer, scored, scorer_of
from envs.transitions import merge, set_status
from envs.truth_rows import TruthTable, join_rows, majority_of, merge_gains, start_rows

Label = Literal["vi", "rand", "majority"]
"""What a merge is worth: bits by which VI falls, rise of the Rand index, or 1 where most voxels of
both regions carry one label and −1 where not. 0 = not known."""
LABELS: tuple[Label, ...] = get_args(Label)

TrialExecution = Literal["truth", "chance"]

_VI = 0
_RAND = 1


class Trial(NamedTuple):
    """What was decided, in order.

    Attributes:
        features: (D, F) float32 of the decided edges.
        worths: (D,) float64, what merging them is worth; the sign is the label.
        is_merged: (D,) bool.
    """

    features: npt.NDArray[np.float32]
    worths: npt.NDArray[np.float64]
    is_merged: npt.NDArray[np.bool_]


def play_trial(
    graph: RegionGraph,
    policy: Policy,
    truth: TruthTable,
    *,
    execution: TrialExecution,
    label: Label = "vi",
    floor: float = -np.inf,
    noise: float = 0.0,
    seed: int = 0,
) -> Trial:
    """Decide every edge down to a key, by the truth or by chance.

    Args:
        graph: regions and contacts.
        policy: what scores the edges.
        truth: contingency table of the regions.
        execution: what decides.
        label: what worths are.
        floor: key below which nothing is decided.
        noise: standard deviation of Gaussian noise on every key.
        seed: of noise and chance.
    """
    scorer = scorer_of(policy)
    state = start_state(graph, scorer, floor=floor, noise=noise, noise_seed=seed)
    n_most = graph.n_edges  # an edge is decided once
    features = np.zeros((n_most, scorer.n_features), np.float32)
    worths = np.zeros(n_most, np.float64)
    is_merged = np.zeros(n_most, np.bool_)
    n = _play(
        state,
        start_rows(truth, graph.n_regions),
        scorer,
        execution == "chance",
        LABELS.index(label),
        float(floor),
        float(noise),
        np.uint64(seed % 2**64),
        features,
        worths,
        is_merged,
    )
    return Trial(features[:n].copy(), worths[:n].copy(), is_merged[:n].copy())


@njit(cache=True)
def _play(
    state,
    rows,
    scorer,
    is_by_chance,
    label,
    floor,
    noise,
    seed,
    out_features,
    out_worths,
    out_is_merged,
):
    """Run the episode; return the number of decisions."""
    n = 0
    while True:
        edge = best_edge(state, scorer, noise, seed)
        if edge < 0 or state.key[edge] < floor:
            return n
        worth = _worth(rows, state.links[2 * edge, NODE], state.links[2 * edge + 1, NODE], label)
        if is_by_chance:
            logit = float(scored(scorer, state, edge))
            coin = chance(state, hashed(seed, state.counters[CLOCK], 0), edge)
            is_merge = coin < 1.0 / (1.0 + np.exp(-logit))
        elif worth == 0.0:
            is_merge = state.key[edge] >= 0.0
        else:
            is_merge = worth > 0.0
        see(state, edge)
        out_features[n] = state.features
        out_worths[n] = worth
        out_is_merged[n] = is_merge
        n += 1
        drop_edge(state, edge)
        if is_merge:
            kept, gone = merge(state, edge)
            join_rows(rows, kept, gone)
            join_in_scorer(scorer, kept, gone)
        else:
            set_status(state.links, edge, LEFT)


@njit(cache=True)
def _worth(rows, u, v, label):
    """Return what merging regions u and v is worth."""
    if label == _VI or label == _RAND:
        gain_vi, gain_rand = merge_gains(rows, u, v)
        return gain_vi if label == _VI else gain_rand
    first, second = majority_of(rows, u), majority_of(rows, v)
    if first < 0 or second < 0:
        return 0.0
    return 1.0 if first == second else -1.0


def initial_worths(graph: RegionGraph, truth: TruthTable, label: Label) -> npt.NDArray[np.float64]:
    """Return what merging each edge (E,) is worth before any merge."""
    worths = np.zeros(graph.n_edges, np.float64)
    edges = np.array(graph.edges)
    _worth_of_all(start_rows(truth, graph.n_regions), edges, LABELS.index(label), worths)
    return worths


@njit(cache=True)
def _worth_of_all(rows, edges, label, out_worths):
    """Write the worth of every edge of the unmerged graph."""
    for edge in range(len(edges)):
        out_worths[edge] = _worth(rows, edges[edge, 0], edges[edge, 1], label)
