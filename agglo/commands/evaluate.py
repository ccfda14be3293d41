"""`agglo evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agglo.commands.options import VoxelSizeNm
from agglo.evaluation import evaluate_boundaries, evaluate_segmentation, rows_of
from agglo.json_file import write_json
from agglo.progress import console, show_table
from analysis.input_error import InputError


@dataclass(frozen=True)
class Command:
    """Measure a segmentation or a boundary map against labels.

    Example: agglo evaluate --segmentation segmentation.zarr --labels em.h5:neurons --superpixels
    superpixels.zarr --image em.h5:raw --pictures pictures
    """

    labels: str
    """the truth, 0 = not counted (segmentation) or membrane (boundaries)"""
    segmentation: str | None = None
    """the segmentation to measure"""
    boundaries: str | None = None
    """the boundary map to measure, instead"""
    superpixels: str | None = None
    """superpixels of the segmentation: adds their VI and the floor"""
    image: str | None = None
    """the image, as the ground of the pictures"""
    border_tolerance: int = 0
    """drop truth voxels within so many voxels of a true border"""
    ignore_segmentation_zero: bool = False
    """drop voxels that the segmentation leaves 0, which else are one segment"""
    threshold: float | None = None
    """threshold of the boundary map, from training data; without, the best for this truth"""
    pictures: Path | None = None
    """write pictures into this folder"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    seed: int = 0
    """unused: measuring draws nothing"""
    json: Path | None = None
    """write the numbers here"""

    def run(self) -> None:
        """Measure, print the table, write numbers and pictures."""
        if (self.segmentation is None) == (self.boundaries is None):
            raise InputError("give either --segmentation or --boundaries.")
        if self.segmentation is not None:
            if self.threshold is not None:
                raise InputError("--threshold is for --boundaries, a segmentation has none.")
            title = self.segmentation
            evaluation = evaluate_segmentation(
                self.segmentation,
                self.labels,
                superpixels=self.superpixels,
                image=self.image,
                border_tolerance=self.border_tolerance,
                ignore_segmentation_zero=self.ignore_segmentation_zero,
                with_pictures=self.pictures is not None,
                voxel_size_nm=self.voxel_size_nm,
            )
        else:
            if self.superpixels or self.border_tolerance or self.ignore_segmentation_zero:
                raise InputError(
                    "--superpixels, --border-tolerance and --ignore-segmentation-zero are for "
                    "--segmentation."
                )
            assert self.boundaries is not None
            title = self.boundaries
            evaluation = evaluate_boundaries(
                self.boundaries,
                self.labels,
                image=self.image,
                threshold=self.threshold,
                with_pictures=self.pictures is not None,
                voxel_size_nm=self.voxel_size_nm,
            )
        show_table(f"{title} against {self.labels}", ("", "", "counted as"), rows_of(evaluation))
        if self.pictures:
            evaluation.save_pictures(self.pictures)
            console.out(f"pictures in {self.pictures}")
        if self.json:
            write_json(self.json, evaluation.scores)
