"""Train a boundary model with all its folds on Ray.

The driver reads the volumes once and puts them into the object store; an actor trains one fold up
to its next evaluation and gives the whole state back, so an actor that dies costs one interval
and a run goes on from its last checkpoint. All folds advance together.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import ray
import torch

from agglo.boundaries.model_folder import (
    BoundaryModel,
    TrainedOn,
    fingerprint,
    write_model,
)
from agglo.cluster import choose_device
from agglo.pool import ActorPool
from agglo.run_folder import RunFolder
from agglo.volumes import VoxelSize, open_volume, require_same_shape, require_volume
from analysis.input_error import InputError
from predict import compute_device
from predict.anisotropy import is_strongly_anisotropic
from predict.augmentation import SAME_SIZE
from predict.boundary_network import AffinityBoundary
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import zero_means_membrane
from predict.boundary_training import (
    State,
    best_evaluation,
    is_finished,
    start_training,
    train_interval,
)
from predict.convnet import ConvNetConfig
from predict.folds import split_volume
from predict.image_normalisation import (
    ImageNormalisation,
    measure_normalisation,
    normalisation_for,
)
from predict.training_patches import PatchSampler, TrainingVolume
from predict.unet import UNetConfig

MAX_THREADS = 8
"""More threads than this do not make a small network faster."""

Model = Literal["unet", "convnet"]

Loss = Literal["bce", "malis"]

WIDTHS: dict[Model, tuple[int, ...]] = {"unet": (16, 32, 64), "convnet": (12, 12, 12)}
"""Channels of each level of a U-Net, and of each hidden layer of a ConvNet, by default."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BoundaryConfig:
    """What a boundary model depends on, beside its volumes."""

    folds: int = 2
    """models trained; each leaves out one part of every volume, which it can predict out of fold"""
    minutes: float | None = 10.0
    """wall time of all folds together"""
    steps: int | None = None
    """steps of each fold instead of minutes, for a run that can be repeated exactly"""
    widths: tuple[int, ...] | None = None
    """channels of each level or hidden layer; None: 16 32 64 of a unet, 12 12 12 of a convnet"""
    two_dimensional: bool = False
    """train on every section alone"""
    zero_is_membrane: bool | None = None
    """whether label 0 is membrane (else not labelled); None decides by what the labels touch"""
    seed: int = 0
    """seed of initial weights, patches and augmentation"""


@dataclass(frozen=True, slots=True)
class OpenedVolume:
    """A volume to train on, read and described.

    Attributes:
        image: (z, y, x) grey values.
        labels: (z, y, x) uint64.
        zero_is_membrane: what label 0 means.
        record: what the model folder says of it.
    """

    image: npt.NDArray[Any]
    labels: npt.NDArray[np.uint64]
    zero_is_membrane: bool
    record: TrainedOn


class FoldTrainer:
    """Train folds, an interval at a time, in an actor."""

    def __init__(
        self,
        network: UNetConfig | ConvNetConfig,
        training: BoundaryTraining,
        n_folds: int,
        device: compute_device.DeviceName,
        n_threads: int,
        described: Sequence[tuple[ImageNormalisation, bool]],
        *arrays: npt.NDArray[Any],
    ) -> None:
        """Take image, labels, image, labels, … of the volumes that `described` describes."""
        torch.set_num_threads(n_threads)
        self.network, self.training, self.n_folds = network, training, n_folds
        self.device = compute_device.choose_device(device)
        self.described, self.arrays = described, arrays

    def advance(self, fold: int, saved: bytes | None) -> bytes:
        """Train a fold up to its next evaluation; take and give back its saved state."""
        network, training = self.network, self.training
        volumes = fold_volumes(self.arrays, self.described, self.n_folds, fold)
        state = (
            load_state(saved) if saved else start_training(network, training, volumes, fold=fold)
        )
        return save_state(train_interval(state, network, training, volumes, self.device))


def fold_volumes(
    arrays: Sequence[npt.NDArray[Any]],
    described: Sequence[tuple[ImageNormalisation, bool]],
    n_folds: int,
    fold: int,
) -> list[TrainingVolume]:
    """Return the volumes with the split of a fold.

    Args:
        arrays: image, labels, image, labels, …, each (z, y, x).
        described: normalisation of each volume, and whether its label 0 is membrane.
        n_folds: number of folds.
        fold: index of the fold.
    """
    return [
        TrainingVolume(image, labels, *known, split=split_volume(image.shape, n_folds, fold))
        for image, labels, known in zip(arrays[::2], arrays[1::2], described, strict=True)
    ]


