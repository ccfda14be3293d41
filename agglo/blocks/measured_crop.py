"""A short run over the middle of a volume, to measure what a run over all of it will take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from agglo.blocks.measured_run import MeasuredRun
from agglo.blocks.segmentation import segment_in_blocks
from agglo.blocks.tree import BlockTree
from agglo.channel_volumes import OPTIONS, require_fitting_channels
from agglo.cluster import ray_session
from agglo.policy_file import Policy
from agglo.volumes import Volume, VoxelSize, open_volume
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
        texts: addresses by argument: `--image`, `--boundaries`, and those of `--superpixels`,
            `--texture` and `--embedding` or None.
        crop_vox: z, y, x of the part.
        block_vox: z, y, x of a block, two or more in the part.
        voxel_size_nm: for volumes that state none.
        n_actors: how many actors work; one for each CPU if None.
        scratch: folder that all nodes see, for what the run writes; the system's if None.

    Raises:
        InputError: the part is larger than the volume or a single block, or the volumes are not
            what they should be or do not fit the policy.
    """
    if BlockTree(crop_vox, block_vox).n_levels < 2:
        raise InputError(
            f"--crop: {_spaced(crop_vox)} voxels are a single block of {_spaced(block_vox)}, where "
            "two or more along an axis are needed; make it larger, or --blocks smaller."
        )
    if scratch is not None and not scratch.is_dir():
        raise InputError(f"--scratch: there is no folder {scratch}.")
    with ExitStack() as opened:
        volumes = {
            argument: opened.enter_context(
                open_volume(text, argument=argument, voxel_size_nm=voxel_size_nm)
            )
            for argument, text in texts.items()
            if text is not None
        }
        require_fitting_channels(policy, volumes)
        parts, shape = _middle(volumes, crop_vox)
    started = time.perf_counter()
    with (
        ray_session(),
        tempfile.TemporaryDirectory(prefix="agglo_plan_", dir=scratch) as folder,
    ):
        results: dict[str, Any] = segment_in_blocks(
            policy,
            parts["--image"],
            parts["--boundaries"],
            parts.get("--superpixels"),
            str(Path(folder) / "segmentation.zarr"),
            block_vox=block_vox,
            texture=parts.get("--texture"),
            embedding=parts.get("--embedding"),
            voxel_size_nm=voxel_size_nm,
            n_actors=n_actors,
        )
        results["seconds"] = time.perf_counter() - started
    return MeasuredRun.of_results(results, source="--crop: the part"), shape


def _middle(volumes: Mapping[str, Volume], crop_vox: Triple) -> tuple[dict[str, str], Triple]:
    """Return the addresses of the middle of volumes, of all their channels, and the whole shape."""
    parts: dict[str, str] = {}
    shapes: list[Triple] = []
    for argument, volume in volumes.items():
        n_more = int(argument in OPTIONS)
        if volume.ndim != 3 + n_more:
            raise InputError(
                f"{argument}: {volume.address} has shape {volume.shape}, where "
                f"{'c, ' * n_more}z, y, x is expected."
            )
        depth, height, width = shape = volume.shape[n_more:]
        if any(part > size for part, size in zip(crop_vox, shape, strict=True)):
            raise InputError(
                f"--crop: {_spaced(crop_vox)} voxels are more than the {_spaced(shape)} of "
                f"{argument}."
            )
        crop = volume.address.crop or (CropRange(0, None),) * n_more
        begins = [part.begin for part in crop[n_more:]] + [0] * (3 + n_more - len(crop))
        firsts = [
            begin + (size - part) // 2
            for begin, size, part in zip(begins, shape, crop_vox, strict=True)
        ]
        ranges = (CropRange(at, at + part) for at, part in zip(firsts, crop_vox, strict=True))
        parts[argument] = str(replace(volume.address, crop=(*crop[:n_more], *ranges)))
        shapes.append((depth, height, width))
    return parts, shapes[0]


def _spaced(triple: tuple[int, ...]) -> str:
    return " × ".join(map(str, triple))
