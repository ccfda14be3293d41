"""What a warp of the truth leaves wrong: the types of mismatch and the result that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from analysis.connectivity import Connectivity


class Mismatch(IntEnum):
    """How the proposal is wrong where no warp of the truth explains it.

    `SHIFT` changes no number of objects or holes: a border farther away than the warp may reach.
    """

    NONE = 0
    SPLIT = 1
    MERGE = 2
    HOLE_ADDITION = 3
    HOLE_DELETION = 4
    OBJECT_ADDITION = 5
    OBJECT_DELETION = 6
    SHIFT = 7


@dataclass(frozen=True, slots=True, eq=False)
class WarpingResult:
    """The warping error of a stack of sections, or of a volume, and where it lies.

    Attributes:
        error: mean over sections of `section_errors`.
        section_errors: (Z,) float64, remaining mismatches / pixels of each section.
        warped: (Z, Y, X) bool, the true interior after warping.
        mismatches: (Z, Y, X) uint8, `Mismatch` of every pixel.
        foreground: connectivity of the interior: 4 was warped by section, 6 and 26 as a volume.
    """

    error: float
    section_errors: npt.NDArray[np.float64]
    warped: npt.NDArray[np.bool_]
    mismatches: npt.NDArray[np.uint8]
    foreground: Connectivity = 4

    @property
    def counts(self) -> dict[str, int]:
        """Pixels of each type of mismatch, by its name in lower case."""
        counts = np.bincount(self.mismatches.reshape(-1), minlength=len(Mismatch))
        return {kind.name.lower(): int(counts[kind]) for kind in Mismatch if kind}

    @property
    def split_merge_error(self) -> float:
        """Share of all pixels that are typed split or merge."""
        counts = self.counts
        return (counts["split"] + counts["merge"]) / self.mismatches.size
