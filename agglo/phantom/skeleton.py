"""Skeletons of all neurites in a box of lattice nodes.

Tiles of edges are grown on demand and kept; following a neurite to its end may lead far out of the
box, through tiles that are grown for that. All triples are z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from agglo.phantom.config import JITTER, PhantomConfig
from agglo.phantom.growth import STEPS, grow_tile
from agglo.phantom.hashing import hash_position, mix, stream_key, unit, unit_at, value_noise

TILE = 24
"""Nodes along the side of a tile."""

_HALF_RANGE = 1 << 20  # an id holds 21 bits for each coordinate of its end node
_JITTER, _KEEP, _CALIBRE, _VARICOSITY, _BOUTON, _BODY = 20, 23, 24, 25, 26, 27

SEGMENT_FIELDS = 11
"""Columns of a segment: start (3), direction (3), length, radius at the start, slope of the radius,
shift of the nearest point for that slope, radius at the end; lengths in nm."""

BODY_FIELDS = 7
"""Columns of an organelle: kind, from, to (nm along the segment), offset (3), radius."""

NO_BODY, MITOCHONDRION, TUBULE = 0, 1, 2


class _Tile(NamedTuple):
    """The edges of one tile and where they lead to."""

    way_out: npt.NDArray[np.int8]  # (TILE, TILE, TILE) direction code, -1 at the end of a neurite
    leaves_at: npt.NDArray[np.int8]  # (TILE, TILE, TILE, 3) end node, or first node outside, local


@lru_cache(maxsize=1024)
def _tile(seed: int, branching: float, z: int, y: int, x: int) -> _Tile:
    """Grow the tile of an index in tiles, or take the one that was grown before."""
    start = np.array([z, y, x], dtype=np.int64) * TILE
    way_out = np.full((TILE, TILE, TILE), -1, dtype=np.int8)
    grow_tile(seed, branching, start, way_out)
    leaves_at = np.empty((TILE, TILE, TILE, 3), dtype=np.int8)
    _follow_in_tile(way_out, leaves_at)
    way_out.setflags(write=False)
    leaves_at.setflags(write=False)
    return _Tile(way_out, leaves_at)


@njit(cache=True)
def _follow_in_tile(way_out, out_leaves_at):
    n = way_out.shape[0]
    for i in range(n):
        for j in range(n):
            for k in range(n):
                a, b, c = i, j, k
                while 0 <= a < n and 0 <= b < n and 0 <= c < n and way_out[a, b, c] >= 0:
                    d = way_out[a, b, c]
                    a += STEPS[d, 0]
                    b += STEPS[d, 1]
                    c += STEPS[d, 2]
                out_leaves_at[i, j, k, 0] = a
                out_leaves_at[i, j, k, 1] = b
                out_leaves_at[i, j, k, 2] = c


def ends_of_neurites(config: PhantomConfig, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Follow neurites to their ends.

    Args:
        config: The phantom.
        nodes: (n, 3) int64, lattice nodes.

    Returns:
        (n, 3) int64, the node at which each one's neurite ends.
    """
    current, inverse = np.unique(nodes, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    where = np.arange(len(current))
    ends = current.copy()
    while len(where):
        tiles = current // TILE
        after = np.empty_like(current)
        order = np.lexsort(tiles.T)
        cuts = np.flatnonzero(np.any(np.diff(tiles[order], axis=0), axis=1)) + 1
        for group in np.split(order, cuts):
            local = current[group] - tiles[group] * TILE
            tile = _tile(config.seed, config.branching, *(int(t) for t in tiles[group[0]]))
            leaves_at = tile.leaves_at[local[:, 0], local[:, 1], local[:, 2]]
            after[group] = leaves_at + tiles[group] * TILE
        ends[where] = after
        going_on = np.any(after // TILE != tiles, axis=1)
        where = where[going_on]
        current = after[going_on]
    return ends[inverse]


def neurite_id(ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Turn the end nodes of neurites, (..., 3) int64, into their ids: never 0, below 2**63."""
    assert np.all(np.abs(ends) < _HALF_RANGE), "a neurite left the addressable lattice"
    part = (ends + _HALF_RANGE).astype(np.uint64)
    packed = (part[..., 0] << np.uint64(42)) | (part[..., 1] << np.uint64(21)) | part[..., 2]
    return packed + np.uint64(1)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The skeletons in a box of nodes; every array begins with the box's (z, y, x).

    Attributes:
        start: (3,) int64, first node of the box.
        ids: (z, y, x) uint64, id of the neurite of each node, 0 where it is left out.
        position_nm: (z, y, x, 3) float64, in straight space.
        radius_nm: (z, y, x) float64.
        segments: (z, y, x, SEGMENT_FIELDS) float64, from each node to the one it continues into.
        has_segment: (z, y, x) bool.
        bodies: (z, y, x, BODY_FIELDS) float64, the organelle in each segment.
    """

    start: npt.NDArray[np.int64]
    ids: npt.NDArray[np.uint64]
    position_nm: npt.NDArray[np.float64]
    radius_nm: npt.NDArray[np.float64]
    segments: npt.NDArray[np.float64]
    has_segment: npt.NDArray[np.bool_]
    bodies: npt.NDArray[np.float64]


def skeleton_in_box(
    config: PhantomConfig, start: npt.NDArray[np.int64], shape: npt.NDArray[np.int64]
) -> Skeleton:
    """Make the skeletons of the nodes start <= node < start + shape; both (3,) int64."""
    first = start - 1  # a margin of one node: who comes in from outside, and where edges lead to
    extent = shape + 2
    way_out = np.empty(tuple(extent), dtype=np.int8)
    low, high = first // TILE, (first + extent - 1) // TILE
    for index in np.ndindex(*(high - low + 1)):
        tile = low + index
        begin = np.maximum(first, tile * TILE)
        end = np.minimum(first + extent, (tile + 1) * TILE)
        ours = tuple(slice(b, e) for b, e in zip(begin - first, end - first, strict=True))
        theirs = tuple(
            slice(b, e) for b, e in zip(begin - tile * TILE, end - tile * TILE, strict=True)
        )
        grown = _tile(config.seed, config.branching, *(int(t) for t in tile))
        way_out[ours] = grown.way_out[theirs]
    nodes = np.stack(np.meshgrid(*(np.arange(e) for e in extent), indexing="ij"), axis=-1) + first
    ids = neurite_id(ends_of_neurites(config, nodes.reshape(-1, 3))).reshape(tuple(extent))
    full = tuple(int(e) for e in extent)
    position = np.empty((*full, 3))
    radius = np.empty(full)
    _place_nodes(
        config.seed,
        config.node_spacing_nm,
        config.calibre_spread,
        config.density,
        first,
        ids,
        position,
        radius,
    )
    inner = tuple(int(s) for s in shape)
    kept = np.zeros(inner, dtype=np.uint64)
    segments = np.zeros((*inner, SEGMENT_FIELDS))
    has_segment = np.zeros(inner, dtype=np.bool_)
    bodies = np.zeros((*inner, BODY_FIELDS))
    _string_segments(way_out, ids, position, radius, kept, segments, has_segment)
    _place_bodies(
        config.seed,
        config.node_spacing_nm,
        config.mitochondria,
        config.tubules,
        start,
        segments,
        has_segment,
        bodies,
    )
    core = (slice(1, -1),) * 3
    return Skeleton(
        start,
        kept,
        np.ascontiguousarray(position[core]),
        np.ascontiguousarray(radius[core]),
        segments,
        has_segment,
        bodies,
    )


@njit(cache=True)
def _place_nodes(
    seed, spacing_nm, calibre_spread, density, first, inout_ids, out_position, out_radius
):
    """Place every node, set its radius, and clear the ids of the neurites that are left out."""
    keep = stream_key(seed, _KEEP)
    calibre_key = stream_key(seed, _CALIBRE)
    for i in range(inout_ids.shape[0]):
        z = first[0] + i
        for j in range(inout_ids.shape[1]):
            y = first[1] + j
            for k in range(inout_ids.shape[2]):
                x = first[2] + k
                for axis in range(3):
                    u = unit_at(stream_key(seed, _JITTER + axis), z, y, x)
                    at = z if axis == 0 else (y if axis == 1 else x)
                    out_position[i, j, k, axis] = (at + JITTER * (2.0 * u - 1.0)) * spacing_nm
                calibre = unit(mix(inout_ids[i, j, k] ^ calibre_key))
                calibre = calibre * calibre
                swell = 0.5 + 0.5 * unit_at(stream_key(seed, _VARICOSITY), z, y, x)
                share = calibre * swell
                bouton = unit_at(stream_key(seed, _BOUTON), z, y, x)
                if bouton < 0.06:
                    share = max(share, 0.7 + 5.0 * bouton)
                out_radius[i, j, k] = share * calibre_spread * spacing_nm
                if unit(mix(inout_ids[i, j, k] ^ keep)) >= density:
                    inout_ids[i, j, k] = 0


@njit(cache=True)
def _string_segments(way_out, ids, position, radius, out_ids, out_segments, out_has_segment):
    """Connect the nodes of the inner box; a neurite of a single node is left out."""
    for i in range(out_ids.shape[0]):
        for j in range(out_ids.shape[1]):
            for k in range(out_ids.shape[2]):
                if ids[i + 1, j + 1, k + 1] == 0:
                    continue
                d = way_out[i + 1, j + 1, k + 1]
                if d < 0:
                    for e in range(6):
                        if (
                            way_out[i + 1 - STEPS[e, 0], j + 1 - STEPS[e, 1], k + 1 - STEPS[e, 2]]
                            == e
                        ):
                            out_ids[i, j, k] = ids[i + 1, j + 1, k + 1]
                    continue
                out_ids[i, j, k] = ids[i + 1, j + 1, k + 1]
                out_has_segment[i, j, k] = True
                a = i + 1 + STEPS[d, 0]
                b = j + 1 + STEPS[d, 1]
                c = k + 1 + STEPS[d, 2]
                segment = out_segments[i, j, k]
                length = 0.0
                for axis in range(3):
                    segment[axis] = position[i + 1, j + 1, k + 1, axis]
                    segment[3 + axis] = position[a, b, c, axis] - segment[axis]
                    length += segment[3 + axis] * segment[3 + axis]
                length = np.sqrt(length)
                for axis in range(3):
                    segment[3 + axis] /= length
                slope = (radius[a, b, c] - radius[i + 1, j + 1, k + 1]) / length
                segment[6] = length
                segment[7] = radius[i + 1, j + 1, k + 1]
                segment[8] = slope
                segment[9] = slope / np.sqrt(1.0 - slope * slope)
                segment[10] = radius[a, b, c]


@njit(cache=True)
def _place_bodies(
    seed, spacing_nm, mitochondria, tubules, start, segments, has_segment, out_bodies
):
    """Put a mitochondrion into some thick segments and a tubule into some others."""
    for i in range(has_segment.shape[0]):
        for j in range(has_segment.shape[1]):
            for k in range(has_segment.shape[2]):
                if not has_segment[i, j, k]:
                    continue
                z = start[0] + i
                y = start[1] + j
                x = start[2] + k
                h = hash_position(stream_key(seed, _BODY), z, y, x)
                body = out_bodies[i, j, k]
                segment = segments[i, j, k]
                thick = min(segment[7], segment[10]) / spacing_nm
                # Smooth along the lattice, so that mitochondria go on from segment to segment.
                run = (
                    0.5 + value_noise(stream_key(seed, _BODY + 1), z / 2.2, y / 2.2, x / 2.2) / 1.6
                )
                run = min(max(run, 0.0), 1.0)
                run = run * run * (3.0 - 2.0 * run)  # nearly uniform
                if thick > 0.1 and run < mitochondria:
                    body[0] = MITOCHONDRION
                    body[2] = segment[6]
                    body[6] = spacing_nm * (0.26 + 0.95 * thick)
                elif unit(h) < tubules:
                    body[0] = TUBULE
                    body[1] = segment[6] * 0.3 * unit(mix(h + np.uint64(1)))
                    body[2] = segment[6] * (1.0 - 0.3 * unit(mix(h + np.uint64(2))))
                    for axis in range(3):
                        u = unit(mix(h + np.uint64(3 + axis)))
                        body[3 + axis] = spacing_nm * 0.2 * (2.0 * u - 1.0)
                    body[6] = spacing_nm * (0.14 + 0.12 * unit(mix(h + np.uint64(6))))
