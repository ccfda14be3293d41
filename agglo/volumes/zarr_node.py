"""Zarr arrays (versions 2 and 3) and OME-Zarr groups."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from agglo.volumes.address import ZARR_NODE_FILES, Address
from agglo.volumes.ome_metadata import OME_KEYS, Scale, read_scales
from agglo.volumes.source import DAMAGE, listing, refusing_damage
from agglo.volumes.url import Url
from agglo.volumes.voxel_size import voxel_size_of_attributes
from analysis.input_error import InputError


class ZarrSource:
    """One Zarr array, named itself or by the OME-Zarr group whose finest resolution it is.

    Axes of time and channel are dropped where their length is 1. The voxel size is that of the
    OME-Zarr metadata, else what the array's or the group's own attributes state. Chunks that were
    never written hold the fill value, as Zarr defines it.
    """

    def __init__(self, address: Address, argument: str) -> None:
        path = address.path / (address.dataset or "")
        node = _open_node(path, argument, address)
        if node is None:
            raise InputError(_missing(address, argument))
        attributes = dict(node.attrs)
        if isinstance(node, zarr.Array):
            self._array = node
            scale = _scale_in_parent(path, argument)
        else:
            scales = read_scales(attributes, argument=argument, address=address)
            if not scales:
                raise InputError(
                    f"{argument}: {address} is a Zarr group without multiscales metadata; name an "
                    f"array as {address.path}:NAME; it holds {_contents(address.path, argument)}"
                )
            scale = scales[0]
            with refusing_damage(argument, address):
                array = node.get(scale.path)
            if not isinstance(array, zarr.Array):
                raise InputError(
                    f"{argument}: {address} lacks the array {scale.path} that its multiscales "
                    f"metadata names"
                )
            self._array = array
            attributes = dict(array.attrs) | attributes
        self._kept = _kept_axes(self._array.shape, scale)
        self.shape: tuple[int, ...] = tuple(self._array.shape[axis] for axis in self._kept)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        self.attributes = {name: attributes[name] for name in attributes if name not in OME_KEYS}
        self.voxel_size_nm = scale.voxel_size_nm if scale else None
        if self.voxel_size_nm is None:
            self.voxel_size_nm = voxel_size_of_attributes(
                attributes, argument=argument, address=address
            )

    def read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read a box; only the chunks that it meets are read."""
        whole = [slice(None)] * self._array.ndim
        for axis, part in zip(self._kept, window, strict=True):
            whole[axis] = part
        block = np.asarray(self._array[tuple(whole)])
        return block.reshape([part.stop - part.start for part in window])

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""


def scales_of(address: Address, argument: str) -> tuple[Scale, ...]:
    """Read the resolutions of an OME-Zarr group, finest first; none for an array.

    Raises:
        InputError: where the metadata cannot be read.
    """
    node = _open_node(address.path / (address.dataset or ""), argument, address)
    if not isinstance(node, zarr.Group):
        return ()
    return read_scales(dict(node.attrs), argument=argument, address=address)


def _open_node(
    path: Path | Url, argument: str, address: object
) -> zarr.Array[Any] | zarr.Group | None:
    """Open an array or a group; None where there is neither."""
    if isinstance(path, Path) and not _is_node(path):
        return None
    with refusing_damage(argument, address):
        store = _store(path, argument)
        for version in (3, 2):  # one by one, so that a server that is away is asked for one file
            try:
                return zarr.open(store, mode="r", zarr_format=version)
            except FileNotFoundError:
                continue
    return None


def _store(path: Path | Url, argument: str) -> Store:
    return LocalStore(path, read_only=True) if isinstance(path, Path) else path.open_store(argument)


def _is_node(path: Path) -> bool:
    return any((path / name).is_file() for name in ZARR_NODE_FILES)


def _missing(address: Address, argument: str) -> str:
    """Say that there is no node at an address."""
    if address.dataset is None:
        return f"{argument}: there is no Zarr array or group at {address.path}"
    return (
        f"{argument}: {address.path} has no array or group {address.dataset}; it holds "
        f"{_contents(address.path, argument)}"
    )


def _kept_axes(shape: tuple[int, ...], scale: Scale | None) -> list[int]:
    n_leading = scale.n_leading if scale else 0
    return [axis for axis, size in enumerate(shape) if axis >= n_leading or size != 1]


def _scale_in_parent(path: Path | Url, argument: str) -> Scale | None:
    """Find what the OME-Zarr group around an array says of it."""
    if isinstance(path, Url) and path.name.endswith(".zarr"):
        return None  # a whole Zarr; what lies above may be a server that answers what it likes
    parent = _open_node(path.parent, argument, path.parent)
    if not isinstance(parent, zarr.Group):
        return None
    scales = read_scales(dict(parent.attrs), argument=argument, address=path.parent)
    return next((scale for scale in scales if scale.path == path.name), None)


def _contents(path: Path | Url, argument: str) -> str:
    if isinstance(path, Path):
        return listing(list(_arrays(path, "")))
    return ", ".join(_members(path, argument)) or "nothing that it lists"


def _arrays(folder: Path, name: str) -> Iterator[tuple[str, tuple[int, ...], object]]:
    """List the arrays at and below a node, those that can be opened."""
    try:
        node = zarr.open(LocalStore(folder, read_only=True), mode="r")
    except DAMAGE:
        return  # the listing helps a sentence along; the node that is asked for is missing anyway
    if isinstance(node, zarr.Array):
        yield name or "/", node.shape, node.dtype
        return
    for child in sorted(folder.iterdir()):
        if _is_node(child):
            yield from _arrays(child, f"{name}/{child.name}".lstrip("/"))


def _members(url: Url, argument: str) -> list[str]:
    """Name the arrays and groups right below a group, where they can be listed."""
    try:
        node = _open_node(url, argument, url)
        if not isinstance(node, zarr.Group):
            return []
        with warnings.catch_warnings(action="ignore"):  # of what else lies there
            return sorted(name for name, _ in node.members())
    except Exception:  # a server that lists nothing, each with an exception of its own
        return []
