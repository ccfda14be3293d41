"""Writing a whole volume that is in memory, or can be read slab by slab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.volumes.attributes import plain_attributes
from agglo.volumes.block_writer import BlockWriter
from agglo.volumes.hdf5_writing import write_datasets
from agglo.volumes.layout import ArrayLayout
from agglo.volumes.output import MAIN, check_output
from agglo.volumes.volume import Volume
from agglo.volumes.voxel_size import require_voxel_size

Array = npt.NDArray[Any] | Volume


def write_volume(
    text: str,
    array: Array,
    *,
    argument: str = "--out",
    voxel_size_nm: Sequence[float] | None,
    overwrite: bool = False,
    attributes: Mapping[str, Any] = MappingProxyType({}),
    nested: Mapping[str, Array] = MappingProxyType({}),
) -> None:
    """Write a volume, and volumes nested in it, in one step: all of it is there or nothing.

    Args:
        text: the address: an OME-Zarr 0.5 group, or ``FILE.h5:NAME``, which is added to the file.
        array: (z, y, x) or (c, z, y, x) of any type of numbers; one channel reads back as z, y, x.
        argument: the argument that the text comes from.
        voxel_size_nm: edges of a voxel (z, y, x), None where they are not known.
        overwrite: whether to replace an output that exists, when the new one is whole.
        attributes: what else to write beside the array: numbers, strings and lists of them.
        nested: further arrays by name, as (c, z, y, x) affinities beside their boundary map. They
            are groups in the main one (``V.zarr:NAME``), in an HDF5 file datasets beside it.

    Raises:
        InputError: where the output exists without `overwrite`, or cannot be written there.
    """
    arrays = {MAIN: array, **nested}
    layouts = {
        name: ArrayLayout(tuple(one.shape), one.dtype.newbyteorder("="))
        for name, one in arrays.items()
    }
    output = check_output(text, argument=argument, overwrite=overwrite, nested=tuple(nested))
    if output.address.format == "hdf5":
        size = require_voxel_size(voxel_size_nm)
        write_datasets(output, arrays, size, plain_attributes(attributes))
        return
    with BlockWriter(
        text,
        layouts[MAIN],
        argument=argument,
        voxel_size_nm=voxel_size_nm,
        overwrite=overwrite,
        attributes=attributes,
        nested={name: layouts[name] for name in nested},
    ) as writer:
        for name, one in arrays.items():
            for slab in layouts[name].slabs():
                begin = tuple(part.start for part in slab)
                writer.write(begin, np.asarray(one[slab], layouts[name].dtype), name)
