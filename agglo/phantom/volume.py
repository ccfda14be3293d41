"""Blocks of an unbounded electron-microscopy-like volume with exact labels, made by formula.

All triples are z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agglo.phantom.config import PhantomConfig
from agglo.phantom.drawing import draw_block
from agglo.phantom.sections import BLUR_NM, BLURRED, expose, section_effects
from agglo.phantom.shading import SYNAPSE_REACH_NM
from agglo.phantom.skeleton import Skeleton, skeleton_in_box
from agglo.phantom.space import rotation, straight_box
from agglo.phantom.synapse import Synapses, find_synapses
from agglo.phantom.territory import WINDOW
from analysis.input_error import InputError

SYNAPSE_DTYPE = np.dtype([("pre", np.uint64), ("post", np.uint64), ("position", np.int64, (3,))])
"""One synapse: the two neurites and the voxel of the presynaptic one beside the other."""

_CELL_SPACINGS = 2.0 / 7.0  # side of a cell of voxels
_STRETCH = 4.0  # more than the warp ever stretches a few cells
_FARTHEST_NODE = 1 << 19


@dataclass(frozen=True, slots=True)
class Phantom:
    """A block of a phantom.

    Attributes:
        image: (z, y, x) uint8.
        labels: (z, y, x) uint64, the neurite of every voxel; 0 never occurs, all are below 2**63.
        boundaries: (z, y, x) float32 in [0, 1], ideal membranes: 1 in their middle, 0 away from
            them.
        synapses: (n,) SYNAPSE_DTYPE, those whose position lies in the block, relative to it, in
            the order of position; `labels[position]` is `pre`, and a face neighbour is `post`.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint64]
    boundaries: npt.NDArray[np.float32]
    synapses: npt.NDArray[np.void]


def make_phantom(
    config: PhantomConfig, offset: tuple[int, int, int], shape: tuple[int, int, int]
) -> Phantom:
    """Make one block of a phantom.

    Every voxel is a function of the configuration and of its global index alone: a block is bit
    for bit the same when it is cut from a larger one.

    Args:
        config: The phantom.
        offset: Global index of the first voxel, z, y, x; may be negative.
        shape: Voxels of the block, z, y, x.

    Returns:
        The block.

    Raises:
        InputError: If offset or shape is not three integers, the shape is not positive, or the
            block lies outside the addressable space.
    """
    first = _three_integers("offset", offset)
    size = _three_integers("shape", shape)
    if np.any(size < 1):
        raise InputError(f"shape must be positive along every axis, got {tuple(size.tolist())}.")
    voxel_nm = np.array(config.voxel_size_nm)
    reach = np.maximum(np.abs(first), np.abs(first + size)) * voxel_nm / config.node_spacing_nm
    if np.any(reach > _FARTHEST_NODE):
        limit = np.floor(_FARTHEST_NODE * config.node_spacing_nm / voxel_nm).astype(int)
        raise InputError(
            f"offset must keep the block within {tuple(limit.tolist())} voxels of the origin, "
            f"got offset {tuple(first.tolist())} and shape {tuple(size.tolist())}."
        )
    cell_shape = np.maximum(1, np.rint(_CELL_SPACINGS * config.node_spacing_nm / voxel_nm)).astype(
        np.int64
    )
    turn = rotation(config.seed)
    first_cell = first // cell_shape
    low_nm, high_nm = np.empty(3), np.empty(3)
    straight_box(
        config.seed,
        config.node_spacing_nm,
        config.tortuosity,
        turn,
        voxel_nm,
        cell_shape,
        first_cell,
        (first + size - 1) // cell_shape - first_cell + 1,
        low_nm,
        high_nm,
    )
    low_nm -= SYNAPSE_REACH_NM
    high_nm += SYNAPSE_REACH_NM
    skeleton = _skeleton_around(config, low_nm, high_nm, cell_shape)
    synapses = _synapses_between(config, low_nm, high_nm, cell_shape, turn, skeleton)
    gain, shift = np.empty(size[0]), np.empty(size[0])
    kind = np.empty(size[0], dtype=np.int64)
    section_effects(
        config.seed, config.section_jitter, config.bad_sections, int(first[0]), gain, shift, kind
    )
    extent = tuple(int(s) for s in size)
    labels = np.empty(extent, dtype=np.uint64)
    boundaries = np.empty(extent, dtype=np.float32)
    clean = np.empty(extent, dtype=np.float32)
    n = skeleton.ids.size
    draw_block(
        config.seed,
        config.node_spacing_nm,
        config.tortuosity,
        turn,
        config.calibre_spread * config.node_spacing_nm,
        config.membrane_nm,
        config.faint_membranes,
        voxel_nm,
        cell_shape,
        first,
        skeleton.start,
        np.array(skeleton.ids.shape, dtype=np.int64),
        skeleton.ids.reshape(n),
        skeleton.segments.reshape(n, -1),
        skeleton.has_segment.reshape(n),
        skeleton.bodies.reshape(n, -1),
        synapses.site_nm,
        synapses.direction,
        synapses.pre,
        synapses.post,
        np.where(kind == BLURRED, BLUR_NM, 0.0),
        labels,
        boundaries,
        clean,
    )
    image = expose(config, first, clean, gain, shift, kind)
    return Phantom(image, labels, boundaries, _in_block(synapses, first, size))


