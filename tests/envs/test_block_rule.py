from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs import statistics as st
from envs.block_rule import Residue, agglomerate_block, joined_residue, unmerged_residue
from envs.channel_sums import with_channels
from envs.features import N_SHAPE_FEATURES
from envs.generator import VoronoiGenerator
from envs.region_graph import RegionGraph
from envs.rollout import play_episode
from envs.scorers import MeanBoundary, Policy, QuantileBoundary, RandomScores
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    constant_network,
    random_channels,
    random_network,
    volumes,
)

modest = settings(max_examples=60, deadline=None)


def part_of(graph: RegionGraph, regions: npt.NDArray, is_edge: npt.NDArray) -> RegionGraph:
    """Return some regions, ascending, and the chosen edges, which lie among them."""
    return RegionGraph(
        graph.ids[regions],
        graph.regions[regions],
        np.searchsorted(regions, graph.edges[is_edge]).astype(np.int32),
        graph.contacts[is_edge],
        graph.voxel_size_nm,
    )


def in_blocks(graph: RegionGraph, levels: list[Any], policy: Policy, threshold: float) -> Residue:
    """Agglomerate over a tree of blocks.

    Args:
        levels: for every level, leaves first, the block (R,) of each superpixel; a block is part of
            one of the next level. The root is added.
    """
    u, v = graph.edges.T if graph.n_edges else np.empty((2, 0), np.int64)
    residues: dict[int, Residue] = {}
    below = np.arange(graph.n_regions)
    for region in range(graph.n_regions):
        alone = part_of(graph, np.array([region]), np.zeros(graph.n_edges, np.bool_))
        residues[region] = unmerged_residue(alone, policy)
    for level in [*levels, np.zeros(graph.n_regions, np.int64)]:
        joined = {}
        for block in np.unique(level):
            inside = np.flatnonzero(level == block)
            is_between = (level[u] == block) & (level[v] == block) & (below[u] != below[v])
            between = part_of(graph, inside, is_between)
            residue = joined_residue(
                [residues[child] for child in np.unique(below[inside])],
                unmerged_residue(between, policy),
            )
            crossing = level[u] != level[v]
            outer = np.unique(graph.edges[crossing])
            names = graph.ids[outer[level[outer] == block]]
            frozen = np.isin(residue.graph.ids, names)
            assert np.isin(names, residue.graph.ids).all()  # what is frozen was never merged
            joined[block] = agglomerate_block(residue, policy, frozen, threshold=threshold)
        residues, below = joined, level
    (root,) = residues.values()
    return root


def assert_same_as_one_run(
    graph: RegionGraph, levels: list[Any], policy: Policy, threshold: float
) -> Residue:
    expected = play_episode(graph, policy, threshold=threshold)
    root = in_blocks(graph, levels, policy, threshold)
    merges, heights = root.in_order()
    np.testing.assert_array_equal(merges, graph.ids[expected.merges])
    np.testing.assert_array_equal(heights, expected.heights)
    return root


def channelled(volume: Volume, graph: RegionGraph, seed: int) -> RegionGraph:
    channels = random_channels(seed, volume.superpixels.shape, 2, 3)
    return with_channels(graph, volume.superpixels, volume.boundaries, channels)


def any_policy(seed: int, kind: str) -> Policy:
    return {
        "network": random_network(seed),
        "shape": random_network(seed, n_features=N_SHAPE_FEATURES),
        "channels": random_network(seed, n_features=N_SHAPE_FEATURES + 2 * 3 + 4),
        "constant": constant_network(0.25),
        "mean": MeanBoundary(0.5),
        "quantile": QuantileBoundary(0.5, 0.75),
        "random": RandomScores(seed),
    }[kind]


POLICIES = hs.sampled_from(
    ["network", "shape", "channels", "constant", "mean", "quantile", "random"]
)