def train_boundaries(
    images: Sequence[str],
    labels: Sequence[str],
    out: Path | str,
    config: BoundaryConfig | None = None,
    *,
    model: Model = "unet",
    loss: Loss = "bce",
    voxel_size_nm: VoxelSize | None = None,
    device: compute_device.DeviceName = "auto",
    resume: bool = False,
    overwrite: bool = False,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
) -> BoundaryModel:
    """Train a boundary model and write its folder; a Ray session must have been joined.

    Args:
        images: addresses of the images.
        labels: addresses of their labels, in the same order.
        out: the model folder.
        config: what the model depends on.
        model: `unet` or `convnet`, which predicts affinities alone.
        loss: `bce` is class-balanced cross-entropy, which trains a U-Net's boundary map too;
            `malis` trains affinities alone, with constrained MALIS added in the second half.
        voxel_size_nm: for files that state none.
        device: where to compute.
        resume: go on with an unfinished folder of the same configuration and volumes.
        overwrite: replace a folder that exists.
        on_evaluation: called with every record of metrics.jsonl.

    Raises:
        InputError: see the sentence.
    """
    config = BoundaryConfig() if config is None else config
    volumes, size = open_training_volumes(images, labels, config, voxel_size_nm)
    chosen = choose_device(device)
    n_actors, n_threads = _share_out(config.folds, chosen)
    training = BoundaryTraining(
        size,
        minutes=_minutes_each(config, n_actors),
        steps=config.steps,
        seed=config.seed,
        loss=loss,
    )
    network = network_for(model, loss, volumes, size, config)
    normalisation = measure_normalisation(volumes[0].image)
    described = [
        (normalisation_for(volume.image, normalisation), volume.zero_is_membrane)
        for volume in volumes
    ]
    arrays = [array for one in volumes for array in (one.image, one.labels)]
    for fold in range(config.folds):  # what does not fit is said before anything is started
        PatchSampler(network, training, fold_volumes(arrays, described, config.folds, fold))
    logger.info(
        "training %d folds, %d at a time with %d threads each, on %s",
        *(config.folds, n_actors, n_threads),
        compute_device.choose_device("cpu").description if chosen == "cpu" else "GPU",
    )
    described_run = {
        "command": "boundaries train",
        **asdict(config),
        "model": model,
        "loss": loss,
        "volumes": [asdict(volume.record) for volume in volumes],
        "voxel_size_nm": size,
    }
    with RunFolder.create(out, described_run, resume=resume, overwrite=overwrite) as run:
        references = [ray.put(array) for array in arrays]
        arguments = (network, training, config.folds, chosen, n_threads, described, *references)
        n_gpus = 1 if chosen == "cuda" else 0
        with ActorPool(
            FoldTrainer, arguments, n_actors=n_actors, num_cpus=n_threads, num_gpus=n_gpus
        ) as pool:
            states = _train(pool, run, config.folds, training, on_evaluation)
        trained = BoundaryModel(
            network=network,
            voxel_size_nm=size,
            normalisation=normalisation,
            volumes=tuple(volume.record for volume in volumes),
            scores=tuple(best_evaluation(state) for state in states),
            weights=tuple(state["best_network"] for state in states),
            loss=loss,
        )
        write_model(run.path, trained)
    return trained


def network_for(
    model: Model,
    loss: Loss,
    volumes: Sequence[OpenedVolume],
    size: VoxelSize,
    config: BoundaryConfig,
) -> UNetConfig | ConvNetConfig:
    """Return the shape of the network; a boundary map is made of affinities as the labels draw it.

    Args:
        model: kind of network.
        loss: what is minimised; only cross-entropy trains a boundary channel.
        volumes: whether 0 is membrane in them.
        size: of their voxels.
        config: widths, and whether sections stand alone.
    """
    if model not in WIDTHS:
        raise InputError(f"--model: it must be unet or convnet, got {model!r}.")
    widths = WIDTHS[model] if config.widths is None else config.widths
    boundary = AffinityBoundary(
        take="mean" if any(volume.zero_is_membrane for volume in volumes) else "least",
        in_section=config.two_dimensional or is_strongly_anisotropic(size),
    )
    flat = config.two_dimensional
    if model == "convnet":
        return ConvNetConfig.for_voxel_size(
            size, boundary=boundary, widths=widths, two_dimensional=flat
        )
    return UNetConfig.for_voxel_size(
        size,
        widths=widths,
        two_dimensional=flat,
        boundary=boundary if loss == "malis" else None,
    )


