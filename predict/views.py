"""Views of an image: itself, its mirror images and its turns, whose predictions are averaged.

All triples are z, y, x. A network errs a little differently on a mirror image, so the mean over
views has fewer gaps than each of them. A view is a symmetry of the grid; it costs a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.augmentation import Symmetry, symmetries
from predict.boundary_network import CHANNELS, NetworkConfig

FIRST_AFFINITY = CHANNELS.index("affinity_z")

ONE_VIEW = (Symmetry((0, 1, 2), (False, False, False)),)
"""The image as it is."""


def choose_views(
    config: NetworkConfig, voxel_size_nm: Sequence[float], n_views: int = 1
) -> tuple[Symmetry, ...]:
    """Return the first symmetries that voxels and network allow: the image, mirror images, turns.

    Axes are exchanged only where the voxel size (`augmentation.symmetries`) and the network treat
    them alike: 48 views of cubic voxels, 16 where z differs, 8 of single sections.

    Args:
        config: of the network.
        voxel_size_nm: z, y, x.
        n_views: how many; 1 is the image alone.

    Raises:
        InputError: fewer than 1, or more than there are.
    """
    flat = config.two_dimensional
    allowed = [
        one
        for one in symmetries(voxel_size_nm, two_dimensional=flat)
        if not (flat and one.flips[0])
        and all(
            tuple(extents[axis] for axis in one.order) == extents
            for extents in (config.stride, config.halo_vox)
        )
    ]
    if not 1 <= n_views <= len(allowed):
        raise InputError(
            f"--views: this model and voxels of {tuple(voxel_size_nm)} nm have 1 to "
            f"{len(allowed)} views, {n_views} asked for."
        )
    return tuple(allowed[:n_views])


def turned_back(predicted: npt.NDArray[np.float32], view: Symmetry) -> npt.NDArray[np.float32]:
    """Bring the prediction of a view back to the axes of the image.

    Along a mirrored axis the edge to the voxel before is, in the image, the edge to the voxel
    behind, so affinities move on by one voxel; the first one's edge, which the view has not, is 0.

    Args:
        predicted: (4, …) float32 of `view.apply(image)`, channels as `CHANNELS`.
        view: the symmetry.

    Returns:
        (4, z, y, x) float32, channels of the image's own axes.
    """
    if view == ONE_VIEW[0]:
        return predicted
    back = np.argsort(view.order)
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in view.flips)
    shape = tuple(predicted.shape[1 + axis] for axis in back)
    result = np.empty((len(CHANNELS), *shape), np.float32)
    result[:FIRST_AFFINITY] = predicted[:FIRST_AFFINITY, *steps].transpose(0, *(1 + back))
    for axis, origin in enumerate(view.order):
        edges = predicted[FIRST_AFFINITY + axis][steps]
        if view.flips[axis]:
            edges = np.roll(edges, 1, axis)
            np.moveaxis(edges, axis, 0)[0] = 0
        result[FIRST_AFFINITY + origin] = edges.transpose(back)
    return result