@modest
@given(
    volumes(max_side=5, max_regions=16), SEEDS, POLICIES, hs.sampled_from([-np.inf, -0.5, 0.0, 0.3])
)
def test_every_cutting_gives_the_run_over_everything(
    volume: Volume, seed: int, kind: str, threshold: float
) -> None:
    """Blocks need not even be connected."""
    graph = volume.graph()
    if kind == "channels":
        graph = channelled(volume, graph, seed)
    rng = np.random.default_rng(seed)
    leaves = rng.integers(0, rng.integers(1, 7), graph.n_regions)
    levels = [leaves]
    while rng.random() < 0.6:
        n_blocks = int(levels[-1].max(initial=0)) + 1
        levels.append(rng.integers(0, n_blocks, n_blocks)[levels[-1]])
    assert_same_as_one_run(graph, levels, any_policy(seed, kind), threshold)


@pytest.mark.parametrize("blocks", [(2, 2, 2), (3, 1, 5), (4, 4, 4), (1, 1, 2)])
@pytest.mark.parametrize("kind", ["network", "mean", "constant"])
def test_tissue_cut_into_boxes(blocks: tuple[int, ...], kind: str) -> None:
    """Assign superpixels to boxes by their centres; pairs of boxes along x are joined first."""
    generator = VoronoiGenerator(side_vox=32, n_superpixels=300, n_neurons=20)
    instance = generator(np.random.default_rng(1))
    graph = instance.graph
    centre = graph.regions[:, st.REGION_POSITION : st.REGION_POSITION + 3]
    place = (centre / graph.regions[:, :1] / 32 * blocks).astype(np.int64)
    levels = [np.ravel_multi_index(place.T, blocks)]
    while max(blocks) > 1:
        place //= 2
        blocks = tuple(-(-n // 2) for n in blocks)
        levels.append(np.ravel_multi_index(place.T, blocks))
    policy = any_policy(3, kind)
    root = assert_same_as_one_run(graph, levels, policy, -np.inf)
    assert root.n_scores == play_episode(graph, policy, threshold=-np.inf).n_scores
    if kind != "constant":
        below = assert_same_as_one_run(graph, levels, policy, float(np.median(root.heights)))
        assert 1 < below.graph.n_regions < graph.n_regions


def test_what_is_left_is_the_graph_of_the_merged_volume() -> None:
    rng = np.random.default_rng(5)
    superpixels = rng.permutation(np.arange(27) % 14 + 1).reshape(3, 3, 3)
    image, boundaries = rng.integers(0, 256, (2, 3, 3, 3), dtype=np.uint8)
    volume = Volume(superpixels, image, boundaries)
    policy = random_network(4, n_features=N_SHAPE_FEATURES + 2 * 3 + 4)
    graph = channelled(volume, volume.graph(), 5)
    whole = play_episode(graph, policy, threshold=-np.inf)
    threshold = float(whole.heights[6])
    root = in_blocks(graph, [np.arange(14) % 3], policy, threshold)
    names = dict(zip(graph.ids.tolist(), graph.ids.tolist(), strict=True))
    for u, v in root.merges.tolist():
        for name in names:
            if names[name] == v:
                names[name] = u
    relabelled = np.vectorize(names.get)(superpixels)
    merged = volume._replace(superpixels=relabelled)
    rebuilt = channelled(merged, merged.graph(), 5)
    np.testing.assert_array_equal(root.graph.ids, rebuilt.ids)
    np.testing.assert_array_equal(root.graph.regions, rebuilt.regions)
    ours = {
        tuple(sorted(pair)): i for i, pair in enumerate(root.graph.ids[root.graph.edges].tolist())
    }
    theirs = rebuilt.ids[rebuilt.edges].tolist()
    assert sorted(ours) == [tuple(pair) for pair in theirs]
    order = [ours[tuple(pair)] for pair in theirs]
    np.testing.assert_array_equal(root.graph.contacts[order], rebuilt.contacts)
