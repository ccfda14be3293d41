"""Segment a volume of any size, block by block, from boundary map to segmentation."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import ray

from agglo.blocks.job import SUPERPIXELS, BlockJob
from agglo.blocks.ledger import BlockLedger
from agglo.blocks.merge_shards import LARGEST_TREE, count_merges, gather_tree
from agglo.blocks.shard import names_in_shard, read_shard
from agglo.blocks.tree import BlockTree
from agglo.blocks.worker import BlockWorker, TaskWork
from agglo.boundaries.model_folder import fingerprint
from agglo.policy_file import Policy
from agglo.pool import ActorPool
from agglo.progress import progress
from agglo.segmentation import save_tree, tree_path_of
from agglo.volumes import (
    ArrayLayout,
    BlockWriter,
    VoxelSize,
    check_output,
    open_matching,
    require_volume,
)
from agglo.volumes.staging import refusing_failed_writes
from analysis.input_error import InputError
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
    threshold: float | None = None,
    voxel_size_nm: VoxelSize | None = None,
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
        threshold: lowest key that is merged; the policy's own if not given.
        voxel_size_nm: for volumes that state none.
        n_actors: how many actors work; one for each CPU if None.
        resume: go on with what an equal run left that was killed or interrupted.
        overwrite: replace outputs that exist.

    Returns:
        What `segment_volume` returns, the time and memory of each stage, and counts.

    Raises:
        InputError: where the volumes are not what they should be or do not fit the policy, a
            volume cannot be read or an output not be written; what was done is kept for `resume`.
    """
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"--threshold must be a finite number, not {threshold}.")
    nested = () if superpixels else (SUPERPIXELS,)
    own = check_output(out, overwrite=overwrite, nested=nested).address
    tree_path = tree_path_of(out)
    if tree_path.exists() and not (overwrite or resume):
        raise InputError(f"--out: the merge tree {tree_path} exists; --overwrite replaces it.")
    texts = {"--image": image, "--boundaries": boundaries, "--superpixels": superpixels}
    volumes, stated = open_matching(texts, voxel_size_nm)
    for name, volume in volumes.items():
        if len(volume.shape) != 3 or 0 in volume.shape:
            require_volume(volume, name, _KINDS[name])
    size = stated or policy.voxel_size_nm
    depth, height, width = volumes["--image"].shape
    blocks = BlockTree((depth, height, width), block_vox)
    layout = ArrayLayout(blocks.shape, np.uint64, chunk_vox=blocks.chunk_vox())
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
        "volumes": {
            name: [str(volume.address.absolute()), fingerprint(volume)]
            for name, volume in volumes.items()
        },
    }
    attributes = {"threshold": cut, "policy": json.dumps(policy.provenance)}
    if superpixels is None:
        attributes["watershed"] = json.dumps(asdict(watershed))
    with BlockLedger(own.path, own.dataset, [own.path], kind="segmentation") as ledger:
        (ledger.resume if resume else ledger.begin)(description)
        with _keeping(ledger, out):
            writer = BlockWriter(
                out,
                layout,
                voxel_size_nm=size,
                overwrite=overwrite,
                attributes=attributes,
                nested=dict.fromkeys(nested, layout),
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
                watershed,
                writer.handle,
                (ledger.path / TABLES).absolute(),
            )
            stages = _run_stages(job, ledger, n_actors)
            counts = count_merges(job)
            tree = _keep_tree(job, counts.n_superpixels, tree_path)
            writer.commit()
        ledger.remove()
    return {
        "n_superpixels": counts.n_superpixels,
        "n_segments": counts.n_segments,
        "threshold": cut,
        "merge_tree": str(tree),
        "n_blocks": blocks.n_blocks,
        "n_scores": counts.n_scores,
        "largest_graphs": counts.largest_graphs,
        "stages": stages,
    }


_KINDS: dict[str, Any] = {
    "--image": "image",
    "--boundaries": "boundaries",
    "--superpixels": "superpixels",
}


class _WrongAsAWholeError(InputError):
    """Input that no repair of a file mends, so that there is nothing to go on with."""


@contextmanager
def _keeping(ledger: BlockLedger, out: str) -> Iterator[None]:
    """Keep what was done when something goes wrong, if it is of any use."""
    try:
        yield
    except BaseException as error:
        if ledger.n_done and not isinstance(error, _WrongAsAWholeError):
            logger.warning(
                "%d finished tasks of %s are kept; --resume goes on with them", ledger.n_done, out
            )
        else:
            ledger.remove()
        raise


