"""One multi-page TIFF file as a volume."""

from __future__ import annotations

import logging
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from agglo.volumes.address import Address
from agglo.volumes.source import refusing_damage
from agglo.volumes.voxel_size import VoxelSize, positive_triple, unit_nm
from analysis.input_error import InputError


class TiffSource:
    """The pages of a TIFF file: one page is one section.

    Axes that the file names (ImageJ, OME) may be Z, T in the place of Z (as ImageJ calls a stack
    until told otherwise), or C and Z. A single page is a volume of one section.
    """

    def __init__(self, address: Address, argument: str) -> None:
        with refusing_damage(argument, address), _damage_raised():
            self._file = tifffile.TiffFile(address.file)
            try:
                self._open(address, argument)
            except BaseException:
                self._file.close()
                raise
        self.attributes: dict[str, Any] = {}

    def _open(self, address: Address, argument: str) -> None:
        series = list(self._file.series)
        if not series:
            raise InputError(f"{argument}: {address} holds no image")
        pages = [page for one in series for page in one.pages]
        if any(page is None for page in pages):
            raise InputError(f"{argument}: {address} lacks pages that its metadata names")
        first = series[0]
        self._pages: list[tifffile.TiffPage | tifffile.TiffFrame] = pages  # type: ignore[assignment]
        self.dtype: np.dtype[Any] = np.dtype(first.dtype)
        if len(series) == 1:
            leading = _leading_shape(first, address, argument)
        else:
            leading = (len(pages),)
            seen = {(tuple(one.shape), str(one.dtype)) for one in series}
            if len(seen) > 1 or any(len(one.pages) != 1 for one in series):
                shown = ", ".join(f"{shape} {dtype}" for shape, dtype in sorted(seen))
                raise InputError(f"{argument}: {address} has pages of different kinds: {shown}")
        self._section: tuple[int, int] = _section_shape(first)
        self.shape: tuple[int, ...] = (*leading, *self._section)
        self.voxel_size_nm = _imagej_voxel_size(self._file) or _ome_voxel_size(self._file)
        self._mapped = self._map(first) if len(series) == 1 else None
        if self._mapped is None:
            self._check_pages(address, argument)

    def _map(self, series: tifffile.TiffPageSeries) -> npt.NDArray[Any] | None:
        """Map the series where its pages lie one behind the other, uncompressed."""
        if series.dataoffset is None or 0 in self.shape:
            return None
        stored = self.dtype.newbyteorder(self._file.byteorder)
        path = self._file.filehandle.path
        return np.memmap(path, stored, "r", offset=series.dataoffset, shape=self.shape)

    def _check_pages(self, address: Address, argument: str) -> None:
        sections = math.prod(self.shape[:-2])
        if len(self._pages) != sections:
            raise InputError(
                f"{argument}: {address} has {len(self._pages)} pages where its metadata says "
                f"{sections}"
            )
        size = self._file.filehandle.size
        for number, page in enumerate(self._pages):
            ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
            if max(ends, default=0) > size:
                raise InputError(
                    f"{argument}: {address} is cut off at byte {size}, within page {number}"
                )

    def read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read a box; only the pages that it meets are read, and those as a whole."""
        if self._mapped is not None:
            return np.array(self._mapped[window], order="C", subok=False)
        *leading, ys, xs = window
        numbers = np.arange(len(self._pages)).reshape(self.shape[:-2])[tuple(leading)]
        block = np.empty((*numbers.shape, ys.stop - ys.start, xs.stop - xs.start), self.dtype)
        with _damage_raised():
            for place, number in np.ndenumerate(numbers):
                page = self._pages[number].asarray()
                block[place] = page.reshape(self._section)[ys, xs]
        return block

    def close(self) -> None:
        """Close the file."""
        self._mapped = None
        self._file.close()


class _Collector(logging.Handler):
    """Keep what tifffile has to say about a damaged file, which it reads as far as it can."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _damage_raised() -> Iterator[None]:
    """Raise what tifffile only logs: it shortens a stack that is cut off without an exception."""
    logger = logging.getLogger("tifffile")
    collector = _Collector()
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
    if collector.messages:
        raise ValueError(f"the file is damaged: {collector.messages[0]}")


def _leading_shape(
    series: tifffile.TiffPageSeries, address: Address, argument: str
) -> tuple[int, ...]:
    """Return the axes before y and x: (z,) or (c, z)."""
    axes = series.get_axes(squeeze=False)
    shape = tuple(series.get_shape(squeeze=False))
    leading, _, after = axes.partition("YX")
    if after == "S" and shape[-1] == 1:
        after = ""
    sizes = dict(zip(leading, shape, strict=False))
    c, t, z = (sizes.get(letter, 1) for letter in "CTZ")
    refused = bool(after)
    if set(leading) <= set("QI"):
        found = shape[: len(leading)] or (1,)
    elif c > 1:
        found = (c, z)
        refused |= t > 1 or (z > 1 and leading.index("C") > leading.index("Z"))
    else:
        found = (max(t, z),)
        refused |= min(t, z) > 1
    if refused or math.prod(found) != math.prod(shape[: len(leading)]):
        raise InputError(
            f"{argument}: {address} has the axes {axes} with shape {shape}, where sections of "
            f"one grey value (or channels of sections for affinities) are expected"
        )
    return found


def _section_shape(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    sizes = dict(zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True))
    return sizes["Y"], sizes["X"]


def _imagej_voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    metadata = file.imagej_metadata
    if not metadata:
        return None
    unit = unit_nm(metadata.get("unit"))
    tags = file.pages.first.tags
    if unit is None or "spacing" not in metadata:
        return None
    edges = [float(metadata["spacing"])]
    for name in ("YResolution", "XResolution"):
        pixels, units = tags[name].value if name in tags else (0, 1)
        edges.append(units / pixels if pixels else 0.0)
    return positive_triple(np.asarray(edges) * unit)


def _ome_voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    if not file.ome_metadata:
        return None
    for element in ElementTree.fromstring(file.ome_metadata).iter():
        if element.tag.rpartition("}")[2] == "Pixels":
            edges = []
            for axis in "ZYX":
                unit = unit_nm(element.get(f"PhysicalSize{axis}Unit", "µm"))
                edges.append(float(element.get(f"PhysicalSize{axis}", 0)) * (unit or 0.0))
            return positive_triple(edges)
    return None
