"""When to ask a human and when to image again: rules for an edge that is ready to be decided.

A rule sees that edge alone, so that decisions stay independent of the order of work; there is no
budget, only a price. With p the probability that the two regions are one neuron (logistic of the
score), and v the loss of VI between the right decision and the wrong one if both regions are pure,
v = [F(a + b) − F(a) − F(b)] / N with F(x) = x log2 x and a, b, N voxels (H(S, T) counts twice in VI
and falls by v where the truth is one, H(S) counts once and falls by v in any case):

    never        nothing is asked
    random       asked with probability `level`, drawn for the pair
    uncertainty  asked where 4p(1 − p) ≥ `level`
    value        asked where the expected loss it saves exceeds the price (myopic value of
                 information, Howard 1966): with error rate e of the answer,
                 v (min(p, 1 − p) − [min(p(1 − e), (1 − p)e) + min(pe, (1 − p)(1 − e))]) > price
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from numba import njit

from envs import statistics as st
from envs.actions import LEAVE, MERGE, QUERY, REIMAGE, can_query, n_to_image
from envs.features import N_FEATURES
from envs.merge_network import MergeNetwork, PackedNetwork, logit, pack
from envs.merge_state import N_VOXELS, chance, ordered_ends, see

RuleName = Literal["never", "random", "uncertainty", "value"]
_NAMES: tuple[RuleName, ...] = get_args(RuleName)
_NEVER, _RANDOM, _UNCERTAINTY, _VALUE = range(4)


@dataclass(frozen=True, slots=True)
class Asking:
    """Which questions a policy asks.

    Attributes:
        query: rule for asking the human.
        query_level: of the rules random and uncertainty.
        human_error: error rate that the rule value expects of answers.
        reimage: rule for imaging the smaller region of an edge again.
        reimage_level: of the rules random and uncertainty.
        clear_error: share of wrong decisions that the rule value expects after a second look.
        reveal: network that predicts what a second look is worth to the decision (rise of the
            probability of deciding rightly); takes the place of `clear_error`.
        seed: of the rule random.
    """

    query: RuleName = "never"
    query_level: float = 0.5
    human_error: float = 0.0
    reimage: RuleName = "never"
    reimage_level: float = 0.5
    clear_error: float = 0.1
    reveal: MergeNetwork | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("query", "reimage"):
            if getattr(self, name) not in _NAMES:
                raise ValueError(
                    f"{name} must be one of {', '.join(_NAMES)}, not {getattr(self, name)!r}"
                )
        for name in ("query_level", "reimage_level", "human_error", "clear_error"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {getattr(self, name)}")

    def rule(self) -> AskingRule:
        """Lay the rule out for the kernels."""
        reveal = _NO_NETWORK if self.reveal is None else pack(self.reveal)
        return AskingRule(
            _NAMES.index(self.query),
            float(self.query_level),
            float(self.human_error),
            _NAMES.index(self.reimage),
            float(self.reimage_level),
            float(self.clear_error),
            reveal,
            np.zeros(reveal.n_scratch, np.float32),
            self.seed % 2**62,
        )


_NO_NETWORK = pack(
    MergeNetwork(
        np.zeros(N_FEATURES, np.float32),
        np.zeros(N_FEATURES, np.float32),
        *(
            np.zeros(shape, np.float32)
            for shape in ((0, N_FEATURES, 1), (0, 1), (0, 1, 1), (0, 1), (0, 1), (0,))
        ),
    )
)


class AskingRule(NamedTuple):
    """`Asking` for the kernels; rules as places in the list of names.

    Attributes:
        query, query_level, human_error: of questions.
        reimage, reimage_level, clear_error, reveal: of second looks.
        scratch: (n,) float32, for the network.
        seed: of chance.
    """

    query: int
    query_level: float
    human_error: float
    reimage: int
    reimage_level: float
    clear_error: float
    reveal: PackedNetwork
    scratch: npt.NDArray[np.float32]
    seed: int


@njit(cache=True)
def _x_log_x(n):
    """Return n · log2(n)."""
    return n * np.log2(n)


@njit(cache=True)
def bits_at_stake(a, b, n):
    """Return v of two pure regions of a and b of n voxels, see the head of this file."""
    return (_x_log_x(a + b) - _x_log_x(a) - _x_log_x(b)) / n


@njit(cache=True)
def stakes_of(merging, edge):
    """Return the bits of VI between the right and the wrong decision on two pure regions."""
    small, large = ordered_ends(merging.links, merging.places, merging.rows, merging.regions, edge)
    a, b = float(merging.regions[small, st.SIZE]), float(merging.regions[large, st.SIZE])
    n = float(merging.counters[N_VOXELS])
    return bits_at_stake(a, b, n)


@njit(cache=True)
def doubt_of(score):
    """Return the smaller of p and 1 − p, p the logistic of a score; never quite 0.

    Whatever depends on p in this file is the same for p and 1 − p, and 1 − p would round to 0.
    """
    return 1.0 / (1.0 + np.exp(min(abs(score), 700.0)))


@njit(cache=True)
def saved_by_answer(p, error):
    """Return by how much an answer lowers the probability of a wrong decision; error: its rate."""
    after = min(p * (1.0 - error), (1.0 - p) * error) + min(p * error, (1.0 - p) * (1.0 - error))
    return min(p, 1.0 - p) - after


@njit(cache=True)
def decide(process, rule, score, threshold, edge):
    """Return what a policy does with an edge that is ready: an action of `envs.actions`.

    Args:
        process: read.
        rule: when to ask.
        score: of the edge, logit.
        threshold: score from which on it is merged without asking.
        edge: fresh and best for both its ends.
    """
    merging, prices = process.merging, process.prices
    doubt = doubt_of(float(score) - threshold)
    best, best_kind = 0.0, -1
    n_left = n_to_image(merging, edge)
    if rule.reimage != _NEVER and n_left > 0:
        if rule.reimage == _RANDOM:
            if chance(merging, np.uint64(2 * rule.seed + 1), edge) < rule.reimage_level:
                return REIMAGE
        elif rule.reimage == _UNCERTAINTY:
            if 4.0 * doubt * (1.0 - doubt) >= rule.reimage_level:
                return REIMAGE
        else:
            if rule.reveal.shape[0] > 0:
                see(merging, edge)
                saved = float(logit(rule.reveal, merging.features, rule.scratch))
            else:
                saved = saved_by_answer(doubt, rule.clear_error)
            net = stakes_of(merging, edge) * saved
            net -= prices.reimage * n_left / merging.counters[N_VOXELS]
            if net > best:
                best, best_kind = net, REIMAGE
    if rule.query != _NEVER and can_query(process, edge):
        if rule.query == _RANDOM:
            if chance(merging, np.uint64(2 * rule.seed), edge) < rule.query_level:
                return QUERY
        elif rule.query == _UNCERTAINTY:
            if 4.0 * doubt * (1.0 - doubt) >= rule.query_level:
                return QUERY
        else:
            net = stakes_of(merging, edge) * saved_by_answer(doubt, rule.human_error) - prices.query
            if net > best:
                best, best_kind = net, QUERY
    if best_kind >= 0:
        return best_kind
    return MERGE if score >= threshold else LEAVE
