"""Train one boundary network, in intervals that can be stopped, saved and resumed.

All triples are z, y, x. Read from top to bottom: the state, the interval with its loop,
evaluation. The whole state of a run is one plain dict (`start_training`), and
`train_interval` maps it to the state at the next evaluation, so a run that is saved and resumed
between intervals equals one that was not. With `steps` the same seed gives the same weights on the
same machine and number of threads; with `minutes` the number of steps depends on the clock.

What is evaluated and kept is a running mean of the weights (`BoundaryTraining.averaging`; Polyak &
Juditsky 1992, SIAM J. Control Optim. 30).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from predict.blockwise import DEFAULT_BLOCK, plan_blocks, predict_volume
from predict.blotc import warping_mismatches
from predict.boundary_loss import boundary_loss
from predict.boundary_network import CHANNELS, BoundaryNetwork, NetworkConfig
from predict.boundary_settings import BoundaryTraining
from predict.box import whole
from predict.compute_device import ComputeDevice
from predict.learning_rate import one_cycle
from predict.malis import malis_loss
from predict.training_loss import embedding_term, label_warp, training_loss, without_rim
from predict.training_patches import PatchSampler
from predict.training_volume import TrainingVolume, targets_in

State = dict[str, Any]

MAX_DRAWS = 100
"""Batches without any contrast that are drawn again before the image is given up."""


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
        "average": network.state_dict(),
        "optimiser": None,
        "rng": rng.bit_generator.state,
        "evaluations": [],
        "best_network": network.state_dict(),
    }


def is_finished(state: State, training: BoundaryTraining) -> bool:
    """Tell whether a run has had all its intervals or stopped getting better.

    A run does not stop before its structured loss has begun.
    """
    evaluations = state["evaluations"]
    if len(evaluations) >= training.n_evaluations:
        return True
    if not evaluations or (training.loss != "bce" and evaluations[-1]["structured"] == 0):
        return False
    return len(evaluations) - 1 - evaluations.index(best_evaluation(state)) >= training.patience


def best_evaluation(state: State) -> dict[str, float]:
    """Return the first evaluation with the highest merit, whose weights are kept."""
    return max(state["evaluations"], key=merit)


def merit(evaluation: dict[str, float]) -> tuple[bool, float]:
    """Return what evaluations are ranked by: the phase of the run, then the score of the phase.

    That is the average precision: the ranking of boundary voxels decides and not the cross-entropy,
    which a network that has grown too sure of itself loses while its map still gets better; nor
    MALIS, in which a few edges of the validation part decide. Labels that warp towards the output
    make the average precision a bad judge, so under BLOTC it is what that loss is to lower. Once a
    structured loss has begun, any evaluation from then on outranks those before, so that the
    weights kept are always of a network that the loss has trained.
    """
    has_begun = evaluation.get("structured", 0) > 0
    if has_begun and "val_warping" in evaluation:
        return True, -evaluation["val_warping"]
    return has_begun, evaluation["val_ap"]


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
    average = load_network(network_config, state["average"], device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    if state["optimiser"] is not None:
        optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))  # it keeps what it is given
    rng = np.random.default_rng()
    rng.bit_generator.state = state["rng"]
    sampler = PatchSampler(network_config, training, volumes)
    class_weights = state["class_weights"].to(device.torch_device)
    step, interval = state["step"], len(state["evaluations"]) + 1
    loss_sum, n_steps, n_structured = torch.zeros((), device=device.torch_device), 0, 0

    while True:
        seconds = state["seconds"] + time.perf_counter() - started
        progress = _progress(training, step, seconds)
        if n_steps > 0 and progress >= interval / training.n_evaluations:
            break
        for group in optimiser.param_groups:
            group["lr"] = training.learning_rate * one_cycle(progress, training.warm_up)
        image, *truth = batch_with_contrast(sampler, rng, device)
        structured = training.loss != "bce" and progress >= training.structured_start
        with device.autocast():
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        target, known, labels = (without_rim(array, network_config.lost_vox) for array in truth)
        loss = training_loss(
            *(logits.float(), target, known, labels, class_weights),
            network_config=network_config,
            training=training,
            structured=structured,
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step, n_steps, n_structured = step + 1, n_steps + 1, n_structured + structured
        _follow(average, network, min(training.averaging, step / (step + 10)))
        loss_sum += loss.detach()

    scores = evaluate_network(average, training, volumes, class_weights, device)
    seconds = state["seconds"] + time.perf_counter() - started
    record = {"step": step, "seconds": seconds, "loss": float(loss_sum) / n_steps, **scores}
    if training.loss != "bce":
        record["structured"] = n_structured / n_steps  # share of the steps of the interval
    kept = _weights(average)
    is_best = not state["evaluations"] or merit(record) > merit(best_evaluation(state))
    return {
        **state,
        "step": step,
        "seconds": seconds,
        "network": _weights(network),
        "average": kept,
        "optimiser": optimiser.state_dict(),
        "rng": rng.bit_generator.state,
        "evaluations": [*state["evaluations"], record],
        "best_network": kept if is_best else state["best_network"],
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
    """Train a network to the end and return the weights with the highest merit in validation.

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