def _three_integers(name: str, value: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    array = np.asarray(value)
    if array.shape != (3,) or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} must be three integers z, y, x, got {value!r}.")
    return array.astype(np.int64)


def _skeleton_around(
    config: PhantomConfig,
    low_nm: npt.NDArray[np.float64],
    high_nm: npt.NDArray[np.float64],
    cell_shape: npt.NDArray[np.int64],
) -> Skeleton:
    """Make the skeletons of all nodes that a box in straight space can depend on.

    The voxels around a synapse's site are labelled too, hence the margin of some stretched cells.
    """
    around = _STRETCH * np.linalg.norm((cell_shape + 3.0) * np.array(config.voxel_size_nm))
    low = np.floor((low_nm - around) / config.node_spacing_nm).astype(np.int64) - WINDOW - 1
    high = np.ceil((high_nm + around) / config.node_spacing_nm).astype(np.int64) + WINDOW + 1
    return skeleton_in_box(config, low, high - low + 1)


def _synapses_between(
    config: PhantomConfig,
    low_nm: npt.NDArray[np.float64],
    high_nm: npt.NDArray[np.float64],
    cell_shape: npt.NDArray[np.int64],
    turn: npt.NDArray[np.float64],
    skeleton: Skeleton,
) -> Synapses:
    """Find the synapses between two corners of straight space."""
    spacing = config.node_spacing_nm
    n = skeleton.ids.size
    out = Synapses(
        np.empty(3 * n, dtype=np.uint64),
        np.empty(3 * n, dtype=np.uint64),
        np.empty((3 * n, 3), dtype=np.int64),
        np.empty((3 * n, 3)),
        np.empty((3 * n, 3)),
    )
    count = find_synapses(
        config.seed,
        spacing,
        config.tortuosity,
        turn,
        config.calibre_spread * spacing,
        config.synapses,
        np.array(config.voxel_size_nm),
        cell_shape,
        low_nm,
        high_nm,
        skeleton.start,
        np.array(skeleton.ids.shape, dtype=np.int64),
        skeleton.ids.reshape(n),
        skeleton.position_nm.reshape(n, 3),
        skeleton.radius_nm.reshape(n),
        skeleton.segments.reshape(n, -1),
        skeleton.has_segment.reshape(n),
        out.pre,
        out.post,
        out.position,
        out.site_nm,
        out.direction,
    )
    return Synapses(
        out.pre[:count],
        out.post[:count],
        out.position[:count],
        out.site_nm[:count],
        out.direction[:count],
    )


def _in_block(
    synapses: Synapses, first: npt.NDArray[np.int64], size: npt.NDArray[np.int64]
) -> npt.NDArray[np.void]:
    """List the synapses whose position lies in the block, ordered by position."""
    position = synapses.position - first
    inside = np.all((position >= 0) & (position < size), axis=1)
    table = np.empty(int(inside.sum()), dtype=SYNAPSE_DTYPE)
    table["pre"] = synapses.pre[inside]
    table["post"] = synapses.post[inside]
    table["position"] = position[inside]
    p = table["position"]
    return table[np.lexsort((table["post"], table["pre"], p[:, 2], p[:, 1], p[:, 0]))]
