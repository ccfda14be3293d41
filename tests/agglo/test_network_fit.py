from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.training.learner import LearnerConfig
from agglo.training.network_fit import fit_network, layers_of, standardisation
from analysis.input_error import InputError
from envs.features import N_FEATURES
from envs.merge_network import MergeNetwork, checked_network, logit, pack

CONFIG = LearnerConfig(hidden_1=8, hidden_2=4, batch=64, epochs=6)


def toy_problem(n: int = 600) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return features of which two decide, by an ellipse, and one is constant."""
    rng = np.random.default_rng(0)
    features = rng.normal(3.0, 2.0, (n, N_FEATURES)).astype(np.float32)
    features[:, 5] = 7.0
    centred = (features[:, 2:4] - 3.0) / 2.0
    return features, (centred**2).sum(1) < 1.4


def fit(seed: int = 1, **changes: float) -> tuple[MergeNetwork, dict[str, float]]:
    features, is_good = toy_problem()
    config = LearnerConfig(**{"hidden_1": 8, "hidden_2": 4, "batch": 64, "epochs": 6, **changes})  # pyright: ignore[reportArgumentType]
    return fit_network(features, is_good, *standardisation(features), config, seed)


def logits(network: MergeNetwork, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Score rows of features in the kernels."""
    packed = pack(network)
    scratch = np.zeros(packed.n_scratch, np.float32)
    return np.array([logit(packed, row, scratch) for row in features])


def same_bits(first: MergeNetwork, second: MergeNetwork) -> bool:
    return all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(first, second, strict=True)
    )


def test_a_fit_is_a_function_of_its_arguments() -> None:
    first, scores = fit()
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    second, scores_again = fit()
    assert same_bits(first, second)
    assert scores == scores_again
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not same_bits(first, fit(seed=2)[0])


def test_the_number_of_threads_changes_nothing() -> None:
    n_before = torch.get_num_threads()
    networks = []
    try:
        for n in (1, 2, 4):
            torch.set_num_threads(n)
            networks.append(fit(batch=300)[0])
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(n_before)
    assert same_bits(networks[0], networks[1])
    assert same_bits(networks[0], networks[2])


