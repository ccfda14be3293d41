"""VI and Rand scores against scikit-image and against sums in 40 digits."""

from __future__ import annotations

from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.metrics import contingency_table as skimage_table

from analysis.contingency import Contingency, contingency_table
from analysis.segmentation_scores import score_segmentation
from benchmarks.metrics.label_volumes import pairs

DIGITS = 40


def agreement(data: Path) -> list[dict[str, Any]]:
    """Compare the scores of every pair of label volumes.

    scikit-image leaves the N pairs of a voxel with itself out of its Rand sums; they are put back
    before comparing. Its VI rounds in float64 in another order, so the arbiter is the sum of the
    same table in 40 digits: `ours` and `scikit_image` say how far each is from it.
    """
    rows = []
    for name, segmentation, labels in pairs(data):
        table = contingency_table(segmentation, labels)
        scores = score_segmentation(table)
        exact = exact_vi(table)
        theirs = variation_of_information(labels, segmentation, ignore_labels=[0])
        rand = skimage_rand(segmentation, labels)
        ours = (scores.vi_split, scores.vi_merge)
        rows.append(
            {
                "volumes": name,
                "vi_split": scores.vi_split,
                "vi_merge": scores.vi_merge,
                "adapted_rand_error": scores.adapted_rand_error,
                "vi_ours_to_exact": _distance(ours, exact),
                "vi_scikit_image_to_exact": _distance(theirs, exact),
                "vi_ours_to_scikit_image": _distance(ours, theirs),
                "rand_ours_to_scikit_image": _distance(
                    (scores.adapted_rand_error, scores.rand_precision, scores.rand_recall), rand
                ),
            }
        )
    return rows


def exact_vi(table: Contingency) -> tuple[float, float]:
    """Compute VI split and merge of a table in 40 digits."""
    return (
        _bits(table.counts, table.label_sizes[table.cols]),
        _bits(table.counts, table.segment_sizes[table.rows]),
    )


def skimage_rand(
    segmentation: npt.NDArray[np.integer], labels: npt.NDArray[np.integer]
) -> tuple[float, float, float]:
    """Compute adapted Rand error, precision and recall by scikit-image, self-pairs put back.

    Its table has the truth in its rows, so what it calls precision is divided by the pairs of the
    truth.
    """
    table = skimage_table(labels, segmentation, ignore_labels=[0], sparse_type="array")
    _, recall, precision = adapted_rand_error(table=table)
    n = table.sum()
    joined = float((table.sum(axis=0).astype(np.float64) ** 2).sum())
    both = precision * (joined - n) + n
    true = (both - n) / recall + n
    return 1 - 2 * both / (joined + true), both / joined, both / true


def _bits(counts: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> float:
    with localcontext(prec=DIGITS):
        n = Decimal(int(counts.sum()))
        nats = sum(
            Decimal(int(c)) * (Decimal(int(size)) / Decimal(int(c))).ln()
            for c, size in zip(counts, of, strict=True)
        )
        return float(nats / n / Decimal(2).ln())


def _distance(first: Any, second: Any) -> float:
    return float(np.abs(np.subtract(first, second)).max())
