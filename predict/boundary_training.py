"""Train one boundary network, in intervals that can be stopped, saved and resumed.

All triples are z, y, x. Read from top to bottom: the state, the interval with its loop, the loss,
evaluation. The whole state of a run is one plain dict (`start_training`), and
`train_interval` maps it to the state at the next evaluation, so a run that is saved and resumed
between intervals equals one that was not. With `steps` the same seed gives the same weights on the
same machine and number of threads; with `minutes` the number of steps depends on the clock.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from predict.blockwise import predict_volume
from predict.boundary_network import BoundaryNetwork, NetworkConfig, channels_of
from predict.boundary_settings import BoundaryTraining
from predict.box import Triple
from predict.compute_device import ComputeDevice
from predict.malis import Malis, malis_loss
from predict.training_patches import PatchSampler, TrainingVolume, targets_in

State = dict[str, Any]


def start_training(
    network_config: NetworkConfig,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    *,
    fold: int = 0,
) -> State:
    """Return the state of a run before its first step.

    Args:
        network_config: shape of the network.
        training: settings.
        volumes: what is trained on.
        fold: index of the model; every fold draws its own random numbers.
    """
    if training.loss == "malis" and network_config.boundary is None:
        raise InputError("loss malis needs a network whose boundary map is made of affinities.")
    seeds = np.random.SeedSequence([training.seed, fold]).spawn(2)
    rng = np.random.default_rng(seeds[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds[0].generate_state(1, np.uint32)[0]))
        network = network_config.build()
    sampler = PatchSampler(network_config, training, volumes)
    frequency = np.clip(sampler.class_frequency(rng), 0.01, 0.99)
    pair = np.stack([1 - frequency, frequency], axis=1)
    weights = pair**-training.balance
    weights /= (weights * pair).sum(axis=1, keepdims=True)
    return {
        "step": 0,
        "seconds": 0.0,
        "class_weights": torch.tensor(weights, dtype=torch.float32),
        "network": network.state_dict(),
        "optimiser": None,
        "rng": rng.bit_generator.state,
        "evaluations": [],
        "best_network": network.state_dict(),
    }


def is_finished(state: State, training: BoundaryTraining) -> bool:
    """Tell whether a run has had all its intervals or stopped getting better."""
    evaluations = state["evaluations"]
    if not evaluations:
        return False
    since = len(evaluations) - 1 - evaluations.index(best_evaluation(state))
    return len(evaluations) >= training.n_evaluations or since >= training.patience


def best_evaluation(state: State) -> dict[str, float]:
    """Return the first evaluation with the highest merit, whose weights are kept."""
    return max(state["evaluations"], key=merit)


def merit(evaluation: dict[str, float]) -> float:
    """Return the average precision, or the negative MALIS of a run that is to lower it.

    The ranking of boundary voxels decides and not the cross-entropy: a network that has grown too
    sure of itself loses by the loss while its map still gets better.
    """
    return -evaluation["val_malis"] if "val_malis" in evaluation else evaluation["val_ap"]


def train_interval(
    state: State,
    network_config: NetworkConfig,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    device: ComputeDevice,
) -> State:
    """Train up to the next evaluation, evaluate, and return the new state.

    Args:
        state: from `start_training` or an earlier interval; left as it is.
        network_config: shape of the network.
        training: settings.
        volumes: what is trained on, the same as ever in this run.
        device: where to compute.
    """
    started = time.perf_counter()
    network = network_config.build()
    network.load_state_dict(state["network"])
    network.to(device.torch_device, memory_format=torch.channels_last_3d).train()  # pyright: ignore[reportCallIssue]
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    if state["optimiser"] is not None:
        optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))  # it keeps what it is given
    rng = np.random.default_rng()
    rng.bit_generator.state = state["rng"]
    sampler = PatchSampler(network_config, training, volumes)
    n_channels, lost = len(channels_of(network_config)), network_config.lost_vox
    class_weights = state["class_weights"].to(device.torch_device)[-n_channels:]
    step, interval = state["step"], len(state["evaluations"]) + 1
    loss_sum, n_steps = torch.zeros((), device=device.torch_device), 0

    while True:
        seconds = state["seconds"] + time.perf_counter() - started
        progress = _progress(training, step, seconds)
        if n_steps > 0 and progress >= interval / training.n_evaluations:
            break
        for group in optimiser.param_groups:
            group["lr"] = training.learning_rate * _one_cycle(progress, training.warm_up)
        image, target, known, labels = (
            torch.from_numpy(array).to(device.torch_device) for array in sampler.batch(rng)
        )
        target, known = target[:, -n_channels:], known[:, -n_channels:]
        target, known, labels = (without_rim(array, lost) for array in (target, known, labels))
        with device.autocast():
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        loss = boundary_loss(logits.float(), target, known, class_weights)
        if training.loss == "malis" and progress >= training.malis_start:
            malis = Malis.apply(torch.sigmoid(logits.float()), labels, known)
            loss = loss + training.malis_weight * malis
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        loss_sum += loss.detach()
        step, n_steps = step + 1, n_steps + 1

    scores = evaluate_network(network.eval(), training, volumes, class_weights, device)
    seconds = state["seconds"] + time.perf_counter() - started
    record = {"step": step, "seconds": seconds, "loss": float(loss_sum) / n_steps, **scores}
    weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    is_best = not state["evaluations"] or merit(record) > merit(best_evaluation(state))
    return {
        **state,
        "step": step,
        "seconds": seconds,
        "network": weights,
        "optimiser": optimiser.state_dict(),
        "rng": rng.bit_generator.state,
        "evaluations": [*state["evaluations"], record],
        "best_network": weights if is_best else state["best_network"],
    }


def train_boundary_network(
    network_config: NetworkConfig,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    device: ComputeDevice,
    *,
    fold: int = 0,
    state: State | None = None,
    on_evaluation: Callable[[dict[str, float], State], None] | None = None,
) -> tuple[BoundaryNetwork, State]:
    """Train a network to the end and return the weights with the highest validation precision.

    Args:
        network_config: shape of the network.
        training: settings.
        volumes: what is trained on.
        device: where to compute.
        fold: index of the model.
        state: of an interrupted run; None starts a new one.
        on_evaluation: called with the record and the state after every interval.

    Returns:
        The network in evaluation mode on `device`, and the last state.
    """
    if state is None:
        state = start_training(network_config, training, volumes, fold=fold)
    while not is_finished(state, training):
        state = train_interval(state, network_config, training, volumes, device)
        if on_evaluation is not None:
            on_evaluation(state["evaluations"][-1], state)
    return load_network(network_config, state["best_network"], device), state


def load_network(
    network_config: NetworkConfig, weights: dict[str, torch.Tensor], device: ComputeDevice
) -> BoundaryNetwork:
    """Return a network with the given weights, in evaluation mode on a device."""
    network = network_config.build()
    network.load_state_dict(weights)
    network.to(device.torch_device, memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]
    return network.eval()


def boundary_loss(
    logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, class_weights: torch.Tensor
) -> torch.Tensor:
    """Return the class-weighted binary cross-entropy, averaged over channels and known voxels.

    Args:
        logits: (n, c, z, y, x) float.
        target: (n, c, z, y, x) float, 0 or 1.
        known: (n, c, z, y, x) float, 1 where the target is known.
        class_weights: (c, 2) float, weight of class 0 and 1 of every channel.
    """
    negative, positive = class_weights.T[:, None, :, None, None, None]
    weight = known * torch.lerp(negative, positive, target)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    over = (0, 2, 3, 4)
    n_known = known.sum(over)
    per_channel = (weight * losses).sum(over) / n_known.clamp(min=1)
    return per_channel.sum() / (n_known > 0).sum().clamp(min=1)


def without_rim(array: torch.Tensor, rim: Triple) -> torch.Tensor:
    """Return a (…, z, y, x) tensor without the voxels of a rim on every side."""
    if rim == (0, 0, 0):
        return array
    z, y, x = rim
    depth, height, width = array.shape[-3:]
    return array[..., z : depth - z, y : height - y, x : width - x].contiguous()


def evaluate_network(
    network: BoundaryNetwork,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    class_weights: torch.Tensor,
    device: ComputeDevice,
) -> dict[str, float]:
    """Score a network on the validation boxes.

    Returns:
        val_loss (the cross-entropy of training), val_auc and val_ap of the boundary map, and
        val_malis of the affinities where MALIS is trained.
    """
    n_channels = len(channels_of(network.config))
    losses, malis, sizes, scores, truths = [], [], [], [], []
    for volume in volumes:
        for box in volume.split.validation:
            probability = predict_volume(
                [network],
                volume.image,
                normalisation=volume.normalisation,
                device=device,
                region=box,
            )
            labels = np.asarray(volume.labels[box.slices])
            target, known = targets_in(labels, volume, training, network.config)
            logits = torch.logit(torch.from_numpy(probability[-n_channels:]), eps=1e-6)
            arrays = (
                torch.from_numpy(target[-n_channels:])[None],
                torch.from_numpy(known[-n_channels:])[None].float(),
            )
            losses.append(float(boundary_loss(logits[None], *arrays, class_weights.cpu())))
            if training.loss == "malis":
                malis.append(malis_loss(probability[1:], labels, known[1:]).loss)
            sizes.append(box.n_voxels)
            scores.append(probability[0][known[0]])
            truths.append(target[0][known[0]] > 0)
    truth = np.concatenate(truths)
    if truth.all() or not truth.any():
        raise InputError(
            "labels must have boundary and interior in the part kept for validation, but "
            f"{np.count_nonzero(truth)} of its {truth.size} labelled voxels are boundary."
        )
    ranking = score_boundaries(np.concatenate(scores), truth)
    return {
        "val_loss": float(np.average(losses, weights=sizes)),
        "val_auc": ranking.auc,
        "val_ap": ranking.average_precision,
        **({"val_malis": float(np.average(malis, weights=sizes))} if malis else {}),
    }


def _progress(training: BoundaryTraining, step: int, seconds: float) -> float:
    """Return the share of the run that is done."""
    if training.steps is not None:
        return step / training.steps
    assert training.minutes is not None
    return min(1.0, seconds / (60 * training.minutes))


def _one_cycle(progress: float, warm_up: float) -> float:
    """Return the share of the highest learning rate: a linear rise, then half a cosine."""
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
