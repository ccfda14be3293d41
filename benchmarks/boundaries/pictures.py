"""Pictures of a data set's runs: scores seed by seed, and maps of one section side by side.

Every function returns a `matplotlib.figure.Figure`; writing it is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import ndimage

from agglo.volumes import open_volume
from analysis.figure_style import (
    LINE_INKS,
    SPLIT_COLOUR,
    grey_as_rgb,
    image_cell,
    new_figure,
    show_image,
    style_plot,
)
from analysis.label_borders import interior_mask
from benchmarks.boundaries.data_sets import DataSet, Number
from benchmarks.boundaries.runs import MAP, LossKind, Row
from benchmarks.boundaries.table import Group, group_rows

KIND_INKS: dict[LossKind, str] = {"bce": LINE_INKS[0], "structured": LINE_INKS[1]}

_SIDE_INCHES = 3.4
_SHOWN_PX = 256
_STEP = 0.24
"""Distance of the two losses of a model, in units of that between models."""


def points_figure(data_set: DataSet, rows: Sequence[Row]) -> Figure:
    """Draw the compared numbers, one point a seed and a bar at the mean."""
    groups = group_rows(rows)
    numbers = [data_set.number(name) for name in data_set.compared]
    figure, axes = new_figure(1, len(numbers), (4.2, 3.6), _title(data_set))
    for axis, number in zip(axes[0], numbers, strict=True):
        _draw_points(axis, groups, number)
    return figure


def maps_figure(data_set: DataSet, rows: Sequence[Row], out: Path, data_folder: Path) -> Figure:
    """Draw the middle of the report part: the image, and the maps of the first seed.

    A map is dark where it is 1; the rims of the true interiors are drawn over it. There is a row
    for each loss and a column for each model; what has no map says so.

    Args:
        data_set: whose maps.
        rows: its runs, at least one.
        out: folder of the runs.
        data_folder: folder of the data sets.
    """
    file = data_folder / data_set.file
    z = sum(data_set.report) // 2
    image = open_volume(f"{file}:raw", argument="--data-folder")[z]
    labels = open_volume(f"{file}:{data_set.labels}", argument="--data-folder")[z]
    window = tuple(_middle(size) for size in image.shape)
    rims = _rims(labels)[window]
    seed = rows[0].run.seed
    shown = [row for row in rows if row.run.seed == seed]
    models = list(dict.fromkeys(row.run.model for row in shown))
    kinds = list(dict.fromkeys(row.run.kind for row in shown))
    pixel_size = data_set.voxel_size_nm[1:]
    cell = image_cell(_SIDE_INCHES, rims.shape, pixel_size)
    title = f"{data_set.name}, z = {z}, seed {seed}"
    figure, axes = new_figure(len(kinds), 1 + len(models), cell, title)
    for first in axes[:, 0]:
        ground = _rimmed(grey_as_rgb(image[window]), rims)
        show_image(first, ground, "image and true borders", pixel_size_nm=pixel_size)
    for row in shown:
        place = axes[kinds.index(row.run.kind), 1 + models.index(row.run.model)]
        name = f"{row.run.model} {row.run.loss}"
        if not row.numbers:
            place.text(0.5, 0.5, "no map", ha="center", va="center")
            place.set_axis_off()
            place.set_title(name, fontsize=10)
            continue
        predicted = open_volume(str(out / row.run.name / MAP), argument="--out")
        section = np.asarray(predicted[z - data_set.predicted[0]], np.float32)[window]
        picture = np.repeat(1 - section[..., None], 3, axis=2)
        title = f"{name}, AP {row.numbers['average_precision']:.4f}"
        show_image(place, _rimmed(picture, rims), title, pixel_size_nm=pixel_size)
    return figure


def _draw_points(axes: Axes, groups: Sequence[Group], number: Number) -> None:
    """Draw a number of all groups."""
    models = list(dict.fromkeys(group.model for group in groups))
    kinds: list[LossKind] = list(dict.fromkeys(group.kind for group in groups))
    for kind in kinds:
        label = "cross-entropy" if kind == "bce" else "structured loss"
        axes.plot([], [], "o", color=KIND_INKS[kind], label=label)
    for group in groups:
        values = group.values(number.name)
        x = models.index(group.model) + _STEP * (kinds.index(group.kind) - (len(kinds) - 1) / 2)
        spread = x + 0.03 * (np.arange(len(values)) - (len(values) - 1) / 2)
        axes.plot(spread, values, "o", color=KIND_INKS[group.kind], markersize=5)
        if values:
            axes.hlines(np.mean(values), x - 0.1, x + 0.1, color=KIND_INKS[group.kind])
    axes.set_xlim(-0.6, len(models) - 0.4)
    axes.set_xticks(range(len(models)), models)
    direction = "less" if number.is_cost else "more"
    style_plot(axes, f"{number.header} ({direction} is better)", "", number.header)
    axes.legend(fontsize=8, frameon=False)


def _middle(size: int) -> slice:
    """Return the middle of an axis, at most so long that single pixels can be seen."""
    shown = min(size, _SHOWN_PX)
    return slice((size - shown) // 2, (size + shown) // 2)


def _rims(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Mark the outermost pixels of the true interiors of a (y, x) section."""
    interior = interior_mask(labels)
    return interior & np.logical_not(ndimage.binary_erosion(interior, border_value=1))


def _rimmed(
    picture: npt.NDArray[np.float32], rims: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Draw rims over a (y, x, 3) picture, see-through."""
    drawn = picture.copy()
    drawn[rims] = 0.4 * drawn[rims] + 0.6 * np.array(to_rgb(SPLIT_COLOUR), np.float32)
    return drawn


def _title(data_set: DataSet) -> str:
    first, stop = data_set.report
    return f"{data_set.name}, sections {first} to {stop - 1}"
