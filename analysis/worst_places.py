"""Where the worst mergers and the worst splits are seen best, and pictures of them.

Volumes are (z, y, x) and may be anything sliceable; they are read a few sections at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.checked_arrays import check_same_shape
from analysis.contingency import contingency_table
from analysis.figure_style import (
    MERGE_COLOUR,
    SPLIT_COLOUR,
    add_colour_key,
    grey_as_rgb,
    new_figure,
    show_image,
)
from analysis.label_borders import interior_mask
from analysis.label_colours import label_colours
from analysis.segmentation_scores import SegmentCosts, segment_costs

Volume = npt.NDArray[np.number]

_SLAB_VOX = 1 << 22
"""Voxels read at once."""

_MARGIN = 0.15
"""Border of a crop, as a share of the object's size."""

_SMALLEST_CROP = 48
"""Pixels of a crop along each axis, where the section has as many."""

_SIDE_INCHES = 2.6


@dataclass(frozen=True, slots=True)
class Place:
    """An object that costs many bits, and where to look at it.

    Attributes:
        kind: a segment that merges labels, or a label that is split.
        object_id: the segment, or the label.
        bits: its share of VI merge, or of VI split.
        n_parts: labels in the segment, or segments in the label.
        section: z of the section where it errs most.
        corner: y, x of the first pixel of the crop around it.
        size: pixels of the crop along y, x.
    """

    kind: Literal["merge", "split"]
    object_id: int
    bits: float
    n_parts: int
    section: int
    corner: tuple[int, int]
    size: tuple[int, int]

    @property
    def crop(self) -> tuple[int, slice, slice]:
        """Index of the crop in a volume."""
        (y, x), (n_y, n_x) = self.corner, self.size
        return self.section, slice(y, y + n_y), slice(x, x + n_x)


def worst_places(
    segmentation: Volume,
    labels: Volume,
    costs: SegmentCosts,
    *,
    n_worst: int = 6,
    zero_is_singletons: bool = False,
) -> tuple[list[Place], list[Place]]:
    """Find the worst mergers and splits of a volume, and the section that shows each best.

    That is the section in which the object, taken by itself, costs most bits.

    Args:
        segmentation: (z, y, x), any integer dtype, the proposal.
        labels: (z, y, x), any integer dtype, the truth; 0 is not counted.
        costs: what `segment_costs` computed of the whole volume.
        n_worst: how many of each at most.
        zero_is_singletons: as for `segment_costs`.

    Returns:
        mergers: segments with the largest share of VI merge, falling, ties by id.
        splits: truth labels with the largest share of VI split.
    """
    check_same_shape(segmentation, "segmentation", labels, "labels")
    mergers = _worst(costs.segments, costs.merge_bits, n_worst)
    splits = _worst(costs.labels, costs.split_bits, n_worst)
    best_merge, best_split = np.full(len(mergers), -1.0), np.full(len(splits), -1.0)
    merge_z, split_z = np.zeros(len(mergers), np.int64), np.zeros(len(splits), np.int64)
    for z, proposed, true in _sections(segmentation, labels):
        table = contingency_table(proposed, true)
        if not table.n_voxels:
            continue
        of_section = segment_costs(table, zero_is_singletons=zero_is_singletons)
        for wanted, ids, bits, best, best_z in (
            (
                costs.segments[mergers],
                of_section.segments,
                of_section.merge_bits,
                best_merge,
                merge_z,
            ),
            (costs.labels[splits], of_section.labels, of_section.split_bits, best_split, split_z),
        ):
            place = np.minimum(np.searchsorted(ids, wanted), ids.size - 1)
            here = np.where(ids[place] == wanted, bits[place] * table.n_voxels, -1.0)
            best_z[here > best] = z
            np.maximum(best, here, out=best)
    return (
        [
            _place("merge", segmentation, int(costs.segments[i]), bits, n, z)
            for i, bits, n, z in _listed(mergers, costs.merge_bits, costs.n_merged, merge_z)
        ],
        [
            _place("split", labels, int(costs.labels[i]), bits, n, z)
            for i, bits, n, z in _listed(splits, costs.split_bits, costs.n_pieces, split_z)
        ],
    )


