"""waterz: agglomeration by a quantile of affinities (Funke et al. 2019, IEEE TPAMI 41).

All triples are z, y, x. The affinity of a face is 1 less the larger boundary value of its voxels.
Quantiles come from histograms of 256 bins over all faces of a contact; with `from_maximum` a
contact of superpixels has its largest affinity alone, as in the original. Both are compiled ahead
of time in the package; what is not is compiled at its first use and kept by its own cache.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.trees import Merges
from benchmarks.kernels.peers import find_peers, silence


class QuantileTree(NamedTuple):
    """Merges of a run, and the CPU seconds of merging and relabelling, its graph's apart."""

    merges: Merges
    cpu_s: float


def quantile_linkage(
    superpixels: npt.NDArray[np.uint64],
    boundaries: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.uint64],
    quantile: int,
    *,
    from_maximum: bool = False,
    threshold: float = -1.0,
) -> QuantileTree:
    """Merge the pair of regions with the highest quantile of affinities, down to a threshold.

    Args:
        superpixels: (z, y, x) uint64, 0 = none.
        boundaries: (z, y, x) uint8, 255 = boundary.
        ids: (R,) uint64, the superpixels, ascending.
        quantile: per cent of a contact's affinities below it.
        from_maximum: let a contact of two superpixels count by its largest affinity only.
        threshold: height, the quantile, down to which is merged; heights are in [0, 1].
    """
    waterz = find_peers().waterz
    assert waterz is not None
    start = "true" if from_maximum else "false"
    score = (
        f"OneMinus<HistogramQuantileAffinity<RegionGraphType,{quantile},ScoreValue,256,{start}>>"
    )
    with silence():
        runs = waterz.agglomerate(
            affinities_of(boundaries),
            [-1.0, 1 - threshold],  # nothing is below the first: the graph is built for it
            fragments=superpixels.copy(),
            return_merge_history=True,
            scoring_function=score,
        )
        next(runs)
        begun = time.process_time()
        _, history = next(runs)
        cpu_s = time.process_time() - begun
    return QuantileTree(merges_of(history, ids), cpu_s)


def affinities_of(boundaries: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return affinities (3, z, y, x) float32 to the voxel before along each axis."""
    affinities = np.ones((3, *boundaries.shape), np.float32)
    for axis in range(3):
        value = np.moveaxis(boundaries, axis, 0)
        larger = np.maximum(value[:-1], value[1:])
        np.moveaxis(affinities[axis], axis, 0)[1:] = 1 - larger / np.float32(255)
    return affinities


def merges_of(history: list[dict], ids: npt.NDArray[np.uint64]) -> Merges:
    """Name the merges of a history by the smallest regions of the two.

    A score that rises again after a merge (waterz looks at it late) is held at the highest before,
    as a cut at a threshold meets the merges in their order.

    Args:
        history: merges of clusters a and b, which goes on as c, with a score that rises.
        ids: (R,) uint64, the superpixels, ascending.
    """
    index = {int(name): i for i, name in enumerate(ids)}
    smallest = dict(index)
    pairs = np.empty((len(history), 2), np.int32)
    for k, merge in enumerate(history):
        u, v = smallest[merge["a"]], smallest[merge["b"]]
        pairs[k] = min(u, v), max(u, v)
        smallest[merge["c"]] = min(u, v)
    scores = np.array([merge["score"] for merge in history], np.float64)
    return pairs, 1 - np.maximum.accumulate(scores)