def evaluate_network(
    network: BoundaryNetwork,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    class_weights: torch.Tensor,
    device: ComputeDevice,
) -> dict[str, float]:
    """Score a network on the validation boxes.

    Returns:
        val_loss (the cross-entropy of training), val_auc and val_ap of the boundary map, and where
        they are trained val_malis of the affinities, or val_warping: the share of voxels at which
        the boundary map differs from the labels warped towards it, as in training. Of a network
        with an embedding also val_embedding, the loss of that.
    """
    structured: list[float] = []
    embedded: list[float] = []
    losses, sizes, scores, truths = [], [], [], []
    for volume in volumes:
        for box in volume.split.validation:
            predicted = predict_volume(
                [network],
                volume.image,
                normalisation=volume.normalisation,
                device=device,
                region=box,
            )
            probability, embedding = np.split(predicted, [len(CHANNELS)])
            labels = np.asarray(volume.labels[box.slices])
            target, known = targets_in(
                labels, volume, training, network.config, volume.mask_in(box)
            )
            logits = torch.logit(torch.from_numpy(probability), eps=1e-6)
            arrays = (torch.from_numpy(target)[None], torch.from_numpy(known)[None].float())
            losses.append(float(boundary_loss(logits[None], *arrays, class_weights.cpu())))
            if training.loss == "malis":
                structured.append(malis_loss(probability[1:], labels, known[1:]).loss)
            elif training.loss == "blotc":
                warp = label_warp(network.config, training, class_weights)
                structured.append(warping_mismatches(probability[0], target, known, warp))
            if network.n_embedding > 0:
                embedded.append(_score_embedding(embedding, known, labels, training))
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
    name = {"bce": "", "malis": "val_malis", "blotc": "val_warping"}[training.loss]
    return {
        "val_loss": float(np.average(losses, weights=sizes)),
        "val_auc": ranking.auc,
        "val_ap": ranking.average_precision,
        **({name: float(np.average(structured, weights=sizes))} if structured else {}),
        **({"val_embedding": float(np.average(embedded, weights=sizes))} if embedded else {}),
    }


def _score_embedding(
    embedding: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.integer],
    training: BoundaryTraining,
) -> float:
    """Return the mean loss of an embedding over blocks, as no object is compared with all."""
    arrays = [
        torch.from_numpy(array)[None]
        for array in (embedding, known.astype(np.float32), labels.astype(np.int64))
    ]
    blocks = plan_blocks(whole(labels.shape), DEFAULT_BLOCK)
    losses = [
        float(embedding_term(*(array[..., *block.slices] for array in arrays), training=training))
        for block in blocks
    ]
    return float(np.average(losses, weights=[block.n_voxels for block in blocks]))


def batch_with_contrast(
    sampler: PatchSampler, rng: np.random.Generator, device: ComputeDevice
) -> list[torch.Tensor]:
    """Draw image, target, known and labels, of patches whose image is not constant.

    Batch normalisation divides what a missing section shows by a deviation of nothing. A step on
    one alone had four times the loss of its neighbours (1.1 and 0.26 on ISBI 2012), and the
    statistics moved with it.
    """
    for _ in range(MAX_DRAWS):
        batch = sampler.batch(rng)
        over = (1, 2, 3, 4)
        has_contrast = batch.image.max(over) > batch.image.min(over)
        if has_contrast.any():
            return [
                torch.from_numpy(array[has_contrast]).to(device.torch_device) for array in batch
            ]
    raise InputError(
        f"image is constant in the part to train on: {MAX_DRAWS} batches in a row had no contrast."
    )


@torch.no_grad()
def _follow(average: BoundaryNetwork, network: BoundaryNetwork, keep: float) -> None:
    """Move a running mean of weights, statistics included, towards the weights of a step."""
    for mean, value in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


def _weights(network: BoundaryNetwork) -> dict[str, torch.Tensor]:
    """Return copies of the weights, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _progress(training: BoundaryTraining, step: int, seconds: float) -> float:
    """Return the share of the run that is done."""
    if training.steps is not None:
        return step / training.steps
    assert training.minutes is not None
    return min(1.0, seconds / (60 * training.minutes))
