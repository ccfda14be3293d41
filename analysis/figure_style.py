"""The common look of the figures: empty figures, image axes, scale bars, colours of errors.

Figures are `matplotlib.figure.Figure` objects without pyplot: nothing is shown, kept open or
written here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from scipy import ndimage

SPLIT_COLOUR = "#00d7ff"
"""Splits on a grey image (cyan)."""

MERGE_COLOUR = "#ff3b2f"
"""Mergers on a grey image (red; darker than the cyan for every kind of colour vision)."""

SPLIT_INK = "#0089a8"
"""Splits on white paper."""

MERGE_INK = "#cc3311"
"""Mergers on white paper."""

LINE_INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Line colours on white paper (Okabe and Ito)."""

_TEXT = "#222222"
_NICE_LENGTHS_NM = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


def new_figure(
    n_rows: int, n_cols: int, cell_inches: tuple[float, float], title: str = ""
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Make an empty figure with a grid of axes.

    Args:
        n_rows: rows of axes.
        n_cols: columns of axes.
        cell_inches: width and height of one cell.
        title: line above the whole figure.

    Returns:
        figure: the figure.
        axes: (n_rows, n_cols) of `Axes`.
    """
    width, height = n_cols * cell_inches[0], n_rows * cell_inches[1]
    figure = Figure(
        figsize=(width, height + 0.35 * bool(title)),
        dpi=110,
        layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.06),
    )
    axes = figure.subplots(n_rows, n_cols, squeeze=False)
    if title:
        figure.suptitle(title, fontsize=12, color=_TEXT, weight="bold")
    return figure, axes


def image_cell(
    width_inches: float, shape: tuple[int, ...], pixel_size_nm: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the cell that fits a section and its title, for `new_figure`.

    Args:
        width_inches: width of the cell.
        shape: (…, y, x) of the section.
        pixel_size_nm: (y, x) size of a pixel.
    """
    y_nm, x_nm = pixel_size_nm or (1.0, 1.0)
    proportion = shape[-2] * y_nm / (shape[-1] * x_nm)
    return width_inches, 0.4 + width_inches * min(max(proportion, 0.3), 2.0)


def show_image(
    axes: Axes,
    image: npt.NDArray[np.number],
    title: str,
    *,
    value_range: tuple[float, float] | None = None,
    pixel_size_nm: tuple[float, float] | None = None,
) -> None:
    """Show a grey (y, x) or colour (y, x, 3 or 4) section with square-cut voxels and no ticks.

    Args:
        axes: where.
        image: the section.
        title: line above.
        value_range: values shown black and white; else the 0.5th and 99.5th percentile.
        pixel_size_nm: (y, x) size of a pixel; gives it its true proportions and a scale bar.
    """
    shown = np.asarray(image)
    aspect = 1.0 if pixel_size_nm is None else pixel_size_nm[0] / pixel_size_nm[1]
    if shown.ndim == 2:
        low, high = value_range or grey_range(shown)
        axes.imshow(
            shown.astype(np.float32),
            cmap="gray",
            vmin=low,
            vmax=high,
            aspect=aspect,
            interpolation="nearest",
        )
    else:
        axes.imshow(shown, aspect=aspect, interpolation="nearest")
    axes.set_title(title, fontsize=10, color=_TEXT)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if pixel_size_nm is not None:
        _add_scale_bar(axes, shown.shape[0], shown.shape[1], pixel_size_nm[1])


def grey_range(image: npt.NDArray[np.number]) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile of an image, never equal."""
    low, high = np.percentile(image, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def grey_as_rgb(image: npt.NDArray[np.number]) -> npt.NDArray[np.float32]:
    """Turn a grey (y, x) section into (y, x, 3) float32 in [0, 1]."""
    low, high = grey_range(image)
    grey = np.clip((np.asarray(image, dtype=np.float32) - low) / (high - low), 0.0, 1.0)
    return np.repeat(grey[..., None], 3, axis=2)


def thickened(mask: npt.NDArray[np.bool_], *, corners: bool = False) -> npt.NDArray[np.bool_]:
    """Widen the marked pixels of a (y, x) mask by one pixel, so that they can be seen."""
    shape = ndimage.generate_binary_structure(2, 2 if corners else 1)
    return np.asarray(ndimage.binary_dilation(mask, shape), dtype=np.bool_)


def style_plot(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Give a plot its title, labels with units, a light grid and only two spines."""
    axes.set_title(title, fontsize=10, color=_TEXT)
    axes.set_xlabel(x_label, fontsize=9, color=_TEXT)
    axes.set_ylabel(y_label, fontsize=9, color=_TEXT)
    axes.tick_params(labelsize=8, color="#999999", labelcolor=_TEXT)
    axes.grid(True, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")


def add_colour_key(figure: Figure, entries: Mapping[str, str]) -> None:
    """Add a key below the figure: what each colour means.

    Args:
        figure: the figure.
        entries: meaning → colour.
    """
    patches = [
        Patch(facecolor=colour, edgecolor="#666666", linewidth=0.5, label=meaning)
        for meaning, colour in entries.items()
    ]
    longest_inches = 0.55 + 0.07 * max(len(meaning) for meaning in entries)
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=max(int(figure.get_figwidth() / longest_inches), 1),
        frameon=False,
        fontsize=9,
        labelcolor=_TEXT,
    )


def _add_scale_bar(axes: Axes, n_y: int, n_x: int, pixel_x_nm: float) -> None:
    """Draw a white bar of a round length, about a fifth of the width, at the lower left."""
    goal_nm = 0.2 * n_x * pixel_x_nm
    length_nm = min(_NICE_LENGTHS_NM, key=lambda nice: abs(np.log(nice / goal_nm)))
    length = length_nm / pixel_x_nm
    if length > 0.8 * n_x:
        return
    x, y, height = 0.04 * n_x, 0.96 * n_y, 0.014 * n_y
    axes.add_patch(
        Rectangle(
            (x - 0.5, y - height),
            length,
            height,
            facecolor="white",
            edgecolor="black",
            linewidth=0.6,
        )
    )
    text = f"{length_nm} nm" if length_nm < 1000 else f"{length_nm // 1000} µm"
    axes.annotate(
        text,
        (x + length / 2, y - height),
        (0, 2.5),
        textcoords="offset points",
        color="white",
        fontsize=8,
        ha="center",
        va="bottom",
        path_effects=[withStroke(linewidth=1.6, foreground="black")],
    )
