"""Volumes in Neuroglancer's precomputed format, written by TensorStore.

The format is https://github.com/google/neuroglancer/tree/master/src/datasource/precomputed; there
all triples are x, y, z, and resolutions in nanometres.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agglo.progress import progress
from agglo.volumes import Volume, VoxelSize, open_resolutions, open_volume, require_volume
from agglo.volumes.staging import FailedWriteError, Staging, refusing_failed_writes
from agglo.volumes.url import require_on_disk
from analysis.input_error import InputError

Content = Literal["segmentation", "image"]

CHUNK_VOX = (64, 64, 64)
"""What lies in one file."""

BLOCK_VOX = (64, 512, 512)
"""z, y, x of what is in memory at a time."""

_INFO = "info"
"""The file that makes a folder a precomputed volume."""


def export_precomputed(
    text: str,
    out: str,
    *,
    content: Content | None = None,
    voxel_size_nm: VoxelSize | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a volume at all its resolutions as a precomputed folder, whole or not at all.

    Segmentations become uint64 in compressed_segmentation, images stay raw in their own type, with
    channels (affinities) as channels. Chunks of zeros have no file, which is read as zeros.

    Args:
        text: address of the volume.
        out: the folder.
        content: what the volume is; of integers of 32 bits and more, a segmentation, if None.
        voxel_size_nm: for a volume that states none.
        overwrite: replace a precomputed volume that exists.

    Returns:
        `content`, `data_type`, and of each of the `scales` `size` and `resolution` (x, y, z).

    Raises:
        InputError: where the volume cannot be read, has no voxel size or is not of the content
            asked for, the output exists or cannot be written, or TensorStore is not installed.
    """
    if importlib.util.find_spec("tensorstore") is None:
        raise InputError(
            "agglo export needs a package that is not installed; "
            "pip install 'agglo[precomputed]' installs it."
        )
    folder = Path(require_on_disk(out, "--out"))
    _require_free(folder, overwrite)
    with open_volume(text, argument="--volume", voxel_size_nm=voxel_size_nm) as volume:
        chosen = content or _likely_content(volume.dtype)
        dtype = _stored_type(volume, chosen)
        if volume.voxel_size_nm is None:
            raise InputError(
                f"--voxel-size-nm: the voxel size of {volume.address} is not known, so say it."
            )
        resolutions = open_resolutions(volume)
        staging = Staging(folder)
        try:
            n_blocks = sum(_count_blocks(one) for one in resolutions)
            with progress("export", n_blocks) as bar:
                scales = [_scale(one, chosen) for one in resolutions]
                for one, scale in zip(resolutions, scales, strict=True):
                    store = _create(staging.path, chosen, dtype, one, scale, out)
                    for box in _blocks(one):
                        _write(store, box, _read(one, box, chosen, dtype), out)
                        bar.advance()
            _require_free(folder, overwrite)
            with refusing_failed_writes("--out", out):
                staging.commit()
        finally:
            staging.discard()
    return {
        "content": chosen,
        "data_type": dtype.name,
        "scales": [{name: scale[name] for name in ("size", "resolution")} for scale in scales],
    }


