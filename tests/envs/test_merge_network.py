from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.features import FEATURE_NAMES, N_FEATURES, N_SHAPE_FEATURES
from envs.merge_network import (
    MergeNetwork,
    average,
    checked_network,
    logit,
    mean_boundary_network,
    pack,
)
from envs.vector_layer import LANES
from tests.envs.random_tissue import SEEDS, networks, random_network

modest = settings(max_examples=40, deadline=None)


def forward(network: MergeNetwork, features: npt.NDArray[np.float32]) -> float:
    packed = pack(network)
    return float(logit(packed, features, np.zeros(packed.n_scratch, np.float32)))


def random_features(seed: int, n_features: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(n_features).astype(np.float32)


@modest
@given(hs.sampled_from([N_FEATURES, N_SHAPE_FEATURES]).flatmap(
    lambda n: hs.tuples(networks(n_features=n, max_members=3), SEEDS)
))  # fmt: skip
def test_forward_pass_is_that_of_matrices(drawn: tuple[MergeNetwork, int]) -> None:
    network, seed = drawn
    features = random_features(seed, network.n_features)
    mean, scale, w1, b1, w2, b2, w3, b3 = (array.astype(np.float64) for array in network)
    x = (features - mean) * scale
    logits = []
    for m in range(len(b3)):
        first = np.maximum(x @ w1[m] + b1[m], 0)
        second = np.maximum(first @ w2[m] + b2[m], 0)
        logits.append(second @ w3[m] + b3[m])
    assert forward(network, features) == pytest.approx(np.mean(logits), rel=1e-4, abs=1e-3)


@modest
@given(hs.integers(1, 3), hs.integers(1, 70), hs.integers(1, 50), SEEDS)
def test_sums_run_in_a_fixed_order_in_single_precision(
    n_members: int, n_1: int, n_2: int, seed: int
) -> None:
    network = random_network(seed, n_members=n_members, n_hidden=(n_1, n_2))
    features = random_features(seed, network.n_features)
    total = np.float32(0)
    for m in range(len(network.b3)):
        first = network.b1[m].copy()
        for i, x in enumerate((features - network.mean) * network.scale):
            first += x * network.w1[m, i]
        second = network.b2[m].copy()
        for j, h in enumerate(np.maximum(first, 0)):
            second += h * network.w2[m, j]
        lanes = np.zeros(LANES, np.float32)
        products = np.maximum(second, 0) * network.w3[m]
        for block in np.pad(products, (0, -len(products) % LANES)).reshape(-1, LANES):
            lanes += block
        while len(lanes) > 1:
            lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
        total = np.float32(total + np.float32(network.b3[m] + lanes[0]))
    assert forward(network, features) == float(total / np.float32(len(network.b3)))


@modest
@given(hs.lists(SEEDS, min_size=1, max_size=4), hs.integers(1, 2), SEEDS)
def test_average_has_the_mean_logit(seeds: list[int], n_members: int, seed: int) -> None:
    first = random_network(seeds[0], n_members=n_members)
    members = [
        random_network(s, n_members=n_members)._replace(mean=first.mean, scale=first.scale)
        for s in seeds
    ]
    features = random_features(seed, N_FEATURES)
    expected = np.mean([forward(member, features) for member in members])
    assert forward(average(members), features) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_networks_that_cannot_be_averaged_are_refused() -> None:
    first, second = random_network(1), random_network(2)
    with pytest.raises(ValueError, match="share their standardisation"):
        average([first, second])
    with pytest.raises(ValueError, match="share their standardisation"):
        average([first, second._replace(mean=first.mean)])
    alike = {"mean": first.mean, "scale": first.scale}
    with pytest.raises(ValueError, match="same shapes"):
        average([first, random_network(2, n_members=2)._replace(**alike)])
    with pytest.raises(ValueError, match="same shapes"):
        average([first, random_network(2, n_hidden=(5, 3))._replace(**alike)])
    with pytest.raises(ValueError, match="at least one network"):
        average([])


@modest
@given(SEEDS, hs.floats(-1, 1, width=32))
def test_mean_boundary_network_is_threshold_less_mean(seed: int, threshold: float) -> None:
    features = np.abs(random_features(seed, N_FEATURES))
    mean = features[FEATURE_NAMES.index("contact: face maximum, mean")]
    expected = float(np.float32(threshold) - mean)
    assert forward(mean_boundary_network(threshold), features) == expected


def test_checked_network_copies() -> None:
    given_arrays = random_network(0, n_features=N_SHAPE_FEATURES, n_members=2)._asdict()
    for array in given_arrays.values():
        array.setflags(write=False)
    network = checked_network({**given_arrays, "more": np.zeros(1)})
    assert network.n_features == N_SHAPE_FEATURES
    for name, array in network._asdict().items():
        assert array.flags.writeable
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, given_arrays[name])


def test_checked_network_takes_other_types_and_layouts() -> None:
    expected = random_network(3)
    network = checked_network(
        {n: np.asfortranarray(a.astype(np.float64)) for n, a in expected._asdict().items()}
    )
    features = random_features(0, N_FEATURES)
    assert forward(network, features) == forward(expected, features)


def arrays_with(**changes: npt.NDArray | None) -> dict[str, npt.NDArray]:
    arrays = {**random_network(0, n_members=2)._asdict(), **changes}
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (arrays_with(w2=None, b3=None), "network lacks w2, b3"),
        (arrays_with(mean=np.zeros(3)), "3 features are of no layout: there are 41, with shape 57"),
        (arrays_with(mean=np.zeros((1, N_FEATURES))), r"mean has shape \(1, 41\), not \(F,\)"),
        (arrays_with(mean=np.array(1)), r"mean has shape \(\), not \(F,\)"),
        (arrays_with(scale=np.zeros(3)), r"array scale has shape \(3,\), not \(41,\)"),
        (arrays_with(w1=np.zeros((N_FEATURES, 5))), r"w1 and w2 have shapes \(41, 5\) and"),
        (arrays_with(w1=np.zeros((0, N_FEATURES, 5))), r"w1 and w2 have shapes \(0, 41, 5\) and"),
        (arrays_with(w1=np.zeros((2, 7, 5))), r"array w1 has shape \(2, 7, 5\), not \(2, 41, 5\)"),
        (arrays_with(w2=np.zeros(4)), r"w1 and w2 have shapes .* and \(4,\), not"),
        (arrays_with(w2=np.array(4)), r"w1 and w2 have shapes .* and \(\), not"),
        (arrays_with(w2=np.zeros((2, 4, 4))), r"array w2 has shape \(2, 4, 4\), not \(2, 5, 4\)"),
        (arrays_with(b1=np.zeros((2, 4))), r"array b1 has shape \(2, 4\), not \(2, 5\)"),
        (arrays_with(b3=np.zeros(1)), r"array b3 has shape \(1,\), not \(2,\)"),
        (arrays_with(b3=np.array([0, np.nan])), "array b3 is not finite"),
        (arrays_with(w3=np.full((2, 4), np.inf)), "array w3 is not finite"),
        (arrays_with(w3=np.full((2, 4), 1e300)), "array w3 is not finite"),
    ],
)
def test_wrong_networks_are_told(arrays: dict[str, npt.NDArray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_network(arrays)
