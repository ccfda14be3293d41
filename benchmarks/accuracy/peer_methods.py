"""How the peers choose their thresholds and settings on the training side, and are applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.evidence import Evidence
from benchmarks.accuracy.scene import Scene
from benchmarks.accuracy.signed_graphs import Setting
from benchmarks.accuracy.trees import Merges, average_linkage
from benchmarks.accuracy.trial import (
    N_TIMINGS,
    Numbers,
    Solve,
    Trial,
    best_setting,
    fastest,
    partition_numbers,
    tree_numbers,
    tree_threshold,
)
from benchmarks.accuracy.waterz_peer import QuantileTree, quantile_linkage


@dataclass(frozen=True, slots=True)
class Linkage:
    """Average linkage of evidence, weighted by the faces of contacts."""

    evidence: Callable[[Trial], Evidence]

    def __call__(self, trial: Trial) -> Numbers:
        """Choose the threshold on the training parts and apply it."""
        evidence, test = self.evidence(trial), trial.test
        trees = [
            _grow(*pair, threshold=-np.inf)
            for pair in zip(trial.train, evidence.train, strict=True)
        ]
        threshold = tree_threshold(trees, trial.train)
        _, cpu_s = fastest(lambda: _grow(test, evidence.test(), threshold=threshold))
        whole = _grow(test, evidence.test(), threshold=-np.inf)
        return {**tree_numbers(test, whole, threshold, cpu_s), "train_s": evidence.seconds}


def _grow(scene: Scene, boundary: npt.NDArray[np.float64], *, threshold: float) -> Merges:
    graph = scene.graph
    return average_linkage(graph.edges, boundary, scene.areas, graph.n_regions, threshold=threshold)


@dataclass(frozen=True, slots=True)
class Quantile:
    """waterz with a quantile of affinities; relabelling, which it does not part, is timed too."""

    quantile: int
    from_maximum: bool = False

    def __call__(self, trial: Trial) -> Numbers:
        """Choose the threshold on the training parts and apply it."""
        trees = [self._grow(scene, 0.0).merges for scene in trial.train]
        threshold = tree_threshold(trees, trial.train)
        cpu_s = min(self._grow(trial.test, threshold).cpu_s for _ in range(N_TIMINGS))
        return tree_numbers(trial.test, self._grow(trial.test, 0.0).merges, threshold, cpu_s)

    def _grow(self, scene: Scene, threshold: float) -> QuantileTree:
        return quantile_linkage(
            scene.superpixels,
            scene.boundaries,
            scene.graph.ids,
            self.quantile,
            from_maximum=self.from_maximum,
            threshold=threshold,
        )


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of the graph by signed costs, and the settings that are tried."""

    evidence: Callable[[Trial], Evidence]
    partition: Callable[..., npt.NDArray[np.uint64]]
    settings: tuple[Setting, ...]

    def __call__(self, trial: Trial) -> Numbers:
        """Choose the setting on the training parts and apply it."""
        evidence, test = self.evidence(trial), trial.test
        solves = [self._solver(*pair) for pair in zip(trial.train, evidence.train, strict=True)]
        chosen = best_setting(solves, trial.train, self.settings)
        _, cpu_s = fastest(lambda: self._solver(test, evidence.test())(chosen))
        solve = self._solver(test, evidence.test())
        numbers = partition_numbers(test, solve, self.settings, chosen, cpu_s)
        return {**numbers, "train_s": evidence.seconds}

    def _solver(self, scene: Scene, boundary: npt.NDArray[np.float64]) -> Solve:
        graph = scene.graph
        return partial(self.partition, graph.edges, boundary, scene.areas, graph.n_regions)
