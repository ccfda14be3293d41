"""What gives an edge its score: a learned network, or one of the reference policies.

A scorer is a named tuple of arrays and numbers. Its score depends on the sums of the two regions
and of their contact, on the smallest members of the two (for ties and for chance) and, for the
oracle, on what is true of them; never on the order of merges. At least 0 means merge.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import njit, types
from numba.extending import overload

from envs import statistics as st
from envs.features import HISTOGRAM, N_FEATURES
from envs.instance import Instance
from envs.merge_network import (
    MergeNetwork,
    PackedNetwork,
    pack,
    packed_logit,
    packed_logits_of_rows,
)
from envs.merge_state import NODE, chance, see
from envs.truth_rows import TruthRows, join_rows, merge_gains, start_rows
from envs.vector_layer import ROWS


class MeanBoundary(NamedTuple):
    """Score = threshold − mean boundary value of the contact (size-weighted average linkage).

    Attributes:
        threshold: mean of the face maxima, 0..1, up to which regions merge.
    """

    threshold: float

    n_features = N_FEATURES
    n_scratch = 1


class QuantileBoundary(NamedTuple):
    """Score = threshold − quantile of the boundary values of the contact.

    Taken from the histogram of face maxima, linear within a bin: additive, so that the quantile of
    a joined contact is that of all its faces (Funke et al. 2019, quantile affinities by histogram).

    Attributes:
        threshold: quantile value, 0..1, up to which regions merge.
        quantile: share of the faces below it, in (0, 1).
    """

    threshold: float
    quantile: float

    n_features = N_FEATURES
    n_scratch = 1


class RandomScores(NamedTuple):
    """Scores uniform in (−1, 1), a function of the seed and the smallest members of the two.

    Attributes:
        seed: of the chance.
    """

    seed: int

    n_features = N_FEATURES
    n_scratch = 1


class Oracle(NamedTuple):
    """Score = the true fall of the variation of information, in bits: greedy on the reward.

    Attributes:
        rows: contingency rows of its own, joined as regions merge.
    """

    rows: TruthRows

    n_features = N_FEATURES
    n_scratch = 1

    @classmethod
    def of(cls, instance: Instance) -> Oracle:
        """Know what is true of an instance; for one episode."""
        return cls(start_rows(instance.truth, instance.graph.n_regions))


Scorer: TypeAlias = PackedNetwork | MeanBoundary | QuantileBoundary | RandomScores | Oracle
Policy: TypeAlias = MergeNetwork | Scorer


def scorer_of(policy: Policy) -> Scorer:
    """Lay a policy out for the kernels."""
    return pack(policy) if isinstance(policy, MergeNetwork) else policy


BIN_EDGES = np.array((0, *st.BIN_EDGES, 256), np.float64) / 255.0
"""(N_BINS + 1,) edges of the histogram bins, as boundary values."""


def score_edge(scorer, state, edge):
    """Return the score of an edge from the present sums; compiled for each kind of scorer."""
    raise TypeError("score_edge is called from compiled code only")


def join_in_scorer(scorer, kept, gone):
    """Tell a scorer that regions merged; compiled for each kind of scorer."""
    raise TypeError("join_in_scorer is called from compiled code only")


def _class_of(scorer: types.Type) -> type | None:
    """Return the named tuple that a compiled argument is."""
    return getattr(scorer, "instance_class", None)


@overload(score_edge, inline="always")
def _score_edge(scorer, state, edge):
    return _SCORES.get(_class_of(scorer))


@njit(cache=True)
def scored(scorer, state, edge):
    """Return what `score_edge` does, without being copied into the caller."""
    return score_edge(scorer, state, edge)


@overload(join_in_scorer)
def _join_in_scorer(scorer, kept, gone):
    if _class_of(scorer) is Oracle:
        return lambda scorer, kept, gone: join_rows(scorer.rows, kept, gone)
    return lambda scorer, kept, gone: None


def score_all(scorer, state):
    """Give every edge its score as key; compiled for each kind of scorer."""
    raise TypeError("score_all is called from compiled code only")


@overload(score_all)
def _score_all(scorer, state):
    return _network_scores if _class_of(scorer) is PackedNetwork else _scores


def _scores(scorer, state):
    for edge in range(len(state.key)):
        state.key[edge] = score_edge(scorer, state, edge)


def _network_scores(scorer, state):
    """Score several edges at a time, which hides how long each sum takes."""
    key, features, scratch = state.key, state.features, state.scratch
    n = len(features)
    apart = len(scratch) // ROWS
    logits = np.empty(ROWS, np.float32)
    for first in range(0, len(key), ROWS):
        n_rows = min(ROWS, len(key) - first)
        for r in range(n_rows):
            see(state, first + r)
            for i in range(n):
                scratch[r * apart + i] = features[i]
        packed_logits_of_rows(scorer, scratch, logits)
        for r in range(n_rows):
            key[first + r] = logits[r]


def _network_score(scorer, state, edge):
    see(state, edge)
    return packed_logit(scorer, state.features, state.scratch)


def _mean_score(scorer, state, edge):
    total, area = state.contacts[edge, st.FACE_MAX], state.contacts[edge, st.AREA]
    return np.float32(scorer.threshold - total / (255.0 * area))


def _quantile_score(scorer, state, edge):
    return np.float32(
        scorer.threshold - contact_quantile(state.contacts, edge, scorer.quantile, BIN_EDGES)
    )


def _random_score(scorer, state, edge):
    return np.float32(2.0 * chance(state, scorer.seed, edge) - 1.0)


def _oracle_score(scorer, state, edge):
    u, v = state.links[2 * edge, NODE], state.links[2 * edge + 1, NODE]
    return np.float32(merge_gains(scorer.rows, u, v)[0])


_SCORES = {
    PackedNetwork: _network_score,
    MeanBoundary: _mean_score,
    QuantileBoundary: _quantile_score,
    RandomScores: _random_score,
    Oracle: _oracle_score,
}


@njit(cache=True)
def contact_quantile(contacts, edge, quantile, bin_edges):
    """Return a quantile of the face maxima of a contact, 0..1, linear within its bin.

    Args:
        contacts: (E, 16) int64, `CONTACT_COLUMNS`.
        edge: which contact.
        quantile: share of the faces below it.
        bin_edges: (N_BINS + 1,) float64.
    """
    area = contacts[edge, st.AREA]
    above = 0
    for k in range(st.N_BINS - 1, 0, -1):
        n = contacts[edge, HISTOGRAM + k]
        below = area - above - n
        if n > 0 and below <= quantile * area:
            share = (quantile * area - below) / n
            return bin_edges[k] + share * (bin_edges[k + 1] - bin_edges[k])
        above += n
    return bin_edges[1] * quantile * area / (area - above)
