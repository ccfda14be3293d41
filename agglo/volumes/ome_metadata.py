"""The metadata of OME-Zarr images, versions 0.4 and 0.5.

The specification is https://ngff.openmicroscopy.org/0.5/ (section "multiscales"); 0.4 has the same
entries one level higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from agglo.volumes.voxel_size import VoxelSize, positive_triple, unit_nm
from analysis.input_error import InputError

AXES = ("c", "z", "y", "x")
"""Names of the axes of an affinity map; an image or a label volume has the last three."""

OME_KEYS = ("ome", "multiscales", "omero", "bioformats2raw.layout")
"""Attributes of a group that belong to OME-Zarr and not to whoever wrote the volume."""


class Scale(NamedTuple):
    """One resolution of an OME-Zarr image."""

    path: str
    n_leading: int
    """Number of axes before the spatial ones: time and channels."""
    voxel_size_nm: VoxelSize | None
    factors: tuple[float, ...]
    """The spatial part of its scale in the group's own unit, for comparison with another one."""


def multiscales_attributes(
    name: str, ndim: int, voxel_size_nm: VoxelSize | None, n_levels: int
) -> dict[str, Any]:
    """Make the attributes of an OME-Zarr 0.5 group, whose arrays are 0, 1, … from the finest on.

    Each resolution is half the one before. Without a voxel size the scale of the finest is 1 and no
    unit is stated.
    """
    axes: list[dict[str, str]] = []
    for axis in AXES[-ndim:]:
        axes.append({"name": axis, "type": "channel" if axis == "c" else "space"})
        if axis != "c" and voxel_size_nm is not None:
            axes[-1]["unit"] = "nanometer"
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": _transformations(level, ndim - 3, voxel_size_nm),
        }
        for level in range(n_levels)
    ]
    multiscale = {"name": name, "axes": axes, "datasets": datasets}
    return {"ome": {"version": "0.5", "multiscales": [multiscale]}}


def _transformations(
    level: int, n_leading: int, voxel_size_nm: VoxelSize | None
) -> list[dict[str, Any]]:
    """Say how large the voxels of a resolution are, and where the centre of the first one lies."""
    edges = voxel_size_nm or (1.0, 1.0, 1.0)
    scale = [1.0] * n_leading + [edge * 2**level for edge in edges]
    if level == 0:
        return [{"type": "scale", "scale": scale}]
    shift = [0.0] * n_leading + [edge * (2**level - 1) / 2 for edge in edges]
    return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]


def read_scales(
    attributes: Mapping[str, Any], *, argument: str, address: object
) -> tuple[Scale, ...]:
    """Read the resolutions, finest first, that a group's attributes state; none for another group.

    Raises:
        InputError: where the metadata is not that of version 0.4 or 0.5, or the order of the
            axes is not z, y, x.
    """
    ome = attributes.get("ome", attributes)
    multiscales = ome.get("multiscales") if isinstance(ome, Mapping) else None
    if not multiscales:
        return ()
    try:
        image = multiscales[0]
        names = [str(axis["name"]) for axis in image["axes"]]
        units = [unit_nm(axis.get("unit")) for axis in image["axes"]]
        shared = _scale_factors(image, len(names))
        scales = [
            (str(dataset["path"]), shared * _scale_factors(dataset, len(names)))
            for dataset in image["datasets"]
        ]
        scales[0]
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError(
            f"{argument}: {address} has multiscales metadata that is not of OME-Zarr 0.4 or 0.5 "
            f"({type(error).__name__}: {error})"
        ) from error
    spatial = [name for name in names if name in ("x", "y", "z")]
    if (
        not spatial
        or spatial != ["z", "y", "x"][-len(spatial) :]
        or spatial != names[-len(spatial) :]
    ):
        raise InputError(
            f"{argument}: {address} has the axes {', '.join(names)}, where z, y, x come last"
        )
    return tuple(
        Scale(
            path,
            len(names) - len(spatial),
            _voxel_size(factors[-3:], units[-3:], len(spatial)),
            tuple(factors[-len(spatial) :].tolist()),
        )
        for path, factors in scales
    )


def _voxel_size(
    factors: np.ndarray, units: Sequence[float | None], n_spatial: int
) -> VoxelSize | None:
    if n_spatial != 3 or None in units:
        return None
    return positive_triple(factors * np.asarray(units, dtype=np.float64))


def _scale_factors(entry: Mapping[str, Any], ndim: int) -> np.ndarray:
    factors = np.ones(ndim)
    for transformation in entry.get("coordinateTransformations", ()):
        if transformation["type"] == "scale":
            factors = factors * np.asarray(transformation["scale"], dtype=np.float64)
    if factors.shape != (ndim,):
        raise ValueError(f"a scale of {factors.shape} numbers for {ndim} axes")
    return factors
