"""Train one boundary network, in intervals that can be stopped, saved and resumed.

All triples are z, y, x. Read from top to bottom: settings, what is trained on, the interval with
its loop, evaluation, patches. The whole state of a run is one plain dict (`start_training`), and
`train_interval` maps it to the state at the next evaluation, so a run that is saved and resumed
between intervals equals one that was not. With `steps` the same seed gives the same weights on the
same machine and number of threads; with `minutes` the number of steps depends on the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from predict.anisotropy import Spacing, is_strongly_anisotropic, validate_voxel_size
from predict.augmentation import IntensityChange, Symmetry, symmetries
from predict.blockwise import predict_volume
from predict.boundary_targets import boundary_targets
from predict.box import Box, Triple, whole
from predict.compute_device import ComputeDevice
from predict.folds import VolumeSplit
from predict.image_normalisation import ImageNormalisation, Sliceable
from predict.unet import CHANNELS, BoundaryUNet, UNetConfig

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BoundaryTraining:
    """Settings of a training run.

    Attributes:
        voxel_size_nm: z, y, x.
        minutes: wall time of training, evaluations included; None if `steps` is given.
        steps: number of steps, for runs that can be repeated exactly; None if `minutes` is given.
        seed: root of every random number.
        n_evaluations: the run is cut into so many intervals, each ending in an evaluation.
        patience: stop after so many evaluations without a lower validation loss.
        batch_voxels: about so many voxels a step, as as many patches as fit.
        patch_voxels: about so many voxels a patch.
        learning_rate: highest rate, reached after `warm_up`, then down to 0 along a cosine.
        warm_up: share of the run in which the rate rises.
        weight_decay: of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
        balance: 1 weighs both classes of a channel equally, 0 leaves them as frequent as they
            are; in between the weights are 1 / frequency^balance.
        intensity: changes of the grey values.
    """

    voxel_size_nm: Spacing
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    n_evaluations: int = 10
    patience: int = 4
    batch_voxels: int = 2 * 48**3
    patch_voxels: int = 48**3
    learning_rate: float = 3e-3
    warm_up: float = 0.1
    weight_decay: float = 1e-2
    balance: float = 0.5
    intensity: IntensityChange = field(default_factory=IntensityChange)

    def __post_init__(self) -> None:
        validate_voxel_size(self.voxel_size_nm)
        if (self.minutes is None) == (self.steps is None):
            raise InputError(
                f"give either minutes or steps, got {self.minutes} minutes and {self.steps} steps."
            )
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise InputError(f"minutes must be positive, got {self.minutes}.")
        if self.steps is not None and self.steps < self.n_evaluations:
            raise InputError(
                f"steps must be at least n_evaluations ({self.n_evaluations}), got {self.steps}."
            )
        for name in ("n_evaluations", "patience", "batch_voxels", "patch_voxels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class TrainingVolume:
    """One labelled volume and what may be learned from it.

    Attributes:
        image: (z, y, x) grey values, anything that can be sliced.
        labels: (z, y, x) integer.
        normalisation: of the image.
        split: where to train and to validate.
        zero_is_membrane: see `boundary_targets.zero_means_membrane`.
    """

    image: Sliceable
    labels: Sliceable
    normalisation: ImageNormalisation
    split: VolumeSplit
    zero_is_membrane: bool

    def __post_init__(self) -> None:
        if tuple(self.image.shape) != tuple(self.labels.shape):
            raise InputError(
                "image and labels must have the same shape, "
                f"got {tuple(self.image.shape)} and {tuple(self.labels.shape)}."
            )


def start_training(
    network_config: UNetConfig,
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
        network = BoundaryUNet(network_config)
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
    best = min(range(len(evaluations)), key=lambda i: evaluations[i]["val_loss"])
    since = len(evaluations) - 1 - best
    return len(evaluations) >= training.n_evaluations or since >= training.patience


def train_interval(
    state: State,
    network_config: UNetConfig,
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
    network = BoundaryUNet(network_config)
    network.load_state_dict(state["network"])
    network.to(device.torch_device, memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    if state["optimiser"] is not None:
        optimiser.load_state_dict(state["optimiser"])
    rng = np.random.default_rng()
    rng.bit_generator.state = state["rng"]
    sampler = PatchSampler(network_config, training, volumes)
    class_weights = state["class_weights"].to(device.torch_device)
    step, interval = state["step"], len(state["evaluations"]) + 1
    loss_sum, n_steps = torch.zeros((), device=device.torch_device), 0

    while True:
        seconds = state["seconds"] + time.perf_counter() - started
        progress = _progress(training, step, seconds)
        if n_steps > 0 and progress >= interval / training.n_evaluations:
            break
        for group in optimiser.param_groups:
            group["lr"] = training.learning_rate * _one_cycle(progress, training.warm_up)
        image, target, known = (
            torch.from_numpy(array).to(device.torch_device) for array in sampler.batch(rng)
        )
        with device.autocast():
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        loss = boundary_loss(logits.float(), target, known, class_weights)
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
    earlier = [evaluation["val_loss"] for evaluation in state["evaluations"]]
    is_best = not earlier or record["val_loss"] < min(earlier)
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
    network_config: UNetConfig,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    device: ComputeDevice,
    *,
    fold: int = 0,
    state: State | None = None,
    on_evaluation: Callable[[dict[str, float], State], None] | None = None,
) -> tuple[BoundaryUNet, State]:
    """Train a network to the end and return the weights with the lowest validation loss.

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
    network_config: UNetConfig, weights: dict[str, torch.Tensor], device: ComputeDevice
) -> BoundaryUNet:
    """Return a network with the given weights, in evaluation mode on a device."""
    network = BoundaryUNet(network_config)
    network.load_state_dict(weights)
    network.to(device.torch_device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network.eval()


def boundary_loss(
    logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, class_weights: torch.Tensor
) -> torch.Tensor:
    """Return the class-weighted binary cross-entropy, averaged over channels and known voxels.

    Args:
        logits: (n, 4, z, y, x) float.
        target: (n, 4, z, y, x) float, 0 or 1.
        known: (n, 4, z, y, x) float, 1 where the target is known.
        class_weights: (4, 2) float, weight of class 0 and 1 of every channel.
    """
    negative, positive = class_weights.T[:, None, :, None, None, None]
    weight = known * torch.lerp(negative, positive, target)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    over = (0, 2, 3, 4)
    n_known = known.sum(over)
    per_channel = (weight * losses).sum(over) / n_known.clamp(min=1)
    return per_channel.sum() / (n_known > 0).sum().clamp(min=1)


def evaluate_network(
    network: BoundaryUNet,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    class_weights: torch.Tensor,
    device: ComputeDevice,
) -> dict[str, float]:
    """Score a network on the validation boxes.

    Returns:
        val_loss (as in training), and val_auc and val_ap of the boundary map.
    """
    losses, sizes, scores, truths = [], [], [], []
    in_section = is_strongly_anisotropic(training.voxel_size_nm)
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
            target, known = boundary_targets(
                labels,
                zero_is_membrane=volume.zero_is_membrane,
                in_section=in_section or network.config.two_dimensional,
            )
            if network.config.two_dimensional:
                known[CHANNELS.index("affinity_z")] = False
            logits = torch.logit(torch.from_numpy(probability), eps=1e-6)
            arrays = (torch.from_numpy(target)[None], torch.from_numpy(known)[None].float())
            losses.append(float(boundary_loss(logits[None], *arrays, class_weights.cpu())))
            sizes.append(box.n_voxels)
            scores.append(probability[0][known[0]])
            truths.append(target[0][known[0]] > 0)
    ranking = score_boundaries(np.concatenate(scores), np.concatenate(truths))
    return {
        "val_loss": float(np.average(losses, weights=sizes)),
        "val_auc": ranking.auc,
        "val_ap": ranking.average_precision,
    }


class PatchSampler:
    """Draws batches of patches, augmented, from the training boxes of all volumes."""

    def __init__(
        self,
        network_config: UNetConfig,
        training: BoundaryTraining,
        volumes: Sequence[TrainingVolume],
    ) -> None:
        self.volumes = volumes
        self.training = training
        self.two_dimensional = network_config.two_dimensional
        self.symmetries = symmetries(training.voxel_size_nm, two_dimensional=self.two_dimensional)
        self.boxes = [(volume, box) for volume in volumes for box in volume.split.training]
        self.patch_shape = self._fit_patch(network_config.stride)
        n_voxels = whole(self.patch_shape).n_voxels
        self.n_patches = max(1, round(training.batch_voxels / n_voxels))
        placements = [self._placements(box, self.patch_shape) for _, box in self.boxes]
        self.chances = np.array(placements) / sum(placements)

    def batch(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], ...]:
        """Return image (n, 1, z, y, x), target and known (n, 4, z, y, x), all float32."""
        patches = [self.patch(rng) for _ in range(self.n_patches)]
        image, target, known = (np.stack(arrays) for arrays in zip(*patches, strict=True))
        return image[:, None], target, known.astype(np.float32)

    def patch(self, rng: np.random.Generator) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
        """Return image (z, y, x), target and known (4, z, y, x) of one augmented patch."""
        volume, box = self.boxes[int(rng.choice(len(self.boxes), p=self.chances))]
        symmetry = self.symmetries[int(rng.integers(len(self.symmetries)))]
        shape = symmetry.source_shape(self.patch_shape)
        z, y, x = (
            int(rng.integers(start, stop - extent + 1))
            for start, stop, extent in zip(box.start, box.stop, shape, strict=True)
        )
        place = Box((z, y, x), (z + shape[0], y + shape[1], x + shape[2]))
        image = volume.normalisation.apply(np.asarray(volume.image[place.slices]))
        image = symmetry.apply(self.training.intensity.apply(image, rng))
        target, known = self._targets(volume, place, symmetry)
        return np.ascontiguousarray(image), target, known

    def class_frequency(
        self, rng: np.random.Generator, n_batches: int = 16
    ) -> npt.NDArray[np.float64]:
        """Estimate how often the target of every channel is 1, (4,) float64, from patches."""
        positive, known_voxels = np.zeros(4), np.zeros(4)
        for _ in range(n_batches):
            _, target, known = self.batch(rng)
            positive += (target * known).sum((0, 2, 3, 4))
            known_voxels += known.sum((0, 2, 3, 4))
        if known_voxels[0] == 0:
            raise InputError("labels have no labelled voxel in the part to train on.")
        if positive[0] == 0:
            raise InputError("labels have no boundary in the part to train on.")
        return positive / np.maximum(known_voxels, 1)

    def _targets(self, volume: TrainingVolume, place: Box, symmetry: Symmetry):
        """Derive the targets of a patch from its labels and those one voxel around it."""
        rim = Box(
            (place.start[0] - 1, place.start[1] - 1, place.start[2] - 1),
            (place.stop[0] + 1, place.stop[1] + 1, place.stop[2] + 1),
        )
        inside = rim.intersect(whole(volume.labels.shape))
        labels = symmetry.apply(np.asarray(volume.labels[inside.slices]))
        in_section = is_strongly_anisotropic(self.training.voxel_size_nm) or self.two_dimensional
        target, known = boundary_targets(
            labels, zero_is_membrane=volume.zero_is_membrane, in_section=in_section
        )
        if self.two_dimensional:
            known[CHANNELS.index("affinity_z")] = False
        cut = []
        for axis, origin in enumerate(symmetry.order):
            before = place.start[origin] - inside.start[origin]
            after = inside.stop[origin] - place.stop[origin]
            first = after if symmetry.flips[axis] else before
            cut.append(slice(first, first + self.patch_shape[axis]))
        return target[:, *cut], known[:, *cut]

    def _fit_patch(self, stride: Triple) -> Triple:
        """Return the patch shape: a cube in nm of about `patch_voxels`, where the boxes allow.

        Axes that a symmetry exchanges get the same extent; every extent is a multiple of the
        stride.
        """
        size = np.array(self.training.voxel_size_nm)
        wanted = np.cbrt(self.training.patch_voxels * size.prod()) / size
        if self.two_dimensional:
            wanted = np.sqrt(self.training.patch_voxels * size[1:].prod()) / size
            wanted[0] = 1
        room = np.min([box.shape for _, box in self.boxes], axis=0)
        for symmetry in self.symmetries:
            room = np.minimum(room, room[list(symmetry.order)])
            wanted = np.minimum(wanted, wanted[list(symmetry.order)])
        extents = np.minimum(wanted.round(), room) // stride * stride
        extents = np.maximum(extents, np.where(room >= stride, stride, 0)).astype(int)
        if extents.min() < 1:
            raise InputError(
                f"labels leave only {tuple(int(r) for r in room)} voxels to train on, "
                f"but the network needs at least {stride}."
            )
        return int(extents[0]), int(extents[1]), int(extents[2])

    @staticmethod
    def _placements(box: Box, patch: Triple) -> int:
        return math.prod(
            extent - length + 1 for extent, length in zip(box.shape, patch, strict=True)
        )


def training_record(training: BoundaryTraining) -> dict[str, Any]:
    """Return the settings as plain values, for a model folder."""
    return asdict(training)


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
