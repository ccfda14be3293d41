"""Measure what is on disk: segmentations, along skeletons too, boundary maps, several at once."""

from agglo.boundary_evaluation import evaluate_boundaries
from agglo.comparison import Comparison
from agglo.evaluation_result import Evaluation, rows_of
from agglo.segmentation_evaluation import (
    SegmentationOptions,
    SegmentationZeros,
    evaluate_segmentation,
)
from agglo.skeleton_evaluation import SkeletonOptions

__all__ = [
    "Comparison",
    "Evaluation",
    "SegmentationOptions",
    "SegmentationZeros",
    "SkeletonOptions",
    "evaluate_boundaries",
    "evaluate_segmentation",
    "rows_of",
]
