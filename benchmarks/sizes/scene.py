"""A phantom as volumes on disk, with a boundary map as a simple detector gives it, block by block.

Every block is made by itself, the map from the image of the block and a rim around it, so a scene
of any size takes no more memory than a block, and is the same however it is cut.
"""

from __future__ import annotations

import itertools
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from agglo.phantom import PhantomConfig, make_phantom
from agglo.pool import ActorPool
from agglo.volumes import ArrayLayout, BlockHandle, BlockWriter
from predict.box import Triple

BLOCK = 128
SMOOTH_VOX = 1.0
RIM = 4
"""Voxels that the smoothing of the image reaches, at four standard deviations."""

FAR_VOX = 16384
"""Distance along z of the volume that the policy is trained on."""

_CONTRAST_VOX = (96, 96, 96)


class ScenePainter:
    """An actor that makes blocks of a scene."""

    def __init__(
        self,
        config: PhantomConfig,
        z: int,
        image: BlockHandle,
        map_: BlockHandle,
        labels: BlockHandle,
    ) -> None:
        self._config, self._z = config, z
        self._handles = (image, map_, labels)

    def paint(self, start: Triple, shape: Triple) -> None:
        """Make a block of the image, of its boundary map and of the labels, and write it."""
        made = scene_block(self._config, (start[0] + self._z, *start[1:]), shape)
        for handle, block in zip(self._handles, made, strict=True):
            handle.write(start, block)


def write_scene(folder: Path, side: int, seed: int, z: int, n_actors: int) -> None:
    """Write `image.zarr`, `boundaries.zarr` and `labels.zarr` into a folder, all or none."""
    if folder.exists():
        return
    config = PhantomConfig(seed=seed)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    writers = [
        BlockWriter(
            str(unfinished / f"{name}.zarr"),
            ArrayLayout((side, side, side), dtype),
            voxel_size_nm=config.voxel_size_nm,
        )
        for name, dtype in (("image", np.uint8), ("boundaries", np.uint8), ("labels", np.uint64))
    ]
    handles = [writer.handle for writer in writers]
    starts = list(itertools.product(range(0, side, BLOCK), repeat=3))
    tasks = (
        (number, (start, tuple(min(BLOCK, side - at) for at in start)))
        for number, start in enumerate(starts)
    )
    n_actors = min(n_actors, len(starts))
    pool = ActorPool(ScenePainter, (config, z, *handles), n_actors=n_actors)
    with pool:
        pool.run("paint", tasks)
    for writer in writers:
        writer.commit()
    unfinished.rename(folder)


def scene_block(
    config: PhantomConfig, offset: Triple, shape: Triple
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """Make image, boundary map (255 = boundary) and labels of a block, each (z, y, x).

    Args:
        config: of the phantom.
        offset: first voxel of the block in the phantom.
        shape: of the block.
    """
    z, y, x = (at - RIM for at in offset)
    depth, height, width = (length + 2 * RIM for length in shape)
    phantom = make_phantom(config, (z, y, x), (depth, height, width))
    core = (slice(RIM, -RIM),) * 3
    boundaries = boundary_map(phantom.image, *contrast(config))[core]
    image, labels = phantom.image[core], phantom.labels[core]
    return np.ascontiguousarray(image), np.ascontiguousarray(boundaries), labels.copy()


def boundary_map(image: npt.NDArray[np.uint8], dark: float, light: float) -> npt.NDArray[np.uint8]:
    """Return how dark a smoothed image is: 255 from `dark` down, 0 from `light` up."""
    smooth = _smoothed(image)
    return np.rint(np.clip((light - smooth) / (light - dark), 0, 1) * 255).astype(np.uint8)


@lru_cache
def contrast(config: PhantomConfig) -> tuple[float, float]:
    """Return the grey of membranes and of cytoplasm, from a part of the phantom."""
    part = make_phantom(config, (FAR_VOX, 0, 0), _CONTRAST_VOX)
    dark, light = np.percentile(_smoothed(part.image)[::2, ::2, ::2], [2, 90])
    return float(dark), float(light)


def _smoothed(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    grey = image.astype(np.float32)
    return np.asarray(
        ndimage.gaussian_filter(grey, SMOOTH_VOX, radius=RIM, mode="nearest"), np.float32
    )
