"""Expected run length: how far one gets along a neurite before a segmentation errs.

Januszewski et al., "High-precision automated reconstruction of neurons with flood-filling
networks" (Nature Methods 2018, Methods, *Skeleton metrics*). Start at a random point of the
skeletons and walk until the segment ends; the run length is the skeleton's path inside that
segment, or 0 where the point lies in no segment, between two, or in a merger.

All triples are z, y, x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
import numpy.typing as npt

from analysis.checked_arrays import checked_labels
from analysis.input_error import InputError

RUN_LENGTH_CONVENTIONS: dict[str, str] = {
    "expected_run_length_nm": (
        "Σ l(i,s)² / Σ L(i) in nm over skeletons i and segments s, l = length of the edges with "
        "both nodes in s; 0 for segment 0 and for mergers (Januszewski et al. 2018)"
    ),
    "largest_run_length_nm": "Σ L(i)² / Σ L(i) in nm: what a perfect segmentation reaches",
    "n_skeletons": "skeletons with an edge inside the volume",
    "n_merged_segments": "segments that hold more than the tolerance of two or more skeletons",
    "correct_share": "share of the path with both ends in one segment that is no merger",
    "split_share": "share of the path between two segments",
    "merged_share": "share of the path with both ends in one merger",
    "omitted_share": "share of the path with an end in segment 0",
}
"""One phrase for each number, to be printed beside it."""


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """The centre line of a neuron: a graph, mostly a tree, drawn in space.

    Attributes:
        name: what it is called.
        nodes_nm: (N, 3) float64, z, y, x of each node.
        edges: (E, 2) int64, indices of the nodes that each edge joins.
    """

    name: str
    nodes_nm: npt.NDArray[np.float64]
    edges: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.nodes_nm.ndim != 2 or self.nodes_nm.shape[1] != 3:
            raise InputError(
                f"nodes_nm of skeleton {self.name} must have shape (N, 3), but theirs is "
                f"{self.nodes_nm.shape}."
            )
        if not np.isfinite(self.nodes_nm).all():
            raise InputError(f"nodes_nm of skeleton {self.name} must be finite, but are not.")
        if self.edges.ndim != 2 or self.edges.shape[1] != 2 or self.edges.dtype.kind not in "iu":
            raise InputError(
                f"edges of skeleton {self.name} must be integers of shape (E, 2), but theirs are "
                f"{self.edges.dtype} and {self.edges.shape}."
            )
        if self.edges.size and not 0 <= self.edges.min() <= self.edges.max() < len(self.nodes_nm):
            raise InputError(
                f"edges of skeleton {self.name} must join nodes 0 … {len(self.nodes_nm) - 1}, but "
                f"name {self.edges.min()} … {self.edges.max()}."
            )

    @property
    def edge_lengths_nm(self) -> npt.NDArray[np.float64]:
        """(E,) float64, length of each edge."""
        first, second = self.nodes_nm[self.edges.T]
        return np.linalg.norm(second - first, axis=1)

    @property
    def length_nm(self) -> float:
        """Length of the whole path."""
        return fsum(self.edge_lengths_nm)

    def inside(self, is_inside: npt.NDArray[np.bool_]) -> Skeleton:
        """Return what is left when nodes, and the edges that they end, are taken away.

        Args:
            is_inside: (N,) bool, the nodes to keep.
        """
        place = np.cumsum(is_inside) - 1
        kept = self.edges[is_inside[self.edges].all(axis=1)]
        return Skeleton(self.name, self.nodes_nm[is_inside], place[kept].astype(np.int64))


@dataclass(frozen=True, slots=True)
class SkeletonRun:
    """How a segmentation does along one skeleton.

    Attributes:
        name: of the skeleton.
        length_nm: its path.
        expected_run_length_nm: run length from a random point of it.
        correct_nm: path with both ends in one segment that is no merger.
        split_nm: path between two segments.
        merged_nm: path with both ends in one segment that is a merger.
        omitted_nm: path with an end in no segment.
        n_segments: segments that hold a node of it.
        n_splits: edges between two segments.
    """

    name: str
    length_nm: float
    expected_run_length_nm: float
    correct_nm: float
    split_nm: float
    merged_nm: float
    omitted_nm: float
    n_segments: int
    n_splits: int


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """The expected run length of a segmentation; `RUN_LENGTH_CONVENTIONS` says how it is counted.

    Attributes:
        runs: one for each skeleton.
        merged_segments: (M,) uint64, segments that are mergers, ascending.
        merge_tolerance_nm: path of a second skeleton that makes no merger of a segment.
    """

    runs: tuple[SkeletonRun, ...]
    merged_segments: npt.NDArray[np.uint64]
    merge_tolerance_nm: float

    @property
    def length_nm(self) -> float:
        """Path of all skeletons."""
        return fsum(run.length_nm for run in self.runs)

    @property
    def expected_run_length_nm(self) -> float:
        """Run length from a random point of all skeletons."""
        return fsum(r.length_nm * r.expected_run_length_nm for r in self.runs) / self.length_nm

    @property
    def largest_run_length_nm(self) -> float:
        """Run length of a perfect segmentation."""
        return fsum(r.length_nm**2 for r in self.runs) / self.length_nm

    def share(self, kind: str) -> float:
        """Return the share of the path that is `correct`, `split`, `merged` or `omitted`."""
        return fsum(getattr(run, f"{kind}_nm") for run in self.runs) / self.length_nm


def expected_run_length(
    skeletons: Sequence[Skeleton],
    segments: Sequence[npt.ArrayLike],
    *,
    merge_tolerance_nm: float = 0.0,
) -> RunLengths:
    """Compute the expected run length of a segmentation along skeletons.

    A node's path is half of its edges. A segment is a merger if its nodes hold more than
    `merge_tolerance_nm` of path of each of two skeletons or more; every edge inside it counts as
    merged, in each of them. A segment that leaves a skeleton and comes back is one segment.

    Args:
        skeletons: at least one, each with a path longer than 0.
        segments: for each skeleton (N,) any integer dtype, the segment at each node; 0 = none.
        merge_tolerance_nm: not negative.

    Raises:
        InputError: there is no skeleton, one has no path, segments do not fit the nodes, or the
            tolerance is negative.
    """
    if not merge_tolerance_nm >= 0:
        raise InputError(f"merge_tolerance_nm must not be negative, but is {merge_tolerance_nm}.")
    if not len(skeletons):
        raise InputError("skeletons must name at least one skeleton, but is empty.")
    if len(skeletons) != len(segments):
        raise InputError(
            f"segments must be given for each skeleton, but {len(segments)} are for "
            f"{len(skeletons)} skeletons."
        )
    at_nodes = [
        _checked_segments(skeleton, given)
        for skeleton, given in zip(skeletons, segments, strict=True)
    ]
    merged = _merged_segments(skeletons, at_nodes, merge_tolerance_nm)
    runs = tuple(
        _run(skeleton, own, merged) for skeleton, own in zip(skeletons, at_nodes, strict=True)
    )
    return RunLengths(runs, merged, merge_tolerance_nm)


def _checked_segments(skeleton: Skeleton, segments: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Check the segments at the nodes of a skeleton, and that it has a path."""
    if not skeleton.length_nm > 0:
        raise InputError(f"skeleton {skeleton.name} has no path: its edges have no length.")
    values = checked_labels(segments, f"segments of skeleton {skeleton.name}")
    if values.shape != (len(skeleton.nodes_nm),):
        raise InputError(
            f"segments of skeleton {skeleton.name} must have shape "
            f"({len(skeleton.nodes_nm)},), one for each node, but theirs is {values.shape}."
        )
    return values.astype(np.uint64)


