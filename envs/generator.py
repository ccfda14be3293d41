"""Where the environment's episodes come from: a generator makes an instance from a random state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from envs.instance import Instance
from envs.region_graph import build_region_graph
from envs.truth_rows import truth_table


class Generator(Protocol):
    """Makes the instance of an episode."""

    def __call__(self, rng: np.random.Generator) -> Instance:
        """Draw an instance; the same state of `rng` gives the same one."""
        ...


@dataclass(frozen=True, slots=True)
class GivenInstances:
    """Draw one of given instances, for real volumes and their shards."""

    instances: tuple[Instance, ...]

    def __post_init__(self) -> None:
        if not self.instances:
            raise ValueError("instances must hold at least one instance")

    def __call__(self, rng: np.random.Generator) -> Instance:
        """Draw an instance uniformly."""
        return self.instances[int(rng.integers(len(self.instances)))]


@dataclass(frozen=True, slots=True)
class VoronoiGenerator:
    """Make small random tissue: Voronoi cells in superpixels, behind a noisy membrane map.

    Superpixels are the Voronoi cells of `n_superpixels` random points in a cube; neurons are those
    superpixels whose points lie nearest to one of `n_neurons` other points. The boundary map is
    high where two neurons touch, lower and noisy where superpixels of one neuron do.
    """

    side_vox: int = 24
    n_superpixels: int = 60
    n_neurons: int = 8
    noise: float = 0.15

    def __post_init__(self) -> None:
        if self.side_vox < 4 or not 1 <= self.n_neurons <= self.n_superpixels:
            raise ValueError(
                f"cannot make {self.n_neurons} neurons of {self.n_superpixels} superpixels "
                f"in a cube of side {self.side_vox}"
            )
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise must lie in [0, 1], not {self.noise}")

    def __call__(self, rng: np.random.Generator) -> Instance:
        """Draw points, neurons and noise."""
        side = self.side_vox
        points = rng.uniform(0, side, (self.n_superpixels, 3))
        centres = rng.uniform(0, side, (self.n_neurons, 3))
        neuron = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
        voxels = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), -1).reshape(-1, 3)
        distance = ((voxels[:, None] - points[None]) ** 2).sum(2)
        cell = distance.argmin(1)
        labels = (neuron[cell] + 1).reshape(3 * (side,)).astype(np.uint64)
        is_border = np.zeros(labels.shape, np.bool_)
        for axis in range(3):
            first = [slice(None)] * 3
            second = [slice(None)] * 3
            first[axis], second[axis] = slice(None, -1), slice(1, None)
            step = labels[tuple(first)] != labels[tuple(second)]
            is_border[tuple(first)] |= step
            is_border[tuple(second)] |= step
        boundaries = np.clip(
            0.25 + 0.4 * is_border + self.noise * rng.standard_normal(labels.shape), 0, 1
        )
        image = np.clip(1 - boundaries + 0.1 * rng.standard_normal(labels.shape), 0, 1)
        superpixels = (cell + 1).reshape(labels.shape).astype(np.uint64)
        graph = build_region_graph(superpixels, image, boundaries)
        return Instance(graph, truth_table(graph.ids, superpixels, labels))