def _require_free(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be written, or holds what may not be replaced."""
    parent = Path(os.path.realpath(folder)).parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--out: the folder {parent} does not exist or does not permit writing.")
    if not folder.exists():
        return
    if not overwrite:
        raise InputError(f"--out: {folder} exists already; --overwrite replaces it.")
    if not folder.is_dir() or not ((folder / _INFO).is_file() or not any(folder.iterdir())):
        raise InputError(
            f"--out: {folder} exists and is no precomputed volume, so it is not replaced by one."
        )


def _likely_content(dtype: np.dtype[Any]) -> Content:
    return "segmentation" if dtype.kind in "iu" and dtype.itemsize >= 4 else "image"


def _stored_type(volume: Volume, content: Content) -> np.dtype[Any]:
    """Return the type of the format that takes a volume's values."""
    named = f"--volume: {volume.address} has"
    if 0 in volume.shape or volume.ndim not in ((3,) if content == "segmentation" else (3, 4)):
        raise InputError(f"{named} shape {volume.shape}, where z, y, x is expected.")
    kind = volume.dtype.kind
    if content == "segmentation":
        if kind not in "iu":
            raise InputError(f"{named} values of type {volume.dtype}, where labels are integers.")
        return np.dtype(np.uint64)
    if volume.dtype == np.int64:
        raise InputError(f"{named} values of type int64, which no image of this format has.")
    return np.dtype({"f": np.float32, "b": np.uint8}.get(kind, volume.dtype))


def _scale(volume: Volume, content: Content) -> dict[str, Any]:
    """Describe a resolution as the format does."""
    assert volume.voxel_size_nm is not None
    scale: dict[str, Any] = {
        "size": [*volume.shape[:-4:-1]],
        "resolution": [*volume.voxel_size_nm[::-1]],
        "voxel_offset": [0, 0, 0],
        "chunk_size": [*CHUNK_VOX],
        "encoding": "raw",
    }
    if content == "segmentation":
        scale |= {
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": [8, 8, 8],
        }
    return scale


def _create(
    folder: Path,
    content: Content,
    dtype: np.dtype[Any],
    volume: Volume,
    scale: dict[str, Any],
    out: str,
) -> Any:
    """Add a resolution to the folder; return its array x, y, z, c."""
    import tensorstore

    whole = {
        "type": content,
        "data_type": dtype.name,
        "num_channels": math.prod(volume.shape[:-3]),
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": whole,
        "scale_metadata": scale,
        "create": True,
    }
    with _refusing_failures(out):
        return tensorstore.open(spec).result()


def _blocks(volume: Volume) -> Iterator[tuple[slice, ...]]:
    """Cut a volume into boxes z, y, x of whole files."""
    axes = [
        [slice(begin, min(begin + edge, size)) for begin in range(0, size, edge)]
        for size, edge in zip(volume.shape[-3:], BLOCK_VOX, strict=True)
    ]
    yield from itertools.product(*axes)


def _count_blocks(volume: Volume) -> int:
    return math.prod(-(-n // edge) for n, edge in zip(volume.shape[-3:], BLOCK_VOX, strict=True))


def _read(
    volume: Volume, box: tuple[slice, ...], content: Content, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    block = volume[(..., *box)]
    if content == "segmentation":
        return require_volume(block, f"--volume: {volume.address}", "labels")
    return block.astype(dtype, copy=False)


def _write(store: Any, box: Sequence[slice], block: npt.NDArray[Any], out: str) -> None:
    """Write a block z, y, x or c, z, y, x to its place, chunk by chunk.

    All are waited for even where one fails, so that none is written after the folder is removed.
    """
    values = block.reshape(-1, *block.shape[-3:]).T
    begin = [part.start for part in box[::-1]]
    edges = [range(0, size, edge) for size, edge in zip(values.shape, CHUNK_VOX, strict=False)]
    under_way = []
    for corner in itertools.product(*edges):
        chunk = values[tuple(slice(at, at + n) for at, n in zip(corner, CHUNK_VOX, strict=True))]
        place = zip(begin, corner, chunk.shape, strict=False)
        where = tuple(slice(start + at, start + at + n) for start, at, n in place)
        under_way.append(store[where].write(chunk))
    failures = [error for one in under_way if (error := one.exception()) is not None]
    if failures:
        with _refusing_failures(out):
            raise failures[0]


@contextmanager
def _refusing_failures(out: str) -> Iterator[None]:
    """Turn what TensorStore raises about a disk into one sentence."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        words = str(error).rpartition(": ")[2].partition(" [")[0]  # the system's own, at the end
        raise FailedWriteError(f"--out: {out} cannot be written: {words}") from error
