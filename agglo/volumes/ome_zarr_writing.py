"""OME-Zarr 0.5 groups, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from agglo.volumes.layout import ArrayLayout
from agglo.volumes.ome_metadata import AXES, multiscales_attributes
from agglo.volumes.voxel_size import VoxelSize


def create_image(
    group: Path,
    name: str,
    layout: ArrayLayout,
    voxel_size_nm: VoxelSize | None,
    attributes: Mapping[str, Any],
    *,
    n_levels: int = 1,
) -> None:
    """Make a group that is an OME-Zarr 0.5 image, and its empty arrays ``0``, ``1``, ….

    Blocks of zeros will be written like all others, so that a file that is missing is a block
    that was never written.
    """
    metadata = dict(attributes) | multiscales_attributes(
        name, len(layout.shape), voxel_size_nm, n_levels
    )
    created = zarr.create_group(LocalStore(group), zarr_format=3, attributes=metadata)
    for level in range(n_levels):
        created.create_array(
            str(level),
            shape=layout.shape,
            dtype=layout.dtype,
            chunks=layout.chunks,
            shards=layout.shards,
            dimension_names=AXES[-len(layout.shape) :],
            fill_value=0,
        )
        layout = layout.halved()


def open_for_blocks(group: Path, level: int = 0) -> zarr.Array:
    """Open an array of a group made by `create_image` for writing, the finest is 0."""
    array = zarr.open_array(LocalStore(group / str(level)), mode="r+")
    return array.with_config({"write_empty_chunks": True})


def chunk_file(group: Path, cell: tuple[int, ...], level: int = 0) -> Path:
    """Return the file of a chunk, or shard, by its place in the grid."""
    return Path(group, str(level), "c", *map(str, cell))


def remove_torn_files(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote a chunk.

    Zarr writes a chunk as ``….partial`` and then gives it its name, so a chunk is never torn.
    """
    for path in folder.rglob("*.partial"):
        path.unlink(missing_ok=True)


def count_files(group: Path, level: int = 0) -> int:
    """Count the chunks, or shards, of an array of the group that were written."""
    return sum(
        path.is_file() and path.suffix != ".partial"
        for path in (group / str(level) / "c").rglob("*")
    )
