"""How an array is cut into chunks and shards on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

CHUNK_VOX = (64, 64, 64)


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Shape, type and grid of an array to be written.

    Attributes:
        shape: (z, y, x) or (c, z, y, x); channels are never cut.
        dtype: a type of numbers.
        chunk_vox: what is compressed and read at once.
        shard_vox: what lies in one file, a multiple of `chunk_vox`; None for a file a chunk.
    """

    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    chunk_vox: tuple[int, int, int] = CHUNK_VOX
    shard_vox: tuple[int, int, int] | None = None
    chunks: tuple[int, ...] = field(init=False)
    """The chunk along every axis, no longer than the array."""
    shards: tuple[int, ...] | None = field(init=False)
    """The shard along every axis, whole chunks and no more of them than the array needs."""

    def __post_init__(self) -> None:
        if len(self.shape) not in (3, 4) or min(self.shape) < 1:
            raise ValueError(f"shape {self.shape} is not a non-empty (z, y, x) or (c, z, y, x)")
        if np.dtype(self.dtype).kind not in "biuf":
            raise ValueError(f"dtype {np.dtype(self.dtype)} is no type of numbers")
        if min(self.chunk_vox) < 1:
            raise ValueError(f"chunk_vox {self.chunk_vox} is not positive")
        channels, spatial = self.shape[:-3], self.shape[-3:]
        chunks = tuple(map(min, self.chunk_vox, spatial))
        object.__setattr__(self, "chunks", (*channels, *chunks))
        shards = None
        if self.shard_vox is not None:
            per_shard = [s // c for s, c in zip(self.shard_vox, self.chunk_vox, strict=True)]
            if 0 in per_shard or any(
                s % c for s, c in zip(self.shard_vox, self.chunk_vox, strict=True)
            ):
                raise ValueError(
                    f"shard_vox {self.shard_vox} is no multiple of chunk_vox {self.chunk_vox}"
                )
            needed = [math.ceil(n / c) for n, c in zip(spatial, chunks, strict=True)]
            kept = map(min, per_shard, needed)
            shards = (*channels, *(n * c for n, c in zip(kept, chunks, strict=True)))
        object.__setattr__(self, "shards", shards)

    @property
    def grid(self) -> tuple[int, ...]:
        """What one writer has to write as a whole: the shard, or the chunk without shards."""
        return self.shards or self.chunks

    def halved(self) -> ArrayLayout:
        """Return the layout of the same at half the resolution."""
        *channels, depth, height, width = self.shape
        shape = (*channels, -(-depth // 2), -(-height // 2), -(-width // 2))
        return ArrayLayout(shape, self.dtype, self.chunk_vox, self.shard_vox)

    def slabs(self) -> Iterator[tuple[slice, ...]]:
        """Cut the array along z into blocks that are aligned to the grid."""
        *channels, nz, ny, nx = self.shape
        thickness = self.grid[-3]
        for begin in range(0, nz, thickness):
            spatial = (slice(begin, min(begin + thickness, nz)), slice(0, ny), slice(0, nx))
            yield (*(slice(0, n) for n in channels), *spatial)

    @property
    def n_files(self) -> int:
        """Number of chunks or shards of the whole array."""
        return math.prod(math.ceil(n / g) for n, g in zip(self.shape, self.grid, strict=True))


def require_aligned(
    offset: tuple[int, ...], block: tuple[int, ...], shape: tuple[int, ...], grid: tuple[int, ...]
) -> None:
    """Check that a block consists of whole cells of the grid, or of cells up to the array's end.

    Two writers that share a cell read, change and write it one over the other: in a test of ours,
    blocks aligned to chunks but not to shards lost an eighth of the voxels without a word.

    Raises:
        ValueError: where it does not, or leaves the array.
    """
    if not len(offset) == len(block) == len(shape):
        raise ValueError(f"block {block} at {offset} has not the {len(shape)} axes of {shape}")
    for axis, (begin, length, size, cell) in enumerate(
        zip(offset, block, shape, grid, strict=True)
    ):
        end = begin + length
        if begin < 0 or length < 1 or end > size:
            raise ValueError(f"block {block} at {offset} leaves the array of shape {shape}")
        if begin % cell or (end % cell and end != size):
            raise ValueError(
                f"block {block} at {offset} is not aligned: along axis {axis} it is "
                f"{begin}:{end} on a grid of {cell} in an array of {size}"
            )
