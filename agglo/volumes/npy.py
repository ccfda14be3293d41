"""NumPy's own files, mapped into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.volumes.address import Address
from agglo.volumes.source import refusing_damage


class NpySource:
    """One array in a ``.npy`` file, read where it is touched."""

    voxel_size_nm = None

    def __init__(self, address: Address, argument: str) -> None:
        with refusing_damage(argument, address):
            self._array: npt.NDArray[Any] = np.lib.format.open_memmap(address.file, mode="r")
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype: np.dtype[Any] = self._array.dtype
        self.attributes: dict[str, Any] = {}

    def read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Copy a box."""
        return np.array(self._array[window], order="C", subok=False)

    def close(self) -> None:
        """Let go of the mapping."""
        del self._array
