"""The statistics of a volume voxel by voxel and face by face: the specification of the one pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs import statistics as st
from tests.envs.random_tissue import Volume


class Face(NamedTuple):
    """A voxel face between two regions: what lies at its two sides and around."""

    axis: int
    doubled_position: tuple[int, int, int]
    grey: tuple[int, int]
    boundary: tuple[int, int]
    path: tuple[int, ...]


class Voxel(NamedTuple):
    """A voxel of a region."""

    position: tuple[int, int, int]
    grey: int
    boundary: int


def voxels_and_faces(
    volume: Volume, origin: tuple[int, int, int] = (0, 0, 0)
) -> tuple[dict[int, list[Voxel]], dict[tuple[int, int], list[Face]]]:
    """List the voxels of every region and the faces of every contact, by superpixel id."""
    superpixels, image, boundaries = volume
    voxels: dict[int, list[Voxel]] = defaultdict(list)
    faces: dict[tuple[int, int], list[Face]] = defaultdict(list)
    for p in np.ndindex(*superpixels.shape):
        u = int(superpixels[p])
        if u == 0:
            continue
        place = (origin[0] + p[0], origin[1] + p[1], origin[2] + p[2])
        voxels[u].append(Voxel(place, int(image[p]), int(boundaries[p])))
        for axis in range(3):

            def along(steps: int, p: tuple = p, axis: int = axis) -> tuple[int, ...]:
                return (*p[:axis], p[axis] + steps, *p[axis + 1 :])

            q = along(1)
            v = int(superpixels[q]) if q[axis] < superpixels.shape[axis] else 0
            if v in (0, u):
                continue
            line = [along(k) for k in (-1, 0, 1, 2) if 0 <= p[axis] + k < superpixels.shape[axis]]
            faces[min(u, v), max(u, v)].append(
                Face(
                    axis,
                    tuple(2 * place[a] + (a == axis) for a in range(3)),
                    (int(image[p]), int(image[q])),
                    (int(boundaries[p]), int(boundaries[q])),
                    tuple(int(boundaries[r]) for r in line),
                )
            )
    return dict(voxels), dict(faces)


def twin_statistics(
    volume: Volume, origin: tuple[int, int, int] = (0, 0, 0)
) -> tuple[list[int], npt.NDArray, list[tuple[int, int]], npt.NDArray]:
    """Return ids, region sums, pairs of ids and contact sums, all in ascending order."""
    voxels, faces = voxels_and_faces(volume, origin)
    ids, pairs = sorted(voxels), sorted(faces)
    surface = Counter[int]()
    for pair, between in faces.items():
        for u in pair:
            surface[u] += len(between)
    regions = np.array([_region_sums(voxels[u], surface[u]) for u in ids], np.int64)
    contacts = np.array([_contact_sums(faces[pair]) for pair in pairs], np.int64)
    return ids, regions, pairs, contacts.reshape(-1, st.N_CONTACT_STATISTICS)


def bin_of(value: int) -> int:
    """Return the histogram bin of an 8-bit boundary value."""
    return sum(value >= edge for edge in st.BIN_EDGES)


def _moments(positions: list[tuple[int, int, int]]) -> list[int]:
    """Return the sums of z, y, x, zz, yy, xx, zy, zx, yx."""
    return [sum(p[a] for p in positions) for a in range(3)] + [
        sum(p[a] * p[b] for p in positions)
        for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    ]


def _histogram(values: list[int]) -> list[int]:
    return [sum(bin_of(value) == k for value in values) for k in range(st.N_BINS)]


def _region_sums(voxels: list[Voxel], surface: int) -> list[int]:
    return [
        len(voxels),
        sum(v.grey for v in voxels),
        sum(v.grey**2 for v in voxels),
        sum(v.boundary for v in voxels),
        sum(v.boundary**2 for v in voxels),
        surface,
        *_histogram([v.boundary for v in voxels]),
        *_moments([v.position for v in voxels]),
    ]


def _contact_sums(faces: list[Face]) -> list[int]:
    return [
        len(faces),
        sum(max(f.boundary) for f in faces),
        sum(max(f.boundary) ** 2 for f in faces),
        sum(sum(f.boundary) for f in faces),
        sum(max(f.path) for f in faces),
        sum(sum(f.grey) for f in faces),
        sum(sum(f.grey) ** 2 for f in faces),
        sum(abs(f.grey[0] - f.grey[1]) for f in faces),
        sum(f.axis == 0 for f in faces),
        *_histogram([max(f.boundary) for f in faces]),
        *_moments([f.doubled_position for f in faces]),
    ]
