"""What measuring a proposal gives: numbers with their conventions, lists and pictures.

The conventions of a warping error depend on how the truth is warped, which is stated here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from agglo.volumes import Volume, VoxelSize
from analysis.border_zone import border_zone
from analysis.comparison_figures import MapColumn, SegmentationColumn
from analysis.connectivity import Connectivity
from analysis.input_error import InputError
from analysis.warping_types import Mismatch
from predict.anisotropy import is_strongly_anisotropic

WarpedUnit = Literal["sections", "volume", "none"]
"""What is warped as a whole: each section, the volume, or nothing."""

_WARPING_CONVENTIONS: dict[WarpedUnit, str] = {
    "sections": (
        "pixels / section left after warping the truth by simple points (4/8), mean of sections"
    ),
    "volume": (
        "voxels / volume left after warping the truth in 3D by simple points (6/26), membrane on "
        "both sides where labels touch"
    ),
    "none": "",
}

_CLUSTER_EFFECTS: dict[Mismatch, str] = {
    Mismatch.SPLIT: "that cut an object apart",
    Mismatch.MERGE: "that join objects",
    Mismatch.HOLE_ADDITION: "that make a hole",
    Mismatch.HOLE_DELETION: "that close a hole",
    Mismatch.OBJECT_ADDITION: "that are an object too many",
    Mismatch.OBJECT_DELETION: "that leave an object out",
    Mismatch.SHIFT: "that change no object and no hole",
}

_MAX_VOXELS = 2**31
"""What is warped as a whole must have fewer."""


@dataclass(frozen=True, slots=True)
class WarpingOptions:
    """How the truth is warped towards a proposal.

    Attributes:
        unit: what is warped as a whole: each section (foreground 4, background 8), the volume
            (6 and 26), or nothing.
        reach_vox: the warp flips no voxel farther than this from the true border; it may flip
            all if None.
    """

    unit: WarpedUnit = "sections"
    reach_vox: float | None = None

    def __post_init__(self) -> None:
        if self.reach_vox is None:
            return
        if self.unit == "none":
            raise InputError("--warping-reach limits a warp, which --warping none leaves out.")
        if not 1 <= self.reach_vox < np.inf:
            raise InputError(
                f"--warping-reach must be at least 1 voxel and finite, but is {self.reach_vox:g}."
            )

    @property
    def foreground(self) -> Connectivity:
        """Connectivity of the interior."""
        return 6 if self.unit == "volume" else 4

    def mask(self, interior: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
        """Mark what may flip, for the true interior, (z, y, x) bool; None where all may."""
        if self.reach_vox is None:
            return None
        return border_zone(interior, self.reach_vox, self.foreground)

    def check_size(self, labels: Volume) -> None:
        """Check that a volume is not too large for being warped as a whole, before it is read.

        Raises:
            InputError: it is.
        """
        if self.unit == "volume" and np.prod(labels.shape, dtype=object) >= _MAX_VOXELS:
            raise InputError(
                f"--warping volume warps fewer than 2³¹ voxels, but {labels.argument} has shape "
                f"{labels.shape}."
            )

    @property
    def convention(self) -> str:
        """What is printed beside a warping error."""
        text = _WARPING_CONVENTIONS[self.unit]
        if self.reach_vox is not None:
            text += f", flips within {self.reach_vox:g} voxels of a true border only"
        return text

    @property
    def split_merge_convention(self) -> str:
        """What is printed beside a share of splits and mergers."""
        if self.unit == "volume" or self.reach_vox is not None:
            return "share of voxels in clusters typed split or merge after warping"
        return "share of pixels typed split or merge after warping"

    @property
    def cluster_conventions(self) -> dict[str, str]:
        """What is printed beside the numbers of clusters, by the names of `cluster_scores`."""
        over = "volume" if self.unit == "volume" else "all sections"
        return {
            _cluster_name(kind.name): f"connected differences left {effect}, number in {over}"
            for kind, effect in _CLUSTER_EFFECTS.items()
        }


def cluster_scores(counts: Mapping[str, int]) -> dict[str, float | int]:
    """Name the numbers of clusters of each type of mismatch as they go to table and JSON.

    Args:
        counts: clusters by the name of their type, as `MismatchClusters.counts`.
    """
    return {_cluster_name(kind): n for kind, n in counts.items()}


def _cluster_name(kind: str) -> str:
    """Name the number of clusters of a type."""
    return f"warping_{kind.lower()}_clusters"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Numbers, how each is counted, lists that go to JSON, and pictures by file name.

    Attributes:
        scores: numbers by name.
        conventions: how each is counted.
        figures: pictures by file name, where they were asked for.
        details: lists and curves by name.
        skeleton_rows: the table of skeletons, its header first; empty without skeletons.
        column: what a comparison with others draws, where pictures were asked for.
        voxel_size_nm: edges of a voxel (z, y, x), where known.
    """

    scores: dict[str, float | int]
    conventions: dict[str, str]
    figures: dict[str, Figure] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    skeleton_rows: list[tuple[Any, ...]] = field(default_factory=list)
    column: SegmentationColumn | MapColumn | None = None
    voxel_size_nm: VoxelSize | None = None

    @property
    def results(self) -> dict[str, Any]:
        """Everything that goes to JSON."""
        return {**self.scores, **self.details}

    def save_pictures(self, folder: Path) -> None:
        """Write the pictures as PNG files.

        Raises:
            InputError: where the folder cannot be made or written.
        """
        save_figures(folder, self.figures)


def rows_of(evaluation: Evaluation) -> list[tuple[Any, ...]]:
    """Return the rows of the printed table: name, value, convention."""
    return [
        (name, value, evaluation.conventions.get(name, ""))
        for name, value in evaluation.scores.items()
    ]


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> None:
    """Write figures as PNG files, by name.

    Raises:
        InputError: where the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=120)
    except OSError as error:
        raise InputError(f"--pictures: {folder} cannot be written ({error}).") from error


def is_sectioned(voxel_size_nm: VoxelSize | None) -> bool:
    """Tell whether sections lie so far apart that borders are those within a section."""
    return voxel_size_nm is not None and is_strongly_anisotropic(voxel_size_nm)


def no_truth(labels: Volume) -> InputError:
    """Say that labels hold no label."""
    return InputError(
        f"--labels: {labels.address} of shape {labels.shape} is 0 everywhere: no truth."
    )
