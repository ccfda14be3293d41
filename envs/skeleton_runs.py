"""Expected run length on given skeletons, kept while regions merge.

Expected run length (Januszewski et al., Nature Methods 2018) is the length of skeleton, of the
piece without error that a random point of all skeletons lies on: Σ L² / Σ length over pairs of a
neuron and a cluster, L the length of the neuron's edges with both ends in the cluster. A cluster
with nodes of two neurons is a merger, and its pieces count 0. Lengths are integers in nm, so the
sums do not depend on the order of merges. Where every node has an edge of some length, this is
`analysis.run_length` without tolerance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from envs.synapse_rows import values_at

_NO_NEURON = np.int32(-1)
_MIXED = np.int32(-2)


class Skeletons(NamedTuple):
    """Skeletons of neurons, their nodes placed in the regions of a graph.

    Attributes:
        node_region: (N,) int32 region index, −1 = in no superpixel.
        node_neuron: (N,) int32 dense neuron index.
        edges: (M, 2) int32 node indices, both of one neuron.
        lengths_nm: (M,) int64.
    """

    node_region: npt.NDArray[np.int32]
    node_neuron: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int32]
    lengths_nm: npt.NDArray[np.int64]


NO_SKELETONS = Skeletons(
    np.empty(0, np.int32), np.empty(0, np.int32), np.empty((0, 2), np.int32), np.empty(0, np.int64)
)
"""What an episode without skeletons plays on."""


class RunState(NamedTuple):
    """Nodes of clusters as linked lists, and the length of skeleton inside each.

    Attributes:
        slot_of: (R,) int32, slot that belongs to a region.
        head, tail: (R,) int32, first and last node of a slot, −1 = empty.
        n_nodes: (R,) int32, nodes of a slot.
        neuron: (R,) int32, neuron of a slot; −1 = no node, −2 = nodes of several.
        length: (R,) int64, nm of edges with both ends in a slot; 0 if nodes are of several neurons.
        follow: (N,) int32, next node of the same slot, −1 = last.
        node_slot: (N,) int32, slot of a node, −1 = in no superpixel.
        node_neuron: (N,) int32.
        first_link: (N + 1,) int64, where the links of a node begin.
        link_node: (2M,) int32, the other end of a link.
        link_length: (2M,) int64, nm.
        most: (1,) float64, Σ over neurons of length²: what Σ L² is without an error.
    """

    slot_of: npt.NDArray[np.int32]
    head: npt.NDArray[np.int32]
    tail: npt.NDArray[np.int32]
    n_nodes: npt.NDArray[np.int32]
    neuron: npt.NDArray[np.int32]
    length: npt.NDArray[np.int64]
    follow: npt.NDArray[np.int32]
    node_slot: npt.NDArray[np.int32]
    node_neuron: npt.NDArray[np.int32]
    first_link: npt.NDArray[np.int64]
    link_node: npt.NDArray[np.int32]
    link_length: npt.NDArray[np.int64]
    most: npt.NDArray[np.float64]


def skeletons_of(
    ids: npt.NDArray[np.uint64],
    superpixels: npt.NDArray[np.integer],
    nodes_vox: npt.NDArray[np.integer],
    node_neuron: npt.NDArray[np.integer],
    edges: npt.NDArray[np.integer],
    voxel_size_nm: tuple[float, float, float],
) -> Skeletons:
    """Place skeletons in the regions of a graph and measure their edges to whole nanometres.

    Args:
        ids: (R,) uint64 superpixel ids of a region graph, ascending.
        superpixels: (z, y, x) integer, 0 = none.
        nodes_vox: (N, 3) integer, z, y, x of the voxel of each node.
        node_neuron: (N,) integer, neuron of each node.
        edges: (M, 2) integer, indices into the nodes; not twice the same, not between neurons.
        voxel_size_nm: edge lengths of a voxel.

    Raises:
        InputError: where one of this does not hold, or superpixels hold other ids.
    """
    segments = values_at(superpixels, nodes_vox, "nodes_vox").astype(np.uint64)
    n_nodes = len(segments)
    if node_neuron.shape != (n_nodes,) or node_neuron.dtype.kind not in "ui":
        raise InputError(
            f"node_neuron must be {n_nodes} integers, not {node_neuron.dtype} of shape "
            f"{node_neuron.shape}"
        )
    _check_edges(edges, node_neuron)
    region = np.searchsorted(ids, segments)
    is_known = np.isin(segments, ids)
    if not (is_known | (segments == 0)).all():
        raise InputError(f"superpixels hold ids that are not among the {len(ids)} of the graph")
    nodes_nm = nodes_vox.astype(np.float64) * voxel_size_nm
    steps_nm = nodes_nm[edges[:, 0]] - nodes_nm[edges[:, 1]]
    return Skeletons(
        np.where(is_known, region, -1).astype(np.int32),
        np.unique(node_neuron, return_inverse=True)[1].astype(np.int32),
        edges.astype(np.int32),
        np.rint(np.sqrt((steps_nm**2).sum(1))).astype(np.int64),
    )


def _check_edges(edges: npt.NDArray[np.integer], node_neuron: npt.NDArray[np.integer]) -> None:
    """Raise InputError unless edges are different pairs of nodes of one neuron each."""
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "ui":
        raise InputError(
            f"edges must be integer pairs of nodes, not {edges.dtype} of shape {edges.shape}"
        )
    if not len(edges):
        raise InputError("edges must hold at least one pair of nodes, but is empty")
    if edges.min() < 0 or edges.max() >= len(node_neuron):
        raise InputError(
            f"edges must be indices of {len(node_neuron)} nodes, but reach from {edges.min()} "
            f"to {edges.max()}"
        )
    between = node_neuron[edges[:, 0]] != node_neuron[edges[:, 1]]
    if between.any():
        raise InputError(f"edges join nodes {edges[between][0].tolist()} of different neurons")
    _, first, n_times = np.unique(
        np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True
    )
    if n_times.max() > 1:
        twice = edges[first[n_times.argmax()]].tolist()
        raise InputError(f"edges hold the pair {twice} more than once")


def start_runs(skeletons: Skeletons, n_regions: int) -> RunState:
    """Lay out the skeletons over unmerged regions for the kernels."""
    n_nodes = len(skeletons.node_region)
    ends = np.concatenate([skeletons.edges[:, 0], skeletons.edges[:, 1]])
    others = np.concatenate([skeletons.edges[:, 1], skeletons.edges[:, 0]])
    order = np.argsort(ends, kind="stable")
    by_neuron = np.zeros(int(skeletons.node_neuron.max(initial=-1)) + 1, np.int64)
    np.add.at(by_neuron, skeletons.node_neuron[skeletons.edges[:, 0]], skeletons.lengths_nm)
    runs = RunState(
        slot_of=np.arange(n_regions, dtype=np.int32),
        head=np.full(n_regions, -1, np.int32),
        tail=np.full(n_regions, -1, np.int32),
        n_nodes=np.zeros(n_regions, np.int32),
        neuron=np.full(n_regions, _NO_NEURON, np.int32),
        length=np.zeros(n_regions, np.int64),
        follow=np.full(n_nodes, -1, np.int32),
        node_slot=np.array(skeletons.node_region, np.int32),
        node_neuron=np.array(skeletons.node_neuron, np.int32),
        first_link=np.searchsorted(ends[order], np.arange(n_nodes + 1)).astype(np.int64),
        link_node=others[order].astype(np.int32),
        link_length=np.tile(skeletons.lengths_nm, 2)[order].astype(np.int64),
        most=np.array([(by_neuron.astype(np.float64) ** 2).sum()]),
    )
    _link(runs)
    return runs


@njit(cache=True)
def _link(runs):
    """Enter all nodes into the lists of their slots and measure what lies inside."""
    for node in range(len(runs.node_slot) - 1, -1, -1):
        slot = runs.node_slot[node]
        if slot >= 0:
            if runs.head[slot] < 0:
                runs.tail[slot] = node
            runs.follow[node] = runs.head[slot]
            runs.head[slot] = node
            runs.n_nodes[slot] += 1
    _measure(runs, runs.neuron, runs.length)


@njit(cache=True)
def _measure(runs, out_neuron, out_length):
    """Write the neuron and the length inside of every slot, from scratch; both (R,)."""
    out_neuron[:] = _NO_NEURON
    out_length[:] = 0
    for node in range(len(runs.node_slot)):
        slot = runs.node_slot[node]
        if slot >= 0:
            out_neuron[slot] = _joint_neuron(out_neuron[slot], runs.node_neuron[node])
            for link in range(runs.first_link[node], runs.first_link[node + 1]):
                other = runs.link_node[link]
                if other > node and runs.node_slot[other] == slot:
                    out_length[slot] += runs.link_length[link]
    for slot in range(len(out_neuron)):
        if out_neuron[slot] == _MIXED:
            out_length[slot] = 0


@njit(cache=True)
def _joint_neuron(first, second):
    """Return the neuron of the union of two sets of nodes."""
    if first == _NO_NEURON or first == second:
        return second
    return first if second == _NO_NEURON else _MIXED


@njit(cache=True)
def _length_between(runs, i, j):
    """Return the length of the edges between two slots, walking the nodes of slot i."""
    length = np.int64(0)
    node = runs.head[i]
    while node >= 0:
        for link in range(runs.first_link[node], runs.first_link[node + 1]):
            if runs.node_slot[runs.link_node[link]] == j:
                length += runs.link_length[link]
        node = runs.follow[node]
    return length


@njit(cache=True)
def _slots_by_size(runs, u, v):
    """Return the slots of two regions, that with fewer nodes first."""
    i, j = runs.slot_of[u], runs.slot_of[v]
    return (i, j) if runs.n_nodes[i] <= runs.n_nodes[j] else (j, i)


@njit(cache=True)
def run_gain(runs, u, v):
    """Return by how much `run_error` falls if regions u and v merge."""
    i, j = _slots_by_size(runs, u, v)
    if runs.n_nodes[i] == 0:
        return 0.0
    l_i, l_j = float(runs.length[i]), float(runs.length[j])
    if _joint_neuron(runs.neuron[i], runs.neuron[j]) == _MIXED:
        return -(l_i * l_i + l_j * l_j) / runs.most[0]
    between = float(_length_between(runs, i, j))
    return (2.0 * l_i * l_j + 2.0 * between * (l_i + l_j) + between * between) / runs.most[0]


@njit(cache=True)
def join_runs(runs, kept, gone):
    """Add the nodes of region `gone` to those of region `kept`, walking the fewer of them."""
    i, j = _slots_by_size(runs, kept, gone)
    neuron = _joint_neuron(runs.neuron[i], runs.neuron[j])
    if neuron == _MIXED:
        runs.length[j] = 0
    elif runs.n_nodes[i] > 0:
        runs.length[j] += runs.length[i] + _length_between(runs, i, j)
    runs.neuron[j] = neuron
    node = runs.head[i]
    while node >= 0:
        runs.node_slot[node] = j
        node = runs.follow[node]
    if runs.n_nodes[i] > 0:
        runs.follow[runs.tail[j]] = runs.head[i]
        runs.tail[j] = runs.tail[i]
    runs.n_nodes[j] += runs.n_nodes[i]
    runs.head[i] = runs.tail[i] = -1
    runs.n_nodes[i] = 0
    runs.neuron[i] = _NO_NEURON
    runs.length[i] = 0
    runs.slot_of[kept] = j
    runs.slot_of[gone] = i


@njit(cache=True)
def run_error(runs):
    """Return 1 − ERL / the ERL of whole neurons, from scratch: 0 = no error, 1 = all cut up.

    Whole neurons have Σ_k length_k² / Σ_k length_k, parts outside every superpixel included.
    """
    neuron = np.empty_like(runs.neuron)
    length = np.empty_like(runs.length)
    _measure(runs, neuron, length)
    squares = 0.0
    for slot in range(len(length)):
        squares += float(length[slot]) ** 2
    return 1.0 - squares / runs.most[0]
