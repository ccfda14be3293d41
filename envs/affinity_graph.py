"""The region graph of a superpixel volume whose boundaries are known as affinities.

All triples are z, y, x. The evidence of a face is 1 − its affinity. It takes the place of the
larger of two voxels' boundary values: the columns `FACE_MAX`, its square and the histogram of a
contact are of the evidence of its own faces, `PATH_MAX` of the largest among the three faces in
line (the one before, the face itself, the one after). A voxel's boundary value, which the columns
of regions and `FACE_SUM` add up, is the largest evidence of the faces to the three voxels before
it. Neither depends on the superpixels, so sums add up as those of a boundary map do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from envs.quantise import quantise_affinities
from envs.region_graph import Core, RegionGraph, graph_of_sums, require_shape


def build_affinity_graph(
    superpixels: npt.NDArray[np.integer],
    image: npt.NDArray,
    affinities: npt.NDArray,
    *,
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin_vox: tuple[int, int, int] = (0, 0, 0),
    core: Core | None = None,
) -> RegionGraph:
    """Build the region adjacency graph over voxel faces, with all statistics, from affinities.

    The mean affinity of contacts, as waterz merges by it, is 255 times `AREA` less `FACE_MAX`, by
    `AREA` (see `envs.mean_linkage`).

    Args:
        superpixels: (z, y, x) integer, 0 = none (such voxels touch nothing).
        image: (z, y, x) grey values, see `envs.quantise.quantise_image`.
        affinities: (3, z, y, x) float in [0, 1] or uint8, 1 = connected: channel c is the affinity
            of a voxel to the one before it along z, y or x. What is said of the first voxels of an
            axis, which have none before them, is not used.
        voxel_size_nm: edge lengths of a voxel.
        origin_vox: position of the array's first voxel, added to all positions.
        core: the block that the arrays hold with its rim, as `build_region_graph` takes it.

    Raises:
        InputError: where shapes differ, superpixels are not integer, or nothing is labelled.
    """
    evidence = np.uint8(255) - quantise_affinities(affinities)
    require_shape("affinities", affinities, superpixels.shape)
    for axis in range(3):
        np.moveaxis(evidence[axis], axis, 0)[:1] = 0
    boundaries = np.maximum(evidence[0], evidence[1])
    np.maximum(boundaries, evidence[2], out=boundaries)
    return graph_of_sums(
        superpixels,
        image,
        boundaries,
        evidence,
        voxel_size_nm=voxel_size_nm,
        origin_vox=origin_vox,
        core=core,
    )
