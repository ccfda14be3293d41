from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from agglo.blocks.superpixels import block_superpixels, named_by_first_voxel
from agglo.blocks.tree import BlockTree
from predict.box import Box
from predict.watershed import WatershedConfig, watershed_superpixels
from tests.envs.random_tissue import SEEDS


def test_a_drawn_block() -> None:
    """In a volume of 3 × 4 × 5, voxel (1, 2, 3) is the 34th."""
    numbered = np.array([[[1, 1], [2, 1]], [[2, 3], [2, 2]]], np.uint64)
    named = named_by_first_voxel(numbered, Box((1, 2, 3), (3, 4, 5)), (3, 4, 5))
    assert named.tolist() == [[[34, 34], [39, 34]], [[39, 55], [39, 39]]]


@settings(max_examples=30, deadline=None)
@given(hs.tuples(*3 * [hs.integers(1, 9)]), hs.tuples(*3 * [hs.integers(1, 5)]), SEEDS)
def test_names_are_unique_in_the_volume(
    shape: tuple[int, int, int], edge: tuple[int, int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tree = BlockTree(shape, edge)
    volume = np.zeros(shape, np.uint64)
    n = 0
    for block in range(tree.n_blocks):
        box = tree.box(block)
        labels = rng.integers(0, 4, box.shape)
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))
        numbered = (rank[inverse].reshape(box.shape) + 1).astype(np.uint64)
        n += len(first)
        volume[box.slices] = named_by_first_voxel(numbered, box, shape)
    ids, first = np.unique(volume, return_index=True)
    assert len(ids) == n
    np.testing.assert_array_equal(ids, first + 1)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_block_is_flooded_as_a_volume_of_its_own(dtype: type) -> None:
    rng = np.random.default_rng(0)
    boundaries = rng.random((12, 14, 10)).astype(np.float32)
    if dtype is np.uint8:
        boundaries = (boundaries * 255).astype(np.uint8)
    config = WatershedConfig(min_size_vox=3)
    size = (8.0, 4.0, 4.0)
    box = Box((12, 0, 20), (24, 14, 30))
    named = block_superpixels(boundaries, box, (40, 40, 40), size, config)
    floats = boundaries.astype(np.float32) / np.float32(255 if dtype is np.uint8 else 1)
    alone = watershed_superpixels(floats, size, config)
    assert len(np.unique(np.stack([named, alone]).reshape(2, -1), axis=1).T) == alone.max()
    assert len(np.unique(named)) == alone.max() > 5
