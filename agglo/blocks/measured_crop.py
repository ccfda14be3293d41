"""A short run over the middle of a volume, to measure what a run over all of it will take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agglo.blocks.measured_run import MeasuredRun
from agglo.blocks.segmentation import segment_in_blocks
from agglo.blocks.tree import BlockTree
from agglo.cluster import ray_session
from agglo.policy_file import Policy
from agglo.volumes import VoxelSize, open_volume
from agglo.volumes.crop import CropRange
from analysis.input_error import InputError
from predict.box import Triple


def measure_crop(
    policy: Policy,
    texts: Mapping[str, str | None],
    crop_vox: Triple,
    block_vox: Triple,
    *,
    voxel_size_nm: VoxelSize | None = None,
    n_actors: int | None = None,
    scratch: Path | None = None,
) -> tuple[MeasuredRun, Triple]:
    """Segment the middle of a volume and return what that took, and the shape of the whole.

    Ray is joined or started for it. The result is thrown away.

    Args:
        policy: the merge policy.
        texts: addresses by argument: `--image`, `--boundaries`, and `--superpixels` or None.
        crop_vox: z, y, x of the part.
        block_vox: z, y, x of a block, two or more in the part.
        voxel_size_nm: for volumes that state none.
        n_actors: how many actors work; one for each CPU if None.
        scratch: folder that all nodes see, for what the run writes; the system's if None.

    Raises:
        InputError: the part is larger than the volume or a single block, or the volumes are not
            what they should be.
    """
    if BlockTree(crop_vox, block_vox).n_levels < 2:
        raise InputError(
            f"--crop: {_spaced(crop_vox)} voxels are a single block of {_spaced(block_vox)}, where "
            "two or more along an axis are needed; make it larger, or --blocks smaller."
        )
    if scratch is not None and not scratch.is_dir():
        raise InputError(f"--scratch: there is no folder {scratch}.")
    parts, shape = _middle(texts, crop_vox, voxel_size_nm)
    started = time.perf_counter()
    with (
        ray_session(),
        tempfile.TemporaryDirectory(prefix="agglo_plan_", dir=scratch) as folder,
    ):
        results: dict[str, Any] = segment_in_blocks(
            policy,
            parts["--image"] or "",
            parts["--boundaries"] or "",
            parts["--superpixels"],
            str(Path(folder) / "segmentation.zarr"),
            block_vox=block_vox,
            voxel_size_nm=voxel_size_nm,
            n_actors=n_actors,
        )
        results["seconds"] = time.perf_counter() - started
    return MeasuredRun.of_results(results, source="--crop: the part"), shape


def _middle(
    texts: Mapping[str, str | None], crop_vox: Triple, voxel_size_nm: VoxelSize | None
) -> tuple[dict[str, str | None], Triple]:
    """Return the addresses of the middle of volumes, and the shape of the first."""
    parts: dict[str, str | None] = {}
    shapes: list[Triple] = []
    for argument, text in texts.items():
        parts[argument] = None
        if text is None:
            continue
        with open_volume(text, argument=argument, voxel_size_nm=voxel_size_nm) as volume:
            if len(volume.shape) != 3:
                raise InputError(
                    f"{argument}: {volume.address} has shape {volume.shape}, where z, y, x is "
                    "expected."
                )
            depth, height, width = volume.shape
            address, crop = volume.address, volume.address.crop
        shape = (depth, height, width)
        if any(part > size for part, size in zip(crop_vox, shape, strict=True)):
            raise InputError(
                f"--crop: {_spaced(crop_vox)} voxels are more than the {_spaced(shape)} of "
                f"{argument}."
            )
        begins = [part.begin for part in crop] + [0] * (3 - len(crop))
        firsts = [
            begin + (size - part) // 2
            for begin, size, part in zip(begins, shape, crop_vox, strict=True)
        ]
        ranges = (CropRange(at, at + part) for at, part in zip(firsts, crop_vox, strict=True))
        parts[argument] = str(replace(address, crop=tuple(ranges)))
        shapes.append(shape)
    return parts, shapes[0]


def _spaced(triple: Triple) -> str:
    return " × ".join(map(str, triple))
