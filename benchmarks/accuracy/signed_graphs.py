"""bioimage-cpp: multicut and GASP on signed costs of contacts.

A cost is positive where a contact should be merged: the log odds of its evidence that there is no
boundary, shifted by a bias (Beier et al. 2017, Nature Methods 14).
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.kernels.peers import find_peers


class Setting(NamedTuple):
    """What is chosen on the training side.

    Attributes:
        bias: the evidence, inside (0, 1), from which on a boundary is believed; less merges less.
        is_weighted: a contact counts by the number of its faces.
    """

    bias: float
    is_weighted: bool


_BIASES = tuple(round(float(1 / (1 + np.exp(-0.2 * k))), 5) for k in range(-34, 35))
"""At equal steps in log odds, as far out as evidence goes."""

MULTICUT_SETTINGS = tuple(Setting(*one) for one in product(_BIASES, (True, False)))
GASP_SETTINGS = tuple(Setting(bias, True) for bias in _BIASES)
"""A mean over the faces of joined contacts needs their numbers."""

_LEAST = 0.001
"""Evidence is kept away from 0 and 1 by so much, as usual, lest one contact decide everything."""


def signed_costs(boundary: npt.NDArray[np.float64], bias: float) -> npt.NDArray[np.float64]:
    """Return log((1 − p) / p) − log((1 − β) / β): 0 where the evidence p of a boundary is β.

    Args:
        boundary: (E,) float64 in [0, 1], p.
        bias: β.
    """
    p = np.clip(boundary, _LEAST, 1 - _LEAST)
    return np.log((1 - p) / p) - np.log((1 - bias) / bias)


def multicut(
    edges: npt.NDArray[np.int32],
    boundary: npt.NDArray[np.float64],
    areas: npt.NDArray[np.int64],
    n_regions: int,
    setting: Setting,
) -> npt.NDArray[np.uint64]:
    """Part the graph where that costs least, by Kernighan-Lin from greedy additive contraction.

    Args:
        edges: (E, 2) int32, pairs u < v of regions.
        boundary: (E,) float64 in [0, 1], evidence of a boundary.
        areas: (E,) int64, faces of each contact.
        n_regions: R.
        setting: bias of the costs, and whether they are multiplied by areas.

    Returns:
        (R,) uint64, cluster of each region, from 0.
    """
    solvers = _peer().graph.multicut
    costs = signed_costs(boundary, setting.bias)
    if setting.is_weighted:
        costs *= areas / areas.max()
    objective = solvers.MulticutObjective(_undirected(edges, n_regions), costs)
    return solvers.KernighanLinMulticut().optimize(objective)


def gasp_average(
    edges: npt.NDArray[np.int32],
    boundary: npt.NDArray[np.float64],
    areas: npt.NDArray[np.int64],
    n_regions: int,
    setting: Setting,
) -> npt.NDArray[np.uint64]:
    """Merge by the mean signed cost over the faces of contacts (Bailoni et al. 2022, GASP).

    Args:
        edges: (E, 2) int32, pairs u < v of regions.
        boundary: (E,) float64 in [0, 1], evidence of a boundary.
        areas: (E,) int64, faces of each contact.
        n_regions: R.
        setting: bias of the costs.

    Returns:
        (R,) uint64, cluster of each region, from 0.
    """
    policy = _peer().graph.agglomeration.GaspClusterPolicy(num_clusters_stop=1, linkage="mean")
    return policy.optimize(
        _undirected(edges, n_regions),
        signed_costs(boundary, setting.bias),
        edge_sizes=areas.astype(np.float64),
    )


def _peer():
    peer = find_peers().bioimage_cpp
    assert peer is not None
    return peer


def _undirected(edges: npt.NDArray[np.int32], n_regions: int):
    graph = _peer().graph.UndirectedGraph.from_unique_edges(n_regions, edges.astype(np.uint64))
    graph.freeze()
    return graph
