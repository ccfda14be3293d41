"""Segment a volume of any size, block by block, from boundary map to segmentation."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agglo.block_ledger import BlockLedger
from agglo.blocks.job import SUPERPIXELS, BlockJob
from agglo.blocks.merge_shards import LARGEST_TREE, count_merges, gather_tree
from agglo.blocks.stages import WrongAsAWholeError, run_stages
from agglo.blocks.superpixel_sizes import gather_sizes
from agglo.blocks.tree import BlockTree
from agglo.blocks.work import summed
from agglo.channel_volumes import OPTIONS, open_for_policy
from agglo.doubt_file import doubts_path_of
from agglo.policy_file import Policy
from agglo.segmentation import keep_doubts, require_free_tree, save_tree, tree_path_of
from agglo.volumes import (
    Address,
    ArrayLayout,
    BlockWriter,
    VoxelSize,
    check_output,
    require_volume,
)
from agglo.volumes.fingerprint import fingerprint
from agglo.volumes.staging import Staging, refusing_failed_writes
from analysis.input_error import InputError
from envs.error_calibration import membrane_share
from predict.anisotropy import is_strongly_anisotropic
from predict.box import Triple
from predict.watershed import WatershedConfig

TABLES = "tables"
"""Folder of the ledger that holds the tables of a run."""

logger = logging.getLogger(__name__)


def segment_in_blocks(
    policy: Policy,
    image: str,
    boundaries: str,
    superpixels: str | None,
    out: str,
    *,
    block_vox: Triple,
    texture: str | None = None,
    embedding: str | None = None,
    threshold: float | None = None,
    voxel_size_nm: VoxelSize | None = None,
    n_levels: int = 1,
    n_actors: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Do what `agglo.segmentation.segment_volume` does, with nothing whole in any process.

    Segmentation and merge tree are the same bit for bit, for any block and any number of actors.
    Where there are no superpixels each block is flooded by itself, and they are written into the
    output as `OUT:superpixels`. A Ray session must have been joined.

    Args:
        policy: the merge policy.
        image: address of the image.
        boundaries: address of its boundary map.
        superpixels: address of its superpixels, or None.
        out: address of the segmentation.
        block_vox: z, y, x of a block.
        texture: address of its texture channels, if the policy looks at any.
        embedding: address of its embedding, if the policy looks at one.
        threshold: lowest key that is merged; the policy's own if not given.
        voxel_size_nm: for volumes that state none.
        n_levels: resolutions of the segmentation, each half the one before.
        n_actors: how many actors work; one for each CPU if None.
        resume: go on with what an equal run left that was killed or interrupted.
        overwrite: replace outputs that exist.

    Returns:
        What `segment_volume` returns (expected VI and doubts up to `LARGEST_TREE` superpixels),
        what each stage took (`agglo.blocks.work.StageWork`), that of agglomeration by level, and
        counts.

    Raises:
        InputError: where the volumes are not what they should be or do not fit the policy, a
            volume cannot be read or an output not be written; what was done is kept for `resume`.
    """
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"--threshold must be a finite number, not {threshold}.")
    nested = () if superpixels else (SUPERPIXELS,)
    own = check_output(out, overwrite=overwrite, nested=nested).address
    tree_path = tree_path_of(out)
    require_free_tree(tree_path, overwrite=overwrite or resume)
    texts = {"--image": image, "--boundaries": boundaries, "--superpixels": superpixels}
    volumes, stated = open_for_policy(
        policy, texts, voxel_size_nm, texture=texture, embedding=embedding
    )
    for name, volume in volumes.items():
        n_axes = 4 if _KINDS[name] == "channels" else 3
        if len(volume.shape) != n_axes or 0 in volume.shape:
            require_volume(volume, name, _KINDS[name])
    size = stated or policy.voxel_size_nm
    depth, height, width = volumes["--image"].shape
    blocks = BlockTree((depth, height, width), block_vox)
    layout = ArrayLayout(blocks.shape, np.uint64, chunk_vox=blocks.chunk_vox())
    _require_levels(n_levels, blocks, own)
    cut = policy.threshold if threshold is None else threshold
    watershed = WatershedConfig(
        two_dimensional=size is not None and is_strongly_anisotropic(size),
    )
    description = {
        "blocks": [*block_vox],
        "threshold": cut,
        "policy": _digest(policy),
        "voxel_size_nm": size,
        "watershed": None if superpixels else asdict(watershed),
        "levels": n_levels,
        "volumes": {
            name: [str(volume.address.absolute()), fingerprint(volume)]
            for name, volume in volumes.items()
        },
    }
    attributes = {"threshold": cut, "policy": json.dumps(policy.provenance)}
    if superpixels is None:
        attributes["watershed"] = json.dumps(asdict(watershed))
    with BlockLedger(own.file, own.dataset, [own.file], kind="segmentation") as ledger:
        (ledger.resume if resume else ledger.begin)(description)
        with _keeping(ledger, out):
            writer = BlockWriter(
                out,
                layout,
                voxel_size_nm=size,
                overwrite=overwrite,
                attributes=attributes,
                nested=dict.fromkeys(nested, layout),
                n_levels=n_levels,
                token=ledger.token,
                is_begun=resume,
            )
            ledger.record()
            job = BlockJob(
                blocks,
                policy.network,
                cut,
                size or (1.0, 1.0, 1.0),
                volumes["--image"],
                volumes["--boundaries"],
                volumes.get("--superpixels"),
                {name: volumes[name] for name in OPTIONS if name in volumes},
                watershed,
                writer.handle,
                (ledger.path / TABLES).absolute(),
                n_levels,
            )
            took = run_stages(job, ledger, n_actors)
            started = time.perf_counter()
            counts = count_merges(job)
            kept = _keep_tree(job, policy, counts.n_superpixels, tree_path)
            writer.commit()
        ledger.remove()
    return {
        "n_superpixels": counts.n_superpixels,
        "n_segments": counts.n_segments,
        "threshold": cut,
        **kept,
        "shape": [*blocks.shape],
        "blocks": [*block_vox],
        "n_blocks": blocks.n_blocks,
        "n_resolutions": n_levels,
        "n_scores": counts.n_scores,
        "clusters": counts.clusters,
        "largest_graphs": counts.largest_graphs,
        "stages": {name: asdict(summed(rounds)) for name, rounds in took.items()},
        "levels": [asdict(work) for work in took["agglomeration"]],
        "end_seconds": time.perf_counter() - started,
    }


