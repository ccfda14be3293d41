"""Which features a vector of some length holds: a network's number of features says what it sees.

The 41 features of sums come first, then shape, then channels: three for each channel of texture,
then four of the embedding. Whoever looks at channels has shape computed too, so that a length
stands for one layout.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs.channel_features import (
    EMBEDDING_NAMES,
    N_EMBEDDING_FEATURES,
    N_PER_TEXTURE,
    TEXTURE_NAMES,
)
from envs.features import N_FEATURES, N_SHAPE_FEATURES, SHAPE_FEATURE_NAMES, statistic_bounds


class FeatureLayout(NamedTuple):
    """What there is beside the features of sums.

    Attributes:
        has_shape: features of positions.
        n_texture: channels of texture.
        has_embedding: features of an embedding, of however many coordinates.
    """

    has_shape: bool = False
    n_texture: int = 0
    has_embedding: bool = False

    @property
    def n_features(self) -> int:
        """Return how many features there are."""
        if not self.has_channels:
            return N_SHAPE_FEATURES if self.has_shape else N_FEATURES
        return (
            N_SHAPE_FEATURES
            + N_PER_TEXTURE * self.n_texture
            + N_EMBEDDING_FEATURES * self.has_embedding
        )

    @property
    def has_channels(self) -> bool:
        """Tell whether any channel is looked at."""
        return self.n_texture > 0 or self.has_embedding


def layout_of(n_features: int) -> FeatureLayout:
    """Return the layout that has so many features.

    Raises:
        ValueError: none has.
    """
    if n_features == N_FEATURES:
        return FeatureLayout()
    n_more = n_features - N_SHAPE_FEATURES
    has_embedding = n_more % N_PER_TEXTURE == 1
    n_of_texture = n_more - N_EMBEDDING_FEATURES * has_embedding
    if n_of_texture < 0 or n_of_texture % N_PER_TEXTURE:
        raise ValueError(
            f"{n_features} features are of no layout: there are {N_FEATURES}, with shape "
            f"{N_SHAPE_FEATURES}, with channels {N_PER_TEXTURE} for each of texture and "
            f"{N_EMBEDDING_FEATURES} of an embedding more"
        )
    return FeatureLayout(True, n_of_texture // N_PER_TEXTURE, has_embedding)


def feature_names(n_features: int) -> tuple[str, ...]:
    """Return the names of so many features."""
    layout = layout_of(n_features)
    texture = [f"texture {c}: {name}" for c in range(layout.n_texture) for name in TEXTURE_NAMES]
    embedding = [f"embedding: {name}" for name in EMBEDDING_NAMES if layout.has_embedding]
    return (*SHAPE_FEATURE_NAMES[:n_features], *texture, *embedding)


def feature_bounds(n_features: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return lower and upper bounds of the features, (F,) float32 each."""
    low = np.zeros(n_features, np.float32)
    high = np.ones(n_features, np.float32)
    n_statistics = min(n_features, N_SHAPE_FEATURES)
    low[:n_statistics], high[:n_statistics] = statistic_bounds(n_statistics)
    return low, high
