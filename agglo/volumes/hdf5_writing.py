"""Adding datasets to HDF5 files without putting the file at risk."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from agglo.volumes.layout import ArrayLayout
from agglo.volumes.output import Output
from agglo.volumes.staging import Staging, refusing_failed_writes
from agglo.volumes.voxel_size import VoxelSize
from analysis.input_error import InputError


class _DroppingFile(io.FileIO):
    """A file that keeps its first failure and from then on drops what is written to it.

    HDF5 that is told of a full disk cannot close the file any more and ends the process with a
    segmentation fault (HDF5 in h5py 3.16), so it is not told; whoever closes the file looks at
    `failure`.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(view) and self.failure is None:
                written += super().write(view[written:])
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.failure is None:
                return super().truncate(size)
        except OSError as error:
            self.failure = error
        return self.tell() if size is None else size


def write_datasets(
    output: Output,
    arrays: Mapping[str, Any],
    voxel_size_nm: VoxelSize | None,
    attributes: Mapping[str, Any],
) -> None:
    """Write arrays into an HDF5 file in one step, keeping everything else that it holds.

    The work is done on a copy, which takes the file's place when it is whole; so there has to be
    room for the file twice.

    Args:
        output: the file, checked, and the names.
        arrays: by volume name, each (z, y, x) or (c, z, y, x), sliceable along z.
        voxel_size_nm: attribute of every dataset.
        attributes: further attributes of every dataset.

    Raises:
        InputError: where the disk does not take it, the file changed in the meantime, or it holds
            a dataset of that name by now that may not be replaced.
    """
    output.require_free()
    staging = Staging(output.address.file)
    names = output.dataset_names()
    try:
        with refusing_failed_writes(output.argument, output.address):
            before = _state(staging.output)
            if before is not None:
                shutil.copyfile(staging.output, staging.path)
                shutil.copymode(staging.output, staging.path)
            with _DroppingFile(staging.path, "w+b" if before is None else "r+b") as raw:
                try:
                    with h5py.File(raw, "w" if before is None else "r+") as file:
                        for volume, array in arrays.items():
                            dataset = _write_dataset(file, names[volume], array, voxel_size_nm)
                            _write_attributes(dataset, attributes)
                finally:
                    if raw.failure is not None:
                        raise raw.failure
            if _state(staging.output) != before:
                raise InputError(
                    f"{output.argument}: {output.address} is not written, because another program "
                    f"changed {output.address.file} in the meantime"
                )
            staging.commit()
    finally:
        staging.discard()


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = os.stat(path)
    except FileNotFoundError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _write_dataset(
    file: h5py.File, name: str, array: Any, voxel_size_nm: VoxelSize | None
) -> h5py.Dataset:
    layout = ArrayLayout(tuple(array.shape), array.dtype)
    if name in file:
        del file[name]
    dataset = file.create_dataset(
        name, layout.shape, layout.dtype, chunks=layout.chunks, compression="gzip", shuffle=True
    )
    for slab in layout.slabs():
        dataset[slab] = np.asarray(array[slab])
    if voxel_size_nm is not None:
        dataset.attrs["voxel_size_nm"] = voxel_size_nm
    return dataset


def _write_attributes(dataset: h5py.Dataset, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        is_text = isinstance(value, list | tuple) and any(isinstance(part, str) for part in value)
        dataset.attrs.create(name, value, dtype=h5py.string_dtype() if is_text else None)
