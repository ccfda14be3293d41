"""Hypothesis strategies and makers of small random volumes, networks and instances."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from envs.channels import Channels
from envs.features import N_FEATURES
from envs.instance import Instance
from envs.merge_network import MergeNetwork
from envs.region_graph import RegionGraph, build_region_graph
from envs.truth_rows import truth_table

LABEL_TYPES = (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64)
SEEDS = st.integers(0, 2**32 - 1)


class Volume(NamedTuple):
    """Arrays of one shape (z, y, x); image and boundaries are uint8."""

    superpixels: npt.NDArray[Any]
    image: npt.NDArray[Any]
    boundaries: npt.NDArray[Any]

    def graph(
        self,
        voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        origin_vox: tuple[int, int, int] = (0, 0, 0),
    ) -> RegionGraph:
        return build_region_graph(*self, voxel_size_nm=voxel_size_nm, origin_vox=origin_vox)


@st.composite
def volumes(draw: st.DrawFn, *, max_side: int = 4, max_regions: int = 9) -> Volume:
    """Draw a volume with at least one region, label 0 and sparse, even huge, ids among others.

    A third of the volumes have one grey value and one boundary value, which makes ties, a third
    have three, and a third have all. In half of them regions are of one size, give or take a voxel.
    """
    shape = draw(st.tuples(*3 * [st.sampled_from(range(1, max_side + 1))]))
    dtype = np.dtype(draw(st.sampled_from(LABEL_TYPES)))
    limit = int(np.iinfo(dtype).max)
    n_regions = draw(st.sampled_from(range(1, max_regions + 1)))
    ids = draw(
        st.lists(
            st.one_of(st.integers(1, min(limit, 40)), st.integers(1, limit)),
            min_size=n_regions,
            max_size=n_regions,
            unique=True,
        )
    )
    rng = np.random.default_rng(draw(SEEDS))
    choice = np.array([0, *ids] if draw(st.booleans()) else ids, dtype)
    is_even = draw(st.booleans())
    n = int(np.prod(shape))
    index = rng.permutation(n) % len(choice) if is_even else rng.integers(len(choice), size=n)
    superpixels = choice[index].reshape(shape)
    superpixels[tuple(rng.integers(n) for n in shape)] = ids[0]
    n_values = draw(st.sampled_from([1, 3, 256]))
    values = rng.integers(0, 256, (2, n_values), dtype=np.uint8)
    chosen = rng.integers(n_values, size=(2, *shape))
    return Volume(superpixels, values[0][chosen[0]], values[1][chosen[1]])


@st.composite
def networks(
    draw: st.DrawFn, *, n_features: int = N_FEATURES, max_members: int = 2
) -> MergeNetwork:
    """Draw a network with random weights."""
    return random_network(
        draw(SEEDS), n_features=n_features, n_members=draw(st.integers(1, max_members))
    )


def random_network(
    seed: int,
    *,
    n_features: int = N_FEATURES,
    n_members: int = 1,
    n_hidden: tuple[int, int] = (5, 4),
) -> MergeNetwork:
    """Make a network whose logits vary in sign and size."""
    rng = np.random.default_rng(seed)
    m, h1, h2 = n_members, *n_hidden

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    return MergeNetwork(
        0.5 * normal(n_features),
        1 + np.abs(normal(n_features)),
        normal(m, n_features, h1),
        normal(m, h1),
        normal(m, h1, h2),
        normal(m, h2),
        normal(m, h2),
        normal(m),
    )


def constant_network(score: float) -> MergeNetwork:
    """Make a network that scores every edge the same."""
    network = random_network(0)
    return network._replace(
        w3=np.zeros_like(network.w3), b3=np.full_like(network.b3, score, np.float32)
    )


def random_channels(seed: int, shape: tuple[int, ...], texture: int, embedding: int) -> Channels:
    """Make channels of noise."""
    rng = np.random.default_rng([seed, 7])
    return Channels(
        *(
            rng.integers(0, 256, (n, *shape) if n else 4 * (0,), np.uint8)
            for n in (texture, embedding)
        )
    )


def random_labels(seed: int, shape: tuple[int, ...], n_labels: int) -> npt.NDArray[np.int32]:
    """Make truth labels 0..n_labels at random, at least one voxel not 0."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_labels + 1, shape).astype(np.int32)


def cell_labels(rng: np.random.Generator, side: int, n_cells: int) -> npt.NDArray[np.uint64]:
    """Make a cube of Voronoi cells 1..n_cells."""
    points = rng.uniform(0, side, (n_cells, 3))
    voxels = np.moveaxis(np.indices(3 * (side,)), 0, -1)[..., None, :]
    return (((voxels - points) ** 2).sum(-1).argmin(-1) + 1).astype(np.uint64)


def cell_instance(seed: int, *, side: int = 9, n_cells: int = 14) -> tuple[Volume, Instance]:
    """Make a cube of Voronoi cells with noise for image, boundaries and truth."""
    rng = np.random.default_rng(seed)
    superpixels = cell_labels(rng, side, n_cells)
    image = rng.integers(0, 256, superpixels.shape, dtype=np.uint8)
    boundaries = rng.integers(0, 256, superpixels.shape, dtype=np.uint8)
    labels = cell_labels(rng, side, max(n_cells // 3, 1))
    labels[rng.random(labels.shape) < 0.1] = 0
    volume = Volume(superpixels, image, boundaries)
    graph = volume.graph()
    return volume, Instance(graph, truth_table(graph.ids, superpixels, labels))
