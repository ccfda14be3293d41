"""Pictures of the environment: a section through the two regions of the best candidate.

All triples are z, y, x.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from analysis.label_colours import label_colours
from envs.dynamics import Dynamics
from envs.instance import Instance
from envs.merge_state import NODE, SMALLEST
from envs.region_graph import dense_labels

SIDE_PX = 384
"""Width and height of every picture."""

WINDOW_VOX = 96
"""Widest part of a volume that a picture shows, in the shortest edges of a voxel."""

PAIR_COLOURS = np.array([[255, 140, 0], [40, 130, 255]], np.float32)
"""Colours of the two regions of the candidate, the one with the smallest member first."""

CONTACT_COLOUR = np.array([255, 255, 255], np.float32)
BORDER_COLOUR = np.array([230, 30, 80], np.float32)

_TINT, _FAINT = 0.5, 0.5
_CONTACT_PX = 3
"""How far the outline of the contact reaches into either region."""


class Section(NamedTuple):
    """A window on a plane of voxels.

    Attributes:
        axis: normal to the plane.
        index: of the plane.
        rows, columns: of the window, along the two other axes.
    """

    axis: int
    index: int
    rows: slice
    columns: slice

    def of(self, volume: npt.NDArray) -> npt.NDArray:
        """Return what the window shows of a volume."""
        return np.moveaxis(volume, self.axis, 0)[self.index, self.rows, self.columns]


class SectionDrawing:
    """Draws episodes of one instance.

    Args:
        instance: with its volume.

    Raises:
        InputError: the volume is missing or its superpixels are not those of the graph.
    """

    def __init__(self, instance: Instance) -> None:
        if instance.volume is None:
            raise InputError("rgb_array rendering needs instances with a volume, but this has none")
        ids, self.region = dense_labels(instance.volume.superpixels)
        if not np.array_equal(ids, instance.graph.ids):
            raise InputError(
                f"superpixels hold {len(ids)} ids that are not the {instance.graph.n_regions} of "
                "the graph"
            )
        self.instance = instance
        self._image = instance.volume.image
        self._boxes = np.zeros((len(ids), 2, 3), np.int64)
        _bound(self.region, self._boxes)
        size = np.array(instance.graph.voxel_size_nm) / min(instance.graph.voxel_size_nm)
        self._window = np.minimum(self.region.shape, np.ceil(WINDOW_VOX / size).astype(np.int64))
        self._voxel_px = SIDE_PX / (self._window * size).max() * size
        middle = (np.array(self.region.shape) - 1) / 2
        self._section = self._around(0, int(middle[0]), middle)

    def draw(self, dynamics: Dynamics) -> npt.NDArray[np.uint8]:
        """Draw (SIDE_PX, SIDE_PX, 3) the plane with most faces of the best candidate's contact.

        When no candidate is left, the plane of the picture before is drawn with all clusters in
        colours of their own.
        """
        clusters = dynamics.clusters()
        pair = None
        if len(dynamics.candidates):
            merging = dynamics.process.merging
            ends = merging.links[2 * dynamics.candidates[0] : 2 * dynamics.candidates[0] + 2, NODE]
            pair = np.sort(merging.places[ends, SMALLEST])
            self._section = self._through(clusters, pair)
        return self._paint(clusters, pair)

    def _through(self, clusters: npt.NDArray[np.int64], pair: npt.NDArray[np.integer]) -> Section:
        """Find the plane that cuts most faces between two clusters; the first of equals."""
        one, other = (self._boxes[clusters == end] for end in pair)
        corner = np.maximum(one[:, 0].min(0), other[:, 0].min(0)) - 1
        end = np.minimum(one[:, 1].max(0), other[:, 1].max(0)) + 1
        corner, end = np.maximum(corner, 0), np.minimum(end, self.region.shape)
        part = self.region[tuple(slice(*ends) for ends in zip(corner, end, strict=True))]
        touched = _faces_between(np.append(clusters, -1)[part], pair)
        most, axis, index = -1, 0, 0
        for normal in range(3):
            along = [a for a in range(3) if a != normal]
            n_faces = touched[along].sum((0, *(a + 1 for a in along)))
            if n_faces.max() > most:
                most, axis, index = int(n_faces.max()), normal, int(n_faces.argmax())
        touched[axis] = False
        seen = np.argwhere(touched.any(0))
        centre = seen[seen[:, axis] == index].mean(0) + corner
        return self._around(axis, int(corner[axis]) + index, centre)

    def _around(self, axis: int, index: int, centre: npt.NDArray[np.floating]) -> Section:
        """Return the window on a plane that has a point in its middle, or at least in it."""
        rows, columns = (
            slice(start, start + width)
            for start, width in (
                (min(max(round(centre[a] - (width - 1) / 2), 0), n - width), width)
                for a, (n, width) in enumerate(zip(self.region.shape, self._window, strict=True))
                if a != axis
            )
        )
        return Section(axis, index, rows, columns)

    def _paint(
        self, clusters: npt.NDArray[np.int64], pair: npt.NDArray[np.integer] | None
    ) -> npt.NDArray[np.uint8]:
        """Draw the present section in the middle of a black picture."""
        cluster = np.append(clusters, -1)[self._section.of(self.region)]
        picture = np.repeat(self._section.of(self._image).astype(np.float32)[..., None], 3, axis=2)
        if pair is None:
            is_tinted = cluster >= 0
            colours = 255 * label_colours(cluster[is_tinted] + 1)
        else:
            is_tinted = np.isin(cluster, pair)
            colours = PAIR_COLOURS[(cluster[is_tinted] == pair[1]).astype(np.int64)]
        picture[is_tinted] += _TINT * (colours - picture[is_tinted])

        voxel_px = np.delete(self._voxel_px, self._section.axis)
        rows, columns = (
            np.minimum((np.arange(round(n * px)) / px).astype(np.int64), n - 1)
            for n, px in zip(cluster.shape, voxel_px, strict=True)
        )
        picture, cluster = picture[rows[:, None], columns], cluster[rows[:, None], columns]
        is_border = np.zeros(cluster.shape, np.bool_)
        is_border[:-1] |= cluster[:-1] != cluster[1:]
        is_border[:, :-1] |= cluster[:, :-1] != cluster[:, 1:]
        picture[is_border] += _FAINT * (BORDER_COLOUR - picture[is_border])
        if pair is not None:
            first, second = cluster == pair[0], cluster == pair[1]
            picture[first & _widened(second) | second & _widened(first)] = CONTACT_COLOUR

        canvas = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        top, left = (SIDE_PX - len(rows)) // 2, (SIDE_PX - len(columns)) // 2
        canvas[top : top + len(rows), left : left + len(columns)] = np.rint(picture)
        return canvas


def _faces_between(
    cluster: npt.NDArray[np.int64], pair: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_]:
    """Mark (normal, z, y, x) the voxels that have one cluster of a pair, and the next the other."""
    touched = np.zeros((3, *cluster.shape), np.bool_)
    for normal in range(3):
        here, ahead = np.moveaxis(cluster, normal, 0)[:-1], np.moveaxis(cluster, normal, 0)[1:]
        np.moveaxis(touched[normal], normal, 0)[:-1] = (here == pair[0]) & (ahead == pair[1]) | (
            here == pair[1]
        ) & (ahead == pair[0])
    return touched


def _widened(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the pixels that have a marked one within reach along a row or a column."""
    wide = mask.copy()
    for step in range(1, _CONTACT_PX + 1):
        wide[step:] |= mask[:-step]
        wide[:-step] |= mask[step:]
        wide[:, step:] |= mask[:, :-step]
        wide[:, :-step] |= mask[:, step:]
    return wide


@njit(cache=True)
def _bound(region, out_boxes):
    """Write the first and one past the last voxel of every region; out_boxes: (R, 2, 3) int64."""
    for u in range(len(out_boxes)):
        for axis in range(3):
            out_boxes[u, 0, axis] = region.shape[axis]
    for z in range(region.shape[0]):
        for y in range(region.shape[1]):
            for x in range(region.shape[2]):
                u = region[z, y, x]
                if u >= 0:
                    for axis, at in enumerate((z, y, x)):
                        out_boxes[u, 0, axis] = min(out_boxes[u, 0, axis], at)
                        out_boxes[u, 1, axis] = max(out_boxes[u, 1, axis], at + 1)
