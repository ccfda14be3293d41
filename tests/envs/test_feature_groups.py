from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from envs.feature_groups import (
    CHANNEL_GROUPS,
    DEFAULT_GROUPS,
    GROUP_NAMES,
    group_of,
    is_looked_at,
    n_features_of,
)
from envs.feature_layout import feature_names
from envs.features import N_FEATURES, N_SHAPE_FEATURES, SHAPE_FEATURE_NAMES


def test_every_feature_has_a_group() -> None:
    numbers = Counter(map(group_of, SHAPE_FEATURE_NAMES))
    assert numbers == {"boundary": 23, "grey": 9, "geometry": 9, "shape": 16}
    for name, group in {
        "contact: face mean": "boundary",
        "contact: path maximum, mean": "boundary",
        "relation: face maximum − boundary mean of larger": "boundary",
        "contact: grey step": "grey",
        "relation: grey sd difference": "grey",
        "contact: share of z faces": "geometry",
        "larger: surface / size^(2/3)": "geometry",
        "relation: area / surface of smaller": "geometry",
        "shape: gyration radius / radius of contact": "shape",
    }.items():
        assert name in SHAPE_FEATURE_NAMES
        assert group_of(name) == group


def test_groups_part_the_features() -> None:
    assert is_looked_at(DEFAULT_GROUPS, N_FEATURES).tolist() == [True] * N_FEATURES
    n_all = n_features_of(GROUP_NAMES, 2)
    assert n_all == N_SHAPE_FEATURES + 2 * 3 + 4
    each = np.array([is_looked_at((group,), n_all) for group in GROUP_NAMES])
    assert (each.sum(axis=0) == 1).all()
    assert each.sum(axis=1).tolist() == [23, 9, 9, 16, 6, 4]


def test_only_what_a_group_needs_is_computed() -> None:
    expected = [N_FEATURES] * 3 + [N_SHAPE_FEATURES, N_SHAPE_FEATURES + 15, N_SHAPE_FEATURES + 4]
    assert [n_features_of((group,), 5) for group in GROUP_NAMES] == expected
    with pytest.raises(ValueError, match="n_texture must be positive"):
        n_features_of(("grey", "texture"))


def test_channels_have_groups_of_their_own() -> None:
    names = feature_names(n_features_of(CHANNEL_GROUPS, 11))[N_SHAPE_FEATURES:]
    assert [group_of(name) for name in names] == ["texture"] * 33 + ["embedding"] * 4


@pytest.mark.parametrize("groups", [(), ("colour",), ("grey", "colour")])
def test_unknown_groups_are_refused(groups: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="groups must be some of"):
        is_looked_at(groups, N_FEATURES)
