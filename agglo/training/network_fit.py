"""Fit a merge network to decisions, on one thread and bit for bit the same wherever it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agglo.training.learner import LearnerConfig
from envs.merge_network import MergeNetwork

BatchLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Loss of logits (B,) of a batch, whose places among all decisions (B,) int64 are given, too."""


def standardisation(
    features: npt.NDArray[np.float32], looked_at: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean (F,) and reciprocal standard deviation (F,) of features (D, F).

    What is not to be looked at gets the factor 0, and so does a feature that is constant: what
    never varied in training says nothing later.
    """
    wide = features.astype(np.float64)
    sd = wide.std(axis=0)
    varies = (sd > 1e-6) & (True if looked_at is None else looked_at)
    scale = np.where(varies, 1.0 / np.where(varies, sd, 1.0), 0.0)
    return wide.mean(axis=0).astype(np.float32), scale.astype(np.float32)


def fit_network(
    features: npt.NDArray[np.float32],
    is_good: npt.NDArray[np.bool_],
    mean: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    config: LearnerConfig,
    seed: int,
    *,
    weights: npt.NDArray[np.float32] | None = None,
) -> tuple[MergeNetwork, dict[str, float]]:
    """Fit the logit of "this merge is good" by binary cross-entropy, on one thread.

    Args:
        features: (D, F) float32 of decisions.
        is_good: (D,) bool, whether the merge lowers the error.
        mean: (F,) float32 standardisation.
        scale: (F,) float32 standardisation.
        config: how to fit.
        seed: initial weights and order of batches.
        weights: (D,) float32 of the decisions in the loss, 1 in the mean; 1 each if not given.

    Returns:
        The network (one member), and over all decisions at the end the loss, weighted as in the
        fit, and the accuracy, in which each counts once.
    """
    x = (features - mean) * scale
    y = torch.from_numpy(is_good.astype(np.float32))
    weight = None if weights is None else torch.from_numpy(weights)

    def loss_of(logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """Divide by the size of the batch, not by its weight: so batches add up to the whole."""
        return nn.functional.binary_cross_entropy_with_logits(
            logits, y[batch], None if weight is None else weight[batch]
        )

    with _one_thread():
        layers = _fit_layers(x, loss_of, config, seed)
        logits = _stacked(layers)(torch.from_numpy(x)).squeeze(1).detach()
        scores = {
            "loss": float(nn.functional.binary_cross_entropy_with_logits(logits, y, weight)),
            "accuracy": float(((logits > 0) == (y > 0)).float().mean()),
        }
    return _network_of(layers, mean, scale), scores


def fit_regression(
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    config: LearnerConfig,
    seed: int,
    *,
    like: MergeNetwork | None = None,
    looked_at: npt.NDArray[np.bool_] | None = None,
) -> MergeNetwork:
    """Fit the mean of targets by least squares, on one thread.

    Args:
        features: (D, F) float32.
        targets: (D,) float32.
        config: how to fit.
        seed: initial weights and order of batches.
        like: network whose standardisation is taken; that of the features if not given.
        looked_at: (F,) bool, features that are; all if not given.
    """
    mean, scale = standardisation(features, looked_at) if like is None else like[:2]
    y = torch.from_numpy(targets)
    with _one_thread():
        layers = _fit_layers(
            (features - mean) * scale,
            lambda values, batch: nn.functional.mse_loss(values, y[batch]),
            config,
            seed,
        )
    return _network_of(layers, mean, scale)


def descend(
    network: MergeNetwork,
    features: npt.NDArray[np.float32],
    loss_of: BatchLoss,
    config: LearnerConfig,
    seed: int,
) -> MergeNetwork:
    """Lower a loss from a network's weights on, on one thread.

    Args:
        network: of one member.
        features: (D, F) float32.
        loss_of: mean loss of a batch of decisions.
        config: how to fit.
        seed: order of batches.
    """
    generator = torch.Generator().manual_seed(seed)
    with _one_thread():
        layers = layers_of(network)
        inputs = torch.from_numpy((features - network.mean) * network.scale)
        _descend(layers, inputs, loss_of, config, generator)
    return _network_of(layers, network.mean, network.scale)


def logits_of(network: MergeNetwork, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the logits (D,) of a network of one member for features (D, F), on one thread."""
    with _one_thread(), torch.no_grad():
        inputs = torch.from_numpy((features - network.mean) * network.scale)
        return _stacked(layers_of(network))(inputs).squeeze(1).numpy()


def layers_of(network: MergeNetwork) -> list[nn.Linear]:
    """Return the three layers of a network of one member, to be trained further.

    Raises:
        ValueError: the network has several members.
    """
    if len(network.w1) != 1:
        raise ValueError(f"network has {len(network.w1)} members, where one is expected")
    weights = (network.w1[0].T, network.w2[0].T, network.w3)
    layers = []
    with torch.random.fork_rng(devices=[]):
        for weight, bias in zip(weights, (network.b1, network.b2, network.b3), strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weight.copy()))
                layer.bias.copy_(torch.from_numpy(bias.reshape(-1).copy()))
            layers.append(layer)
    return layers


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
    loss_of: BatchLoss,
    config: LearnerConfig,
    seed: int,
) -> list[nn.Linear]:
    """Fit three new layers to inputs (D, F) by a loss of what they make of them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (inputs.shape[1], config.hidden_1, config.hidden_2, 1)
    with torch.random.fork_rng(devices=[]):  # torch's own state is left as it was
        layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    for layer in layers:
        bound = 1 / np.sqrt(layer.in_features)
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    _descend(layers, torch.from_numpy(inputs), loss_of, config, generator)
    return layers


def _descend(
    layers: list[nn.Linear],
    inputs: torch.Tensor,
    loss_of: BatchLoss,
    config: LearnerConfig,
    generator: torch.Generator,
) -> None:
    """Lower a loss over inputs (D, F) in steps of batches; layers change in place."""
    model = _stacked(layers)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    n_steps = config.epochs * -(-len(inputs) // config.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=n_steps)
    for _ in range(config.epochs):
        for batch in torch.randperm(len(inputs), generator=generator).split(config.batch):
            loss = loss_of(model(inputs[batch]).squeeze(1), batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


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
