"""Flooding of a boundary map from the regional minima of its smoothed self."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import local_minima
from skimage.segmentation import watershed

from benchmarks.kernels.peers import Peers
from benchmarks.kernels.race import OURS, Row, race
from benchmarks.kernels.volumes import BenchmarkVolume
from predict.flooding import flood

FLOODING = "flooding"


def race_flooding(volume: BenchmarkVolume, peers: Peers, n_runs: int) -> list[Row]:
    """Flood; bioimage-cpp rounds heights to 65,536 levels and leaves their order open."""
    boundaries = volume.boundaries
    seeds = np.empty(boundaries.shape, np.int32)
    ndimage.label(local_minima(ndimage.gaussian_filter(boundaries, 1.0)), output=seeds)
    contenders: dict[str, Callable[[], Any]] = {
        OURS: lambda: flood(boundaries, seeds),
        "scikit-image": lambda: watershed(boundaries, seeds),
    }
    if peers.bioimage_cpp:
        peer = peers.bioimage_cpp
        contenders["bioimage-cpp"] = lambda: peer.segmentation.watershed(boundaries, seeds)
    return [
        Row(volume.name, volume.n_voxels, FLOODING, who, cpu_s, volume.n_voxels / 1e6, "Mvoxel")
        for who, cpu_s in race(contenders, n_runs)[0].items()
    ]
