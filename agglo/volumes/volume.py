"""A volume that is read where it is sliced."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from agglo.volumes.address import Address
from agglo.volumes.crop import resolve_crop
from agglo.volumes.hdf5 import Hdf5Source
from agglo.volumes.npy import NpySource
from agglo.volumes.slice_folder import SliceSource
from agglo.volumes.source import Source, refusing_damage
from agglo.volumes.tiff_stack import TiffSource
from agglo.volumes.voxel_size import VoxelSize, agreed_voxel_size
from agglo.volumes.zarr_node import ZarrSource
from analysis.input_error import InputError

_SOURCES = {
    "hdf5": Hdf5Source,
    "zarr": ZarrSource,
    "tiff": TiffSource,
    "slices": SliceSource,
    "npy": NpySource,
}

_NUMBERS = "biuf"
"""NumPy's kinds of types that a volume may have: truth values, integers, floats."""

_Index = SupportsIndex | slice | EllipsisType


class Volume:
    """An array on disk, or the part of it that its address crops, in z, y, x (or c, z, y, x).

    Slicing reads only the part asked for, as far as the format allows, and returns a new array in
    the machine's byte order. A volume pickles as its address and is opened again elsewhere, so it
    may be sent to an actor.

    Attributes:
        address: where it lies.
        argument: the argument that named it, for sentences.
        voxel_size_nm: edges of a voxel (z, y, x), None where neither file nor user states them.
        attributes: what else is written beside the array, such as how it was made.
    """

    def __init__(
        self,
        source: Source,
        address: Address,
        *,
        argument: str,
        voxel_size_nm: Sequence[float] | None = None,
    ) -> None:
        if source.dtype.kind not in _NUMBERS:
            raise InputError(f"{argument}: {address} has values of type {source.dtype}, no numbers")
        self._source = source
        self._window = resolve_crop(address.crop, source.shape, argument=argument, address=address)
        self.address = address
        self.argument = argument
        self.voxel_size_nm: VoxelSize | None = agreed_voxel_size(
            source.voxel_size_nm, voxel_size_nm, argument=argument, address=address
        )
        self.attributes: Mapping[str, Any] = source.attributes

    @classmethod
    def open(
        cls, address: Address, argument: str, voxel_size_nm: Sequence[float] | None = None
    ) -> Volume:
        """Open the volume at a parsed address; `open_volume` takes its text.

        Raises:
            InputError: where it is not there, cannot be read, or contradicts the voxel size given.
        """
        # As on another machine, where the volume is opened again; a URL says itself what is wrong.
        if isinstance(address.path, Path) and not address.path.exists():
            raise InputError(f"{argument}: there is no file or folder {address.path}")
        source = _SOURCES[address.format](address, argument)
        try:
            return cls(source, address, argument=argument, voxel_size_nm=voxel_size_nm)
        except BaseException:
            source.close()
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        return Volume.open, (self.address.absolute(), self.argument, self.voxel_size_nm)

    def __repr__(self) -> str:
        return f"Volume({self.address}, shape={self.shape}, dtype={self.dtype})"

    def __enter__(self) -> Volume:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the volume cannot be read any more."""
        self._source.close()

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along every axis, in voxels."""
        return tuple(part.stop - part.start for part in self._window)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in the machine's byte order."""
        return self._source.dtype.newbyteorder("=")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._window)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self) -> npt.NDArray[Any]:
        """Read the whole volume."""
        return self[...]

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a volume on disk cannot become an array without a copy")
        return self.read() if dtype is None else self.read().astype(dtype, copy=False)

    def __getitem__(self, key: _Index | tuple[_Index, ...]) -> npt.NDArray[Any]:
        """Read a part: integers, slices with positive steps and an ellipsis, as in NumPy."""
        parts = _expanded(key if isinstance(key, tuple) else (key,), self.ndim)
        window: list[slice] = []
        within: list[int | slice] = []
        for part, size, whole in zip(parts, self.shape, self._window, strict=True):
            begin, end, inner = _range_of(part, size)
            window.append(slice(whole.start + begin, whole.start + end))
            within.append(inner)
        if any(part.start == part.stop for part in window):
            block = np.empty([part.stop - part.start for part in window], self.dtype)
        else:
            with refusing_damage(self.argument, self.address):
                block = self._source.read(tuple(window))
        return np.asarray(block[tuple(within)], dtype=self.dtype, order="C")


def _expanded(key: tuple[_Index, ...], ndim: int) -> list[SupportsIndex | slice]:
    """Fill in the axes that a key leaves out."""
    places = [place for place, part in enumerate(key) if part is Ellipsis]
    missing = ndim - (len(key) - len(places))
    if len(places) > 1 or missing < 0:
        raise IndexError(f"{len(key)} indices, of which {len(places)} '...', for {ndim} axes")
    place = places[0] if places else len(key)
    parts = [part for part in key if not isinstance(part, EllipsisType)]
    return [*parts[:place], *[slice(None)] * missing, *parts[place:]]


def _range_of(part: SupportsIndex | slice, size: int) -> tuple[int, int, int | slice]:
    """Return what to read along an axis of this size, and what to take of what was read."""
    if isinstance(part, slice):
        begin, end, step = part.indices(size)
        if step < 0:
            raise IndexError("a volume is not read backwards: the step is negative")
        return begin, max(begin, end), slice(None, None, step)
    index = operator.index(part)
    if not -size <= index < size:
        raise IndexError(f"index {index} along an axis of {size}")
    return index % size, index % size + 1, 0


def open_volume(
    text: str, *, argument: str, voxel_size_nm: Sequence[float] | None = None
) -> Volume:
    """Open a volume by its address, ``PATH[:DATASET]`` with an optional crop at the end.

    Args:
        text: HDF5 (``train.h5:raw``), a Zarr array or OME-Zarr group (``V.zarr``,
            ``V.zarr:affinities``), a multi-page TIFF, a folder of PNG or TIFF slices, ``.npy``;
            ``train.h5:raw[0:80]`` is its first 80 sections. A Zarr may lie at a URL:
            ``s3://bucket/V.zarr:raw``.
        argument: the argument that the text comes from, such as ``--image``.
        voxel_size_nm: edges of a voxel (z, y, x) for a file that states none.

    Raises:
        InputError: where there is no such volume, it is damaged, or it contradicts the voxel size.
    """
    return Volume.open(Address.parse(text, argument=argument), argument, voxel_size_nm)
