"""Superpixels of a boundary map on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from agglo.volumes import VoxelSize, check_output, open_volume, require_volume, write_volume
from predict.anisotropy import is_strongly_anisotropic
from predict.watershed import WatershedConfig, watershed_superpixels


def make_superpixels(
    boundaries: str,
    out: str,
    config: WatershedConfig,
    *,
    voxel_size_nm: VoxelSize | None,
    overwrite: bool,
) -> dict[str, Any]:
    """Flood a boundary map and write the superpixels; return what was made.

    Volumes whose voxels are strongly anisotropic are flooded section by section.

    Args:
        boundaries: address of the boundary map.
        out: address of the superpixels.
        config: parameters of the watershed.
        voxel_size_nm: for a map that states none.
        overwrite: replace an output that exists.
    """
    check_output(out, overwrite=overwrite)
    volume = open_volume(boundaries, argument="--boundaries", voxel_size_nm=voxel_size_nm)
    size = volume.voxel_size_nm
    if size is not None and is_strongly_anisotropic(size):
        config = replace(config, two_dimensional=True)
    array = require_volume(volume, "--boundaries", "boundaries")
    superpixels = watershed_superpixels(array, size or (1.0, 1.0, 1.0), config)
    sizes = np.bincount(superpixels.ravel().astype(np.int64))[1:]
    write_volume(
        out,
        superpixels,
        voxel_size_nm=size,
        overwrite=overwrite,
        attributes={
            "watershed": json.dumps(asdict(config)),
            "boundaries": str(volume.address.absolute()),
        },
    )
    return {
        "n_superpixels": len(sizes),
        "median_size_vox": float(np.median(sizes)),
        "two_dimensional": config.two_dimensional,
    }
