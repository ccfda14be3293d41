"""Predict a volume block by block, with the same result wherever it is cut.

All triples are z, y, x. Three things make the cut invisible: every block is read with a rim of
`halo_vox`, beyond which nothing reaches its core; reads start on multiples of the network's stride,
counted from the volume's origin, so the pooling grid is the same everywhere; and beyond the
volume's own border the image is reflected as a function of the voxel's position alone. In float32
the results agree to 1e-5, in bfloat16 to 0.02 (one rounding step of a logit).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from analysis.input_error import InputError
from predict.augmentation import Symmetry
from predict.boundary_network import CHANNELS, BoundaryNetwork, NetworkConfig
from predict.box import Box, Triple, whole
from predict.compute_device import ComputeDevice
from predict.image_normalisation import ImageNormalisation, Sliceable, require_image
from predict.views import ONE_VIEW, turned_back

DEFAULT_BLOCK = (64, 128, 128)

BLOCKS: tuple[Triple, ...] = ((64, 256, 256), DEFAULT_BLOCK)
"""Extents that `choose_block` chooses from, largest first.

With the default U-Net and cubic voxels a block of 64 x 256 x 256 executes 2.3 times the FLOP that
its voxels need, one of 64 x 128 x 128 3.2 times: what lies in the halo is computed for each block.
"""

SHARED_BLOCKS = 16
"""So many blocks at least are wanted of a volume, to be shared out among actors."""


def choose_block(shape: Sequence[int]) -> Triple:
    """Return the largest block that cuts a volume into enough blocks, by its shape alone.

    Args:
        shape: z, y, x, of the volume.
    """
    for block in BLOCKS:
        per_axis = [-(-extent // size) for extent, size in zip(shape, block, strict=True)]
        if math.prod(per_axis) >= SHARED_BLOCKS:
            return block
    return BLOCKS[-1]


def plan_blocks(region: Box, block_vox: Triple) -> tuple[Box, ...]:
    """Cut a region into blocks on a grid that starts at the volume's origin.

    Args:
        region: what is to be predicted.
        block_vox: extent of a grid cell.

    Returns:
        The non-empty intersections of region and grid cells, in raster order.
    """
    if min(block_vox) < 1:
        raise InputError(f"block_vox must be positive, got {block_vox}.")
    first = [start // size for start, size in zip(region.start, block_vox, strict=True)]
    last = [-(-stop // size) for stop, size in zip(region.stop, block_vox, strict=True)]
    blocks = []
    for z in range(first[0], last[0]):
        for y in range(first[1], last[1]):
            for x in range(first[2], last[2]):
                start = (z * block_vox[0], y * block_vox[1], x * block_vox[2])
                stop = (start[0] + block_vox[0], start[1] + block_vox[1], start[2] + block_vox[2])
                block = region.intersect(Box(start, stop))
                if block.n_voxels > 0:
                    blocks.append(block)
    return tuple(blocks)


def read_reflected(image: Sliceable, box: Box) -> npt.NDArray:
    """Read a box that may reach beyond the volume, where the image is mirrored at its border voxel.

    Args:
        image: (z, y, x), anything that can be sliced.
        box: voxels to read; negative coordinates lie outside.
    """
    indices = [
        _mirrored(np.arange(start, stop), extent)
        for start, stop, extent in zip(box.start, box.stop, image.shape, strict=True)
    ]
    (z0, y0, x0), (z1, y1, x1) = (
        [int(index.min()) for index in indices],
        [int(index.max()) + 1 for index in indices],
    )
    inside = np.asarray(image[z0:z1, y0:y1, x0:x1])
    if inside.shape == box.shape and (z0, y0, x0) == box.start:
        return inside
    return inside[np.ix_(indices[0] - z0, indices[1] - y0, indices[2] - x0)]


def read_box(config: NetworkConfig, block: Box, views: Sequence[Symmetry] = ONE_VIEW) -> Box:
    """Return what a network is given to predict a block; it may reach beyond the volume.

    Args:
        config: of the network.
        block: voxels to predict.
        views: where one is mirrored, its first edges lie a voxel before the block.
    """
    start = list(block.start)
    for axis in {one.order[to] for one in views for to in range(3) if one.flips[to]}:
        start[axis] -= 1
    z, y, x = start
    return aligned(Box((z, y, x), block.stop), config.stride, config.halo_vox)


def aligned(block: Box, stride: Triple, halo: Triple) -> Box:
    """Return a block with a halo, rounded outwards to a grid that starts at the volume's origin."""
    starts, stops = [], []
    for axis in range(3):
        starts.append((block.start[axis] - halo[axis]) // stride[axis] * stride[axis])
        stops.append(-(-(block.stop[axis] + halo[axis]) // stride[axis]) * stride[axis])
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


def predict_block(
    networks: Sequence[BoundaryNetwork],
    image: Sliceable,
    block: Box,
    *,
    normalisation: ImageNormalisation,
    device: ComputeDevice,
    views: Sequence[Symmetry] = ONE_VIEW,
) -> npt.NDArray[np.float32]:
    """Predict the voxels of one block, the mean of the probabilities of all networks and views.

    A network that sees every section alone says nothing about the next one: its affinity along z
    is 0. Coordinates of an embedding are each network's own, so embeddings are not averaged: they
    stand one behind the other, each from the first view.

    Args:
        networks: models of one configuration, on `device`, in evaluation mode.
        image: (z, y, x) grey values, anything that can be sliced.
        block: voxels to predict.
        normalisation: of the whole volume.
        device: where to compute.
        views: of `choose_views`.

    Returns:
        (4, z, y, x) float32 probabilities in the order of `boundary_network.CHANNELS`, and of
        networks that predict an embedding (4 + E + E + …, z, y, x).
    """
    config = networks[0].config
    box, halo = read_box(config, block, views), config.halo_vox
    first = (a - b - h for a, b, h in zip(block.start, box.start, halo, strict=True))
    inner = [slice(a, a + n) for a, n in zip(first, block.shape, strict=True)]
    patch = normalisation.apply(read_reflected(image, box))
    dtype = next(networks[0].parameters()).dtype
    n_channels = len(CHANNELS)
    result = np.zeros((count_channels(networks), *block.shape), np.float32)
    total, embeddings = np.split(result, [n_channels])
    for index, view in enumerate(views):
        source = torch.from_numpy(np.ascontiguousarray(view.apply(patch)))[None, None]
        source = source.to(device.torch_device, dtype)
        source = source.contiguous(memory_format=torch.channels_last_3d)
        for network in networks:
            with torch.inference_mode(), device.autocast():
                logits = network(source, inner_only=True)[0]
            if index > 0:
                logits = logits[:n_channels]
            probabilities = torch.sigmoid(logits.float()).cpu().numpy()
            total += turned_back(probabilities[:n_channels], view)[:, *inner]
            if index == 0 and network.n_embedding > 0:
                own, embeddings = np.split(embeddings, [network.n_embedding])
                own[:] = probabilities[n_channels:, *inner]
    if config.two_dimensional:
        total[CHANNELS.index("affinity_z")] = 0
    total /= np.float32(len(networks) * len(views))
    return result


def count_channels(networks: Sequence[BoundaryNetwork]) -> int:
    """Return how many channels networks predict together: `CHANNELS` and their embeddings."""
    return len(CHANNELS) + sum(network.n_embedding for network in networks)


def predict_regions(
    regions: Sequence[tuple[Box, Sequence[BoundaryNetwork]]],
    image: Sliceable,
    block: Box,
    *,
    normalisation: ImageNormalisation,
    device: ComputeDevice,
    views: Sequence[Symmetry] = ONE_VIEW,
) -> npt.NDArray[np.float32]:
    """Predict a block of a volume whose regions belong to different networks, as out of fold.

    Args:
        regions: boxes that cover the block without overlap, each with the networks that predict
            it, equally many; all of them see the image beyond their box.
        image: (z, y, x) grey values, anything that can be sliced.
        block: voxels to predict.
        normalisation: of the whole volume.
        device: where to compute.
        views: of `choose_views`.

    Returns:
        What `predict_block` returns.
    """
    result = np.full((count_channels(regions[0][1]), *block.shape), np.nan, np.float32)
    for region, networks in regions:
        common = block.intersect(region)
        if common.n_voxels > 0:
            result[:, *common.slices_in(block)] = predict_block(
                networks, image, common, normalisation=normalisation, device=device, views=views
            )
    assert np.isfinite(result).all(), "the regions do not cover the block"
    return result


def predict_volume(
    networks: Sequence[BoundaryNetwork],
    image: Sliceable,
    *,
    normalisation: ImageNormalisation,
    device: ComputeDevice,
    region: Box | None = None,
    block_vox: Triple = DEFAULT_BLOCK,
) -> npt.NDArray[np.float32]:
    """Predict a region of a volume, or all of it, block after block in this process.

    Args:
        networks: models of one configuration, on `device`, in evaluation mode.
        image: (z, y, x) grey values, anything that can be sliced.
        normalisation: of the whole volume.
        device: where to compute.
        region: what to predict; the whole volume if None.
        block_vox: extent of a block; changes speed and memory, not the result.

    Returns:
        What `predict_block` returns, of the region.
    """
    require_image(image)
    region = whole(image.shape) if region is None else region
    result = np.empty((count_channels(networks), *region.shape), np.float32)
    for block in plan_blocks(region, block_vox):
        result[:, *block.slices_in(region)] = predict_block(
            networks, image, block, normalisation=normalisation, device=device
        )
    return result


def _mirrored(index: npt.NDArray[np.int64], extent: int) -> npt.NDArray[np.int64]:
    """Fold any integer into 0..extent−1 by mirroring at the first and the last voxel."""
    if extent == 1:
        return np.zeros_like(index)
    period = 2 * (extent - 1)
    folded = np.mod(index, period)
    return np.minimum(folded, period - folded)
