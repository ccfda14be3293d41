"""Figures of boundary maps: precision and recall, and warping errors by type.

Every function returns a `matplotlib.figure.Figure`; writing it is the caller's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.boundary_scores import BoundaryScores
from analysis.figure_style import (
    LINE_INKS,
    MERGE_COLOUR,
    SPLIT_COLOUR,
    add_colour_key,
    grey_as_rgb,
    image_cell,
    new_figure,
    show_image,
    style_plot,
    thickened,
)
from analysis.input_error import InputError
from analysis.warping_types import Mismatch, WarpingResult

MISMATCH_COLOURS: dict[Mismatch, str] = {
    Mismatch.SPLIT: SPLIT_COLOUR,
    Mismatch.MERGE: MERGE_COLOUR,
    Mismatch.HOLE_ADDITION: "#f0e442",
    Mismatch.HOLE_DELETION: "#e58cc0",
    Mismatch.OBJECT_ADDITION: "#00a878",
    Mismatch.OBJECT_DELETION: "#ffffff",
    Mismatch.SHIFT: "#a48cff",
}
"""Colour of each type of mismatch on a grey image."""

_SIDE_INCHES = 4.4


def precision_recall_figure(
    scores: BoundaryScores,
    image: npt.NDArray[np.number],
    boundaries: npt.NDArray[np.number],
    *,
    section: int,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> Figure:
    """Draw a section, its boundary map, and the precision–recall curve of the whole map.

    Args:
        scores: what `score_boundaries` computed.
        image: (z, y, x), any real dtype.
        boundaries: (z, y, x), numbers in [0, 1], 1 = boundary; shown dark on white.
        section: z of the section.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bar.

    Raises:
        InputError: shapes differ or there is no such section.
    """
    _check_section(image, boundaries, "boundaries", section)
    pixel_size = None if voxel_size_nm is None else (voxel_size_nm[1], voxel_size_nm[2])
    width, height = image_cell(_SIDE_INCHES, image.shape, pixel_size)
    figure, axes = new_figure(1, 3, (width, min(max(height, 3.6), 6.0)))
    show_image(
        axes[0, 0], np.asarray(image[section]), f"Image, z = {section}", pixel_size_nm=pixel_size
    )
    show_image(
        axes[0, 1],
        1.0 - np.asarray(boundaries[section], dtype=np.float32),
        "Boundary map (black = 1)",
        value_range=(0.0, 1.0),
        pixel_size_nm=pixel_size,
    )
    _draw_curve(axes[0, 2], scores)
    return figure


def warping_figure(
    result: WarpingResult,
    image: npt.NDArray[np.number],
    *,
    section: int | None = None,
    threshold: float | None = None,
    section_errors: npt.NDArray[np.float64] | None = None,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> Figure:
    """Draw the warping errors of a section on its image, coloured by type.

    Single pixels are drawn as 3 × 3 so that they can be seen; the numbers count pixels.

    Args:
        result: what `warping_error` computed.
        image: (z, y, x), any real dtype.
        section: z of the section; else the one with the largest error.
        threshold: the threshold of the result, for the title.
        section_errors: (Z,) float64, errors of all sections of a volume, where result and image
            are its worst section alone.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bar.

    Raises:
        InputError: shapes differ or there is no such section.
    """
    if section is None:
        section = int(result.section_errors.argmax())
    _check_section(image, result.mismatches, "result", section)
    z = section if section_errors is None else int(section_errors.argmax())
    errors = result.section_errors if section_errors is None else section_errors
    mismatches = result.mismatches[section]
    picture = mismatch_picture(np.asarray(image[section]), result.warped[section], mismatches)
    at = "" if threshold is None else f" at threshold {threshold:.2f}"
    pixel_size = None if voxel_size_nm is None else (voxel_size_nm[1], voxel_size_nm[2])
    width, height = image_cell(1.5 * _SIDE_INCHES, image.shape, pixel_size)
    figure, axes = new_figure(1, 1, (width, height + 0.9))
    show_image(
        axes[0, 0],
        picture,
        f"Warping error{at}: {1e3 * result.section_errors[section]:.2f} ‰ of pixels in z = "
        f"{z},\n{1e3 * errors.mean():.2f} ‰ over all {errors.size} sections",
        pixel_size_nm=pixel_size,
    )
    add_colour_key(
        figure,
        {_counted(kind, mismatches): colour for kind, colour in MISMATCH_COLOURS.items()},
    )
    return figure


def mismatch_picture(
    image: npt.NDArray[np.number], warped: npt.NDArray[np.bool_], mismatches: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Paint the mismatches of a section on its image, membrane of the warped truth darker.

    Args:
        image: (y, x), any real dtype.
        warped: (y, x) bool, the true interior after warping.
        mismatches: (y, x) uint8, `Mismatch` of every pixel.

    Returns:
        (y, x, 3) float32 in [0, 1].
    """
    picture = 0.75 * grey_as_rgb(image)
    picture[~warped] *= 0.75
    for kind in reversed(MISMATCH_COLOURS):
        picture[thickened(mismatches == kind, corners=True)] = to_rgb(MISMATCH_COLOURS[kind])
    return picture