def open_training_volumes(
    images: Sequence[str],
    labels: Sequence[str],
    config: BoundaryConfig,
    voxel_size_nm: VoxelSize | None,
) -> tuple[list[OpenedVolume], VoxelSize]:
    """Read and check the volumes, and return them with their common voxel size."""
    if len(images) != len(labels) or not images:
        raise InputError(
            "--image and --labels must name equally many volumes, at least one; seen "
            f"{len(images)} and {len(labels)}."
        )
    opened: list[OpenedVolume] = []
    sizes: list[VoxelSize] = []
    for image_text, labels_text in zip(images, labels, strict=True):
        image = open_volume(image_text, argument="--image", voxel_size_nm=voxel_size_nm)
        truth = open_volume(labels_text, argument="--labels", voxel_size_nm=voxel_size_nm)
        require_same_shape({"--image": image, "--labels": truth})
        size = image.voxel_size_nm or truth.voxel_size_nm
        if size is None:
            raise InputError(f"--voxel-size-nm is needed, because {image_text} states none.")
        grey = require_volume(image, "--image", "image")
        neurons = np.asarray(require_volume(truth, "--labels", "labels"), np.uint64)
        depth, height, width = grey.shape
        record = TrainedOn(
            str(image.address.absolute()),
            str(truth.address.absolute()),
            (depth, height, width),
            fingerprint(image),
        )
        membrane = config.zero_is_membrane
        if membrane is None:
            membrane = zero_means_membrane(neurons)
        logger.info(
            "%s: label 0 is taken for %s", labels_text, "membrane" if membrane else "not labelled"
        )
        opened.append(OpenedVolume(grey, neurons, membrane, record))
        sizes.append(size)
    for text, size in zip(images, sizes, strict=True):
        if any(max(a, b) > SAME_SIZE * min(a, b) for a, b in zip(size, sizes[0], strict=True)):
            raise InputError(
                f"--image: {text} has voxels of {size} nm and {images[0]} of {sizes[0]} nm; "
                "one model needs equal voxels."
            )
    return opened, sizes[0]


def save_state(state: State) -> bytes:
    """Return a training state as bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load_state(saved: bytes) -> State:
    """Return the training state that `save_state` saved."""
    return torch.load(io.BytesIO(saved), weights_only=True, map_location="cpu")


def _train(
    pool: ActorPool,
    run: RunFolder,
    n_folds: int,
    training: BoundaryTraining,
    on_evaluation: Callable[[dict[str, Any]], None] | None,
) -> list[State]:
    """Advance all folds until each is finished; log and checkpoint every round."""
    saved: dict[int, bytes | None] = dict.fromkeys(range(n_folds))
    checkpoint = run.latest_checkpoint()
    n_rounds = 0
    if checkpoint is not None:
        n_rounds = checkpoint.round_index + 1
        saved = {fold: checkpoint.state[f"fold_{fold}"].tobytes() for fold in saved}
    while unfinished := [
        fold
        for fold, state in saved.items()
        if state is None or not is_finished(load_state(state), training)
    ]:
        tasks = [(fold, (fold, saved[fold])) for fold in unfinished]
        for fold, state in pool.run("advance", tasks):
            saved[fold] = state
            record = {"fold": fold, **load_state(state)["evaluations"][-1]}
            run.log(record)
            if on_evaluation is not None:
                on_evaluation(record)
        whole = {fold: state for fold, state in saved.items() if state is not None}
        run.save_checkpoint(
            n_rounds,
            {f"fold_{fold}": np.frombuffer(state, np.uint8) for fold, state in whole.items()},
        )
        n_rounds += 1
    return [load_state(state) for state in saved.values() if state is not None]


def _minutes_each(config: BoundaryConfig, n_actors: int) -> float | None:
    """Return the minutes of one fold: folds that wait for others share the time."""
    if config.minutes is None or config.steps is not None:
        return None
    return config.minutes / math.ceil(config.folds / n_actors)


def _share_out(n_folds: int, device: str) -> tuple[int, int]:
    """Return how many folds train at a time, and with how many threads each."""
    if n_folds < 1:
        raise InputError(f"--folds: at least 1 is needed, {n_folds} asked for.")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if device == "cuda":
        n_gpus = sum(math.floor(node.get("GPU", 0)) for node in nodes)
        return min(n_folds, n_gpus), 1
    cpus = [math.floor(node.get("CPU", 0)) for node in nodes]
    n_actors = max(1, min(n_folds, sum(cpus)))
    fitting = [
        threads
        for threads in range(1, MAX_THREADS + 1)
        if sum(n_cpus // threads for n_cpus in cpus) >= n_actors
    ]
    return n_actors, max(fitting, default=1)
