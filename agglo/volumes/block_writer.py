"""Writing a volume block by block, also from several processes at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.volumes.attributes import plain_attributes
from agglo.volumes.hdf5_writing import write_datasets
from agglo.volumes.layout import ArrayLayout, require_aligned
from agglo.volumes.ome_zarr_writing import (
    chunk_file,
    count_files,
    create_image,
    open_for_blocks,
    remove_torn_files,
)
from agglo.volumes.output import MAIN, check_output
from agglo.volumes.source import refusing_damage
from agglo.volumes.staging import Staging, refusing_failed_writes, sync_file
from agglo.volumes.voxel_size import VoxelSize, require_voxel_size


@dataclass(frozen=True, slots=True)
class BlockHandle:
    """The way to write blocks of an output that is not whole yet; pickles, and works anywhere.

    Attributes:
        folder: the temporary group.
        argument: the argument that named the output, for sentences.
        output: the output's address.
    """

    folder: Path
    argument: str
    output: str

    def write(
        self, offset: tuple[int, ...], block: npt.NDArray[Any], name: str = MAIN, level: int = 0
    ) -> None:
        """Write a block of whole cells of the grid, each cell by one writer only.

        Args:
            offset: first voxel of the block in the array, one number an axis.
            block: (z, y, x) or (c, z, y, x) of the array's own type.
            name: the nested volume, or the main one.
            level: its resolution, the finest is 0.

        Raises:
            ValueError: where the block is not aligned to the grid of shards (chunks where there
                are no shards), leaves the array, or is of another type.
            InputError: where the disk does not take it.
        """
        with refusing_failed_writes(self.argument, self.output):
            array = open_for_blocks(self.folder / name, level)
            require_aligned(offset, block.shape, array.shape, array.shards or array.chunks)
            if block.dtype != array.dtype:
                raise ValueError(f"block of type {block.dtype} for an array of {array.dtype}")
            array[tuple(map(slice, offset, np.add(offset, block.shape).tolist()))] = block

    def read(
        self,
        box: tuple[slice, ...],
        name: str = MAIN,
        *,
        argument: str = "--out",
        level: int = 0,
    ) -> npt.NDArray[Any]:
        """Read a box of what is written so far; what is not reads as 0.

        Args:
            box: one slice an axis.
            name: the nested volume, or the main one.
            argument: what the volume stands for, for sentences.
            level: its resolution, the finest is 0.

        Raises:
            InputError: where it cannot be read.
        """
        with refusing_damage(argument, self.folder / name):
            return np.asarray(open_for_blocks(self.folder / name, level)[box])

    def sync(
        self, offset: tuple[int, ...], shape: tuple[int, ...], name: str = MAIN, level: int = 0
    ) -> None:
        """See the files of a block that was written on the disk, where no crash undoes them.

        Args:
            offset: first voxel of the block.
            shape: of the block.
            name: the nested volume, or the main one.
            level: its resolution, the finest is 0.

        Raises:
            FailedWriteError: where the disk does not take it.
        """
        with refusing_failed_writes(self.argument, self.output):
            array = open_for_blocks(self.folder / name, level)
            cells = [
                range(begin // cell, -(-(begin + length) // cell))
                for begin, length, cell in zip(
                    offset, shape, array.shards or array.chunks, strict=True
                )
            ]
            files = [
                chunk_file(self.folder / name, cell, level) for cell in itertools.product(*cells)
            ]
            for file in files:
                sync_file(file)
            for folder in {parent for file in files for parent in file.parents}:
                if folder.is_relative_to(self.folder):
                    sync_file(folder)


class BlockWriter:
    """An output made block by block, which appears under its name on `commit`.

    As a context manager it commits at the end of the block, and leaves nothing if an exception
    ends it. The blocks go to a temporary OME-Zarr group beside the output; for an HDF5 output its
    arrays are copied into the file on `commit`. With a `token` the group has a name that can be
    found again, and stays when `commit` fails: `abort` removes it, `is_begun` takes it over.

    Args:
        text: the address of the output.
        layout: shape, type and grid of the main volume.
        argument: the argument that the text comes from.
        voxel_size_nm: edges of a voxel (z, y, x), None where they are not known.
        overwrite: whether to replace an output that exists, when the new one is whole.
        attributes: what else to write beside every volume: numbers, strings and lists of them.
        nested: further volumes by name. They are groups in the main one (``V.zarr:NAME``), in an
            HDF5 file datasets beside it.
        n_levels: resolutions of the main volume, each half the one before; an HDF5 file has one.
        token: part of the temporary group's name; drawn anew if None.
        is_begun: go on with the group of this token that another process made.

    Raises:
        InputError: where the output exists without `overwrite`, or cannot be written there.
    """

    def __init__(
        self,
        text: str,
        layout: ArrayLayout,
        *,
        argument: str = "--out",
        voxel_size_nm: Sequence[float] | None,
        overwrite: bool = False,
        attributes: Mapping[str, Any] = MappingProxyType({}),
        nested: Mapping[str, ArrayLayout] = MappingProxyType({}),
        n_levels: int = 1,
        token: str | None = None,
        is_begun: bool = False,
    ) -> None:
        self._output = check_output(
            text, argument=argument, overwrite=overwrite, nested=tuple(nested)
        )
        self._layouts = {MAIN: layout, **nested}
        self._n_levels = n_levels
        self._voxel_size_nm: VoxelSize | None = require_voxel_size(voxel_size_nm)
        self._attributes = plain_attributes(attributes)
        address = self._output.address
        self._is_kept = token is not None
        self._staging = Staging(address.file, token)
        self.handle = BlockHandle(self._staging.path.absolute(), argument, str(address))
        if is_begun:
            return
        try:
            with refusing_failed_writes(argument, address):
                for name, one in self._layouts.items():
                    create_image(
                        self._staging.path / name,
                        name or address.file.stem,
                        one,
                        self._voxel_size_nm,
                        self._attributes,
                        n_levels=n_levels if name == MAIN else 1,
                    )
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()

    def write(self, offset: tuple[int, ...], block: npt.NDArray[Any], name: str = MAIN) -> None:
        """Write a block from this process; see `BlockHandle.write`."""
        self.handle.write(offset, block, name)

    def commit(self) -> None:
        """Give the output its name.

        Raises:
            RuntimeError: where blocks are missing; nothing is left then without a token.
            InputError: where the disk does not take it, or the output's name is taken; nothing is
                left then without a token.
        """
        address = self._output.address
        try:
            with refusing_failed_writes(self._output.argument, address):
                self._require_whole()
                remove_torn_files(self._staging.path)
                if address.format == "zarr":
                    self._output.require_free()
                    self._staging.commit()
                else:
                    arrays = {name: self._array(name) for name in self._layouts}
                    write_datasets(self._output, arrays, self._voxel_size_nm, self._attributes)
        except BaseException:
            if not self._is_kept:
                self.abort()
            raise
        self.abort()

    def abort(self) -> None:
        """Remove what was written so far; nothing after a `commit` that succeeded."""
        self._staging.discard()

    def _array(self, name: str) -> Any:
        return open_for_blocks(self._staging.path / name)

    def _require_whole(self) -> None:
        for name, layout in self._layouts.items():
            for level in range(self._n_levels if name == MAIN else 1):
                n_written = count_files(self._staging.path / name, level)
                if n_written != layout.n_files:
                    raise RuntimeError(
                        f"{self._output.address} {name} is not whole: {n_written} of "
                        f"{layout.n_files} chunks or shards were written"
                    )
                layout = layout.halved()
