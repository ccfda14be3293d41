"""Groups of features that a policy may be kept from looking at, to tell what each is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from envs.features import N_FEATURES, N_SHAPE_FEATURES, SHAPE_FEATURE_NAMES

GROUP_NAMES = ("boundary", "grey", "geometry", "shape")
"""Boundary map; grey values; sizes, areas and surfaces; and what positions tell."""

DEFAULT_GROUPS = GROUP_NAMES[:3]


def group_of(name: str) -> str:
    """Return the group of a feature, by its name."""
    if name.startswith("shape:"):
        return "shape"
    if "grey" in name:
        return "grey"
    is_boundary = any(word in name for word in ("boundary", "face maximum", "face mean", "path"))
    return "boundary" if is_boundary else "geometry"


def n_features_of(groups: Sequence[str]) -> int:
    """Return how many features are computed for some groups."""
    return N_SHAPE_FEATURES if "shape" in groups else N_FEATURES


def is_looked_at(groups: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return (F,) bool, which of the features that are computed belong to some groups.

    Raises:
        ValueError: a group is unknown or there is none.
    """
    if not groups or not set(groups) <= set(GROUP_NAMES):
        raise ValueError(f"groups must be some of {GROUP_NAMES}, got {tuple(groups)}")
    names = SHAPE_FEATURE_NAMES[: n_features_of(groups)]
    return np.array([group_of(name) in groups for name in names])
