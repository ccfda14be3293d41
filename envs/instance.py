"""One episode's problem: a region graph, what is true of it, and what experts could add."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs.region_graph import RegionGraph
from envs.skeleton_runs import NO_SKELETONS, Skeletons
from envs.truth_rows import NO_TRUTH, TruthTable


class LabelledVolume(NamedTuple):
    """The voxels behind an instance, for drawing and for errors that need them.

    Attributes:
        superpixels: (z, y, x) integer, 0 = none.
        image: (z, y, x) uint8 grey values.
        labels: (z, y, x) integer truth, 0 = unknown or membrane.
    """

    superpixels: npt.NDArray[np.integer]
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]


class Instance(NamedTuple):
    """One episode's problem.

    Attributes:
        graph: regions, contacts and their sums as first imaged.
        truth: contingency table of the regions.
        clear: the same regions and contacts with the sums a microscope's second look gives; None
            where nothing can be imaged again.
        volume: the voxels; None where nothing asks for them.
        synapses: contingency table of weighted points (`envs.synapse_rows`).
        skeletons: skeletons of the true neurons (`envs.skeleton_runs`).
    """

    graph: RegionGraph
    truth: TruthTable
    clear: RegionGraph | None = None
    volume: LabelledVolume | None = None
    synapses: TruthTable = NO_TRUTH
    skeletons: Skeletons = NO_SKELETONS
