"""Humans who can be asked whether two clusters belong to one neuron.

An answer is a function of the two clusters alone, never of the order in which they grew or of what
was asked before. Both kinds of human keep one type of state, so that the kernels compile once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from envs.hashing import uniform
from envs.region_graph import RegionGraph
from envs.truth_rows import majority_of

_SIMULATED = 0
_RECORDED = 1

# Columns of `HumanState.settings`.
_ERROR_RATE = 0
_SIZE_EXPONENT = 1

# What is recorded of two clusters.
_UNKNOWN = -1
_NO = 0
_YES = 1


class HumanState(NamedTuple):
    """What a human needs of the current clusters; R regions, Q recorded answers.

    A recorded answer is two halves, 2q and 2q + 1, in the lists of the clusters at its two ends.

    Attributes:
        kind: (1,) int64, simulated or recorded.
        seed: (1,) uint64.
        settings: (2,) float64, error rate and size exponent.
        ids: (R,) int64, superpixel id of a region, its 64 bits read with a sign.
        parent: (R,) int32, forest of regions, its roots stand for clusters; empty if simulated.
        head, tail: (R,) int32, first and last half in a cluster, −1 = none; empty if simulated.
        n_halves: (R,) int32, halves in a cluster; empty if simulated.
        follow: (2Q,) int32, next half of the same cluster, −1 = last.
        region: (2Q,) int32, region at which a half lies.
        is_yes: (Q,) bool.
    """

    kind: npt.NDArray[np.int64]
    seed: npt.NDArray[np.uint64]
    settings: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int32]
    head: npt.NDArray[np.int32]
    tail: npt.NDArray[np.int32]
    n_halves: npt.NDArray[np.int32]
    follow: npt.NDArray[np.int32]
    region: npt.NDArray[np.int32]
    is_yes: npt.NDArray[np.bool_]


class Human(Protocol):
    """Answers questions about two clusters."""

    def start(self, graph: RegionGraph) -> HumanState:
        """Make the state for the unmerged regions of a graph."""
        ...


@dataclass(frozen=True, slots=True)
class SimulatedHuman:
    """Answer from the truth, sometimes wrongly.

    The right answer is yes where the truth label that most voxels carry (the lowest of equals) is
    the same in both clusters, and no where one of them has no voxel with truth. Equality of labels
    is an equivalence, and the union of clusters of one majority keeps it; so answers without
    error never contradict each other, and merges they ask for never change them.

    An answer is wrong with probability p = min(error_rate · (voxels of the smaller cluster /
    1000)^−size_exponent, 1/2). The number drawn against p is a function of the seed and of the
    smallest superpixel id in either cluster.

    Attributes:
        error_rate: of clusters of 1000 voxels, or of all if `size_exponent` is 0; in [0, 0.5].
        size_exponent: how fast errors fall with size; not negative.
        seed: of the errors.
    """

    error_rate: float = 0.0
    size_exponent: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.error_rate <= 0.5:
            raise ValueError(f"error_rate must lie in [0, 0.5], not {self.error_rate}")
        if not 0 <= self.size_exponent < np.inf:
            raise ValueError(f"size_exponent must be finite and ≥ 0, not {self.size_exponent}")

    def start(self, graph: RegionGraph) -> HumanState:
        """Make the state for the unmerged regions of a graph."""
        none = np.empty(0, np.int32)
        return HumanState(
            kind=np.array([_SIMULATED], np.int64),
            seed=np.array([self.seed % 2**64], np.uint64),
            settings=np.array([self.error_rate, self.size_exponent], np.float64),
            ids=np.array(graph.ids, np.uint64).view(np.int64),
            parent=none,
            head=none,
            tail=none,
            n_halves=none,
            follow=none,
            region=none,
            is_yes=np.empty(0, np.bool_),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RecordedHuman:
    """Answer what was answered before on pairs of superpixels.

    An answer on superpixels a and b holds for any two clusters of which one contains a and the
    other b. Where several hold and contradict each other, the answer is no. Two clusters without
    an answer cannot be asked about; without any pair, nothing can.

    Attributes:
        pairs: (Q, 2) integer, superpixel ids, not 0.
        answers: (Q,) bool, True = one neuron.
    """

    pairs: npt.NDArray[np.integer]
    answers: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.pairs.ndim != 2 or self.pairs.shape[1] != 2 or self.pairs.dtype.kind not in "ui":
            raise InputError(
                f"pairs must be (Q, 2) integer ids, not {self.pairs.dtype} of shape "
                f"{self.pairs.shape}"
            )
        if self.answers.shape != (len(self.pairs),) or self.answers.dtype != np.bool_:
            raise InputError(
                f"answers must be {len(self.pairs)} bools, not {self.answers.dtype} of shape "
                f"{self.answers.shape}"
            )
        if self.pairs.min(initial=1) < 1:
            raise InputError(f"pairs must hold positive ids; seen {self.pairs.min()}")
        is_same = self.pairs[:, 0] == self.pairs[:, 1]
        if is_same.any():
            raise InputError(f"pairs ask superpixel {self.pairs[is_same][0, 0]} about itself")

    def start(self, graph: RegionGraph) -> HumanState:
        """Make the state for the unmerged regions of a graph.

        Raises:
            InputError: pairs name superpixels that the graph does not have.
        """
        asked = self.pairs.astype(np.uint64)
        is_known = np.isin(asked, graph.ids)
        if not is_known.all():
            unknown = np.unique(asked[~is_known])
            names = ", ".join(str(superpixel) for superpixel in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise InputError(f"pairs name superpixels that do not exist: {names}{more}")
        region = np.searchsorted(graph.ids, asked.reshape(-1))
        r, n_halves = graph.n_regions, len(region)
        human = HumanState(
            kind=np.array([_RECORDED], np.int64),
            seed=np.zeros(1, np.uint64),
            settings=np.zeros(2, np.float64),
            ids=np.array(graph.ids, np.uint64).view(np.int64),
            parent=np.arange(r, dtype=np.int32),
            head=np.full(r, -1, np.int32),
            tail=np.full(r, -1, np.int32),
            n_halves=np.zeros(r, np.int32),
            follow=np.full(n_halves, -1, np.int32),
            region=region.astype(np.int32),
            is_yes=np.array(self.answers, np.bool_),
        )
        _link(human)
        return human


@njit(cache=True)
def _link(human):
    """Enter the halves of recorded answers into the lists of their regions."""
    for half in range(len(human.region) - 1, -1, -1):
        u = human.region[half]
        if human.head[u] < 0:
            human.tail[u] = half
        human.follow[half] = human.head[u]
        human.head[u] = half
        human.n_halves[u] += 1


@njit(cache=True)
def _cluster_of(parent, u):
    """Return the region that stands for the cluster of region u, shortening the way there."""
    while parent[u] != u:
        parent[u] = parent[parent[u]]
        u = parent[u]
    return u


@njit(cache=True)
def _recorded(human, u, v):
    """Return what is recorded of clusters u and v, at the cost of the shorter list."""
    if human.n_halves[u] > human.n_halves[v]:
        u, v = v, u
    found = _UNKNOWN
    half = human.head[u]
    while half >= 0:
        if _cluster_of(human.parent, human.region[half ^ 1]) == v:
            if not human.is_yes[half >> 1]:
                return _NO
            found = _YES
        half = human.follow[half]
    return found


@njit(cache=True)
def has_answer(human, u, v):
    """Tell whether the human can be asked about the clusters that regions u and v stand for."""
    return human.kind[0] == _SIMULATED or _recorded(human, u, v) != _UNKNOWN


@njit(cache=True)
def answer_of(human, rows, u, v, smallest_u, smallest_v, size_small):
    """Return whether the human says that clusters u and v are of one neuron.

    Args:
        human: asked about clusters of which `has_answer` is true; else the answer is no.
        rows: TruthRows against the truth, which a recorded human does not look at.
        u: region that stands for the one cluster.
        v: region that stands for the other.
        smallest_u: smallest region index in the one cluster.
        smallest_v: smallest region index in the other.
        size_small: voxels of the smaller cluster.
    """
    if human.kind[0] == _RECORDED:
        return _recorded(human, u, v) == _YES
    label = majority_of(rows, u)
    answer = label >= 0 and label == majority_of(rows, v)
    wrong = min(
        human.settings[_ERROR_RATE] * (size_small / 1000.0) ** -human.settings[_SIZE_EXPONENT], 0.5
    )
    low, high = min(smallest_u, smallest_v), max(smallest_u, smallest_v)
    if uniform(human.seed[0], human.ids[low], human.ids[high]) < wrong:
        return not answer
    return answer


@njit(cache=True)
def join_human(human, kept, gone):
    """Let region `kept` stand for the union of the clusters of regions `kept` and `gone`."""
    if human.kind[0] == _SIMULATED:
        return
    human.parent[gone] = kept
    if human.n_halves[gone] == 0:
        return
    if human.n_halves[kept] == 0:
        human.head[kept] = human.head[gone]
    else:
        human.follow[human.tail[kept]] = human.head[gone]
    human.tail[kept] = human.tail[gone]
    human.n_halves[kept] += human.n_halves[gone]
