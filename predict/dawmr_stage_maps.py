"""Affinities that the heads of one DAWMR iteration predict, box by box.

All triples are z, y, x. While a recursion is trained, its iterations are applied one after the
other and their affinities are kept; a finished network does the same in one go (`dawmr`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from predict.blockwise import aligned, read_reflected
from predict.box import Box
from predict.compute_device import ComputeDevice
from predict.cross_fitting import Assignment
from predict.dawmr import DawmrStage
from predict.image_normalisation import ImageNormalisation, Sliceable
from predict.recursion_volume import ChannelsArray, ChannelsLast


def stage_logits(
    stage: DawmrStage,
    image: Sliceable,
    affinities: ChannelsArray | None,
    box: Box,
    *,
    normalisation: ImageNormalisation,
    device: ComputeDevice,
) -> npt.NDArray[np.float32]:
    """Return the logits of a box, (4, z, y, x) float32, the affinities last.

    Args:
        stage: dictionaries and head, on `device`, in evaluation mode.
        image: (z, y, x) grey values.
        affinities: (3, z, y, x) of the iteration before; None in the first.
        box: voxels wanted.
        normalisation: of the image.
        device: where to compute.
    """
    config = stage.features.config
    around = aligned(box, config.stride, config.halo_vox)
    channels = [normalisation.apply(read_reflected(image, around))]
    if affinities is not None:
        before = read_reflected(ChannelsLast(affinities), around).astype(np.float32)
        channels += list(np.moveaxis(before, -1, 0))
    source = torch.from_numpy(np.stack(channels))[None].to(device.torch_device)
    with torch.inference_mode(), device.autocast():
        logits = stage(source)[0]
    z, y, x = (a + halo for a, halo in zip(around.start, config.halo_vox, strict=True))
    logits = logits[:, *box.slices_in(Box((z, y, x), around.stop))]
    return logits.float().cpu().numpy()


def assigned_affinities(
    stages: Sequence[DawmrStage],
    assignment: Assignment,
    image: Sliceable,
    affinities: ChannelsArray | None,
    block: Box,
    *,
    normalisation: ImageNormalisation,
    device: ComputeDevice,
) -> npt.NDArray[np.float32]:
    """Predict a block whose boxes belong to different heads, (3, z, y, x) float32 in 0..1.

    Args:
        stages: one a head.
        assignment: which head predicts what (`cross_fitting.assign_heads`).
        image: (z, y, x) grey values.
        affinities: (3, z, y, x) of the iteration before; None in the first.
        block: voxels wanted.
        normalisation: of the image.
        device: where to compute.
    """
    result = np.empty((3, *block.shape), np.float32)
    for box, head in assignment:
        common = block.intersect(box)
        if common.n_voxels == 0:
            continue
        logits = stage_logits(
            stages[head], image, affinities, common, normalisation=normalisation, device=device
        )
        result[:, *common.slices_in(block)] = 1 / (1 + np.exp(-logits[-3:]))
    return result
