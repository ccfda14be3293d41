"""The confluent merge rule in plain Python: the specification of the compiled kernels.

Clusters are sets of superpixels, their sums are added up anew whenever they are looked at, edges
are a dictionary from pairs of clusters to key, tie number and staleness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from envs import statistics as st
from envs.features import N_REGION, candidate_features, region_row
from envs.merge_network import MergeNetwork, logit
from envs.region_graph import RegionGraph

Pair = tuple[int, int]
"""Smallest members of two clusters, smaller first: the name of an edge."""


@dataclass
class TwinEdge:
    """What the queue knows of an edge."""

    key: float
    tie: int
    is_stale: bool = False


@dataclass
class MergeTwin:
    """A run of the rule; clusters are named by their smallest member."""

    graph: RegionGraph
    network: MergeNetwork
    members: dict[int, set[int]] = field(init=False)
    edges: dict[Pair, TwinEdge] = field(init=False)
    n_scores: int = field(init=False, default=0)
    merges: list[tuple[int, int, float]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.members = {u: {u} for u in range(self.graph.n_regions)}
        pairs = [(int(u), int(v)) for u, v in self.graph.edges]
        self.edges = {pair: TwinEdge(self.score(pair), tie) for tie, pair in enumerate(pairs)}

    def region_sums(self, u: int) -> npt.NDArray[np.int64]:
        """Add up a cluster; its surface is what touches superpixels outside."""
        inside = self.members[u]
        sums = self.graph.regions[sorted(inside)].sum(0)
        is_outer = [(int(a) in inside) != (int(b) in inside) for a, b in self.graph.edges]
        sums[st.SURFACE] = self.graph.contacts[is_outer, st.AREA].sum()
        return sums

    def contact_sums(self, pair: Pair) -> npt.NDArray[np.int64]:
        """Add up all contacts between the superpixels of two clusters."""
        first, second = self.members[pair[0]], self.members[pair[1]]
        between = [
            (int(a) in first and int(b) in second) or (int(a) in second and int(b) in first)
            for a, b in self.graph.edges
        ]
        return self.graph.contacts[between].sum(0)

    def features(self, pair: Pair) -> npt.NDArray[np.float32]:
        """Compute the features of an edge."""
        sums = [self.region_sums(u) for u in pair]
        rows = np.zeros((2, N_REGION), np.float32)
        for row, region in zip(rows, sums, strict=True):
            region_row(region, row)
        features = np.zeros(self.network.n_features, np.float32)
        candidate_features(
            sums[0],
            sums[1],
            rows[0],
            rows[1],
            self.contact_sums(pair),
            bool(sums[0][st.SIZE] <= sums[1][st.SIZE]),
            np.array(self.graph.voxel_size_nm, np.float64),
            features,
        )
        return features

    def score(self, pair: Pair) -> float:
        """Score an edge from its present sums."""
        self.n_scores += 1
        hidden = [np.zeros(n, np.float32) for n in self.network.w2.shape[1:]]
        return float(logit(self.network, self.features(pair), *hidden))

    def order(self, pair: Pair) -> tuple[float, int]:
        """Return what edges are sorted by: best first."""
        return -self.edges[pair].key, self.edges[pair].tie

    def is_ready(self, pair: Pair) -> bool:
        """Tell whether an edge is the best one at both its ends."""
        return all(
            self.order(pair) <= self.order(other) for other in self.edges if set(pair) & set(other)
        )

    def rescore(self, pair: Pair) -> None:
        """Score a stale edge once; its key never rises."""
        edge = self.edges[pair]
        edge.key, edge.is_stale = min(self.score(pair), edge.key), False

    def merge(self, pair: Pair) -> None:
        """Merge the clusters of an edge; of two parallel edges the better one stays."""
        kept, gone = pair
        self.merges.append((kept, gone, self.edges.pop(pair).key))
        self.members[kept] |= self.members.pop(gone)
        for other in [other for other in self.edges if set(other) & set(pair)]:
            (w,) = set(other) - set(pair)
            edge = self.edges.pop(other)
            joined = (min(kept, w), max(kept, w))
            if joined in self.edges:
                parallel = self.edges[joined]
                edge = min(edge, parallel, key=lambda e: (-e.key, e.tie))
            edge.is_stale = True
            self.edges[joined] = edge

    def run(self, threshold: float, choose: Callable[[list[Pair]], Pair] | None = None) -> None:
        """Process ready edges until none is left to merge.

        Args:
            threshold: fresh edges below it are left.
            choose: picks one of the ready edges; by default the first of the whole queue.
        """
        while True:
            if choose is None:
                ready = [min(self.edges, key=self.order)] if self.edges else []
            else:
                ready = [pair for pair in self.edges if self.is_ready(pair)]
            open_pairs = [
                pair
                for pair in ready
                if self.edges[pair].is_stale or self.edges[pair].key >= threshold
            ]
            if not open_pairs:
                return
            pair = open_pairs[0] if choose is None else choose(open_pairs)
            if self.edges[pair].is_stale:
                self.rescore(pair)
            else:
                self.merge(pair)

    def partition(self) -> list[int]:
        """Return the smallest member of every superpixel's cluster."""
        names = {i: u for u, inside in self.members.items() for i in inside}
        return [names[i] for i in range(self.graph.n_regions)]