def _run_stages(job: BlockJob, ledger: BlockLedger, n_actors: int | None) -> dict[str, Any]:
    """Do everything that the ledger does not list; return what each stage took."""
    tree = job.tree
    blocks, levels = range(tree.n_blocks), range(tree.n_levels)
    took: dict[str, Any] = {}
    with _Pool(job, ledger, n_actors) as pool:
        if job.superpixels is None:
            took["superpixels"] = pool.run("superpixels", [blocks])
        took["sums"] = pool.run("sums", [blocks])
        _refuse_masks(job)
        took["homes"] = pool.run("homes", [range(job.n_buckets)])
        took["routes"] = pool.run("routes", [blocks])
        sources = _sources(job)
        nodes = [tree.nodes(level) for level in levels]
        took["agglomeration"] = pool.run("agglomeration", nodes, sources)
        _refuse_no_superpixels(job)
        took["names"] = pool.run("names", nodes[::-1])
        took["segmentation"] = pool.run("segmentation", [blocks])
    return took


class _Pool:
    """The actors of a run, started when there is something to do."""

    def __init__(self, job: BlockJob, ledger: BlockLedger, n_actors: int | None) -> None:
        self._job, self._ledger = job, ledger
        self._n_actors = _n_actors(job.tree.n_blocks) if n_actors is None else n_actors
        self._pool: ActorPool | None = None

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def run(
        self,
        stage: str,
        rounds: Sequence[range],
        sources: dict[int, list[int]] | None = None,
    ) -> dict[str, float]:
        """Do the tasks of a stage, each round after the one before."""
        started, busy_s, peak_mb = time.perf_counter(), 0.0, 0.0
        done = self._ledger.done_in(stage)
        with progress(stage, sum(map(len, rounds))) as bar:
            bar.advance(len(done))

            def on_result(task: int, _: TaskWork) -> None:
                self._ledger.record(task, stage=stage)
                bar.advance()

            for tasks in rounds:
                missing = [task for task in tasks if task not in done]
                if not missing:
                    continue
                if self._pool is None:
                    self._pool = ActorPool(BlockWorker, (self._job,), n_actors=self._n_actors)
                given = ((task, (stage, task, (sources or {}).get(task, ()))) for task in missing)
                for _, work in self._pool.run("do", given, on_result=on_result):
                    busy_s += work.seconds
                    peak_mb = max(peak_mb, work.peak_mb)
        seconds = time.perf_counter() - started
        return {
            "tasks": sum(map(len, rounds)) - len(done),
            "seconds": seconds,
            "busy_seconds": busy_s,
            "peak_mb": peak_mb,
        }


def _sources(job: BlockJob) -> dict[int, list[int]]:
    """Return for every node the blocks that have sums for it."""
    sources: dict[int, list[int]] = defaultdict(list)
    for block in range(job.tree.n_blocks):
        names = names_in_shard(job.table("routes", block))
        for node in sorted({name.split(".")[0] for name in names if "." in name}):
            sources[int(node)].append(block)
    return sources


def _refuse_masks(job: BlockJob) -> None:
    """Refuse a map of 8 bits that holds nothing but 0 and 1, as `require_volume` does."""
    if job.boundaries.dtype != np.uint8:
        return
    tables = (job.table("sums", block) for block in range(job.tree.n_blocks))
    if max(int(read_shard(table, "highest")["highest"]) for table in tables) == 1:
        raise _WrongAsAWholeError(
            f"--boundaries: {job.boundaries.address} has the values 0 and 1 as uint8, where uint8 "
            f"counts from 0 to 255; store a mask as truth values or floats"
        )


def _refuse_no_superpixels(job: BlockJob) -> None:
    """Refuse a volume with less than two superpixels, as `require_volume` does."""
    n = 0
    for block in range(job.tree.n_blocks):
        n += len(read_shard(job.table("merges", block), "ids")["ids"])
        if n > 1:
            return
    volume = job.boundaries if job.superpixels is None else job.superpixels
    seen = "one superpixel alone" if n else "nothing but 0"
    does = "gives" if job.superpixels is None else "holds"
    raise _WrongAsAWholeError(
        f"{volume.argument}: {volume.address} {does} {seen}, where two superpixels or more are "
        "expected"
    )


def _keep_tree(job: BlockJob, n_superpixels: int, path: Path) -> Path:
    """Write the merge tree into one file, or keep its shards in a folder where it is too large."""
    if n_superpixels <= LARGEST_TREE:
        save_tree(path, gather_tree(job))
        return path
    folder = path.with_suffix("")
    shards = job.table("merges", 0).parent
    with refusing_failed_writes("--out", folder):
        folder.mkdir(exist_ok=True)
        for shard in shards.iterdir():
            os.link(shard, folder / shard.name)
    return folder


def _n_actors(n_blocks: int) -> int:
    """Return how many actors are of use: one for each CPU, and no more than blocks."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    n_cpus = sum(math.floor(node.get("CPU", 0)) for node in nodes)
    return max(1, min(n_blocks, n_cpus))


def _digest(policy: Policy) -> str:
    """Return a digest of what a policy decides by."""
    digest = hashlib.sha256()
    for array in policy.network:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
