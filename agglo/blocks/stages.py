"""The stages of a run over blocks, one after the other, their tasks on a pool of actors."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import ray

from agglo.block_ledger import BlockLedger
from agglo.blocks.job import BlockJob
from agglo.blocks.shard import names_in_shard, read_shard
from agglo.blocks.work import StageWork, TaskWork, stage_work
from agglo.blocks.worker import BlockWorker
from agglo.pool import ActorPool
from agglo.progress import progress
from analysis.input_error import InputError


class WrongAsAWholeError(InputError):
    """Input that no repair of a file mends, so that there is nothing to go on with."""


def run_stages(
    job: BlockJob, ledger: BlockLedger, n_actors: int | None
) -> dict[str, list[StageWork]]:
    """Do everything that the ledger does not list; return what each stage took, round by round.

    Agglomeration has a round for each level of the tree, from the blocks up, names have one, from
    the root down, and the pyramid one for each resolution; other stages are a single round.
    """
    tree = job.tree
    blocks, levels = range(tree.n_blocks), range(tree.n_levels)
    took: dict[str, list[StageWork]] = {}
    with _StagePool(job, ledger, n_actors) as pool:
        if job.superpixels is None:
            took["superpixels"] = pool.run("superpixels", [blocks])
        took["sums"] = pool.run("sums", [blocks])
        _refuse_masks(job)
        if job.superpixels is not None:
            took["homes"] = pool.run("homes", [range(job.n_buckets)])
        took["routes"] = pool.run("routes", [blocks])
        sources = _sources(job)
        nodes = [tree.nodes(level) for level in levels]
        took["agglomeration"] = pool.run("agglomeration", nodes, sources)
        _refuse_no_superpixels(job)
        took["names"] = pool.run("names", nodes[::-1])
        took["segmentation"] = pool.run("segmentation", [blocks])
        if job.n_levels > 1:
            took["pyramid"] = pool.run("pyramid", nodes[1 : job.n_levels])
    return took


class _StagePool:
    """The actors of a run, started when there is something to do."""

    def __init__(self, job: BlockJob, ledger: BlockLedger, n_actors: int | None) -> None:
        self._job, self._ledger = job, ledger
        self._n_actors = _n_actors(job.tree.n_blocks) if n_actors is None else n_actors
        self._pool: ActorPool | None = None

    def __enter__(self) -> _StagePool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def run(
        self,
        stage: str,
        rounds: Sequence[range],
        sources: dict[int, list[int]] | None = None,
    ) -> list[StageWork]:
        """Do the tasks of a stage, each round after the one before."""
        done = self._ledger.done_in(stage)
        took = []
        with progress(stage, sum(map(len, rounds))) as bar:
            bar.advance(len(done))

            def on_result(task: int, _: TaskWork) -> None:
                self._ledger.record(task, stage=stage)
                bar.advance()

            for tasks in rounds:
                missing = [task for task in tasks if task not in done]
                actors = self._actors() if missing else None
                started = time.perf_counter()
                works: list[tuple[int, TaskWork]] = []
                if actors is not None:
                    given = (
                        (task, (stage, task, (sources or {}).get(task, ()))) for task in missing
                    )
                    works = actors.run("do", given, on_result=on_result)
                amounts = [(self._voxels(stage, task), work) for task, work in works]
                took.append(stage_work(time.perf_counter() - started, amounts))
        return took

    def _actors(self) -> ActorPool:
        """Return the actors; none is starting any more."""
        if self._pool is None:
            self._pool = ActorPool(BlockWorker, (self._job,), n_actors=self._n_actors)
            self._pool.pids()
        return self._pool

    def _voxels(self, stage: str, task: int) -> int:
        """Return the voxels of a task on a block."""
        tree = self._job.tree
        if stage == "pyramid":
            level = tree.level(task)
            return math.prod(tree.shrunk(level).box(task - tree.nodes(level)[0]).shape)
        is_block = stage != "homes" and task < tree.n_blocks
        return math.prod(tree.box(task).shape) if is_block else 0


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
        raise WrongAsAWholeError(
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
    raise WrongAsAWholeError(
        f"{volume.argument}: {volume.address} {does} {seen}, where two superpixels or more are "
        "expected"
    )


def _n_actors(n_blocks: int) -> int:
    """Return how many actors are of use: one for each CPU, and no more than blocks."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    n_cpus = sum(math.floor(node.get("CPU", 0)) for node in nodes)
    return max(1, min(n_blocks, n_cpus))
