"""A folder of PNG or TIFF files, one section each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import PngImagePlugin

from agglo.volumes.address import SLICE_SUFFIXES, Address
from agglo.volumes.source import refusing_damage
from analysis.input_error import InputError

_PNG_TYPES = {"1": "bool", "L": "uint8", "I;16": "uint16", "I": "int32"}
"""Pillow's modes with one value a pixel."""


class SliceSource:
    """Sections in files whose names sort naturally: ``s2.png`` comes before ``s10.png``.

    Opening reads every file's header, a box only the files that it meets. Other files in the
    folder, and those whose name begins with a dot, do not count.
    """

    voxel_size_nm = None

    def __init__(self, address: Address, argument: str) -> None:
        self._argument = argument
        self._paths = sorted(_slice_paths(address, argument), key=_natural_key)
        first = self._header(self._paths[0])
        for path in self._paths[1:]:
            header = self._header(path)
            if header != first:
                raise InputError(
                    f"{argument}: the slices of {address} differ: {self._paths[0].name} is "
                    f"{first[0]} {first[1]} and {path.name} is {header[0]} {header[1]}"
                )
        self.shape: tuple[int, ...] = (len(self._paths), *first[0])
        self.dtype = np.dtype(first[1])
        self.attributes: dict[str, Any] = {}

    def read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read a box; only the slices that it meets are opened."""
        paths = self._paths[window[0]]
        return np.stack([self._section(path)[window[1:]] for path in paths])

    def close(self) -> None:
        """Do nothing: a slice is closed as soon as it is read."""

    def _header(self, path: Path) -> tuple[tuple[int, int], str]:
        """Return (height, width) and the type of the values."""
        with refusing_damage(self._argument, path):
            if path.suffix.lower() != ".png":
                with tifffile.TiffFile(path) as file:
                    page = file.pages.first
                    if len(file.pages) > 1 or len(page.shape) != 2:
                        raise InputError(
                            f"{self._argument}: the slice {path} has {len(file.pages)} pages of "
                            f"shape {page.shape}, where one section of one grey value is expected"
                        )
                    return (page.shape[0], page.shape[1]), str(page.dtype)
            with PngImagePlugin.PngImageFile(path) as image:
                if image.mode not in _PNG_TYPES:
                    raise InputError(
                        f"{self._argument}: the slice {path} is a colour image ({image.mode}), "
                        f"where one grey value a pixel is expected"
                    )
                return (image.height, image.width), _PNG_TYPES[image.mode]

    def _section(self, path: Path) -> npt.NDArray[Any]:
        with refusing_damage(self._argument, path):
            if path.suffix.lower() != ".png":
                return tifffile.imread(path).astype(self.dtype, copy=False)
            # Image.open would refuse sections of more than 179 million pixels as an attack.
            with PngImagePlugin.PngImageFile(path) as image:
                return np.asarray(image, dtype=self.dtype)


def _slice_paths(address: Address, argument: str) -> list[Path]:
    with refusing_damage(argument, address.file):
        paths = [
            path
            for path in address.file.iterdir()
            if path.suffix.lower() in SLICE_SUFFIXES and not path.name.startswith(".")
        ]
    kinds = {path.suffix.lower() == ".png" for path in paths}
    if len(kinds) != 1:
        seen = "both PNG and TIFF slices" if kinds else "no slices but hidden ones"
        raise InputError(f"{argument}: {address.file} has {seen}")
    return paths


def _natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", path.name)
    key = [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
    return key, path.name
