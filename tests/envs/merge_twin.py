"""The confluent rule with all its actions in plain Python: the specification of the kernels.

Clusters are sets of superpixels, their sums are added up anew whenever they are looked at, from the
first or the second look at every superpixel and contact. Edges are a dictionary from pairs of
clusters to key, tie number, staleness and status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from envs import statistics as st
from envs.features import CONTACT_COLUMNS, N_ROW, candidate_features, region_row
from envs.merge_network import MergeNetwork, logit, pack
from envs.region_graph import RegionGraph

Pair = tuple[int, int]
"""Smallest members of two clusters, smaller first: the name of an edge."""

Decision = Literal["merge", "leave", "yes", "no", "look"]
"""What is done with a ready edge; yes and no are answers, look images the smaller region again."""


@dataclass
class TwinEdge:
    """What the queue knows of an edge."""

    key: float
    tie: int
    is_stale: bool = False
    status: Literal["open", "left", "forbidden"] = "open"


@dataclass
class MergeTwin:
    """A run of the rule; clusters are named by their smallest member."""

    graph: RegionGraph
    network: MergeNetwork
    clear: RegionGraph | None = None
    members: dict[int, set[int]] = field(init=False)
    edges: dict[Pair, TwinEdge] = field(init=False)
    imaged: set[int] = field(init=False, default_factory=set)
    n_scores: int = field(init=False, default=0)
    merges: list[tuple[int, int, float]] = field(init=False, default_factory=list)
    decisions: list[tuple[Pair, Decision]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.members = {u: {u} for u in range(self.graph.n_regions)}
        pairs = [(int(u), int(v)) for u, v in self.graph.edges]
        self.edges = {pair: TwinEdge(self.score(pair), tie) for tie, pair in enumerate(pairs)}

    def region_sums(self, u: int) -> npt.NDArray[np.int64]:
        """Add up a cluster; its surface is what touches superpixels outside."""
        inside = self.members[u]
        sums = np.sum([self._look(r).regions[r] for r in sorted(inside)], axis=0)
        is_outer = [(int(a) in inside) != (int(b) in inside) for a, b in self.graph.edges]
        sums[st.SURFACE] = self.graph.contacts[is_outer, st.AREA].sum()
        return sums

    def contact_sums(self, pair: Pair) -> npt.NDArray[np.int64]:
        """Add up all contacts between the superpixels of two clusters."""
        first, second = self.members[pair[0]], self.members[pair[1]]
        sums = np.zeros(st.N_CONTACT_STATISTICS, np.int64)
        for e, (a, b) in enumerate(self.graph.edges.tolist()):
            if (a in first and b in second) or (a in second and b in first):
                sums += self._look(a, b).contacts[e]
        return sums

    def _look(self, *superpixels: int) -> RegionGraph:
        """Return the graph whose sums show what is known of superpixels or of their contact."""
        if self.clear is not None and self.imaged & set(superpixels):
            return self.clear
        return self.graph

    def smaller(self, pair: Pair) -> int:
        """Return the smaller region of an edge, of equals the one with the smallest member."""
        return min(pair, key=lambda u: (sum(self.graph.regions[list(self.members[u]), st.SIZE]), u))

    def features(self, pair: Pair) -> npt.NDArray[np.float32]:
        """Compute the features of an edge."""
        small = self.smaller(pair)
        large = sum(pair) - small
        regions = np.stack([self.region_sums(u) for u in (small, large)])
        rows = np.zeros((2, N_ROW), np.float32)
        for u in (0, 1):
            region_row(regions, u, rows)
        contact = self.contact_sums(pair)
        features = np.zeros(self.network.n_features, np.float32)
        candidate_features(
            regions,
            rows,
            contact[None, CONTACT_COLUMNS],
            contact[None, st.CONTACT_POSITION :],
            0,
            1,
            0,
            np.array(self.graph.voxel_size_nm, np.float64),
            features,
        )
        return features

    def score(self, pair: Pair) -> float:
        """Score an edge from its present sums."""
        self.n_scores += 1
        packed = pack(self.network)
        return float(logit(packed, self.features(pair), np.zeros(packed.n_scratch, np.float32)))

    def decision_score(self, pair: Pair) -> float:
        """Return the key, or the score where a region was imaged again."""
        if self.imaged & (self.members[pair[0]] | self.members[pair[1]]):
            return self.score(pair)
        return self.edges[pair].key

    def order(self, pair: Pair) -> tuple[float, int]:
        """Return what edges are sorted by: best first."""
        return -self.edges[pair].key, self.edges[pair].tie

    def open_pairs(self) -> list[Pair]:
        """Return the edges that are not yet decided."""
        return [pair for pair, edge in self.edges.items() if edge.status == "open"]

    def is_ready(self, pair: Pair) -> bool:
        """Tell whether an edge is the best open one at both its ends."""
        return all(
            self.order(pair) <= self.order(other)
            for other in self.open_pairs()
            if set(pair) & set(other)
        )

    def rescore(self, pair: Pair) -> None:
        """Score a stale edge once; its key never rises."""
        edge = self.edges[pair]
        edge.key, edge.is_stale = min(self.score(pair), edge.key), False

    def merge(self, pair: Pair) -> None:
        """Merge the clusters of an edge; of two parallel edges the better open one stays."""
        kept, gone = pair
        self.merges.append((kept, gone, self.edges.pop(pair).key))
        self.members[kept] |= self.members.pop(gone)
        for other in [other for other in self.edges if set(other) & set(pair)]:
            (w,) = set(other) - set(pair)
            edge = self.edges.pop(other)
            joined = (min(kept, w), max(kept, w))
            if joined in self.edges:
                both = (edge, self.edges[joined])
                edge = min(both, key=lambda e: (e.status != "open", -e.key, e.tie))
                if any(e.status == "forbidden" for e in both):
                    edge.status = "forbidden"
            edge.is_stale = True
            self.edges[joined] = edge

    def look(self, pair: Pair) -> None:
        """Image the smaller region of an edge again."""
        u = self.smaller(pair)
        self.imaged |= self.members[u]
        for other, edge in self.edges.items():
            if u in other:
                edge.is_stale = True

    def do(self, pair: Pair, decision: Decision) -> None:
        """Do what was decided of a fresh edge."""
        self.decisions.append((pair, decision))
        if decision in ("merge", "yes"):
            self.merge(pair)
        elif decision == "look":
            self.look(pair)
        else:
            self.edges[pair].status = "left" if decision == "leave" else "forbidden"

    def play(
        self,
        decide: Callable[[MergeTwin, Pair], Decision],
        choose: Callable[[list[Pair]], Pair] | None = None,
    ) -> None:
        """Process ready edges until all are decided.

        Args:
            decide: says what is done with a fresh edge, from that edge alone.
            choose: picks one of the ready edges; by default the first of the whole queue.
        """
        while pairs := self.open_pairs():
            if choose is None:
                pair = min(pairs, key=self.order)
            else:
                pair = choose([pair for pair in pairs if self.is_ready(pair)])
            if self.edges[pair].is_stale:
                self.rescore(pair)
            else:
                self.do(pair, decide(self, pair))

    def run(self, threshold: float, choose: Callable[[list[Pair]], Pair] | None = None) -> None:
        """Merge what reaches a threshold and leave the rest.

        Args:
            threshold: fresh edges below it are left.
            choose: picks one of the ready edges; by default the first of the whole queue.
        """
        while True:
            pairs = self.open_pairs()
            if choose is None:
                ready = [min(pairs, key=self.order)] if pairs else []
            else:
                ready = [pair for pair in pairs if self.is_ready(pair)]
            waiting = [
                pair
                for pair in ready
                if self.edges[pair].is_stale or self.edges[pair].key >= threshold
            ]
            if not waiting:
                return
            pair = waiting[0] if choose is None else choose(waiting)
            if self.edges[pair].is_stale:
                self.rescore(pair)
            else:
                self.do(pair, "merge")

    def partition(self) -> list[int]:
        """Return the smallest member of every superpixel's cluster."""
        names = {i: u for u, inside in self.members.items() for i in inside}
        return [names[i] for i in range(self.graph.n_regions)]