_KINDS: dict[str, Any] = {
    "--image": "image",
    "--boundaries": "boundaries",
    "--superpixels": "superpixels",
    "--texture": "channels",
    "--embedding": "channels",
}


def _require_levels(n_levels: int, blocks: BlockTree, own: Address) -> None:
    """Refuse resolutions that cannot be written, or are smaller than a block."""
    if not 1 <= n_levels <= blocks.n_levels:
        raise InputError(
            f"--levels: from 1 to {blocks.n_levels} resolutions are expected, the last of a single "
            f"block, not {n_levels}."
        )
    if n_levels > 1 and own.format != "zarr":
        raise InputError(f"--levels: {own} has one resolution only; write an OME-Zarr.")


@contextmanager
def _keeping(ledger: BlockLedger, out: str) -> Iterator[None]:
    """Keep what was done when something goes wrong, if it is of any use."""
    try:
        yield
    except BaseException as error:
        if ledger.n_done and not isinstance(error, WrongAsAWholeError):
            logger.warning(
                "%d finished tasks of %s are kept; --resume goes on with them", ledger.n_done, out
            )
        else:
            ledger.remove()
        raise


def _keep_tree(job: BlockJob, policy: Policy, n_superpixels: int, path: Path) -> dict[str, Any]:
    """Write the merge tree into one file, and what is doubtful in it, and say where.

    Where the tree is too large for that, its shards are kept in a folder, and nothing is said of
    doubts.
    """
    if n_superpixels <= LARGEST_TREE:
        tree, superpixels = gather_tree(job), gather_sizes(job)
        save_tree(path, tree)
        sizes, positions = superpixels.sizes, superpixels.positions
        membrane = membrane_share(superpixels.boundary, sizes)
        doubts = keep_doubts(policy, tree, path, sizes, positions, membrane, job.threshold)
        return {"merge_tree": str(path), **doubts}
    staging = Staging(path.with_suffix(""))
    shards = job.table("merges", 0).parent
    with refusing_failed_writes("--out", staging.output):
        try:
            staging.path.mkdir()
            for shard in shards.glob("*.npz"):
                os.link(shard, staging.path / shard.name)
            staging.commit()
        except BaseException:
            staging.discard()
            raise
        for replaced in (path, doubts_path_of(path)):
            replaced.unlink(missing_ok=True)
    return {"merge_tree": str(path.with_suffix(""))}


def _digest(policy: Policy) -> str:
    """Return a digest of what a policy decides by."""
    digest = hashlib.sha256()
    for array in policy.network:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