def _counted(kind: Mismatch, mismatches: npt.NDArray[np.uint8]) -> str:
    """Name a type of mismatch and count its pixels."""
    return f"{kind.name.lower().replace('_', ' ')}: {np.count_nonzero(mismatches == kind):,} px"


def _draw_curve(axes: Axes, scores: BoundaryScores) -> None:
    """Draw the curve, lines of equal F, the blind map and the point of best F."""
    style_plot(
        axes,
        f"AUC {scores.auc:.4f}, average precision {scores.average_precision:.4f}\n"
        f"best F {scores.best_f:.3f} at {scores.best_f_threshold:.3f} (oracle threshold)",
        "recall of membrane voxels",
        "precision",
    )
    recall = np.linspace(0.01, 1.0, 400)
    for f in (0.2, 0.4, 0.6, 0.8):
        on_paper = recall > f / (2.0 - f)
        precision = f * recall[on_paper] / (2.0 * recall[on_paper] - f)
        axes.plot(recall[on_paper], precision, color="#bdbdbd", linewidth=0.9, linestyle=":")
        axes.annotate(
            f"F {f:g}",
            (1.0, f / (2.0 - f)),
            (3, 0),
            textcoords="offset points",
            fontsize=7.5,
            color="#8a8a8a",
            va="center",
            annotation_clip=False,
        )
    axes.axhline(scores.membrane_fraction, color="#888888", linewidth=1.0, linestyle="--")
    axes.annotate(
        f"blind map {scores.membrane_fraction:.3f}",
        (0.02, scores.membrane_fraction),
        (0, -3),
        textcoords="offset points",
        fontsize=7.5,
        color="#666666",
        va="top",
    )
    axes.plot(scores.recall, scores.precision, color=LINE_INKS[0], linewidth=2.0)
    best = int(np.abs(scores.thresholds - scores.best_f_threshold).argmin())
    axes.plot(scores.recall[best], scores.precision[best], "o", color=LINE_INKS[1], markersize=7)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.02)


def _check_section(
    image: npt.NDArray[np.number], other: npt.NDArray[np.number], name: str, section: int
) -> None:
    """Check that image and other are (z, y, x), of one shape, and have a section."""
    if len(image.shape) != 3 or tuple(image.shape) != tuple(other.shape):
        raise InputError(
            f"image and {name} must have the same shape (z, y, x), but theirs are "
            f"{tuple(image.shape)} and {tuple(other.shape)}."
        )
    if not 0 <= section < image.shape[0]:
        raise InputError(f"section must lie in 0 … {image.shape[0] - 1}, but is {section}.")
