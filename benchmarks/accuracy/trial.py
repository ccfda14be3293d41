"""What a method gets, and the numbers that come of its trees or partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from analysis.segmentation_scores import score_segmentation
from benchmarks.accuracy.forest import Contacts, fit_forest, out_of_bag
from benchmarks.accuracy.scene import Scene, merged_table
from benchmarks.accuracy.signed_graphs import Setting
from benchmarks.accuracy.trees import Merges, chosen_threshold
from envs.merge_tree import MergeTree

N_TIMINGS = 5
"""Runs of which the fastest counts."""

T = TypeVar("T")
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Trial:
    """A method's task.

    Attributes:
        train: volumes that may be learned from, and that choose thresholds.
        test: the volume that is reported.
        seed: of what is left to chance.
        folder: of the case and seed, for runs that take long.
    """

    train: Sequence[Scene]
    test: Scene
    seed: int
    folder: Path

    @cached_property
    def forest(self) -> tuple[Any, list[npt.NDArray[np.float64]], float]:
        """Return a forest, its out-of-bag word on the training parts, and what it took, seconds."""
        start = time.perf_counter()
        parts = [Contacts(scene.decisions[0], scene.decisions[1][:, 0]) for scene in self.train]
        fitted = fit_forest(parts, self.seed)
        word = out_of_bag(fitted, parts)
        return fitted, word, time.perf_counter() - start


def fastest(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of work and the least CPU seconds of several runs."""
    runs: list[tuple[float, T]] = []
    for _ in range(N_TIMINGS):
        start = time.process_time()
        result = work()
        runs.append((time.process_time() - start, result))
    return runs[-1][1], min(seconds for seconds, _ in runs)


def tree_threshold(trees: Sequence[Merges], scenes: Sequence[Scene]) -> float:
    """Return the threshold with the least mean VI over volumes.

    Args:
        trees: grown to the end, one for each.
        scenes: the volumes.
    """
    return chosen_threshold(trees, [(scene.truth, scene.graph.n_regions) for scene in scenes])


def tree_numbers(scene: Scene, whole: Merges, threshold: float, cpu_s: float) -> Numbers:
    """Return the numbers of a merge tree cut at a threshold, and at the best for itself.

    Args:
        scene: the volume that is reported.
        whole: the tree, grown to the end.
        threshold: chosen elsewhere.
        cpu_s: what growing it down to the threshold took.
    """
    tree = MergeTree(np.array(scene.graph.ids), *whole)
    oracle = tree_threshold([whole], [scene])
    best = scene.numbers(tree.cut(oracle))
    n_merges = int(np.count_nonzero(whole[1] >= threshold))
    return {
        **scene.numbers(tree.cut(threshold)),
        **{f"oracle_{name}": best[name] for name in ("vi", "vi_split", "vi_merge")},
        "threshold": threshold,
        "oracle_threshold": oracle,
        **speed(n_merges, cpu_s),
    }


def speed(n_merges: int, cpu_s: float) -> Numbers:
    """Return what was done in which time."""
    return {"n_merges": n_merges, "cpu_s": cpu_s, "merges_per_s": n_merges / max(cpu_s, 1e-9)}


Solve = Callable[[Setting], npt.NDArray[np.uint64]]
"""Gives every region its cluster, from 0."""


def best_setting(
    solves: Sequence[Solve], scenes: Sequence[Scene], settings: Sequence[Setting]
) -> Setting:
    """Return the setting with the least mean VI over volumes, the first of equals."""
    return min(
        settings,
        key=lambda setting: np.mean(
            [
                partition_vi(scene, solve(setting))
                for scene, solve in zip(scenes, solves, strict=True)
            ]
        ),
    )


def partition_vi(scene: Scene, clusters: npt.NDArray[np.uint64]) -> float:
    """Return the VI of clusters (R,) of regions, named from 0."""
    names = clusters + np.uint64(1)
    return score_segmentation(merged_table(scene.table, scene.graph.ids, names)).vi


def partition_numbers(
    scene: Scene, solve: Solve, settings: Sequence[Setting], chosen: Setting, cpu_s: float
) -> Numbers:
    """Return the numbers of a partition with a chosen setting, and with the best for itself.

    Args:
        scene: the volume that is reported.
        solve: the method on that volume.
        settings: those that could have been chosen.
        chosen: elsewhere.
        cpu_s: what it took.
    """
    oracle = best_setting([solve], [scene], settings)
    best = scene.numbers(solve(oracle) + np.uint64(1))
    clusters = solve(chosen)
    return {
        **scene.numbers(clusters + np.uint64(1)),
        **{f"oracle_{name}": best[name] for name in ("vi", "vi_split", "vi_merge")},
        "threshold": chosen.bias,
        "is_weighted": float(chosen.is_weighted),
        "oracle_threshold": oracle.bias,
        **speed(len(clusters) - len(np.unique(clusters)), cpu_s),
    }