def fit_by_torch(
    features: npt.NDArray[np.float32],
    is_good: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float32] | None,
) -> torch.nn.Sequential:
    """Fit `CONFIG` from seed 1 by torch's own loss: without weights what was done before them."""
    generator = torch.Generator().manual_seed(1)
    sizes = (N_FEATURES, CONFIG.hidden_1, CONFIG.hidden_2, 1)
    layers = [torch.nn.Linear(n, m) for n, m in itertools.pairwise(sizes)]
    with torch.no_grad():
        for layer in layers:
            for parameter in (layer.weight, layer.bias):
                bound = 1 / np.sqrt(layer.in_features)
                parameter.uniform_(-bound, bound, generator=generator)
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    mean, scale = standardisation(features)
    x, y = torch.from_numpy((features - mean) * scale), torch.from_numpy(is_good.astype(np.float32))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=CONFIG.learning_rate, weight_decay=CONFIG.weight_decay
    )
    n_steps = CONFIG.epochs * -(-len(x) // CONFIG.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=n_steps)
    for _ in range(CONFIG.epochs):
        for batch in torch.randperm(len(x), generator=generator).split(CONFIG.batch):
            weight = None if weights is None else torch.from_numpy(weights)[batch]
            loss = torch.nn.BCEWithLogitsLoss(weight)(model(x[batch]).squeeze(1), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model


@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_fit_is_that_of_torch_with_and_without_weights(is_weighted: bool) -> None:
    features, is_good = toy_problem()
    weights = np.where(is_good, 1.5, 0.5).astype(np.float32) if is_weighted else None
    given = standardisation(features)
    network, _ = fit_network(features, is_good, *given, CONFIG, 1, weights=weights)
    expected = fit_by_torch(features, is_good, weights)
    ours = layers_of(network)
    for layer, other in zip(ours, (expected[0], expected[2], expected[4]), strict=True):
        assert torch.equal(layer.weight, other.weight)  # pyright: ignore[reportArgumentType]
        assert torch.equal(layer.bias, other.bias)  # pyright: ignore[reportArgumentType]


def test_weights_of_1_change_no_bit() -> None:
    features, is_good = toy_problem()
    ones = np.ones(len(features), np.float32)
    given = standardisation(features)
    network, scores = fit_network(features, is_good, *given, CONFIG, 1, weights=ones)
    plain, plain_scores = fit()
    assert same_bits(network, plain)
    assert scores == plain_scores


def test_the_loss_is_weighted_and_the_accuracy_is_not() -> None:
    features, is_good = toy_problem()
    weights = np.where(is_good, 1.8, 0.2).astype(np.float32)
    given = standardisation(features)
    network, scores = fit_network(features, is_good, *given, CONFIG, 1, weights=weights)
    scored = logits(network, features).astype(np.float64)
    signed = np.where(is_good, scored, -scored)
    loss = (weights * np.log1p(np.exp(-signed))).sum() / len(features)
    assert scores["loss"] == pytest.approx(loss, rel=1e-4)
    assert scores["accuracy"] == pytest.approx((signed > 0).mean(), abs=1e-6)
    assert scored.mean() > logits(fit()[0], features).mean() + 0.1, "good ones count nine times"


def test_it_learns_what_can_be_learned() -> None:
    features, is_good = toy_problem(4000)
    config = LearnerConfig(hidden_1=24, hidden_2=8, batch=128, epochs=25)
    network, scores = fit_network(features, is_good, *standardisation(features), config, 1)
    assert scores["accuracy"] > 0.95
    assert scores["loss"] < 0.2
    fresh = np.random.default_rng(9).normal(3.0, 2.0, (300, N_FEATURES)).astype(np.float32)
    fresh[:, 5] = 7.0
    expected = (((fresh[:, 2:4] - 3.0) / 2.0) ** 2).sum(1) < 1.4
    assert ((logits(network, fresh) > 0) == expected).mean() > 0.9
    assert max(expected.mean(), 1 - expected.mean()) < 0.6  # what a blind guess reaches


def test_loss_and_accuracy_are_those_of_the_network_it_returns() -> None:
    network, scores = fit()
    features, is_good = toy_problem()
    scored = logits(network, features).astype(np.float64)
    signed = np.where(is_good, scored, -scored)
    assert scores["loss"] == pytest.approx(np.log1p(np.exp(-signed)).mean(), rel=1e-4)
    assert scores["accuracy"] == pytest.approx((signed > 0).mean(), abs=1e-6)


def test_the_network_is_one_that_episodes_take() -> None:
    network, _ = fit()
    checked = checked_network(network._asdict())
    assert same_bits(checked, network)
    assert [a.shape for a in network[2:]] == [
        (1, N_FEATURES, 8),
        (1, 8),
        (1, 8, 4),
        (1, 4),
        (1, 4),
        (1,),
    ]
    assert all(array.flags.c_contiguous and array.flags.writeable for array in network)


def test_a_feature_that_never_varied_is_not_looked_at() -> None:
    features, _ = toy_problem()
    _, scale = standardisation(features)
    assert scale[5] == 0
    assert (np.delete(scale, 5) > 0).all()
    network, _ = fit()
    changed = features[:50].copy()
    changed[:, 5] = 1e6
    np.testing.assert_array_equal(logits(network, changed), logits(network, features[:50]))


def test_the_standardisation_is_taken_as_given() -> None:
    features, is_good = toy_problem()
    mean, scale = standardisation(features)
    network, _ = fit_network(features + 1, is_good, mean, scale, CONFIG, 1)
    np.testing.assert_array_equal(network.mean, mean)
    np.testing.assert_array_equal(network.scale, scale)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_standardised_features_have_mean_0_and_deviation_1(n: int, f: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(rng.normal(0, 50), rng.uniform(0.5, 50), (n, f)).astype(np.float32)
    mean, scale = standardisation(features)
    wide = (features.astype(np.float64) - mean) * scale
    np.testing.assert_allclose(wide.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(wide.std(0), 0 if n == 1 else 1, atol=1e-3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden_1": 0}, "--hidden-1 must be at least 1, not 0"),
        ({"hidden_2": -1}, "--hidden-2 must be at least 1, not -1"),
        ({"batch": 0}, "--batch must be at least 1, not 0"),
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "--learning-rate must be positive, not 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate must be positive, not nan"),
        ({"weight_decay": -0.1}, "--weight-decay must not be negative, but is -0.1"),
        ({"weight_decay": float("inf")}, "--weight-decay must not be negative, but is inf"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LearnerConfig(**setting)
