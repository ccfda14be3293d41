from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from agglo.blocks.tree import BlockTree
from agglo.volumes.layout import ArrayLayout, require_aligned
from analysis.input_error import InputError

SIZES = hs.tuples(*3 * [hs.integers(1, 40)])
EDGES = hs.tuples(*3 * [hs.integers(1, 12)])


def test_a_drawn_tree() -> None:
    """5 × 1 × 3 blocks; pairs along each axis are joined, the odd one out is a node alone."""
    tree = BlockTree((9, 4, 12), (2, 5, 4))
    assert [tree.grid(level) for level in range(4)] == [(5, 1, 3), (3, 1, 2), (2, 1, 1), (1, 1, 1)]
    assert (tree.n_blocks, tree.n_levels, tree.root) == (15, 4, 23)
    assert [tree.nodes(level) for level in range(4)] == [
        range(15),
        range(15, 21),
        range(21, 23),
        range(23, 24),
    ]
    assert tree.box(14) == ((8, 0, 8), (9, 4, 12))
    assert tree.children(16) == [2, 5]
    assert tree.children(15) == [0, 1, 3, 4]
    assert tree.children(22) == [19, 20]
    assert tree.children(3) == []
    nodes, levels = tree.common(np.array([0, 0, 2, 0, 7]), np.array([0, 4, 5, 6, 14]))
    assert nodes.tolist() == [0, 15, 16, 21, 23]
    assert levels.tolist() == [0, 1, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(SIZES, EDGES)
def test_blocks_tile_the_volume_and_nodes_join_them(
    shape: tuple[int, int, int], edge: tuple[int, int, int]
) -> None:
    tree = BlockTree(shape, edge)
    n_seen = np.zeros(shape, np.int64)
    for block in range(tree.n_blocks):
        n_seen[tree.box(block).slices] += 1
    assert (n_seen == 1).all()
    below = {block: {block} for block in range(tree.n_blocks)}
    for level in range(1, tree.n_levels):
        for node in tree.nodes(level):
            assert tree.level(node) == level
            children = tree.children(node)
            assert 1 <= len(children) <= 8
            assert [tree.parent(child) for child in children] == [node] * len(children)
            below[node] = set().union(*(below[child] for child in children))
    assert below[tree.root] == set(range(tree.n_blocks))
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, tree.n_blocks, (2, 20))
    nodes, levels = tree.common(first, second)
    for a, b, node, level in zip(
        *map(np.ndarray.tolist, (first, second, nodes, levels)), strict=True
    ):
        assert node == min(n for n in below if {a, b} <= below[n])
        assert level == tree.level(node)


@pytest.mark.parametrize("edge", [(64, 128, 192), (100, 50, 17), (250, 131, 96), (1000, 1000, 7)])
def test_a_block_is_whole_chunks(edge: tuple[int, int, int]) -> None:
    shape = (300, 131, 250)
    tree = BlockTree(shape, edge)
    layout = ArrayLayout(shape, np.uint64, chunk_vox=tree.chunk_vox())
    for block in range(tree.n_blocks):
        box = tree.box(block)
        require_aligned(box.start, box.shape, shape, layout.grid)
    assert all(7 <= chunk <= 128 for chunk in layout.chunks)


@pytest.mark.parametrize("edge", [(64, 64, 131), (0, 64, 64), (64, -1, 64), (254, 149, 1)])
def test_blocks_that_make_no_sense_are_refused(edge: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match=r"--blocks: .*voxels (cannot be cut|make no block)"):
        BlockTree((300, 300, 300), edge).chunk_vox()


def test_blocks_of_voxels_are_those_that_hold_them() -> None:
    tree = BlockTree((5, 7, 4), (2, 3, 4))
    expected = np.empty(tree.shape, np.int64)
    for block in tree.nodes(0):
        expected[tree.box(block).slices] = block
    voxels = np.arange(expected.size, dtype=np.uint64)
    np.testing.assert_array_equal(tree.blocks_of(voxels), expected.ravel())
    assert len(tree.blocks_of(voxels[:0])) == 0


def test_common_of_large_grids() -> None:
    tree = BlockTree((2**14, 2**13, 2**15), (4, 4, 4))
    place = np.array([[0, 0, 0], [2047, 0, 0], [2048, 0, 8191], [4095, 2047, 8191]])
    blocks = np.array(np.ravel_multi_index(tuple(place.T), tree.grid(0)))
    expected = [0, 11, 13, 13]
    nodes, levels = tree.common(np.repeat(blocks[:1], 4), blocks)
    assert levels.tolist() == expected
    assert [tree.level(node) for node in nodes.tolist()] == expected
