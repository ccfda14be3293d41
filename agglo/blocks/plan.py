"""What a run over the blocks of a larger volume will take, from a measured one.

The blocks are of the measured size. Stages on voxels cost as much a voxel, the tree of blocks costs
as much a cluster; how many clusters its nodes hold follows `agglo.blocks.tree_growth`. What a
worker needs once, its kernels and the start of Ray, is kept apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from agglo.blocks.job import VOXELS_PER_BUCKET
from agglo.blocks.measured_run import BLOCK_STAGES, MeasuredRun
from agglo.blocks.tree import BlockTree
from agglo.blocks.tree_growth import largest_shell, measured_depths, shell_of_level
from agglo.blocks.work import StageWork
from analysis.input_error import InputError
from predict.box import Triple

START, END, WHOLE = "start", "end", "in total"


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """What a stage will take.

    Attributes:
        stage: its name.
        tasks: how many there are.
        core_hours: CPU time of all workers.
        wall_seconds: with the workers asked for.
        peak_mb: most memory of a worker.
        read_bytes: by all workers.
        written_bytes: likewise; what is written stays until the end.
        clusters: of the largest node of the tree, 0 for a stage on voxels.
    """

    stage: str
    tasks: int
    core_hours: float
    wall_seconds: float
    peak_mb: float
    read_bytes: float
    written_bytes: float
    clusters: float = 0.0


@dataclass(frozen=True, slots=True)
class _Rate:
    """Costs of a unit, a voxel or a cluster, and what each worker needs once.

    Attributes:
        seconds: of a worker, by the clock.
        cpu_seconds: likewise.
        read_bytes: see `StageWork`.
        written_bytes: see `StageWork`.
        warm_seconds: by the clock, of a worker's first task beyond the others.
        warm_cpu_seconds: likewise.
    """

    seconds: float
    cpu_seconds: float
    read_bytes: float
    written_bytes: float
    warm_seconds: float = 0.0
    warm_cpu_seconds: float = 0.0

    def planned(
        self, stage: str, rounds: Iterable[tuple[int, float, float]], n_workers: int, peak_mb: float
    ) -> PlannedStage:
        """Plan a stage.

        Args:
            stage: its name.
            rounds: one after the other; of each the tasks, the units of all and of the largest.
            n_workers: how many work.
            peak_mb: of a worker.
        """
        tasks, units, wall = 0, 0.0, 0.0
        for n_tasks, amount, largest in rounds:
            tasks, units = tasks + n_tasks, units + amount
            turns = math.ceil(n_tasks / n_workers)
            wall += self.seconds * max(largest, turns * amount / n_tasks)
        n_warm = min(n_workers, tasks)
        return PlannedStage(
            stage,
            tasks,
            (self.cpu_seconds * units + self.warm_cpu_seconds * n_warm) / 3600,
            wall + self.warm_seconds,
            peak_mb,
            self.read_bytes * units,
            self.written_bytes * units,
        )


def plan_run(measured: MeasuredRun, shape: Triple, n_workers: int) -> list[PlannedStage]:
    """Plan a run, stage by stage, from the start to the total.

    Args:
        measured: a run over a part, or over a smaller volume like it.
        shape: z, y, x of the volume, at least one voxel.
        n_workers: how many actors will work, one or more.

    Raises:
        InputError: shape or number of workers make no run.
    """
    if min(shape) < 1:
        raise InputError(f"--shape: {' '.join(map(str, shape))} voxels make no volume.")
    if n_workers < 1:
        raise InputError(f"--workers: at least one is needed, {n_workers} asked for.")
    tree = BlockTree(shape, measured.tree.block_vox)
    n_voxels, block = math.prod(shape), math.prod(measured.tree.block_vox)
    n_superpixels = measured.clusters[0] * n_voxels / math.prod(measured.tree.shape)
    stages = []
    for name, took in measured.stages.items():
        if name in BLOCK_STAGES:
            rounds = [(tree.n_blocks, float(n_voxels), float(min(block, n_voxels)))]
            stages.append(_per_voxel(took).planned(name, rounds, n_workers, took.peak_mb))
        elif name == "pyramid":
            levels = [tree.shrunk(level) for level in range(1, measured.n_resolutions)]
            rounds = [
                (one.n_blocks, n := float(math.prod(one.shape)), min(float(block), n))
                for one in levels
            ]
            stages.append(_per_voxel(took).planned(name, rounds, n_workers, took.peak_mb))
        elif name == "homes":
            stages.append(_planned_homes(measured, took, tree, n_workers))
        elif name == "agglomeration":
            stages += _planned_nodes(measured, tree, n_workers, n_superpixels)
        else:
            stages.append(_planned_names(measured, took, tree, n_workers, n_superpixels))
    end = measured.end_seconds * n_superpixels / max(measured.clusters[0], 1)
    stages = [
        PlannedStage(START, 0, 0.0, measured.start_seconds, 0.0, 0.0, 0.0),
        *stages,
        PlannedStage(END, 0, end / 3600, end, 0.0, 0.0, 0.0),
    ]
    return [*stages, _total(stages)]


def clusters_by_level(
    measured: MeasuredRun, tree: BlockTree, n_superpixels: float
) -> list[tuple[float, float]]:
    """Return the clusters of all nodes of every level, and of the largest node, as they begin.

    The depth of levels that the measured run does not have is that of its highest.
    """
    depths = measured_depths(measured.tree, measured.clusters)
    density = n_superpixels / math.prod(tree.shape)
    levels = [(n_superpixels, float(measured.largest_graphs[0]))]
    for level in range(tree.n_levels - 1):
        depth = depths[min(level, len(depths) - 1)]
        levels.append(
            (
                density * shell_of_level(tree, level, depth),
                density * largest_shell(tree, level, depth),
            )
        )
    return levels


def _planned_nodes(
    measured: MeasuredRun, tree: BlockTree, n_workers: int, n_superpixels: float
) -> list[PlannedStage]:
    """Plan agglomeration: of the blocks by voxels, of each level above by clusters."""
    first, *above = measured.levels
    n_voxels = math.prod(tree.shape)
    block = float(min(math.prod(tree.block_vox), n_voxels))
    levels = clusters_by_level(measured, tree, n_superpixels)
    rounds = [(tree.n_blocks, float(n_voxels), block)]
    stages = [_per_voxel(first).planned("blocks", rounds, n_workers, first.peak_mb)]
    rate = _per_unit(above, sum(measured.clusters[1:]))
    idle = measured.stages["agglomeration"].idle_mb
    mb = max(
        (work.peak_mb - work.idle_mb) / max(most, 1)
        for work, most in zip(above, measured.largest_graphs[1:], strict=True)
    )
    for level, (amount, most) in enumerate(levels[1:], 1):
        rounds = [(len(tree.nodes(level)), amount, most)]
        name = "root" if level == tree.n_levels - 1 else f"level {level}"
        stages.append(rate.planned(name, rounds, n_workers, idle + mb * most))
    written = _written_by_level(measured, n_voxels, levels)
    return [
        replace(
            one, stage=f"agglomeration, {one.stage}", clusters=most, written_bytes=written[level]
        )
        for level, (one, (_, most)) in enumerate(zip(stages, levels, strict=True))
    ]


def _written_by_level(
    measured: MeasuredRun, n_voxels: int, levels: list[tuple[float, float]]
) -> list[float]:
    """Return the bytes that each level writes: its merges, and what it leaves to the next.

    What is left is what the next level reads, which reads sums from elsewhere too, so it is no more
    than what was written; the root leaves nothing.
    """
    works, clusters = measured.levels, measured.clusters
    left = min(
        sum(work.read_bytes for work in works[1:]) / max(sum(clusters[1:]), 1),
        works[0].written_bytes / max(clusters[1], 1),
    )
    of_blocks = max(works[0].written_bytes - left * clusters[1], 0.0) / max(works[0].voxels, 1)
    of_cluster = works[-1].written_bytes / max(clusters[-1], 1)
    following = [amount for amount, _ in levels[1:]] + [0.0]
    own = [of_blocks * n_voxels] + [of_cluster * amount for amount, _ in levels[1:]]
    return [mine + left * n for mine, n in zip(own, following, strict=True)]


def _planned_names(
    measured: MeasuredRun, took: StageWork, tree: BlockTree, n_workers: int, n_superpixels: float
) -> PlannedStage:
    """Plan names, level by level from the root down."""
    levels = clusters_by_level(measured, tree, n_superpixels)
    rounds = [
        (len(tree.nodes(level)), *levels[level]) for level in range(tree.n_levels - 1, -1, -1)
    ]
    growth = max(most for _, most in levels) / max(*measured.largest_graphs, 1)
    peak = took.idle_mb + (took.peak_mb - took.idle_mb) * max(growth, 1.0)
    return _per_unit([took], sum(measured.clusters)).planned("names", rounds, n_workers, peak)


def _planned_homes(
    measured: MeasuredRun, took: StageWork, tree: BlockTree, n_workers: int
) -> PlannedStage:
    """Plan homes, whose tasks open a table of every block each."""
    n_buckets = 1 + math.prod(tree.shape) // VOXELS_PER_BUCKET
    rate = _per_unit([took], took.tasks * measured.tree.n_blocks)
    each = tree.n_blocks
    peak = took.idle_mb + (took.peak_mb - took.idle_mb) * max(
        1.0, tree.n_blocks * took.tasks / measured.tree.n_blocks / n_buckets
    )
    return rate.planned("homes", [(n_buckets, n_buckets * each, each)], n_workers, peak)


def _per_voxel(took: StageWork) -> _Rate:
    """Return the costs of a voxel; those of first tasks only where there are no others."""
    n_others = took.voxels - took.first_voxels
    if n_others <= 0:
        return _per_unit([took], took.voxels)
    seconds = (took.busy_seconds - took.first_seconds) / n_others
    cpu_seconds = (took.cpu_seconds - took.first_cpu_seconds) / n_others
    n_first, first_voxels = max(took.first_tasks, 1), took.first_voxels
    return _Rate(
        seconds,
        cpu_seconds,
        took.read_bytes / took.voxels,
        took.written_bytes / took.voxels,
        max(0.0, took.first_seconds - seconds * first_voxels) / n_first,
        max(0.0, took.first_cpu_seconds - cpu_seconds * first_voxels) / n_first,
    )


def _per_unit(works: Iterable[StageWork], n: float) -> _Rate:
    """Return the costs of a unit, of which there were `n`."""
    works, n = list(works), max(n, 1)
    return _Rate(
        sum(work.busy_seconds for work in works) / n,
        sum(work.cpu_seconds for work in works) / n,
        sum(work.read_bytes for work in works) / n,
        sum(work.written_bytes for work in works) / n,
    )


def _total(stages: list[PlannedStage]) -> PlannedStage:
    return PlannedStage(
        WHOLE,
        sum(one.tasks for one in stages),
        sum(one.core_hours for one in stages),
        sum(one.wall_seconds for one in stages),
        max(one.peak_mb for one in stages),
        sum(one.read_bytes for one in stages),
        sum(one.written_bytes for one in stages),
        max(one.clusters for one in stages),
    )
