"""Masks of objects as channels of a volume, made by actors that write their own blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.channel_blocks import ChannelRun
from agglo.volumes import Volume, VoxelSize, check_output, open_volume, require_volume
from analysis.input_error import InputError
from predict.blockwise import choose_block
from predict.box import Box
from predict.object_mask import N_CHANNELS, RADIUS_NM, ObjectMask


@dataclass(frozen=True, slots=True)
class Objects:
    """A segmentation read where it is sliced, and checked there; pickles as its address.

    Attributes:
        volume: (z, y, x).
    """

    volume: Volume

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the extents."""
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype:
        """Return the type of what is read."""
        return np.dtype(np.uint64)

    def __getitem__(self, box: tuple[slice, slice, slice]) -> npt.NDArray[np.uint64]:
        """Read a box.

        Raises:
            InputError: where it cannot be read, or holds no labels.
        """
        name = f"{self.volume.argument}: {self.volume.address}"
        return require_volume(self.volume[box], name, "labels")


@dataclass(frozen=True, slots=True)
class MaskMaker:
    """Makes the channels of blocks of one segmentation.

    Attributes:
        mask: how a mask becomes channels.
        objects: whose masks.
    """

    mask: ObjectMask
    objects: Objects

    @property
    def n_channels(self) -> int:
        """Return the number of channels."""
        return N_CHANNELS

    @property
    def made_by(self) -> str:
        """Return radius, shells and voxel size."""
        return str(self.mask)

    def channels(self, block: Box) -> npt.NDArray[np.uint8]:
        """Return the channels of a block, (9, z, y, x)."""
        return self.mask.channels(self.objects, block)


def make_masks(
    objects: str,
    out: str,
    *,
    radius_nm: float = RADIUS_NM,
    voxel_size_nm: VoxelSize | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the channels of `ObjectMask` of a segmentation, (9, z, y, x) uint8.

    They have the attribute `CHANNELS_OF`, the same for all volumes made with one radius and voxel
    size. A Ray session must have been joined.

    Args:
        objects: address of the segmentation; 0 is no object.
        out: address of the channels.
        radius_nm: of the ball that is looked at.
        voxel_size_nm: for a file that states none.
        resume: go on with what an equal run has done that was killed or interrupted.
        overwrite: replace an output that exists.

    Returns:
        What was done: voxels, blocks, channels, what names them, and seconds.

    Raises:
        InputError: see the sentence; nothing is left then but what `resume` can go on with.
    """
    check_output(out, overwrite=overwrite)
    volume = open_volume(objects, argument="--objects", voxel_size_nm=voxel_size_nm)
    if volume.ndim != 3 or 0 in volume.shape or volume.dtype.kind not in "iu":
        require_volume(volume, "--objects", "labels")
    size = volume.voxel_size_nm
    if size is None:
        raise InputError(
            f"--objects: {volume.address} states no voxel size, which --radius-nm needs; give it "
            "as --voxel-size-nm Z Y X."
        )
    try:
        maker = MaskMaker(ObjectMask(radius_nm, size), Objects(volume))
    except InputError as error:
        raise InputError(f"--radius-nm: {error}") from error
    run = ChannelRun(
        "masks",
        out,
        {"--objects": volume},
        size,
        {"mask": maker.made_by},
        block_vox=choose_block(volume.shape),
        resume=resume,
        overwrite=overwrite,
    )
    return run.write(lambda _: maker)
