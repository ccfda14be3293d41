"""The region adjacency graph of a superpixel volume and its additive statistics.

All triples are z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from envs import statistics as st
from envs.channels import NO_COUNTS, ChannelCounts, count_channels
from envs.label_table import number_labels, plain_labels, read_only
from envs.quantise import quantise_boundaries, quantise_image
from envs.voxel_sums import BIN_OF_VALUE, sum_volume

RIM_BEFORE, RIM_AFTER = 2, 1
"""Voxels around a block that its sums depend on: the four in line across the face before it."""

Core = tuple[slice, slice, slice]
"""A block within arrays that hold its rim too, or within the volume."""


@dataclass(frozen=True, slots=True)
class RegionGraph:
    """Regions, their contacts, and the sums that describe both.

    Attributes:
        ids: (R,) uint64, superpixel id of each region, ascending; never 0.
        regions: (R, S) int64, columns of `envs.statistics`, then of `envs.channels` if there are.
        edges: (E, 2) int32, indices into `ids`, u < v, in lexicographic order. Their order is the
            strict order of ties of the merge rule.
        contacts: (E, C) int64, likewise.
        voxel_size_nm: edge lengths of a voxel.
    """

    ids: npt.NDArray[np.uint64]
    regions: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int32]
    contacts: npt.NDArray[np.int64]
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.regions.ndim != 2 or len(self.regions) != len(self.ids):
            raise ValueError(f"regions has shape {self.regions.shape} for {len(self.ids)} ids")
        if self.contacts.ndim != 2 or len(self.contacts) != len(self.edges):
            raise ValueError(f"contacts has shape {self.contacts.shape}, edges {self.edges.shape}")
        if len(self.edges):
            count_channels(self.regions.shape[1], self.contacts.shape[1])
        if len(self.edges) and not (
            (self.edges[:, 0] < self.edges[:, 1]).all()
            and self.edges.min() >= 0
            and self.edges.max() < len(self.ids)
        ):
            raise ValueError("edges must be pairs u < v of region indices")

    @property
    def n_regions(self) -> int:
        """Return the number of regions."""
        return len(self.ids)

    @property
    def n_edges(self) -> int:
        """Return the number of contacts."""
        return len(self.edges)

    @property
    def n_channels(self) -> ChannelCounts:
        """Return which channels the sums hold; none where there is no contact to look at."""
        if not len(self.edges):
            return NO_COUNTS
        return count_channels(self.regions.shape[1], self.contacts.shape[1])


def dense_labels(
    labels: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Number the non-zero ids of a label volume 0, 1, … in ascending order.

    Args:
        labels: any shape, integer, 0 = none.

    Returns:
        ids (R,) uint64, and for every voxel the index of its id, −1 where the label is 0.
    """
    index = np.empty(labels.size, np.int32)
    ids = number_labels(plain_labels(labels).reshape(-1), index)
    order = np.argsort(ids)
    if not np.array_equal(order, np.arange(len(ids))):
        rank = np.empty(len(ids) + 1, np.int32)
        rank[order] = np.arange(len(ids), dtype=np.int32)
        rank[-1] = -1
        index = rank[index]
    return ids[order], index.reshape(labels.shape)


def build_region_graph(
    superpixels: npt.NDArray[np.integer],
    image: npt.NDArray,
    boundaries: npt.NDArray,
    *,
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin_vox: tuple[int, int, int] = (0, 0, 0),
    core: Core | None = None,
) -> RegionGraph:
    """Build the region adjacency graph over voxel faces, with all statistics.

    Of a block, `core` with a rim (`core_with_rim`), it is the block's part of them: the sums over
    the core's voxels and over the faces between each and the one before it along an axis. A region
    that lies before the core and touches it is there, with a size of 0. The parts of all blocks
    add up to the graph of the volume (`envs.graph_sum`).

    Args:
        superpixels: (z, y, x) integer, 0 = none (such voxels touch nothing).
        image: (z, y, x) grey values, see `envs.quantise.quantise_image`.
        boundaries: (z, y, x) boundary map, see `envs.quantise.quantise_boundaries`.
        voxel_size_nm: edge lengths of a voxel.
        origin_vox: position of the array's first voxel, added to all positions.
        core: where the arrays hold a block with its rim, the block; nothing need be labelled in it.

    Raises:
        InputError: where shapes differ, superpixels are not integer, or nothing is labelled.
    """
    require_shape("boundaries", boundaries, superpixels.shape)
    return graph_of_sums(
        superpixels,
        image,
        quantise_boundaries(boundaries),
        np.empty((0, 0, 0, 0), np.uint8),
        voxel_size_nm=voxel_size_nm,
        origin_vox=origin_vox,
        core=core,
    )


