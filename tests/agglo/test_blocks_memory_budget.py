from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agglo.blocks.memory_budget import BASE_MB, BYTES_PER_VOXEL, blocks_within
from agglo.blocks.tree import BlockTree
from analysis.input_error import InputError


def megabytes(*edges: int) -> float:
    return BASE_MB + math.prod(edges) * BYTES_PER_VOXEL / 2**20


@pytest.mark.parametrize(
    ("memory_mb", "shape", "expected"),
    [
        (megabytes(128, 128, 128), (1024, 1024, 1024), (128, 128, 128)),
        (megabytes(128, 128, 128) - 1, (1024, 1024, 1024), (128, 128, 64)),
        (megabytes(30, 256, 256), (30, 1024, 1024), (64, 256, 256)),
        (megabytes(64, 64, 64), (1024, 1024, 1024), (64, 64, 64)),
        (10**6, (100, 200, 300), (128, 256, 320)),
    ],
)
def test_the_largest_block_that_fits(memory_mb, shape, expected) -> None:
    assert blocks_within(memory_mb, shape) == expected


@given(
    memory_mb=some.floats(megabytes(64, 64, 64), 20_000),
    shape=some.tuples(*[some.integers(1, 2000)] * 3),
)
def test_it_fits_and_the_next_does_not(memory_mb: float, shape: tuple[int, int, int]) -> None:
    """Every block can be written, and one that is larger along the axis in turn is too large."""
    block = blocks_within(memory_mb, shape)
    BlockTree(shape, block).chunk_vox()
    assert megabytes(*map(min, block, shape)) <= memory_mb
    growing = [axis for axis in range(3) if block[axis] < shape[axis]]
    if growing:
        axis = min(growing, key=lambda axis: block[axis])
        larger = [*block]
        larger[axis] += 64
        assert megabytes(*map(min, larger, shape)) > memory_mb


def test_a_budget_that_holds_no_block() -> None:
    with pytest.raises(InputError, match=r"^--memory-mb: 310 MB do not hold the smallest block"):
        blocks_within(310, (100, 100, 100))
