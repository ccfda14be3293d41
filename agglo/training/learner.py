"""On-policy classification of the sign of the reward, with aggregation over rounds.

The reward of a merge is the exact fall of the variation of information. Its size spans many orders
of magnitude, but a greedy policy needs only its sign and an order; so the learner fits the logit of
"this merge lowers VI" on the decisions that the current policy meets, keeps those of all rounds
(Ross et al. 2011, dataset aggregation), and refits from scratch every round. The logit is priority
and stop at once: 0 is where a merge is as likely to hurt as to help. After Jain et al. 2011 (LASH),
where the decision value has the sign of the reward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from analysis.input_error import InputError
from envs.merge_network import MergeNetwork


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """How the network is fitted."""

    hidden_1: int = 48
    """units of the first hidden layer"""
    hidden_2: int = 32
    """units of the second hidden layer"""
    learning_rate: float = 3e-3
    """of AdamW, falling to 0 along a cosine"""
    weight_decay: float = 0.3
    """of AdamW"""
    batch: int = 512
    """decisions in a batch"""
    epochs: int = 8
    """passes over all decisions in every round"""

    def __post_init__(self) -> None:
        for name in ("hidden_1", "hidden_2", "batch", "epochs"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must be at least 1, not {getattr(self, name)}.")
        if not 0 < self.learning_rate < np.inf:
            raise InputError(f"--learning-rate must be positive, not {self.learning_rate}.")
        if not 0 <= self.weight_decay < np.inf:
            raise InputError(f"--weight-decay must not be negative, but is {self.weight_decay}.")


def standardisation(
    features: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean (F,) and reciprocal standard deviation (F,) of features (D, F).

    A feature that is constant gets the factor 0: what never varied in training is not looked at.
    """
    wide = features.astype(np.float64)
    sd = wide.std(axis=0)
    varies = sd > 1e-6
    scale = np.where(varies, 1.0 / np.where(varies, sd, 1.0), 0.0)
    return wide.mean(axis=0).astype(np.float32), scale.astype(np.float32)


def fit_network(
    features: npt.NDArray[np.float32],
    is_good: npt.NDArray[np.bool_],
    mean: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    config: LearnerConfig,
    seed: int,
) -> tuple[MergeNetwork, dict[str, float]]:
    """Fit the logit of "this merge is good" by binary cross-entropy, on one thread.

    Args:
        features: (D, F) float32 of decisions.
        is_good: (D,) bool, whether the merge lowers the error.
        mean: (F,) float32 standardisation.
        scale: (F,) float32 standardisation.
        config: how to fit.
        seed: initial weights and order of batches.

    Returns:
        The network (one member), and loss and accuracy over all decisions at the end.
    """
    x, y = (features - mean) * scale, is_good.astype(np.float32)
    with _one_thread():
        layers = _fit_layers(x, y, config, seed, nn.BCEWithLogitsLoss())
        logits = _stacked(layers)(torch.from_numpy(x)).squeeze(1).detach()
        truth = torch.from_numpy(y)
        scores = {
            "loss": float(nn.functional.binary_cross_entropy_with_logits(logits, truth)),
            "accuracy": float(((logits > 0) == (truth > 0)).float().mean()),
        }
    return _network_of(layers, mean, scale), scores


def fit_regression(
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    config: LearnerConfig,
    seed: int,
) -> MergeNetwork:
    """Fit the mean of targets by least squares, on one thread.

    Args:
        features: (D, F) float32; standardised by their own mean and deviation.
        targets: (D,) float32.
        config: how to fit.
        seed: initial weights and order of batches.
    """
    mean, scale = standardisation(features)
    with _one_thread():
        layers = _fit_layers((features - mean) * scale, targets, config, seed, nn.MSELoss())
    return _network_of(layers, mean, scale)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: sums over threads would depend on their number."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _stacked(layers: list[nn.Linear]) -> nn.Sequential:
    """Put rectifiers between three layers."""
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def _fit_layers(
    inputs: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    config: LearnerConfig,
    seed: int,
    loss_of: nn.Module,
) -> list[nn.Linear]:
    """Fit three layers to targets (D,) of inputs (D, F)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (inputs.shape[1], config.hidden_1, config.hidden_2, 1)
    with torch.random.fork_rng(devices=[]):  # torch's own state is left as it was
        layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    for layer in layers:
        bound = 1 / np.sqrt(layer.in_features)
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    model = _stacked(layers)
    x, y = torch.from_numpy(inputs), torch.from_numpy(targets)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    n_steps = config.epochs * -(-len(x) // config.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=n_steps)
    for _ in range(config.epochs):
        for batch in torch.randperm(len(x), generator=generator).split(config.batch):
            loss = loss_of(model(x[batch]).squeeze(1), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return layers


def _network_of(
    layers: list[nn.Linear], mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> MergeNetwork:
    """Write three layers behind a standardisation as a network of one member."""
    arrays = []
    for layer in layers:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        is_last = layer is layers[-1]
        arrays.append(weight.copy() if is_last else np.ascontiguousarray(weight.T[None]))
        arrays.append(bias.copy() if is_last else bias[None].copy())
    return MergeNetwork(mean, scale, *arrays)