def graph_of_sums(
    superpixels: npt.NDArray[np.integer],
    image: npt.NDArray,
    boundaries: npt.NDArray[np.uint8],
    evidence: npt.NDArray[np.uint8],
    *,
    voxel_size_nm: tuple[float, float, float],
    origin_vox: tuple[int, int, int],
    core: Core | None = None,
) -> RegionGraph:
    """Build a graph from what `envs.voxel_sums.sum_volume` takes, and a grey image.

    Raises:
        InputError: where shapes differ, superpixels are not integer, or nothing is labelled.
    """
    labels = plain_labels(superpixels)
    require_shape("image", image, superpixels.shape)
    ids, regions, keys, contacts = sum_volume(
        labels,
        read_only(quantise_image(image)),
        read_only(boundaries),
        read_only(evidence),
        np.array(origin_vox, np.int64),
        _ends_of(core, superpixels.shape),
        BIN_OF_VALUE,
    )
    if core is not None:
        ids, regions, keys = _without_idle(ids, regions, keys)
    elif len(ids) == 0:
        raise InputError(f"superpixels of shape {superpixels.shape} hold no region, only label 0")
    ids, region_order, edges, edge_order = _in_order(ids, keys)
    regions, contacts = regions[region_order], contacts[edge_order]
    areas = np.repeat(contacts[:, st.AREA], 2)
    regions[:, st.SURFACE] = np.bincount(edges.ravel(), weights=areas, minlength=len(ids))
    return RegionGraph(ids, regions, edges, contacts, voxel_size_nm)


def require_shape(name: str, array: npt.NDArray, shape: tuple[int, ...]) -> None:
    """Refuse an array whose last axes are not those of the superpixels."""
    if array.shape[-len(shape) :] != shape:
        raise InputError(f"{name} has shape {array.shape} but superpixels has shape {shape}")


def region_adjacency(
    superpixels: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Find which regions touch, over voxel faces, and by how many of them, without statistics.

    Args:
        superpixels: (z, y, x) integer, 0 = none (such voxels touch nothing).

    Returns:
        ids (R,) uint64, edges (E, 2) int32 and areas (E,) int64, as in `RegionGraph`.
    """
    if superpixels.ndim != 3:
        raise InputError(
            f"superpixels must be a (z, y, x) volume, not an array of shape {superpixels.shape}"
        )
    nothing = read_only(np.empty((0, 0, 0), np.uint8))
    ids, _, keys, contacts = sum_volume(
        plain_labels(superpixels),
        nothing,
        nothing,
        read_only(np.empty((0, 0, 0, 0), np.uint8)),
        np.zeros(3, np.int64),
        _ends_of(None, superpixels.shape),
        BIN_OF_VALUE,
    )
    ids, _, edges, order = _in_order(ids, keys)
    return ids, edges, contacts[order, 0]


def core_with_rim(block: Core, shape: tuple[int, ...]) -> tuple[Core, Core]:
    """Return what to read for the sums of a block of a volume, and where the block lies in it.

    At the volume's own border the rim ends.

    Args:
        block: where the block lies in the volume; no part of it may be empty.
        shape: z, y, x of the volume.
    """
    read, core = [], []
    for part, size in zip(block, shape, strict=True):
        begin = max(part.start - RIM_BEFORE, 0)
        read.append(slice(begin, min(part.stop + RIM_AFTER, size)))
        core.append(slice(part.start - begin, part.stop - begin))
    return (read[0], read[1], read[2]), (core[0], core[1], core[2])


def _ends_of(core: Core | None, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return (3, 2) the first voxel along each axis and the one after the last."""
    if core is None:
        return np.array([(0, size) for size in shape], np.int64)
    return np.array([(part.start, part.stop) for part in core], np.int64)


def _without_idle(
    ids: npt.NDArray[np.uint64], regions: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Leave out regions that have neither a voxel nor a contact, and number the others anew."""
    ends = np.stack([keys >> 32, keys & (2**32 - 1)])
    is_kept = regions[:, st.SIZE] > 0
    is_kept[ends] = True
    number = np.cumsum(is_kept) - 1
    return ids[is_kept], regions[is_kept], number[ends[0]] << 32 | number[ends[1]]


def _in_order(
    ids: npt.NDArray[np.uint64], keys: npt.NDArray[np.int64]
) -> tuple[Any, Any, npt.NDArray[np.int32], Any]:
    """Number regions by ascending id and edges by their ends; return also where each was."""
    region_order = np.argsort(ids)
    rank = np.empty(len(ids), np.int64)
    rank[region_order] = np.arange(len(ids))
    ends = np.stack([rank[keys >> 32], rank[keys & (2**32 - 1)]])
    keys = ends.min(0) * len(ids) + ends.max(0)
    edge_order = np.argsort(keys)
    keys = keys[edge_order]
    edges = np.stack([keys // len(ids), keys % len(ids)], axis=1).astype(np.int32)
    return ids[region_order], region_order, edges, edge_order