def _merged_segments(
    skeletons: Sequence[Skeleton],
    at_nodes: Sequence[npt.NDArray[np.uint64]],
    merge_tolerance_nm: float,
) -> npt.NDArray[np.uint64]:
    """Find the segments that hold more than the tolerance of two or more skeletons; ascending."""
    holders: list[npt.NDArray[np.uint64]] = []
    for skeleton, own in zip(skeletons, at_nodes, strict=True):
        ids, index = np.unique(own, return_inverse=True)
        halves = np.repeat(0.5 * skeleton.edge_lengths_nm, 2)
        held = np.bincount(index[skeleton.edges.reshape(-1)], halves, ids.size)
        holders.append(ids[(held > merge_tolerance_nm) & (ids != 0)])
    ids, n_skeletons = np.unique(np.concatenate(holders), return_counts=True)
    return ids[n_skeletons > 1]


def _run(
    skeleton: Skeleton, own: npt.NDArray[np.uint64], merged: npt.NDArray[np.uint64]
) -> SkeletonRun:
    """Sort the edges of a skeleton by what becomes of them and add up their lengths."""
    lengths = skeleton.edge_lengths_nm
    first, second = own[skeleton.edges.T]
    is_omitted = (first == 0) | (second == 0)
    is_split = (first != second) & ~is_omitted
    is_inside = (first == second) & ~is_omitted
    is_merged = is_inside & np.isin(first, merged)
    is_correct = is_inside & ~is_merged
    _, index = np.unique(first[is_correct], return_inverse=True)
    run_lengths = np.bincount(index, lengths[is_correct])
    return SkeletonRun(
        name=skeleton.name,
        length_nm=skeleton.length_nm,
        expected_run_length_nm=fsum(run_lengths**2) / skeleton.length_nm,
        correct_nm=fsum(lengths[is_correct]),
        split_nm=fsum(lengths[is_split]),
        merged_nm=fsum(lengths[is_merged]),
        omitted_nm=fsum(lengths[is_omitted]),
        n_segments=int(np.count_nonzero(np.unique(own))),
        n_splits=int(np.count_nonzero(is_split)),
    )
