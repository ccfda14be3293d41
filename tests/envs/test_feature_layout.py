from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from envs.feature_layout import FeatureLayout, feature_bounds, feature_names, layout_of
from envs.features import N_FEATURES, N_SHAPE_FEATURES, SHAPE_FEATURE_NAMES

LAYOUTS = hs.builds(
    lambda n, has: FeatureLayout(True, n, has), hs.integers(0, 50), hs.booleans()
) | hs.just(FeatureLayout())


@given(LAYOUTS)
def test_a_length_stands_for_one_layout(layout: FeatureLayout) -> None:
    assert layout_of(layout.n_features) == layout
    names = feature_names(layout.n_features)
    assert len(set(names)) == len(names) == layout.n_features
    assert sum(name.startswith("texture ") for name in names) == 3 * layout.n_texture
    assert sum(name.startswith("embedding: ") for name in names) == 4 * layout.has_embedding


def test_names_begin_with_those_of_fewer_features() -> None:
    names = feature_names(FeatureLayout(True, 1, True).n_features)
    assert names[:N_SHAPE_FEATURES] == SHAPE_FEATURE_NAMES
    assert names[N_SHAPE_FEATURES:] == (
        "texture 0: contact mean",
        "texture 0: smaller mean",
        "texture 0: larger mean",
        "embedding: distance of means",
        "embedding: step at the contact",
        "embedding: spread of smaller",
        "embedding: spread of larger",
    )


def test_other_lengths_are_refused() -> None:
    known = {FeatureLayout(True, n, has).n_features for n in range(9) for has in (False, True)}
    for n in range(N_SHAPE_FEATURES + 20):
        if n in known | {N_FEATURES}:
            assert layout_of(n).n_features == n
        else:
            with pytest.raises(ValueError, match=f"{n} features are of no layout"):
                layout_of(n)


def test_channels_lie_in_0_to_1() -> None:
    n = FeatureLayout(True, 2, True).n_features
    low, high = feature_bounds(n)
    assert low.shape == high.shape == (n,)
    np.testing.assert_array_equal(low[N_SHAPE_FEATURES:], 0)
    np.testing.assert_array_equal(high[N_SHAPE_FEATURES:], 1)
    assert (low[N_FEATURES:] < 0).any()
    assert (high[:N_FEATURES] > 1).any()
