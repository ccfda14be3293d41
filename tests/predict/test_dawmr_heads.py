from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from analysis.input_error import InputError
from predict.boundary_settings import BoundaryTraining
from predict.compute_device import choose_device
from predict.dawmr import DawmrConfig
from predict.dawmr_examples import Examples
from predict.dawmr_heads import (
    HeadTrainer,
    calibrated,
    measure_features,
    platt_scale,
    start_heads,
)


def network(hidden: int = 12) -> DawmrConfig:
    return DawmrConfig.for_voxel_size((8, 8, 8), n_iterations=1, atoms=(3, 1), hidden=hidden)


def batch(seed: int, m: int = 400, labels: np.ndarray | None = None) -> Examples:
    """Return examples whose edges can be told from a few of many features."""
    rng = np.random.default_rng(seed)
    m = m if labels is None else labels.size
    features = rng.normal(2, 3, (m, network().iterations[0].n_features)).astype(np.float16)
    target = np.ones((m, 4), np.float32)
    target[:, 1:] = features[:, :3] + features[:, 3:6] > 4
    target[:, 0] = 1 - target[:, 1:].min(axis=1)
    known = rng.uniform(size=(m, 4)) < 0.9
    part = (np.arange(m) % 2 if labels is None else np.full(m, seed % 2)).astype(np.uint8)
    return Examples(features, target, known, part, labels)


def empty() -> Examples:
    one = batch(0)
    return Examples(one.features[:0], one.target[:0], one.known[:0], one.part[:0], None)


def trainer(training: BoundaryTraining, hidden: int = 12, n_heads: int = 3) -> HeadTrainer:
    config = network(hidden)
    standard, weights = measure_features([batch(seed) for seed in range(4)], training.balance)
    state = {**start_heads(config, 0, training, n_heads), "class_weights": weights}
    return HeadTrainer(config, 0, training, choose_device("cpu", bfloat16=False), standard, state)


def accuracy(one: HeadTrainer, head: int) -> float:
    test = batch(99, 2000)
    with torch.inference_mode():
        logits = one.stages[head].eval().head(torch.from_numpy(test.features).float())
    one.stages[head].train()
    right = (logits.numpy() > 0) == (test.target > 0)
    return float(right[test.known].mean())


def test_features_are_measured_over_all_batches() -> None:
    batches = [batch(seed) for seed in range(3)]
    standard, weights = measure_features(batches, 1.0)
    features = np.concatenate([one.features for one in batches]).astype(np.float64)
    np.testing.assert_allclose(standard["shift"], features.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(standard["scale"], features.std(axis=0), rtol=1e-5)
    target = np.concatenate([one.target for one in batches])
    known = np.concatenate([one.known for one in batches])
    positive = (target * known).sum(axis=0) / known.sum(axis=0)
    balance = weights.numpy() * np.stack([1 - positive, positive], axis=1)
    np.testing.assert_allclose(balance, 0.5, atol=1e-5)


def test_labels_that_teach_nothing_are_refused() -> None:
    one = batch(0)
    whole = one._replace(target=np.ones_like(one.target))
    with pytest.raises(InputError, match="no boundary"):
        measure_features([whole], 1.0)
    with pytest.raises(InputError, match="no labelled edge"):
        measure_features([empty()], 1.0)


@pytest.mark.parametrize("hidden", [12, 0])
def test_heads_learn(hidden: int) -> None:
    one = trainer(BoundaryTraining((8, 8, 8), steps=120, learning_rate=1e-2), hidden)
    before = accuracy(one, 2)
    for step in range(120):
        one.step(batch(step + 100), step / 120)
    assert accuracy(one, 2) > max(0.85, before)


def test_a_head_sees_no_example_of_its_own_part() -> None:
    """Wrong targets in part 0 spoil the heads that see them, and head 0 not."""
    one = trainer(BoundaryTraining((8, 8, 8), steps=100, learning_rate=1e-2))
    for step in range(100):
        examples = batch(step + 100)
        target = examples.target.copy()
        target[examples.part == 0] = 1 - target[examples.part == 0]
        one.step(examples._replace(target=target), step / 100)
    assert accuracy(one, 0) > 0.85
    assert accuracy(one, 1) < 0.3
    assert 0.3 < accuracy(one, 2) < 0.7


@pytest.mark.parametrize("loss", ["bce", "malis", "blotc"])
def test_saved_and_resumed_is_the_same_bit_for_bit(loss: str) -> None:
    labels = np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((4, 4, 4), int)).astype(np.int64)
    training = BoundaryTraining((8, 8, 8), steps=20, loss=loss)  # type: ignore[arg-type]
    cubes = [batch(seed, labels=None if loss == "bce" else labels) for seed in range(6)]
    through = trainer(training)
    for step, cube in enumerate(cubes):
        through.step(cube, step / 6)
    first = trainer(training)
    for step, cube in enumerate(cubes[:3]):
        first.step(cube, step / 6)
    standard = {"shift": first.stages[0].shift, "scale": first.stages[0].scale}
    second = HeadTrainer(network(), 0, training, first.device, standard, first.state())
    for step, cube in enumerate(cubes[3:], 3):
        second.step(cube, step / 6)
    for one, two in zip(through.state()["heads"], second.state()["heads"], strict=True):
        for name, tensor in one.items():
            assert torch.equal(tensor, two[name])


def test_an_empty_batch_changes_nothing() -> None:
    one = trainer(BoundaryTraining((8, 8, 8), steps=20))
    before = one.state()["heads"]
    assert one.step(empty(), 0.1) == 0.0
    for head, then in zip(one.state()["heads"], before, strict=True):
        assert all(torch.equal(tensor, then[name]) for name, tensor in head.items())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 3), st.floats(-2, 2))
def test_platt_scaling_is_the_balanced_optimum(seed: int, factor: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, 500).astype(np.float32)
    target = (rng.uniform(size=500) < 1 / (1 + np.exp(-factor * logits - shift))).astype(np.float32)
    target[:2] = 0, 1
    weight = np.where(target > 0, 0.5 / target.sum(), 0.5 / (500 - target.sum()))

    def loss(ab: np.ndarray) -> float:
        z = ab[0] * logits + ab[1]
        return float((weight * np.where(target > 0, np.logaddexp(0, -z), np.logaddexp(0, z))).sum())

    found = optimize.minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead")
    assert loss(np.array(platt_scale(logits, target))) <= found.fun + 1e-5


def test_calibration_scales_the_weights_of_every_head() -> None:
    rng = np.random.default_rng(0)
    heads = [
        {"first.weight": torch.randn(3, 5), "first.bias": torch.randn(3), "shift": torch.ones(5)}
        for _ in range(2)
    ]
    x = rng.normal(0, 1, (300, 5)).astype(np.float32)
    before = x @ heads[1]["first.weight"].numpy().T + heads[1]["first.bias"].numpy()
    targets = [(rng.uniform(size=300) < 0.5).astype(np.float32) for _ in range(3)]
    after = calibrated(heads, list(before.T), targets)
    for channel in range(3):
        a, b = platt_scale(before[:, channel], targets[channel])
        own = x @ after[1]["first.weight"][channel].numpy() + float(after[1]["first.bias"][channel])
        np.testing.assert_allclose(own, a * before[:, channel] + b, rtol=1e-4, atol=1e-4)
    untouched = calibrated(heads, list(before.T), [np.ones(300, np.float32)] * 3)
    assert torch.equal(untouched[0]["first.weight"], heads[0]["first.weight"])
