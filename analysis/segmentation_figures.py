"""Figures of segmentations: overlays, places of splits and mergers, worst segments, panels.

Every function returns a `matplotlib.figure.Figure`; writing it is the caller's. Volumes are
(z, y, x) and may be anything sliceable; one section of them is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.border_errors import border_errors, worst_sections
from analysis.checked_arrays import checked_labels
from analysis.figure_style import (
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
from analysis.label_borders import interior_mask
from analysis.label_colours import label_colours
from analysis.segmentation_scores import SegmentationScores, SegmentCosts

Volume = npt.NDArray[np.number]
VoxelSize = tuple[float, float, float]

_SIDE_INCHES = 4.4
_PANEL_INCHES = 3.1


def overlay_section(
    image: npt.NDArray[np.number], labels: npt.NDArray[np.number], opacity: float = 0.45
) -> npt.NDArray[np.float32]:
    """Lay the colours of labels over a grey section, borders drawn darker.

    Args:
        image: (y, x), any real dtype.
        labels: (y, x), any integer dtype; 0 stays grey.
        opacity: share of the colour.

    Returns:
        (y, x, 3) float32 in [0, 1].
    """
    drawn = checked_labels(labels, "labels")
    picture = grey_as_rgb(image)
    coloured = (drawn != 0)[..., None]
    picture = np.where(coloured, (1 - opacity) * picture + opacity * label_colours(drawn), picture)
    borders = ~interior_mask(drawn) & (drawn != 0)
    picture[borders] *= 0.45
    return picture.astype(np.float32)


def overlay_figure(
    image: Volume,
    segmentation: Volume,
    labels: Volume,
    *,
    section: int,
    scores: SegmentationScores | None = None,
    voxel_size_nm: VoxelSize | None = None,
) -> Figure:
    """Draw a section with the segmentation over it, beside the truth.

    Args:
        image: (z, y, x), any real dtype.
        segmentation: (z, y, x), any integer dtype.
        labels: (z, y, x), any integer dtype.
        section: z of the section.
        scores: scores of the whole volume, for the title.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bar.

    Raises:
        InputError: shapes differ or there is no such section.
    """
    _check_volumes(section, image=image, segmentation=segmentation, labels=labels)
    title = f"Section z = {section}"
    if scores is not None:
        title += (
            f"; volume: VI {scores.vi:.3f} bits (split {scores.vi_split:.3f}, "
            f"merge {scores.vi_merge:.3f}), adapted Rand error {scores.adapted_rand_error:.3f}"
        )
    cell = image_cell(_SIDE_INCHES, image.shape, _in_plane(voxel_size_nm))
    figure, axes = new_figure(1, 3, cell, title)
    grey = np.asarray(image[section])
    show_image(axes[0, 0], grey, "Image", pixel_size_nm=_in_plane(voxel_size_nm))
    for axis, name, volume in (
        (axes[0, 1], "Segmentation", segmentation),
        (axes[0, 2], "Truth", labels),
    ):
        _show_labels(axis, grey, np.asarray(volume[section]), name, voxel_size_nm)
    return figure


def error_figure(
    image: Volume,
    segmentation: Volume,
    labels: Volume,
    *,
    sections: Sequence[int] | None = None,
    n_sections: int = 2,
    tolerance_vox: float = 3.0,
    voxel_size_nm: VoxelSize | None = None,
) -> Figure:
    """Draw where splits and mergers lie: borders that only one of proposal and truth has.

    Args:
        image: (z, y, x), any real dtype.
        segmentation: (z, y, x), any integer dtype.
        labels: (z, y, x), any integer dtype.
        sections: z of the sections; else those with most wrong border pixels.
        n_sections: how many of the worst, where `sections` is not given.
        tolerance_vox: how far a border may be shifted and still count as found.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bar.

    Raises:
        InputError: shapes differ or there is no such section.
    """
    if sections is None:
        _check_volumes(0, image=image, segmentation=segmentation, labels=labels)
        sections = worst_sections(segmentation, labels, n_sections)
    for section in sections:
        _check_volumes(section, image=image, segmentation=segmentation, labels=labels)
    width, height = image_cell(1.3 * _SIDE_INCHES, image.shape, _in_plane(voxel_size_nm))
    figure, axes = new_figure(1, len(sections), (width, height + 0.6))
    for axis, section in zip(axes[0], sections, strict=True):
        errors = border_errors(segmentation[section], labels[section], tolerance_vox=tolerance_vox)
        picture = 0.8 * grey_as_rgb(np.asarray(image[section]))
        picture[errors.agreed] = 0.55 * picture[errors.agreed] + 0.45
        for mask, colour in ((errors.extra, SPLIT_COLOUR), (errors.missed, MERGE_COLOUR)):
            picture[thickened(mask)] = to_rgb(colour)
        n_missed, n_extra = int(errors.missed.sum()), int(errors.extra.sum())
        show_image(
            axis,
            picture,
            f"z = {section}: {n_missed:,} px of border merged, {n_extra:,} px split",
            pixel_size_nm=_in_plane(voxel_size_nm),
        )
    add_colour_key(
        figure,
        {
            "merger: true border that the segmentation lacks": MERGE_COLOUR,
            "split: border that the truth lacks": SPLIT_COLOUR,
            f"border in both, within {tolerance_vox:g} px": "#c8c8c8",
        },
    )
    return figure


def costs_figure(costs: SegmentCosts, n_worst: int = 12) -> Figure:
    """Draw the truth labels that are split worst and the segments that merge worst.

    Args:
        costs: what `segment_costs` computed.
        n_worst: bars on each side.
    """
    figure, axes = new_figure(1, 2, (4.6, 1.2 + 0.26 * n_worst))
    for axis, ids, bits, kind, colour in (
        (axes[0, 0], costs.labels, costs.split_bits, "split", SPLIT_INK),
        (axes[0, 1], costs.segments, costs.merge_bits, "merge", MERGE_INK),
    ):
        order = np.argsort(-bits, kind="stable")[:n_worst]
        order = order[bits[order] > 0]
        total = float(bits.sum())
        share = 100.0 * float(bits[order].sum()) / total if total > 0 else 0.0
        noun = "truth label" if kind == "split" else "segment"
        style_plot(
            axis,
            f"VI {kind} {total:.3f} bits; these {order.size} {noun}s: {share:.0f} %",
            f"share of VI {kind} (bits)",
            noun,
        )
        axis.barh(np.arange(order.size), bits[order], color=colour, height=0.72)
        axis.set_yticks(np.arange(order.size), [f"{ids[i]}" for i in order])
        axis.set_ylim(n_worst - 0.4, -0.6)
        axis.grid(False, axis="y")
        for place, i in enumerate(order):
            axis.annotate(
                f"{bits[i]:.3f}",
                (bits[i], place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color="#444444",
            )
        axis.margins(x=0.14)
    return figure


def panel_figure(
    image: Volume,
    *,
    section: int,
    boundaries: Volume | None = None,
    superpixels: Volume | None = None,
    segmentation: Volume | None = None,
    labels: Volume | None = None,
    title: str = "",
    voxel_size_nm: VoxelSize | None = None,
) -> Figure:
    """Draw one section on its whole way: image, boundaries, superpixels, result, truth.

    Args:
        image: (z, y, x), any real dtype.
        section: z of the section.
        boundaries: (z, y, x), numbers in [0, 1], 1 = boundary; shown dark on white.
        superpixels: (z, y, x), any integer dtype.
        segmentation: (z, y, x), any integer dtype.
        labels: (z, y, x), any integer dtype.
        title: line above the figure.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bar.

    Raises:
        InputError: shapes differ or there is no such section.
    """
    named = {
        "Superpixels": superpixels,
        "Segmentation": segmentation,
        "Truth": labels,
    }
    given = {name: volume for name, volume in named.items() if volume is not None}
    maps = {} if boundaries is None else {"boundaries": boundaries}
    lowered = {name.lower(): volume for name, volume in given.items()}
    _check_volumes(section, image=image, **maps, **lowered)
    cell = image_cell(_PANEL_INCHES, image.shape, _in_plane(voxel_size_nm))
    figure, axes = new_figure(1, 1 + len(maps) + len(given), cell, title)
    grey = np.asarray(image[section])
    show_image(axes[0, 0], grey, f"Image, z = {section}", pixel_size_nm=_in_plane(voxel_size_nm))
    if boundaries is not None:
        show_image(
            axes[0, 1],
            1.0 - np.asarray(boundaries[section], dtype=np.float32),
            "Boundary map (black = 1)",
            value_range=(0.0, 1.0),
        )
    for axis, (name, volume) in zip(axes[0, 1 + len(maps) :], given.items(), strict=True):
        _show_labels(axis, grey, np.asarray(volume[section]), name, None)
    return figure


def _show_labels(
    axis: Axes,
    grey: npt.NDArray[np.number],
    labels: npt.NDArray[np.number],
    name: str,
    voxel_size_nm: VoxelSize | None,
) -> None:
    """Show an overlay with the number of labels in its title."""
    n_labels = np.unique(labels[labels != 0]).size
    show_image(
        axis,
        overlay_section(grey, labels),
        f"{name}: {n_labels} in this section",
        pixel_size_nm=_in_plane(voxel_size_nm),
    )


def _in_plane(voxel_size_nm: VoxelSize | None) -> tuple[float, float] | None:
    """Return the (y, x) part of a voxel size."""
    return None if voxel_size_nm is None else (voxel_size_nm[1], voxel_size_nm[2])


def _check_volumes(section: int, **volumes: Volume) -> None:
    """Check that volumes are (z, y, x), of one shape, and have a section."""
    shapes = {name: tuple(volume.shape) for name, volume in volumes.items()}
    first_name, first_shape = next(iter(shapes.items()))
    if len(first_shape) != 3:
        raise InputError(f"{first_name} must have axes (z, y, x), but its shape is {first_shape}.")
    for name, shape in shapes.items():
        if shape != first_shape:
            raise InputError(
                f"{first_name} and {name} must have the same shape (z, y, x), but theirs are "
                f"{first_shape} and {shape}."
            )
    if not 0 <= section < first_shape[0]:
        raise InputError(f"section must lie in 0 … {first_shape[0] - 1}, but is {section}.")
