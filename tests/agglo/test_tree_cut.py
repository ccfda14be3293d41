"""`agglo cut`: any threshold of a tree, without a policy."""

from __future__ import annotations

import os
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from agglo import tree_cut
from agglo.blocks.shard import write_shard
from agglo.segmentation import load_tree, save_tree, segment_volume, tree_path_of
from agglo.tree_cut import cut_tree
from agglo.volumes import open_volume, write_volume
from analysis.input_error import InputError
from envs.merge_tree import MergeTree
from tests.agglo.small_volumes import make_tissue, save_quick_policy, write_tissue


def tree_of_chance(rng: np.random.Generator, n: int) -> MergeTree:
    """Join random clusters, named by their smallest members, at falling heights."""
    alive, merges = list(range(n)), []
    for _ in range(n - 3):
        u, v = sorted(rng.choice(len(alive), 2, replace=False).tolist())
        merges.append((alive[u], alive[v]))
        del alive[v]
    ids = np.sort(rng.choice(10**6, n, replace=False) + 1).astype(np.uint64)
    heights = np.sort(rng.normal(size=len(merges)).round(1))[::-1]
    return MergeTree(ids, np.array(merges, np.int32), heights)


def read(path: Path) -> np.ndarray:
    return open_volume(str(path), argument="--out").read()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clusters_are_the_components_of_the_merges(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks that end within the volume; 0 stays 0; the order of shards does not matter."""
    monkeypatch.setattr(tree_cut, "BLOCK_VOX", 64)
    rng = np.random.default_rng(seed)
    tree = tree_of_chance(rng, 40)
    superpixels = rng.choice(np.append(tree.ids, 0), (70, 66, 20)).astype(np.uint64)
    write_volume(str(tmp_path / "s.zarr"), superpixels, voxel_size_nm=(8.0, 8.0, 8.0))
    save_tree(tmp_path / "t.npz", tree)
    parts = np.array_split(np.arange(len(tree.merges)), 3)
    for number, part in enumerate(parts[::-1]):
        arrays = {"merges": tree.ids[tree.merges[part]], "heights": tree.heights[part]}
        ties = np.column_stack([part, part])
        write_shard(tmp_path / "t" / f"{number}.npz", {**arrays, "ties": ties, "ids": tree.ids})
    threshold = float(np.median(tree.heights))
    graph = nx.Graph()
    graph.add_nodes_from(tree.ids.tolist())
    made = tree.heights >= threshold
    graph.add_edges_from(tree.ids[tree.merges[made]].tolist())
    name = {one: min(found) for found in nx.connected_components(graph) for one in found} | {0: 0}
    for where in ("t.npz", "t"):
        out = tmp_path / f"{where}.zarr"
        results = cut_tree(
            str(tmp_path / "s.zarr"), str(tmp_path / where), str(out), threshold=threshold
        )
        np.testing.assert_array_equal(read(out), np.vectorize(name.__getitem__)(superpixels))
        assert results["n_segments"] == nx.number_connected_components(graph)
        assert open_volume(str(out), argument="--out").voxel_size_nm == (8.0, 8.0, 8.0)


def test_it_is_what_the_policy_leaves_at_that_threshold(tmp_path: Path) -> None:
    policy = save_quick_policy(tmp_path / "run", make_tissue(1), threshold=0.25)
    source = write_tissue(tmp_path / "tissue.h5", make_tissue(2))
    image, boundaries, superpixels = (
        f"{source}:{name}" for name in ("image", "boundaries", "superpixels")
    )
    segment_volume(policy, image, boundaries, superpixels, str(tmp_path / "first.zarr"))
    tree_path = tree_path_of(str(tmp_path / "first.zarr"))
    heights = load_tree(tree_path, argument="--tree").heights
    for threshold in (heights[0] + 1, heights[len(heights) // 2], heights[-1]):
        out, expected = tmp_path / "cut.zarr", tmp_path / "expected.zarr"
        cut_tree(superpixels, str(tree_path), str(out), threshold=float(threshold), overwrite=True)
        segment_volume(
            policy,
            image,
            boundaries,
            superpixels,
            str(expected),
            threshold=float(threshold),
            overwrite=True,
        )
        np.testing.assert_array_equal(read(out), read(expected))


def test_wrong_input_leaves_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tree = tree_of_chance(rng, 10)
    superpixels, good = tmp_path / "s.zarr", tmp_path / "t.npz"
    write_volume(str(superpixels), np.full((4, 4, 4), 2 * 10**6, np.uint64), voxel_size_nm=None)
    save_tree(good, tree)
    (tmp_path / "torn.npz").write_bytes(good.read_bytes()[:-40])
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "0.npz").write_bytes(b"torn")
    before = sorted(os.listdir(tmp_path))
    for path, threshold, sentence in (
        (good, 0.0, r"--merge-tree: .*t\.npz does not know superpixel 2000000"),
        (good, float("nan"), "--threshold must be a finite number, not nan"),
        (tmp_path / "torn.npz", 0.0, r"--merge-tree: .*torn\.npz holds no merge tree"),
        (tmp_path / "none.npz", 0.0, r"--merge-tree: .*none\.npz holds no merge tree"),
        (tmp_path / "empty", 0.0, r"--merge-tree: .*empty holds no merge tree"),
        (tmp_path / "wrong", 0.0, r"--merge-tree: .*wrong holds no whole merge tree"),
    ):
        with pytest.raises(InputError, match=sentence):
            cut_tree(str(superpixels), str(path), str(tmp_path / "o.zarr"), threshold=threshold)
        assert sorted(os.listdir(tmp_path)) == before
