"""The size of a voxel in nanometres: what files state, and what the user says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.input_error import InputError

VoxelSize = tuple[float, float, float]
"""Edge lengths of a voxel in nanometres: z, y, x."""

ARGUMENT = "--voxel-size-nm"

_SAME = 1e-3
"""Relative difference up to which two voxel sizes are the same: units and rationals round."""

_ATTRIBUTES = {"voxel_size_nm": 1.0, "resolution": 1.0, "element_size_um": 1000.0}
"""Attributes that state a voxel size in z, y, x, and their unit in nanometres."""

_UNITS_NM = {
    **dict.fromkeys(("angstrom", "a", "å"), 0.1),
    **dict.fromkeys(("picometer", "pm"), 1e-3),
    **dict.fromkeys(("nanometer", "nm"), 1.0),
    **dict.fromkeys(("micrometer", "micron", "um", "µm", "μm", "\\u00b5m"), 1e3),
    **dict.fromkeys(("millimeter", "mm"), 1e6),
    **dict.fromkeys(("centimeter", "cm"), 1e7),
    **dict.fromkeys(("meter", "m"), 1e9),
    **dict.fromkeys(("inch", "in"), 2.54e7),
}


def unit_nm(unit: object) -> float | None:
    """Return the length of a unit in nanometres, None where it is no unit of length."""
    return _UNITS_NM.get(unit.strip().lower()) if isinstance(unit, str) else None


def positive_triple(values: object) -> VoxelSize | None:
    """Return three positive finite numbers as a voxel size, None where the values are not that."""
    try:
        triple = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if triple.shape != (3,) or not np.isfinite(triple).all() or (triple <= 0).any():
        return None
    return float(triple[0]), float(triple[1]), float(triple[2])


def require_voxel_size(size: Sequence[float] | None) -> VoxelSize | None:
    """Check a voxel size that is to be written.

    Raises:
        ValueError: where it is not three positive numbers.
    """
    if size is None:
        return None
    triple = positive_triple(size)
    if triple is None:
        raise ValueError(f"voxel_size_nm {size} is not three positive numbers")
    return triple


def voxel_size_of_attributes(
    attributes: Mapping[str, Any], *, argument: str, address: object
) -> VoxelSize | None:
    """Read the voxel size that an array's attributes state, None where they state none.

    ``resolution`` is a word with many uses, so it counts only where it is three positive numbers.

    Raises:
        InputError: where ``voxel_size_nm`` or ``element_size_um`` is not three positive numbers.
    """
    for name, factor in _ATTRIBUTES.items():
        if name not in attributes:
            continue
        size = positive_triple(attributes[name])
        if size is not None:
            return size[0] * factor, size[1] * factor, size[2] * factor
        if name != "resolution":
            raise InputError(
                f"{argument}: {address} has the attribute {name} = {attributes[name]}, "
                f"which is not three positive numbers"
            )
    return None


def agreed_voxel_size(
    stated: VoxelSize | None, given: Sequence[float] | None, *, argument: str, address: object
) -> VoxelSize | None:
    """Choose between the voxel size that a file states and the one that the user gives.

    Raises:
        InputError: where the given one is not three positive numbers, or the two contradict.
    """
    if given is None:
        return stated
    size = positive_triple(given)
    if size is None:
        raise InputError(f"{ARGUMENT}: {tuple(given)} is not three positive numbers")
    if stated is None:
        return size
    if not all(math.isclose(a, b, rel_tol=_SAME) for a, b in zip(stated, size, strict=True)):
        raise InputError(
            f"{ARGUMENT}: {_shown(size)} contradicts {_shown(stated)}, which {address} "
            f"({argument}) states itself"
        )
    return stated


def _shown(size: VoxelSize) -> str:
    return " ".join(f"{edge:g}" for edge in size)
