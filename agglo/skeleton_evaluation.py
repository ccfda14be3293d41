"""Measure a segmentation on disk along skeletons in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agglo.block_scores import sample_labels
from agglo.cropped_part import origin_of
from agglo.skeleton_file import read_skeleton
from agglo.volumes import Volume
from analysis.input_error import InputError
from analysis.run_length import RUN_LENGTH_CONVENTIONS, RunLengths, Skeleton, expected_run_length

ARGUMENT = "--skeletons"

SKELETON_HEADER = (
    *("skeleton", "path (µm)", "run length (µm)", "correct", "split", "merged", "omitted"),
    *("segments", "splits"),
)
"""Columns of the table of skeletons."""


@dataclass(frozen=True, slots=True)
class SkeletonOptions:
    """How a segmentation is measured along skeletons.

    Attributes:
        files: SWC or `.npz` files, one neuron each; none leaves the run length out.
        unit_nm: nanometres of the files' unit of length.
        origin_nm: where the centre of voxel (0, 0, 0) lies in the files' space, z, y, x.
        merge_tolerance_nm: path of a second skeleton that makes no merger of a segment.
    """

    files: Sequence[Path] = ()
    unit_nm: float = 1.0
    origin_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    merge_tolerance_nm: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class SkeletonEvaluation:
    """The run lengths, and how much of the skeletons lay outside the volume."""

    lengths: RunLengths
    n_outside: int

    @property
    def scores(self) -> dict[str, float | int]:
        """Numbers by name."""
        lengths = self.lengths
        return {
            "expected_run_length_nm": lengths.expected_run_length_nm,
            "largest_run_length_nm": lengths.largest_run_length_nm,
            **{
                f"{kind}_share": lengths.share(kind)
                for kind in ("correct", "split", "merged", "omitted")
            },
            "n_skeletons": len(lengths.runs),
            "n_merged_segments": int(lengths.merged_segments.size),
        }

    @property
    def conventions(self) -> dict[str, str]:
        """How each number is counted."""
        tolerance = f"tolerance {self.lengths.merge_tolerance_nm:g} nm of path"
        outside = f"; {self.n_outside:,} nodes outside the volume left out"
        merged = RUN_LENGTH_CONVENTIONS["n_merged_segments"]
        return {
            **RUN_LENGTH_CONVENTIONS,
            "n_merged_segments": f"{merged} ({tolerance})",
            "n_skeletons": RUN_LENGTH_CONVENTIONS["n_skeletons"] + outside * bool(self.n_outside),
        }

    @property
    def details(self) -> dict[str, Any]:
        """What goes to JSON beside the numbers."""
        return {
            "merge_tolerance_nm": self.lengths.merge_tolerance_nm,
            "merged_segments": [int(i) for i in self.lengths.merged_segments],
            "skeletons": [asdict(run) for run in self.lengths.runs],
        }

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """Rows of the table of skeletons; see `SKELETON_HEADER`."""
        return [
            (
                run.name,
                run.length_nm / 1e3,
                run.expected_run_length_nm / 1e3,
                *(
                    f"{100 * part / run.length_nm:.1f} %"
                    for part in (run.correct_nm, run.split_nm, run.merged_nm, run.omitted_nm)
                ),
                run.n_segments,
                run.n_splits,
            )
            for run in self.lengths.runs
        ]


def evaluate_skeletons(segmentation: Volume, options: SkeletonOptions) -> SkeletonEvaluation:
    """Compute the expected run length of a segmentation.

    Coordinates are those of the whole array, also where the segmentation's address crops it.
    Nodes outside the volume are left out with their edges.

    Raises:
        InputError: a skeleton cannot be read, the voxel size is not known, or no skeleton has an
            edge inside the volume.
    """
    size = segmentation.voxel_size_nm
    if size is None:
        raise InputError(
            f"{ARGUMENT}: the voxel size of {segmentation.address} is not known, so say "
            f"--voxel-size-nm."
        )
    if not options.merge_tolerance_nm >= 0:
        raise InputError(
            f"--merge-tolerance-nm must not be negative, but is {options.merge_tolerance_nm}."
        )
    if not np.isfinite(options.origin_nm).all():
        raise InputError(f"--skeleton-origin-nm must be finite, but is {options.origin_nm}.")
    names = [path.stem for path in options.files]
    if len(set(names)) < len(names):
        raise InputError(f"{ARGUMENT} must have different names, but these are {names}.")
    kept: list[Skeleton] = []
    segments = []
    n_outside = 0
    for path in options.files:
        skeleton = read_skeleton(path, argument=ARGUMENT, unit_nm=options.unit_nm)
        steps = np.rint((skeleton.nodes_nm - options.origin_nm) / size) - origin_of(segmentation)
        is_inside = np.logical_and(steps >= 0, steps < segmentation.shape).all(axis=1)
        assert isinstance(is_inside, np.ndarray)
        inside = skeleton.inside(is_inside)
        n_outside += int(np.count_nonzero(~is_inside))
        if inside.length_nm > 0:
            kept.append(inside)
            segments.append(sample_labels(segmentation, steps[is_inside].astype(np.int64)))
    if not kept:
        extent = " x ".join(
            f"{n * edge:g}" for n, edge in zip(segmentation.shape, size, strict=True)
        )
        raise InputError(
            f"{ARGUMENT}: no skeleton has an edge inside {segmentation.address}, which is {extent} "
            f"nm large (check --skeleton-unit-nm and --skeleton-origin-nm)."
        )
    lengths = expected_run_length(kept, segments, merge_tolerance_nm=options.merge_tolerance_nm)
    return SkeletonEvaluation(lengths, n_outside)