def places_figure(
    places: Sequence[Place],
    image: Volume,
    segmentation: Volume,
    labels: Volume,
    *,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> Figure:
    """Draw crops around mergers or splits: the image above, what is wrong below.

    Below, the colours are the truth labels inside a merger, or the segments inside a split label;
    the outline is that of the object.

    Args:
        places: of one kind, from `worst_places`; a blank figure if there is none.
        image: (z, y, x), any real dtype.
        segmentation: (z, y, x), any integer dtype.
        labels: (z, y, x), any integer dtype.
        voxel_size_nm: (z, y, x) size of a voxel, for the scale bar.
    """
    figure, axes = new_figure(2, max(len(places), 1), (_SIDE_INCHES, _SIDE_INCHES + 0.45))
    if not places:
        for axis in axes[:, 0]:
            axis.axis("off")
        axes[0, 0].set_title("none", fontsize=10)
        return figure
    pixel_size = None if voxel_size_nm is None else (voxel_size_nm[1], voxel_size_nm[2])
    is_merge = places[0].kind == "merge"
    colour = MERGE_COLOUR if is_merge else SPLIT_COLOUR
    for column, place in enumerate(places):
        grey = np.asarray(image[place.crop])
        proposed, true = np.asarray(segmentation[place.crop]), np.asarray(labels[place.crop])
        owner, parts = (proposed, true) if is_merge else (true, proposed)
        noun, part = ("segment", "labels") if is_merge else ("label", "segments")
        title = (
            f"{noun} {place.object_id}, z = {place.section}\n"
            f"{place.bits:.3f} bits, {place.n_parts:,} {part}"
        )
        show_image(axes[0, column], grey, title, pixel_size_nm=pixel_size)
        _show_object(axes[1, column], grey, owner == place.object_id, parts, colour, pixel_size)
    inside = "true labels in the segment" if is_merge else "segments in the true label"
    outline = "outline of the segment" if is_merge else "outline of the true label"
    add_colour_key(figure, {outline: colour, f"other colours: {inside}": "#c8c8c8"})
    return figure


def _show_object(
    axes: Axes,
    grey: npt.NDArray[np.number],
    mask: npt.NDArray[np.bool_],
    parts: npt.NDArray[Any],
    colour: str,
    pixel_size: tuple[float, float] | None,
) -> None:
    """Show a crop with an object in the colours of its parts."""
    picture = 0.7 * grey_as_rgb(grey)
    picture[mask] = 0.45 * picture[mask] + 0.55 * label_colours(np.where(mask, parts, 0))[mask]
    picture[mask & (parts == 0)] = 0.35
    picture[~interior_mask(1 + mask.astype(np.uint8))] = to_rgb(colour)
    show_image(axes, picture, "", pixel_size_nm=pixel_size)


def _worst(
    ids: npt.NDArray[np.uint64], bits: npt.NDArray[np.float64], n_worst: int
) -> npt.NDArray[np.int64]:
    """Return the places of the largest shares that are not 0, falling."""
    order = np.argsort(-bits, kind="stable")[:n_worst]
    return order[bits[order] > 0]


def _listed(
    chosen: npt.NDArray[np.int64],
    bits: npt.NDArray[np.float64],
    n_parts: npt.NDArray[np.int64],
    sections: npt.NDArray[np.int64],
) -> list[tuple[int, float, int, int]]:
    """List the place in the costs, bits, parts and section of each chosen object."""
    return list(
        zip(
            chosen.tolist(),
            bits[chosen].tolist(),
            n_parts[chosen].tolist(),
            sections.tolist(),
            strict=True,
        )
    )


def _sections(
    segmentation: Volume, labels: Volume
) -> Iterator[tuple[int, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Read two volumes slab by slab; yield z and both sections."""
    n_z, n_y, n_x = segmentation.shape
    thickness = max(_SLAB_VOX // (n_y * n_x), 1)
    for begin in range(0, n_z, thickness):
        proposed = np.asarray(segmentation[begin : begin + thickness])
        true = np.asarray(labels[begin : begin + thickness])
        for z, pair in enumerate(zip(proposed, true, strict=True), begin):
            yield z, *pair


def _place(
    kind: Literal["merge", "split"],
    volume: Volume,
    object_id: int,
    bits: float,
    n_parts: int,
    section: int,
) -> Place:
    """Lay a crop around an object in a section, a square where the section has room for it."""
    mask = np.asarray(volume[section]) == object_id
    spans = [np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]] for axis in range(2)]
    longest = 1 + max(int(last - first) for first, last in spans)
    edge = max(round(longest * (1 + 2 * _MARGIN)), _SMALLEST_CROP)
    corner, size = [], []
    for (first, last), n in zip(spans, mask.shape, strict=True):
        width = min(edge, n)
        begin = min(max(int(first + last + 1 - width) // 2, 0), n - width)
        corner.append(begin)
        size.append(width)
    return Place(
        kind=kind,
        object_id=object_id,
        bits=bits,
        n_parts=n_parts,
        section=section,
        corner=(corner[0], corner[1]),
        size=(size[0], size[1]),
    )
