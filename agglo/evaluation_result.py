"""What measuring a proposal gives: numbers with their conventions, lists and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from agglo.volumes import Volume, VoxelSize
from analysis.comparison_figures import MapColumn, SegmentationColumn
from analysis.input_error import InputError
from predict.anisotropy import is_strongly_anisotropic

WARPING_CONVENTION = (
    "pixels / section left after warping the truth by simple points (4/8), mean of sections"
)
"""What is printed beside a warping error."""


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
