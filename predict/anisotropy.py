"""What the voxel size decides: where a network shrinks, and when sections stand alone.

All triples are z, y, x. Sections are stacked along z.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.input_error import InputError
from predict.box import Triple

STRONG_ANISOTROPY = 3.0
"""From this ratio of section thickness to pixel size on, boundaries are drawn within sections.

An oblique membrane then moves by more than its own thickness from one section to the next, so a
change of label along z is no membrane that the image could show.
"""

COARSE_AXIS = 2.0
"""An axis whose voxels are at least this many times the finest ones is not convolved or shrunk."""

SAME_SIZE = 1.1
"""Edges that differ by less than this factor count as equally long."""

Spacing = tuple[float, float, float]


def validate_voxel_size(voxel_size_nm: Sequence[float]) -> Spacing:
    """Return the voxel size as three floats; refuse anything else."""
    sizes = tuple(float(size) for size in voxel_size_nm)
    if len(sizes) != 3 or not all(np.isfinite(size) and size > 0 for size in sizes):
        raise InputError(f"voxel_size_nm must be three positive numbers z, y, x, got {sizes}.")
    return sizes


def same_voxel_size(first_nm: Sequence[float], second_nm: Sequence[float]) -> bool:
    """Tell whether what was learned on voxels of one size holds for those of another."""
    pairs = zip(first_nm, second_nm, strict=True)
    return all(max(pair) < SAME_SIZE * min(pair) for pair in pairs)


def words_of_size(size_nm: Sequence[float]) -> str:
    """Return a voxel size for a sentence."""
    return " ".join(f"{edge:g}" for edge in size_nm)


def is_strongly_anisotropic(voxel_size_nm: Sequence[float]) -> bool:
    """Tell whether sections are at least `STRONG_ANISOTROPY` times thicker than their pixels."""
    z, y, x = validate_voxel_size(voxel_size_nm)
    return z >= STRONG_ANISOTROPY * min(y, x)


def shrink_pattern(
    voxel_size_nm: Sequence[float], n_levels: int, *, two_dimensional: bool = False
) -> tuple[tuple[Triple, ...], tuple[Triple, ...]]:
    """Return the shrink factors that lead to each level and the kernel sizes used there.

    An axis takes part (kernel 3, shrink factor 2) while its voxels are less than `COARSE_AXIS`
    times the finest ones of that level; otherwise it waits (kernel 1, factor 1) until shrinking
    has made the others as coarse: the rule of Lee et al. 2017 (arXiv 1706.00120, section 3.1),
    generalised to any ratio. In two dimensions z never takes part.

    Args:
        voxel_size_nm: z, y, x.
        n_levels: levels of the network; one more shrink factor than pools, because the first
            one is the stride of the stem.
        two_dimensional: every section alone.

    Returns:
        shrinks: n_levels triples; shrinks[l] leads from level l − 1 (or the image) to level l.
        kernels: n_levels triples; kernels[l] is used at level l.
    """
    size = np.array(validate_voxel_size(voxel_size_nm))
    shrinks: list[Triple] = []
    kernels: list[Triple] = []
    for _ in range(n_levels):
        z, y, x = (2 if takes_part else 1 for takes_part in _fine_axes(size, two_dimensional))
        shrinks.append((z, y, x))
        size = size * shrinks[-1]
        z, y, x = (3 if takes_part else 1 for takes_part in _fine_axes(size, two_dimensional))
        kernels.append((z, y, x))
    return tuple(shrinks), tuple(kernels)


def _fine_axes(size: np.ndarray, two_dimensional: bool) -> list[bool]:
    """Tell for each axis whether it is fine enough to take part."""
    finest = size[1:].min() if two_dimensional else size.min()
    fine = [bool(axis < COARSE_AXIS * finest) for axis in size]
    return [fine[0] and not two_dimensional, fine[1], fine[2]]
