"""What a run over blocks works on, where its tables lie, and how a block of a volume is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.blocks.tree import BlockTree
from agglo.volumes import BlockHandle, Volume, VoxelSize, require_volume
from agglo.volumes.staging import FailedWriteError
from envs.region_graph import Core
from envs.scorers import Policy
from predict.watershed import WatershedConfig

SUPERPIXELS = "superpixels"
"""Name of the superpixels made on the way, inside the output: `SEG.zarr:superpixels`."""

VOXELS_PER_BUCKET = 1 << 28
"""Superpixels are matched across blocks in buckets, one for so many voxels: some 10⁶ ids at once,
a task of less than 200 MB."""


@dataclass(frozen=True, slots=True)
class BlockJob:
    """A run; pickles, and opens its volumes again elsewhere.

    Attributes:
        tree: the volume's blocks.
        policy: what scores contacts.
        threshold: lowest height that is merged in the segmentation.
        voxel_size_nm: edge lengths of a voxel.
        image: the image.
        boundaries: its boundary map.
        superpixels: its superpixels; None: they are made, by `watershed`.
        channels: volumes of channels by argument, those that the policy looks at.
        watershed: parameters, if superpixels are made.
        output: the segmentation, with the superpixels nested in it if they are made.
        folder: where tables go.
        n_levels: resolutions of the segmentation.
    """

    tree: BlockTree
    policy: Policy
    threshold: float
    voxel_size_nm: VoxelSize
    image: Volume
    boundaries: Volume
    superpixels: Volume | None
    channels: dict[str, Volume]
    watershed: WatershedConfig
    output: BlockHandle
    folder: Path
    n_levels: int = 1

    @property
    def n_buckets(self) -> int:
        """Return in how many buckets superpixels are matched."""
        z, y, x = self.tree.shape
        return 1 + z * y * x // VOXELS_PER_BUCKET

    def table(self, stage: str, task: int) -> Path:
        """Return where the table of a task lies."""
        return self.folder / stage / f"{task}.npz"

    def require_output(self) -> None:
        """Refuse to work where the unfinished output is not seen: tables would be lost there.

        Raises:
            FailedWriteError: as on a machine that does not share the output's file system.
        """
        if not self.output.folder.is_dir():
            raise FailedWriteError(
                f"{self.output.argument}: {self.output.output} cannot be written: there is no "
                f"folder {self.output.folder}"
            )

    def read_image(self, box: Core) -> npt.NDArray[Any]:
        """Read a box of the image."""
        return require_volume(self.image[box], _source(self.image), "image")

    def read_boundaries(self, box: Core) -> npt.NDArray[Any]:
        """Read a box of the boundary map, 8-bit values as they are.

        Whether a map of 8 bits is a mask of 0 and 1 shows in the whole only.
        """
        if self.boundaries.dtype == np.uint8:
            return self.boundaries[box]
        return require_volume(self.boundaries[box], _source(self.boundaries), "boundaries")

    def read_superpixels(self, box: Core) -> npt.NDArray[np.uint64]:
        """Read a box of the superpixels."""
        if self.superpixels is None:
            return self.output.read(box, SUPERPIXELS, argument="--superpixels")
        return require_volume(self.superpixels[box], _source(self.superpixels), "labels")


def _source(volume: Volume) -> str:
    return f"{volume.argument}: {volume.address}"
