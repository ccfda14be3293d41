"""The resolutions of an OME-Zarr volume."""

from __future__ import annotations

import dataclasses

from agglo.volumes.volume import Volume
from agglo.volumes.zarr_node import scales_of
from analysis.input_error import InputError


def open_resolutions(volume: Volume) -> list[Volume]:
    """Open a volume at all its resolutions, finest first, each with its own voxel size.

    A volume that is no OME-Zarr group has one, and so has a part of one, as voxels of another
    resolution may reach over its faces.

    Raises:
        InputError: where one cannot be opened, or has other axes than the volume.
    """
    address, argument = volume.address, volume.argument
    if address.format != "zarr" or address.crop:
        return [volume]
    scales = scales_of(address, argument)
    resolutions = [volume]
    for scale in scales[1:]:
        size = None
        if volume.voxel_size_nm is not None:
            edges = zip(volume.voxel_size_nm, scale.factors, scales[0].factors, strict=True)
            size = [edge * factor / finest for edge, factor, finest in edges]
        place = dataclasses.replace(
            address, dataset="/".join(filter(None, (address.dataset, scale.path)))
        )
        opened = Volume.open(place, argument, size)
        if opened.shape[:-3] != volume.shape[:-3]:
            raise InputError(
                f"{argument}: {place} has shape {opened.shape}, which is no resolution of "
                f"{volume.shape}"
            )
        resolutions.append(opened)
    return resolutions
