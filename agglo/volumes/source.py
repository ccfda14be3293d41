"""What every file format offers to a volume."""

from __future__ import annotations

import struct
import tokenize
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agglo.volumes.voxel_size import VoxelSize
from analysis.input_error import InputError

DAMAGE = (
    OSError,  # h5py, Pillow, the operating system
    EOFError,
    ValueError,  # NumPy, tifffile, zarr, JSON
    RuntimeError,  # h5py, numcodecs
    KeyError,
    IndexError,
    TypeError,  # metadata of an unforeseen type
    AttributeError,
    SyntaxError,  # Pillow's word for a broken PNG
    struct.error,
    tokenize.TokenError,  # NumPy, on the header of a .npy
    zlib.error,
)
"""What the libraries raise on files that are damaged or not what their name says."""

_LISTED = 12


class Source(Protocol):
    """An opened array of one file format."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along every axis."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values as stored."""
        ...

    @property
    def voxel_size_nm(self) -> VoxelSize | None:
        """Voxel size that the file states."""
        ...

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What else is written beside the array."""
        ...

    def read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read a non-empty box, given by one slice of step 1 an axis, into a new array."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


@contextmanager
def refusing_damage(argument: str, address: object) -> Iterator[None]:
    """Turn what a library raises about a file into one sentence; hold only library calls in it.

    Raises:
        InputError: for every such exception.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{argument}: {address} cannot be read: {words[:300]}") from error


def listing(found: Sequence[tuple[str, tuple[int, ...], object]]) -> str:
    """Name the arrays of a file, given as (name, shape, dtype), for a sentence."""
    if not found:
        return "no arrays"
    shown = ", ".join(f"{name} {shape} {dtype}" for name, shape, dtype in found[:_LISTED])
    return shown + (f" and {len(found) - _LISTED} more" if len(found) > _LISTED else "")
