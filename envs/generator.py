"""Where the environment's episodes come from: a generator makes an instance from a random state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from envs.instance import Instance, LabelledVolume
from envs.quantise import quantise_image
from envs.region_graph import build_region_graph
from envs.truth_rows import truth_table


class Generator(Protocol):
    """Makes the instance of an episode."""

    def __call__(self, rng: np.random.Generator) -> Instance:
        """Draw an instance; the same state of `rng` gives the same one."""
        ...


def instance_of_volume(
    superpixels: npt.NDArray[np.integer],
    image: npt.NDArray,
    boundaries: npt.NDArray,
    labels: npt.NDArray[np.integer],
    *,
    clear_boundaries: npt.NDArray | None = None,
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Instance:
    """Make an instance of a volume or of a part of one.

    Args:
        superpixels: (z, y, x) integer, 0 = none.
        image: (z, y, x) grey values, see `envs.quantise.quantise_image`.
        boundaries: (z, y, x) float in [0, 1], 1 = boundary, or uint8.
        labels: (z, y, x) integer truth, 0 = unknown.
        clear_boundaries: (z, y, x) as `boundaries`: what imaging again shows, if it can be done.
        voxel_size_nm: edge lengths of a voxel.

    Raises:
        InputError: shapes or values do not fit.
    """
    graph = build_region_graph(superpixels, image, boundaries, voxel_size_nm=voxel_size_nm)
    clear = None
    if clear_boundaries is not None:
        clear = build_region_graph(
            superpixels, image, clear_boundaries, voxel_size_nm=voxel_size_nm
        )
    return Instance(
        graph,
        truth_table(graph.ids, superpixels, labels),
        clear=clear,
        volume=LabelledVolume(superpixels, quantise_image(image), labels),
    )


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
    high where two neurons touch, lower and noisy where superpixels of one neuron do. Around some
    superpixels it hardly shows at first; a second look shows all membranes, with more contrast and
    a fifth of the noise.
    """

    side_vox: int = 24
    n_superpixels: int = 60
    n_neurons: int = 8
    noise: float = 0.15
    faint: float = 0.3

    def __post_init__(self) -> None:
        if self.side_vox < 4 or not 1 <= self.n_neurons <= self.n_superpixels:
            raise ValueError(
                f"cannot make {self.n_neurons} neurons of {self.n_superpixels} superpixels "
                f"in a cube of side {self.side_vox}"
            )
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise must lie in [0, 1], not {self.noise}")
        if not 0 <= self.faint <= 1:
            raise ValueError(f"faint must lie in [0, 1], not {self.faint}")

    def __call__(self, rng: np.random.Generator) -> Instance:
        """Draw points, neurons and noise."""
        side, shape = self.side_vox, 3 * (self.side_vox,)
        points = rng.uniform(0, side, (self.n_superpixels, 3))
        centres = rng.uniform(0, side, (self.n_neurons, 3))
        neuron = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
        z, y, x = ((np.arange(side)[:, None] - points[:, axis]) ** 2 for axis in range(3))
        cell = (z[:, None, None] + y[:, None] + x).argmin(-1)
        labels = (neuron[cell] + 1).astype(np.uint64)
        is_border = np.zeros(shape, np.bool_)
        for axis in range(3):
            step = np.diff(labels.view(np.int64), axis=axis) != 0
            along = np.moveaxis(is_border, axis, 0)
            along[:-1] |= np.moveaxis(step, axis, 0)
            along[1:] |= np.moveaxis(step, axis, 0)
        blurred, sharp, grain = rng.standard_normal((3, *shape), np.float32)
        contrast = np.where(rng.random(self.n_superpixels) < self.faint, 0.05, 0.4)[cell]
        boundaries = np.clip(0.25 + contrast * is_border + self.noise * blurred, 0, 1)
        clear = np.clip(0.1 + 0.7 * is_border + 0.2 * self.noise * sharp, 0, 1)
        return instance_of_volume(
            (cell + 1).astype(np.uint64),
            np.clip(1 - boundaries + 0.1 * grain, 0, 1),
            boundaries,
            labels,
            clear_boundaries=clear,
        )
