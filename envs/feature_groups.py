"""Groups of features that a policy may be kept from looking at, to tell what each is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from envs.feature_layout import FeatureLayout, feature_names

GROUP_NAMES = ("boundary", "grey", "geometry", "shape", "texture", "embedding")
"""Boundary map; grey values; sizes, areas and surfaces; what positions tell; and what channels do,
learned without labels and with them."""

CHANNEL_GROUPS = GROUP_NAMES[4:]
"""Groups that need channels beside image and boundary map."""

DEFAULT_GROUPS = GROUP_NAMES[:3]


def group_of(name: str) -> str:
    """Return the group of a feature, by its name."""
    first = name.split(":")[0].split()[0]
    if first in ("shape", *CHANNEL_GROUPS):
        return first
    if "grey" in name:
        return "grey"
    is_boundary = any(word in name for word in ("boundary", "face maximum", "face mean", "path"))
    return "boundary" if is_boundary else "geometry"


def n_features_of(groups: Sequence[str], n_texture: int = 0) -> int:
    """Return how many features are computed for some groups.

    Args:
        groups: some of `GROUP_NAMES`.
        n_texture: channels of texture that there are; 0 goes with groups without texture alone.
    """
    has_texture = "texture" in groups
    if has_texture and not n_texture:
        raise ValueError("n_texture must be positive for the group texture")
    layout = FeatureLayout("shape" in groups, n_texture * has_texture, "embedding" in groups)
    return layout.n_features


def is_looked_at(groups: Sequence[str], n_features: int) -> npt.NDArray[np.bool_]:
    """Return (F,) bool, which of the features that are computed belong to some groups.

    Args:
        groups: one at least of `GROUP_NAMES`.
        n_features: how many are computed, as `n_features_of` tells.

    Raises:
        ValueError: a group is unknown or there is none.
    """
    if not groups or not set(groups) <= set(GROUP_NAMES):
        raise ValueError(f"groups must be some of {GROUP_NAMES}, got {tuple(groups)}")
    return np.array([group_of(name) in groups for name in feature_names(n_features)])
