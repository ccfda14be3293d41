"""What the policy sees of channels at a candidate merge: texture pooled, embeddings compared.

Texture is pooled over both objects and over the interface (dynamic pooling: Bogovic, Huang & Jain
2014), as means. Of an embedding it sees how far the means of the two regions are apart, how far the
two sides of their contact are on average, and how much each region spreads. Distances are root mean
squares over the coordinates, so that all features lie in 0..1, and one network more or less changes
their precision alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs import statistics as st
from envs.features import N_SHAPE_FEATURES

TEXTURE_NAMES = ("contact mean", "smaller mean", "larger mean")
"""Features of every channel of texture."""

EMBEDDING_NAMES = (
    "distance of means",
    "step at the contact",
    "spread of smaller",
    "spread of larger",
)

N_PER_TEXTURE = len(TEXTURE_NAMES)
N_EMBEDDING_FEATURES = len(EMBEDDING_NAMES)


@njit(cache=True)
def channel_features(regions, contacts, channels, counts, small, large, edge, out_features):
    """Write the features of channels, behind those of shape.

    Args:
        regions: (R, S) int64 sums of regions.
        contacts: (E, 16) int64 sums of contacts.
        channels: (E, C) int64 sums of the channels of contacts.
        counts: (2,) int64, channels of texture and embedding that there are sums of.
        small: index of the smaller region.
        large: index of the larger region.
        edge: index of their contact.
        out_features: (F,) float32; its length tells what is looked at (`envs.feature_layout`).
    """
    n_texture, n_embedding = counts[0], counts[1]
    at = N_SHAPE_FEATURES
    n_more = len(out_features) - at
    has_embedding = n_more % N_PER_TEXTURE == 1
    n_seen = (n_more - N_EMBEDDING_FEATURES * has_embedding) // N_PER_TEXTURE
    area = float(contacts[edge, st.AREA])
    per_small = 1.0 / (255.0 * regions[small, st.SIZE])
    per_large = 1.0 / (255.0 * regions[large, st.SIZE])
    for c in range(n_seen):
        out_features[at] = channels[edge, c] / (510.0 * area)
        out_features[at + 1] = regions[small, st.N_REGION_STATISTICS + c] * per_small
        out_features[at + 2] = regions[large, st.N_REGION_STATISTICS + c] * per_large
        at += N_PER_TEXTURE
    if not has_embedding:
        return
    first = st.N_REGION_STATISTICS + n_texture
    weight_small = float(256 * regions[small, st.SIZE] - regions[small, st.BOUNDARY])
    weight_large = float(256 * regions[large, st.SIZE] - regions[large, st.BOUNDARY])
    apart, spread_small, spread_large = 0.0, 0.0, 0.0
    for c in range(n_embedding):
        one = regions[small, first + c] / weight_small
        other = regions[large, first + c] / weight_large
        apart += (one - other) ** 2
        spread_small -= one * one
        spread_large -= other * other
    spread_small += regions[small, first + n_embedding] / weight_small
    spread_large += regions[large, first + n_embedding] / weight_large
    scale = 1.0 / (255.0 * np.sqrt(float(n_embedding)))
    out_features[at] = np.sqrt(apart) * scale
    out_features[at + 1] = np.sqrt(channels[edge, n_texture] / area) * scale
    out_features[at + 2] = np.sqrt(max(spread_small, 0.0)) * scale
    out_features[at + 3] = np.sqrt(max(spread_large, 0.0)) * scale
