"""Figures that set several proposals side by side: segmentations, and boundary maps.

Every function returns a `matplotlib.figure.Figure`; writing it is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.border_errors import border_errors
from analysis.boundary_figures import MISMATCH_COLOURS, mismatch_picture
from analysis.boundary_scores import BoundaryScores
from analysis.figure_style import (
    LINE_INKS,
    MERGE_COLOUR,
    MERGE_INK,
    SPLIT_COLOUR,
    SPLIT_INK,
    add_colour_key,
    grey_as_rgb,
    image_cell,
    new_figure,
    show_image,
    style_plot,
    thickened,
)
from analysis.input_error import InputError
from analysis.segmentation_figures import overlay_section
from analysis.segmentation_scores import SegmentationScores

_SIDE_INCHES = 3.4
_PLOT_INCHES = 2.6
_NAME_LETTERS = 34
"""Letters of a name that fit above a column; of a longer one the end is shown."""

Section = npt.NDArray[np.number]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationColumn:
    """One segmentation of a comparison.

    Attributes:
        scores: of the whole volume.
        section: z of the section shown.
        image: (y, x), any real dtype.
        segmentation: (y, x), any integer dtype.
        labels: (y, x), any integer dtype.
    """

    scores: SegmentationScores
    section: int
    image: Section
    segmentation: Section
    labels: Section


@dataclass(frozen=True, slots=True, eq=False)
class MapColumn:
    """One boundary map of a comparison.

    Attributes:
        scores: of the whole map, with its precision–recall curve.
        numbers: further numbers by name, drawn as bars.
        section: z of the section shown.
        image: (y, x), any real dtype.
        boundaries: (y, x), numbers in [0, 1], 1 = boundary.
        warped: (y, x) bool, the true interior after warping.
        mismatches: (y, x) uint8, `Mismatch` of every pixel.
    """

    scores: BoundaryScores
    numbers: dict[str, float]
    section: int
    image: Section
    boundaries: Section
    warped: npt.NDArray[np.bool_]
    mismatches: npt.NDArray[np.uint8]


def segmentations_figure(
    columns: Sequence[SegmentationColumn],
    *,
    names: Sequence[str],
    tolerance_vox: float = 3.0,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> Figure:
    """Draw segmentations side by side: a section, its splits and mergers, VI and Rand error.

    Args:
        columns: one or more, each a column of the figure.
        names: what each is called.
        tolerance_vox: how far a border may be shifted and still count as found.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bars.

    Raises:
        InputError: there is no column.
    """
    pixel_size = _pixel_size(columns, names, voxel_size_nm)
    cell = image_cell(_SIDE_INCHES, columns[0].image.shape, pixel_size)
    figure, axes = new_figure(3, len(columns), cell)
    for column, name, (top, middle) in zip(columns, names, axes[:2].T, strict=True):
        show_image(
            top,
            overlay_section(column.image, column.segmentation),
            f"{_short(name)}\nsection z = {column.section}",
            pixel_size_nm=pixel_size,
        )
        errors = border_errors(column.segmentation, column.labels, tolerance_vox=tolerance_vox)
        picture = 0.8 * grey_as_rgb(column.image)
        picture[errors.agreed] = 0.55 * picture[errors.agreed] + 0.45
        for mask, colour in ((errors.extra, SPLIT_COLOUR), (errors.missed, MERGE_COLOUR)):
            picture[thickened(mask)] = to_rgb(colour)
        show_image(middle, picture, "splits and mergers here", pixel_size_nm=pixel_size)
    low, high = _bottom_row(figure, axes)
    scores = [column.scores for column in columns]
    places = np.arange(len(columns))
    split = np.array([s.vi_split for s in scores])
    merge = np.array([s.vi_merge for s in scores])
    low.barh(places, split, color=SPLIT_INK, height=0.6)
    low.barh(places, merge, left=split, color=MERGE_INK, height=0.6)
    _name_bars(low, names, split + merge)
    style_plot(low, "VI: split + merge (bits)", "bits, whole volume", "")
    errors_of_rand = np.array([s.adapted_rand_error for s in scores])
    high.barh(places, errors_of_rand, color="#666666", height=0.6)
    _name_bars(high, names, errors_of_rand)
    style_plot(high, "Adapted Rand error", "1 − 2PR/(P+R), whole volume", "")
    add_colour_key(
        figure,
        {
            "split: border that the truth lacks": SPLIT_COLOUR,
            "merger: true border that is lacking": MERGE_COLOUR,
            f"border in both, within {tolerance_vox:g} px": "#c8c8c8",
        },
    )
    return figure


def maps_figure(
    columns: Sequence[MapColumn],
    *,
    names: Sequence[str],
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> Figure:
    """Draw boundary maps side by side: a section, its warping errors, curves, and bars.

    Args:
        columns: one or more, each a column of the figure; of the same numbers.
        names: what each is called.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bars.

    Raises:
        InputError: there is no column.
    """
    pixel_size = _pixel_size(columns, names, voxel_size_nm)
    cell = image_cell(_SIDE_INCHES, columns[0].image.shape, pixel_size)
    figure, axes = new_figure(3, len(columns), cell)
    for column, name, (top, middle) in zip(columns, names, axes[:2].T, strict=True):
        show_image(
            top,
            1.0 - np.asarray(column.boundaries, dtype=np.float32),
            f"{_short(name)}\nsection z = {column.section} (black = 1)",
            value_range=(0.0, 1.0),
            pixel_size_nm=pixel_size,
        )
        n_wrong = np.count_nonzero(column.mismatches)
        show_image(
            middle,
            mismatch_picture(column.image, column.warped, column.mismatches),
            f"warping errors here: {n_wrong:,} px",
            pixel_size_nm=pixel_size,
        )
    low, high = _bottom_row(figure, axes)
    for i, column in enumerate(columns):
        low.plot(
            column.scores.recall,
            column.scores.precision,
            color=LINE_INKS[i % len(LINE_INKS)],
            linewidth=1.8,
            marker="o" if column.scores.recall.size < 3 else "",
            label=_short(names[i]),
        )
    low.set_xlim(0.0, 1.0)
    low.set_ylim(0.0, 1.02)
    low.legend(fontsize=7.5, frameon=False, loc="lower left")
    style_plot(low, "Membrane voxels", "recall", "precision")
    numbers = list(columns[0].numbers)
    height = 0.8 / len(columns)
    for i, column in enumerate(columns):
        values = np.array([column.numbers[number] for number in numbers])
        at = np.arange(len(numbers)) + height * (i - 0.5 * (len(columns) - 1))
        high.barh(at, values, color=LINE_INKS[i % len(LINE_INKS)], height=0.9 * height)
        _write_values(high, at, values)
    high.set_yticks(np.arange(len(numbers)), numbers)
    high.invert_yaxis()
    high.margins(x=0.16)
    style_plot(high, "Scores", "", "")
    add_colour_key(
        figure,
        {kind.name.lower().replace("_", " "): colour for kind, colour in MISMATCH_COLOURS.items()},
    )
    return figure


def _bottom_row(figure: Figure, axes: npt.NDArray[np.object_]) -> tuple[Axes, Axes]:
    """Replace the last row of a grid by two plots side by side, and give it its height."""
    grid = axes[2, 0].get_gridspec()
    for axis in axes[2]:
        axis.remove()
    grid.set_height_ratios([1.0, 1.0, _PLOT_INCHES / (figure.get_figheight() / 3)])
    if grid.ncols == 1:
        parts = grid[2, 0].subgridspec(2, 1)
        figure.set_figheight(figure.get_figheight() + _PLOT_INCHES)
    else:
        parts = grid[2, :].subgridspec(1, 2)
    first, second = list(parts)
    return figure.add_subplot(first), figure.add_subplot(second)


def _name_bars(axes: Axes, names: Sequence[str], values: npt.NDArray[np.float64]) -> None:
    """Name horizontal bars, first on top, and write their values beside them."""
    places = np.arange(len(names))
    axes.set_yticks(places, [_short(name) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.16)
    _write_values(axes, places, values)


def _write_values(
    axes: Axes, places: npt.NDArray[np.number], values: npt.NDArray[np.float64]
) -> None:
    """Write values beside the ends of horizontal bars."""
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:.4g}",
            (value, place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color="#444444",
        )


def _pixel_size(
    columns: Sequence[SegmentationColumn] | Sequence[MapColumn],
    names: Sequence[str],
    voxel_size_nm: tuple[float, float, float] | None,
) -> tuple[float, float] | None:
    """Check that there is a column and a name for each; return the (y, x) part of a voxel size."""
    if not columns:
        raise InputError("columns must hold at least one proposal, but is empty.")
    if len(names) != len(columns):
        raise InputError(f"names must be {len(columns)}, one for each column, not {len(names)}.")
    return None if voxel_size_nm is None else (voxel_size_nm[1], voxel_size_nm[2])


def _short(name: str) -> str:
    """Shorten a name from its beginning."""
    return name if len(name) <= _NAME_LETTERS else f"…{name[1 - _NAME_LETTERS :]}"
