"""`agglo evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from agglo.commands.options import VoxelSizeNm
from agglo.evaluation import (
    Comparison,
    Evaluation,
    SegmentationOptions,
    SegmentationZeros,
    SkeletonOptions,
    evaluate_boundaries,
    evaluate_segmentation,
)
from agglo.evaluation_result import WarpedUnit, WarpingOptions, rows_of, save_figures
from agglo.json_file import write_json
from agglo.progress import console, show_table
from analysis.input_error import InputError

Given = TypeVar("Given")

OriginNm = Annotated[tuple[float, float, float], tyro.conf.arg(metavar="Z Y X")]


@dataclass(frozen=True)
class Command:
    """Measure segmentations or boundary maps against labels, segmentations also along skeletons.

    Example: agglo evaluate --segmentation segmentation.zarr --labels em.h5:neurons --superpixels
    superpixels.zarr --image em.h5:raw --pictures pictures

    Example: agglo evaluate --boundaries map.zarr --labels em.h5:neurons --threshold 0.5 --warping
    volume --warping-reach 4

    Several proposals against one --labels are compared; with as many --labels the i-th belong
    together (so do --superpixels, --image and --threshold). Either way there is one table, one
    picture, and the JSON has the results of each by its address.

    A segmentation is read block by block and need not fit into memory, border tolerance included;
    boundary maps must, and for the warping error one section at a time, or with --warping volume
    the whole segmentation and its labels.
    """

    labels: tuple[str, ...] = ()
    """the truth, 0 = not counted (segmentation) or membrane (boundaries)"""
    segmentation: tuple[str, ...] = ()
    """segmentations to measure"""
    boundaries: tuple[str, ...] = ()
    """boundary maps (z y x) to measure, instead; 1 = boundary"""
    affinities: tuple[str, ...] = ()
    """affinity maps (3 z y x) to measure, instead; 1 = connected to the voxel one step back"""
    superpixels: tuple[str, ...] = ()
    """superpixels of the segmentation: adds their VI and the floor"""
    image: tuple[str, ...] = ()
    """the image, as the ground of the pictures"""
    border_tolerance: int = 0
    """drop truth voxels within so many voxels of a true border (within sections, if thick)"""
    segmentation_zeros: SegmentationZeros | None = None
    """voxels that the segmentation leaves 0: one segment (unless said otherwise), each a segment
    by itself as in SNEMI3D and CREMI, or dropped"""
    ignore_segmentation_zero: bool = False
    """the same as --segmentation-zeros ignore"""
    warping: WarpedUnit = "sections"
    """what is warped as a whole for the warping error: each section (4/8-connected), the volume
    (6/26-connected, where membranes are seen along z too), or, to leave it out of the numbers of a
    segmentation, none: it takes longer than all the rest"""
    warping_reach: float | None = None
    """keep the warp within so many voxels of the true borders, so that leaving an object out costs
    all of it that lies deeper, not one voxel"""
    worst: int = 10
    """mergers and splits to list in the JSON; up to 6 of them are drawn"""
    skeletons: tuple[Path, ...] = ()
    """SWC files (x y z), or .npz with nodes (z y x) and edges: adds the expected run length; with
    them --labels may be left out"""
    skeleton_unit_nm: float = 1.0
    """nanometres of the skeletons' unit of length"""
    skeleton_origin_nm: OriginNm = (0.0, 0.0, 0.0)
    """where the first voxel of the whole array lies in the skeletons' space (z y x)"""
    merge_tolerance_nm: float = 0.0
    """path of a second skeleton in a segment that makes no merger of it yet"""
    threshold: tuple[float, ...] = ()
    """threshold of the boundary map, from training data; without, the best for this truth"""
    localisation_tolerance: float = 2.0
    """voxels by which a boundary may be off in best_f_tolerant"""
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
        argument, proposals = self._proposals()
        evaluate = self._segmentation if argument == "--segmentation" else self._map
        evaluations: dict[str, Evaluation] = {}
        section: int | None = None
        for i, text in enumerate(proposals):
            evaluations[text] = evaluate(argument, i, section)
            column = evaluations[text].column
            if column is not None and len(self.labels) == 1:
                section = column.section
        if len(proposals) == 1:
            evaluation = evaluations[proposals[0]]
            against = f" against {self.labels[0]}" if self.labels else ""
            show_table(f"{proposals[0]}{against}", ("", "", "counted as"), rows_of(evaluation))
            figures, results = evaluation.figures, evaluation.results
        else:
            comparison = Comparison(evaluations)
            against = f" against {self.labels[0]}" if len(self.labels) == 1 else ""
            show_table(f"{len(proposals)} compared{against}", comparison.header, comparison.rows)
            figure = comparison.figure()
            figures = {} if figure is None else {"comparison": figure}
            results = comparison.results
        for text, evaluation in evaluations.items():
            if evaluation.skeleton_rows:
                header, *rows = evaluation.skeleton_rows
                show_table(f"{text} along skeletons", header, rows)
        if self.pictures:
            save_figures(self.pictures, figures)
            console.out(f"pictures in {self.pictures}")
        if self.json:
            write_json(self.json, results)

    def _proposals(self) -> tuple[str, tuple[str, ...]]:
        """Return what is measured, by its argument, after checking what goes together."""
        given = {
            "--segmentation": self.segmentation,
            "--boundaries": self.boundaries,
            "--affinities": self.affinities,
        }
        named = [name for name, texts in given.items() if texts]
        if len(named) != 1:
            raise InputError("give either --segmentation or --boundaries or --affinities.")
        argument = named[0]
        if argument == "--segmentation":
            if self.threshold:
                raise InputError("--threshold is for --boundaries, a segmentation has none.")
        elif (
            self.superpixels
            or self.border_tolerance
            or self.ignore_segmentation_zero
            or self.segmentation_zeros
            or self.skeletons
        ):
            raise InputError(
                "--superpixels, --border-tolerance and --ignore-segmentation-zero are for "
                "--segmentation, as are --segmentation-zeros and --skeletons."
            )
        if not self.labels and not self.skeletons:
            raise InputError("give --labels, what the proposal is measured against.")
        if not self.labels and self.superpixels:
            raise InputError("--superpixels are measured against --labels, which are not given.")
        if not self.labels and (self.warping == "volume" or self.warping_reach is not None):
            raise InputError("--warping is towards --labels, which are not given.")
        if self.ignore_segmentation_zero and self.segmentation_zeros not in (None, "ignore"):
            raise InputError(
                f"--ignore-segmentation-zero contradicts --segmentation-zeros "
                f"{self.segmentation_zeros}."
            )
        proposals = given[argument]
        if len(set(proposals)) < len(proposals):
            raise InputError(f"{argument} names a volume twice: {', '.join(proposals)}.")
        for name, values in (
            ("--labels", self.labels),
            ("--superpixels", self.superpixels),
            ("--image", self.image),
            ("--threshold", self.threshold),
        ):
            if len(values) not in (0, 1, len(proposals)):
                raise InputError(
                    f"{name} must be given once, or once for each of the {len(proposals)} of "
                    f"{argument}; seen {len(values)}."
                )
        return argument, proposals

    def _segmentation(self, argument: str, i: int, section: int | None) -> Evaluation:
        """Measure the i-th segmentation."""
        zeros = "ignore" if self.ignore_segmentation_zero else self.segmentation_zeros
        return evaluate_segmentation(
            self.segmentation[i],
            _ith(self.labels, i),
            superpixels=_ith(self.superpixels, i),
            image=_ith(self.image, i),
            options=SegmentationOptions(
                border_tolerance=self.border_tolerance,
                segmentation_zeros=zeros or "one-segment",
                warping=WarpingOptions(self.warping, self.warping_reach),
                n_worst=self.worst,
                skeletons=SkeletonOptions(
                    self.skeletons,
                    self.skeleton_unit_nm,
                    self.skeleton_origin_nm,
                    self.merge_tolerance_nm,
                ),
            ),
            with_pictures=self.pictures is not None,
            section=section,
            voxel_size_nm=self.voxel_size_nm,
        )

    def _map(self, argument: str, i: int, section: int | None) -> Evaluation:
        """Measure the i-th boundary or affinity map."""
        labels = _ith(self.labels, i)
        assert labels is not None
        return evaluate_boundaries(
            (self.boundaries or self.affinities)[i],
            labels,
            are_affinities=argument == "--affinities",
            image=_ith(self.image, i),
            threshold=_ith(self.threshold, i),
            localisation_tolerance=self.localisation_tolerance,
            warping=WarpingOptions(self.warping, self.warping_reach),
            with_pictures=self.pictures is not None,
            section=section,
            voxel_size_nm=self.voxel_size_nm,
        )


def _ith(values: Sequence[Given], i: int) -> Given | None:
    """Return the value that belongs to the i-th proposal: its own, or the one for all."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values[i]
