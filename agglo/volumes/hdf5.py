"""Datasets of HDF5 files."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from agglo.volumes.address import Address
from agglo.volumes.attributes import plain_value
from agglo.volumes.source import listing, refusing_damage
from agglo.volumes.voxel_size import VoxelSize, voxel_size_of_attributes
from analysis.input_error import InputError


class Hdf5Source:
    """One dataset of an HDF5 file that stays open for reading.

    The voxel size is what the dataset's attributes state, else those of the nearest group above.
    """

    def __init__(self, address: Address, argument: str) -> None:
        with refusing_damage(argument, address.file):
            self._file = h5py.File(address.file, "r")
        try:
            with refusing_damage(argument, address):
                self._dataset = self._find(address, argument)
                self.shape: tuple[int, ...] = tuple(self._dataset.shape)
                self.dtype: np.dtype[Any] = self._dataset.dtype
                self.attributes = {
                    name: plain_value(value) for name, value in self._dataset.attrs.items()
                }
                self.voxel_size_nm = self._stated_voxel_size(address, argument)
        except BaseException:
            self._file.close()
            raise

    def read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read a box; only the chunks that it meets are read."""
        return np.asarray(self._dataset[window])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _find(self, address: Address, argument: str) -> h5py.Dataset:
        name = address.dataset
        if name is None:
            raise InputError(
                f"{argument}: {address.file} needs the name of a dataset, as in "
                f"{address.file}:NAME; it holds {self._contents()}"
            )
        node = self._file.get(name)
        if node is None:
            raise InputError(
                f"{argument}: {address.file} has no dataset {name}; it holds {self._contents()}"
            )
        if not isinstance(node, h5py.Dataset):
            raise InputError(f"{argument}: {address} is a group; the file holds {self._contents()}")
        if node.shape is None:
            raise InputError(f"{argument}: {address} is a dataset without data")
        return node

    def _contents(self) -> str:
        found: list[tuple[str, tuple[int, ...], object]] = []

        def visit(name: str, node: object) -> None:
            if isinstance(node, h5py.Dataset):
                found.append((name, tuple(node.shape or ()), node.dtype))

        self._file.visititems(visit)
        return listing(found)

    def _stated_voxel_size(self, address: Address, argument: str) -> VoxelSize | None:
        place = str(self._dataset.name)
        while True:
            attributes = dict(self._file[place].attrs)
            size = voxel_size_of_attributes(attributes, argument=argument, address=address)
            if size is not None or place == "/":
                return size
            place = place.rpartition("/")[0] or "/"
