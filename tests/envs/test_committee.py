from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.committee import committee
from envs.features import N_FEATURES, N_SHAPE_FEATURES
from envs.merge_network import MergeNetwork, average, checked_network, logit, pack
from tests.envs.random_tissue import SEEDS, constant_network, random_network


def forward(network: MergeNetwork, features: npt.NDArray[np.float32]) -> float:
    packed = pack(network)
    return float(logit(packed, features, np.zeros(packed.n_scratch, np.float32)))


def test_two_against_one() -> None:
    """Logits of 3, −1 and −1, the first less a threshold of 2.5, are −0.5 in the mean."""
    networks = [constant_network(score) for score in (3.0, -1.0, -1.0)]
    joined = committee(networks, [2.5, 0.0, 0.0])
    assert forward(joined, np.ones(N_FEATURES, np.float32)) == pytest.approx(-0.5)


def test_many_members_have_one_vote() -> None:
    many = average([constant_network(1.0)] * 5)
    joined = committee([many, constant_network(-2.0)], [0.0, 0.0])
    assert len(joined.b3) == 6
    assert forward(joined, np.ones(N_FEATURES, np.float32)) == pytest.approx(-0.5)


@settings(max_examples=40, deadline=None)
@given(
    hs.lists(
        hs.tuples(SEEDS, hs.integers(1, 3), hs.integers(1, 9), hs.integers(1, 9)),
        min_size=1,
        max_size=4,
    ),
    hs.lists(hs.floats(-2, 2), min_size=4, max_size=4),
    SEEDS,
)
def test_its_logit_is_the_mean_of_theirs(
    drawn: list[tuple[int, int, int, int]], thresholds: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    networks = []
    for own_seed, n_members, n_1, n_2 in drawn:
        network = random_network(own_seed, n_members=n_members, n_hidden=(n_1, n_2))
        is_seen = rng.uniform(size=N_FEATURES) < 0.8  # features that were constant have scale 0
        networks.append(network._replace(scale=network.scale * is_seen.astype(np.float32)))
    thresholds = thresholds[: len(networks)]
    joined = committee(networks, thresholds)
    checked_network(joined._asdict())
    features = rng.standard_normal(N_FEATURES).astype(np.float32)
    expected = np.mean(
        [forward(one, features) - own for one, own in zip(networks, thresholds, strict=True)]
    )
    assert forward(joined, features) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_what_one_network_does_not_look_at_another_may() -> None:
    blind, seeing = random_network(1), random_network(2)
    blind = blind._replace(scale=np.zeros_like(blind.scale))
    joined = committee([blind, seeing], [0.0, 0.0])
    some, other = np.random.default_rng(0).standard_normal((2, N_FEATURES)).astype(np.float32)
    for features in (some, other):
        expected = (forward(blind, features) + forward(seeing, features)) / 2
        assert forward(joined, features) == pytest.approx(expected, rel=1e-4)
    assert forward(joined, some) != forward(joined, other)


def test_what_cannot_be_joined() -> None:
    first = random_network(1)
    with pytest.raises(ValueError, match="0 networks have 0 thresholds"):
        committee([], [])
    with pytest.raises(ValueError, match="2 networks have 1 thresholds"):
        committee([first, first], [0.0])
    with pytest.raises(ValueError, match="different numbers of features"):
        committee([first, random_network(1, n_features=N_SHAPE_FEATURES)], [0.0, 0.0])
    steep = first._replace(scale=np.full_like(first.scale, 1e-30))
    with pytest.raises(ValueError, match="beyond what a float32 holds"):
        committee([steep, first._replace(w1=first.w1 * np.float32(1e20))], [0.0, 0.0])
