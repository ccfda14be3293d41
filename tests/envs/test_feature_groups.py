from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from envs.feature_groups import (
    DEFAULT_GROUPS,
    GROUP_NAMES,
    group_of,
    is_looked_at,
    n_features_of,
)
from envs.features import FEATURE_NAMES, N_FEATURES, N_SHAPE_FEATURES, SHAPE_FEATURE_NAMES


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
    assert is_looked_at(DEFAULT_GROUPS).tolist() == [True] * N_FEATURES
    assert is_looked_at(GROUP_NAMES).tolist() == [True] * N_SHAPE_FEATURES
    each = np.array([is_looked_at((group, "shape")) for group in DEFAULT_GROUPS])
    assert (each[:, :N_FEATURES].sum(axis=0) == 1).all()
    assert each[:, N_FEATURES:].all()
    assert [n_features_of((group,)) for group in GROUP_NAMES] == [len(FEATURE_NAMES)] * 3 + [57]


@pytest.mark.parametrize("groups", [(), ("colour",), ("grey", "colour")])
def test_unknown_groups_are_refused(groups: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="groups must be some of"):
        is_looked_at(groups)
