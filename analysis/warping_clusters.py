"""Clusters of mismatches: what each remaining difference, taken as a whole, does to the truth.

A cluster is a connected set of mismatches of one sign: interior that the proposal lacks,
connected as interior is, or interior that it adds, connected as membrane is. Its type follows
from the topology of the warped truth with that one cluster flipped: whether an object vanished,
fell apart, appeared or took in another, else whether holes were made or closed. So two cuts
through one object are two splits, and a ring drawn into an object is one, where single pixels
show neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import networkx as nx
import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import sparse
from scipy.sparse import csgraph

from analysis.connectivity import (
    DUAL,
    Connectivity,
    is_planar,
    label_components,
    neighbour_offsets,
    pad_widths,
)
from analysis.euler_characteristic import BLOCK_TERMS_6, BLOCK_TERMS_26, block_code
from analysis.warping_types import Mismatch, WarpingResult


@dataclass(frozen=True, slots=True, eq=False)
class MismatchClusters:
    """The connected sets of mismatches that a warp has left, C of them.

    The changes are those of the warped truth when the cluster alone is flipped to the proposal.

    Attributes:
        map: (Z, Y, X) int32, 1 + index of the cluster of every mismatch, 0 elsewhere.
        kinds: (C,) uint8, `Mismatch` of each.
        sizes: (C,) int64, pixels of each.
        places: (C, 3) int64, z, y, x of the first pixel of each in raster order.
        objects: (C,) int64, change of the number of objects.
        tunnels: (C,) int64, change of the number of tunnels; in sections, of holes.
        cavities: (C,) int64, change of the number of cavities; in sections 0.
    """

    map: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
    tunnels: npt.NDArray[np.int64]
    cavities: npt.NDArray[np.int64]

    @property
    def counts(self) -> dict[str, int]:
        """Clusters of each type, by its name in lower case."""
        counts = np.bincount(self.kinds, minlength=len(Mismatch))
        return {kind.name.lower(): int(counts[kind]) for kind in Mismatch if kind}


def mismatch_clusters(result: WarpingResult) -> MismatchClusters:
    """Gather the mismatches of a warp to clusters and type each by what it does as a whole.

    The pieces that a cluster leaves of its object are counted in the graph of all clusters and of
    the components between them: as many as the blocks (Hopcroft and Tarjan, CACM 1973) that meet
    in it. A cluster that does several things at once takes the first type that holds: object
    deletion, split; merge, object addition; hole addition, hole deletion; shift.

    Args:
        result: of `warping_error`, by section or of a volume.
    """
    return find_clusters(result.warped, result.mismatches != 0, result.foreground)


def find_clusters(
    warped: npt.NDArray[np.bool_], left: npt.NDArray[np.bool_], foreground: Connectivity
) -> MismatchClusters:
    """Do as `mismatch_clusters`, of the warped truth and the mismatches that are left.

    Args:
        warped: (z, y, x) bool, interior.
        left: (z, y, x) bool, where the proposal differs.
        foreground: connectivity of the interior.
    """
    widths = pad_widths(foreground)
    interior = np.pad(warped, widths)
    differs = np.pad(left, widths)
    removed, n_removed = label_components(interior & differs, foreground)
    added, n_added = label_components(~interior & differs, DUAL[foreground])
    clusters = np.where(added > 0, added + np.int32(n_removed), removed)
    n_clusters = n_removed + n_added

    n_pieces = _count_pieces(interior, removed, n_removed, foreground)
    n_joined, n_touched, n_alone = _count_joined(interior, added, n_added, foreground)
    n_membranes = _count_pieces(~interior, added, n_added, DUAL[foreground])
    n_membranes_joined, n_membranes_touched, _ = _count_joined(
        ~interior, removed, n_removed, DUAL[foreground]
    )
    objects = np.concatenate((n_pieces - 1, n_joined - n_touched))
    membranes = np.concatenate((n_membranes_joined - n_membranes_touched, n_membranes - 1))
    if is_planar(foreground):
        tunnels, cavities = membranes, np.zeros_like(membranes)
    else:
        change = np.zeros(n_clusters, dtype=np.int64)
        terms = BLOCK_TERMS_6 if foreground == 6 else BLOCK_TERMS_26
        _sum_changes(interior.view(np.uint8), clusters, np.argwhere(clusters), terms, change)
        cavities = membranes
        tunnels = objects + cavities - change // 8

    holes = np.sign(tunnels + cavities)
    kinds = np.choose(holes + 1, (Mismatch.HOLE_DELETION, Mismatch.SHIFT, Mismatch.HOLE_ADDITION))
    kinds[:n_removed][n_pieces == 0] = Mismatch.OBJECT_DELETION
    kinds[:n_removed][n_pieces > 1] = Mismatch.SPLIT
    kinds[n_removed:][n_alone > 0] = Mismatch.OBJECT_ADDITION
    kinds[n_removed:][n_joined - n_alone < n_touched] = Mismatch.MERGE

    seen = np.ascontiguousarray(clusters[tuple(slice(low, -low or None) for low, _ in widths)])
    places = np.argwhere(seen)
    first = np.unique(seen[tuple(places.T)], return_index=True)[1]
    return MismatchClusters(
        map=seen,
        kinds=kinds.astype(np.uint8),
        sizes=np.bincount(seen.reshape(-1), minlength=n_clusters + 1)[1:],
        places=places[first],
        objects=objects,
        tunnels=tunnels,
        cavities=cavities,
    )


def _touching(
    clusters: npt.NDArray[np.int32], parts: npt.NDArray[np.int32], connectivity: Connectivity
) -> npt.NDArray[np.int64]:
    """List the pairs (cluster, part) that touch.

    Args:
        clusters: (z, y, x) int32, 0 = none, none at the edge of a volume or planar section.
        parts: (z, y, x) int32, 0 = none.
        connectivity: what counts as touching.

    Returns:
        (P, 2) int64, rising.
    """
    here = np.flatnonzero(clusters)
    owners = clusters.reshape(-1)[here].astype(np.int64)
    width = np.int64(parts.max(initial=0)) + 1
    keys = [np.zeros(0, dtype=np.int64)]
    for offset in neighbour_offsets(parts.shape, connectivity):
        there = parts.reshape(-1)[here + offset]
        keys.append(np.unique((owners * width + there)[there > 0]))
    return np.stack(np.divmod(np.unique(np.concatenate(keys)), width), axis=1)


def _count_pieces(
    phase: npt.NDArray[np.bool_],
    clusters: npt.NDArray[np.int32],
    n_clusters: int,
    connectivity: Connectivity,
) -> npt.NDArray[np.int64]:
    """Count what is left of its component, in components, when a cluster leaves its phase.

    Args:
        phase: (z, y, x) bool.
        clusters: (z, y, x) int32, connected sets in the phase that do not touch one another.
        n_clusters: their number, C.
        connectivity: of the phase and the clusters.

    Returns:
        (C,) int64.
    """
    parts, _ = label_components(phase & (clusters == 0), connectivity)
    pairs = _touching(clusters, parts, connectivity)
    n_pieces = np.bincount(pairs[:, 0], minlength=n_clusters + 1)
    has_several = n_pieces > 1
    n_pieces[has_several] = 0
    graph = nx.Graph()
    graph.add_edges_from(((-c, part) for c, part in pairs[has_several[pairs[:, 0]]].tolist()))
    for block in cast(Iterable[set[int]], nx.biconnected_components(graph)):
        for node in block:
            if node < 0:
                n_pieces[-node] += 1
    return n_pieces[1:]


def _count_joined(
    phase: npt.NDArray[np.bool_],
    clusters: npt.NDArray[np.int32],
    n_clusters: int,
    connectivity: Connectivity,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the components that a cluster forms, and joins, when it enters the other phase.

    Args:
        phase: (z, y, x) bool, the phase to enter.
        clusters: (z, y, x) int32, sets outside it, connected by its dual connectivity.
        n_clusters: their number, C.
        connectivity: of the phase.

    Returns:
        Three of (C,) int64: components of the cluster and all it touches; components of the phase
        that it touches; components of the cluster that touch nothing.
    """
    if connectivity in (8, 26):
        pieces, n_pieces = clusters, n_clusters
    else:
        pieces, n_pieces = label_components(clusters > 0, connectivity)
    owners = np.zeros(n_pieces + 1, dtype=np.int64)
    owners[pieces] = clusters
    pairs = _touching(pieces, label_components(phase, connectivity)[0], connectivity)
    touched, node = np.unique(
        np.stack((owners[pairs[:, 0]], pairs[:, 1])), axis=1, return_inverse=True
    )
    n_nodes = n_pieces + 1 + touched.shape[1]
    links = sparse.coo_array(
        (np.ones(node.size, dtype=bool), (pairs[:, 0], n_pieces + 1 + node)),
        shape=(n_nodes, n_nodes),
    )
    _, component = csgraph.connected_components(links, directed=False)
    _, first = np.unique(component[1 : n_pieces + 1], return_index=True)
    touches = np.zeros(n_pieces + 1, dtype=bool)
    touches[pairs[:, 0]] = True
    return (
        np.bincount(owners[1:][first], minlength=n_clusters + 1)[1:],
        np.bincount(touched[0], minlength=n_clusters + 1)[1:],
        np.bincount(owners[1:][~touches[1:]], minlength=n_clusters + 1)[1:],
    )


@njit(cache=True)
def _sum_changes(volume, clusters, places, terms, out_change):
    """Sum the change of 8 χ when each cluster is flipped alone; (C,) int64.

    Every block of 2 × 2 × 2 voxels that holds some of a cluster is taken up at the first of them.
    """
    for i in range(places.shape[0]):
        z, y, x = places[i]
        cluster = clusters[z, y, x]
        for k in range(8):
            w, v, u = z - (k >> 2), y - (k >> 1 & 1), x - (k & 1)
            flipped = 0
            for j in range(8):
                if clusters[w + (j >> 2), v + (j >> 1 & 1), u + (j & 1)] == cluster:
                    flipped |= 1 << j
            if flipped & ((1 << k) - 1) == 0:
                code = block_code(volume, w, v, u)
                out_change[cluster - 1] += terms[code ^ flipped] - terms[code]
