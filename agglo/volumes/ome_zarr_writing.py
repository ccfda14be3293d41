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

ARRAY = "0"
"""Name of the array of the finest, and only, resolution."""


def create_image(
    group: Path,
    name: str,
    layout: ArrayLayout,
    voxel_size_nm: VoxelSize | None,
    attributes: Mapping[str, Any],
) -> None:
    """Make a group that is an OME-Zarr 0.5 image, and its empty array ``0``.

    Blocks of zeros will be written like all others, so that a file that is missing is a block
    that was never written.
    """
    metadata = dict(attributes) | multiscales_attributes(
        name, ARRAY, len(layout.shape), voxel_size_nm
    )
    zarr.create_group(LocalStore(group), zarr_format=3, attributes=metadata).create_array(
        ARRAY,
        shape=layout.shape,
        dtype=layout.dtype,
        chunks=layout.chunks,
        shards=layout.shards,
        dimension_names=AXES[-len(layout.shape) :],
        fill_value=0,
    )


def open_for_blocks(group: Path) -> zarr.Array:
    """Open the array of a group made by `create_image` for writing."""
    array = zarr.open_array(LocalStore(group / ARRAY), mode="r+")
    return array.with_config({"write_empty_chunks": True})


def chunk_file(group: Path, cell: tuple[int, ...]) -> Path:
    """Return the file of a chunk, or shard, by its place in the grid."""
    return Path(group, ARRAY, "c", *map(str, cell))


def remove_torn_files(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote a chunk.

    Zarr writes a chunk as ``….partial`` and then gives it its name, so a chunk is never torn.
    """
    for path in folder.rglob("*.partial"):
        path.unlink(missing_ok=True)


def count_files(group: Path) -> int:
    """Count the chunks, or shards, of the group's array that were written."""
    return sum(
        path.is_file() and path.suffix != ".partial" for path in (group / ARRAY / "c").rglob("*")
    )
