from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.boundary_scores import score_boundaries
from analysis.comparison_figures import (
    MapColumn,
    SegmentationColumn,
    maps_figure,
    segmentations_figure,
)
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.segmentation_scores import score_segmentation
from analysis.warping_error import warping_error

LABELS = np.ones((40, 50), np.int64)
LABELS[:, 25:] = 2
IMAGE = np.random.default_rng(0).integers(0, 255, LABELS.shape).astype(np.uint8)


def segmentation_column(segmentation: np.ndarray) -> SegmentationColumn:
    scores = score_segmentation(contingency_table(segmentation, LABELS))
    return SegmentationColumn(scores, 3, IMAGE, segmentation, LABELS)


def map_column(boundaries: np.ndarray) -> MapColumn:
    interior = LABELS.copy() == LABELS
    interior[:, 25] = False
    warped = warping_error(boundaries, interior)
    return MapColumn(
        scores=score_boundaries(boundaries, ~interior),
        numbers={"pixel_error": 0.25, "v_rand_thinned": 0.5},
        section=7,
        image=IMAGE,
        boundaries=boundaries,
        warped=warped.warped[0],
        mismatches=warped.mismatches[0],
    )


MERGED = segmentation_column(np.ones_like(LABELS))
SPLIT = segmentation_column(LABELS + 10 * (np.arange(40) > 20)[:, None])
PLAIN = map_column(np.where(np.arange(50) == 25, 0.9, 0.2) * np.ones((40, 1)))
BROKEN = map_column(np.where((np.arange(50) == 25) & (np.arange(40)[:, None] != 9), 0.9, 0.2))


def widths_of(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_segmentations_side_by_side(n_columns: int):
    columns = [MERGED, SPLIT, MERGED][:n_columns]
    names = ["merged", "split", "a/very/long/name/of/a/segmentation.zarr:volume"][:n_columns]
    figure = segmentations_figure(columns, names=names, voxel_size_nm=(40.0, 8.0, 8.0))
    figure.savefig(BytesIO(), format="png")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "merged\nsection z = 3"
    assert titles[-2:] == ["VI: split + merge (bits)", "Adapted Rand error"]
    low, high = figure.axes[-2:]
    widths = widths_of(low)
    assert widths[:n_columns] == [column.scores.vi_split for column in columns]
    assert widths[n_columns:] == [column.scores.vi_merge for column in columns]
    assert widths_of(high) == [column.scores.adapted_rand_error for column in columns]
    shown = [label.get_text() for label in low.get_yticklabels()]
    assert shown[:2] == ["merged", "split"][:n_columns]
    assert all(len(name) < 36 for name in shown)


def test_maps_side_by_side():
    figure = maps_figure([PLAIN, BROKEN], names=["plain", "broken"])
    figure.savefig(BytesIO(), format="png")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "plain\nsection z = 7 (black = 1)"
    assert "warping errors here: 0 px" in titles
    assert "warping errors here: 1 px" in titles
    low, high = figure.axes[-2:]
    assert [line.get_label() for line in low.lines] == ["plain", "broken"]
    assert sorted(widths_of(high)) == [0.25, 0.25, 0.5, 0.5]
    assert [label.get_text() for label in high.get_yticklabels()] == [
        "pixel_error",
        "v_rand_thinned",
    ]


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="columns must hold at least one proposal"):
        segmentations_figure([], names=[])
    with pytest.raises(InputError, match="names must be 1, one for each column, not 2"):
        maps_figure([replace(PLAIN)], names=["a", "b"])
