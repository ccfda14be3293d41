"""Train a boundary model with all its folds, and write its folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agglo.boundaries.dawmr_run import DawmrRun
from agglo.boundaries.dawmr_training import train_dawmr
from agglo.boundaries.model_folder import MODEL_VERSION, BoundaryModel, write_model
from agglo.boundaries.network_choice import BoundaryConfig, Model, network_for
from agglo.boundaries.network_training import share_out, train_networks
from agglo.boundaries.training_volumes import (
    fold_volumes,
    open_training_volumes,
    require_sections,
)
from agglo.cluster import choose_device
from agglo.run_folder import RunFolder
from agglo.volumes import VoxelSize
from predict import compute_device
from predict.boundary_settings import BoundaryTraining, Loss
from predict.boundary_training import best_evaluation
from predict.convnet import ConvNetConfig
from predict.dawmr import DawmrConfig
from predict.dawmr_examples import ExampleSettings, cube_shape
from predict.image_normalisation import measure_normalisation, normalisation_for
from predict.training_patches import PatchSampler
from predict.training_volume import require_learnable
from predict.unet import UNetConfig


def train_boundaries(
    images: Sequence[str],
    labels: Sequence[str],
    out: Path | str,
    config: BoundaryConfig | None = None,
    *,
    masks: Sequence[str] = (),
    model: Model = "unet",
    loss: Loss = "bce",
    voxel_size_nm: VoxelSize | None = None,
    device: compute_device.DeviceName = "auto",
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
) -> BoundaryModel:
    """Train a boundary model and write its folder; a Ray session must have been joined.

    Args:
        images: addresses of the images.
        labels: addresses of their labels, in the same order.
        out: the model folder.
        config: what the model depends on.
        masks: addresses of their masks, in the same order, or none; nothing is known where one
            is 0.
        model: `unet`, `convnet` or `dawmr`.
        loss: `bce` is class-balanced cross-entropy of boundary map and affinities, and so is
            `blotc` against labels whose borders it moves; `malis` adds constrained MALIS on the
            affinities in the second half.
        voxel_size_nm: for files that state none.
        device: where to compute.
        resume: go on with an unfinished folder of the same configuration and volumes.
        overwrite: replace a folder that exists.
        tensorboard: write the records for TensorBoard too.
        on_evaluation: called with every record of metrics.jsonl.

    Raises:
        InputError: see the sentence.
    """
    config = BoundaryConfig() if config is None else config
    volumes, size = open_training_volumes(
        images,
        labels,
        masks,
        zero_is_membrane=config.zero_is_membrane,
        voxel_size_nm=voxel_size_nm,
    )
    if not config.two_dimensional:
        require_sections(volumes)
    chosen = choose_device(device)
    network = network_for(model, loss, size, config)
    training = settings_of(config, network, size, loss, share_out(config.folds, chosen).n_actors)
    examples = ExampleSettings()
    normalisation = measure_normalisation(volumes[0].image)
    described = [
        (normalisation_for(volume.image, normalisation), volume.zero_is_membrane)
        for volume in volumes
    ]
    arrays = [array for one in volumes for array in (one.image, one.labels, one.mask)]
    for fold in range(config.folds):  # what does not fit is said before anything is started
        seen = fold_volumes(arrays, described, config.folds, fold)
        if isinstance(network, DawmrConfig):
            cube_shape(network, training, seen, examples.cube_voxels)
        else:
            PatchSampler(network, training, seen)
        require_learnable(seen, training, network)
    described_run = {
        "command": "boundaries train",
        "model_version": MODEL_VERSION,  # checkpoints of another one hold other weights
        **asdict(config),
        "model": model,
        "loss": loss,
        "volumes": [asdict(volume.record) for volume in volumes],
        "voxel_size_nm": size,
    }
    with RunFolder.create(out, described_run, resume=resume, overwrite=overwrite) as run:
        if tensorboard:
            run.write_events()
        if isinstance(network, DawmrConfig):
            sources = [volume.sources for volume in volumes]
            work = DawmrRun(
                *(run, network, training, config.folds, sources, described, chosen, examples)
            )
            weights, scores = train_dawmr(work, on_evaluation=on_evaluation)
        else:
            states = train_networks(
                *(run, network, training, config.folds, chosen, described, arrays, on_evaluation)
            )
            weights = [state["best_network"] for state in states]
            scores = [best_evaluation(state) for state in states]
        trained = BoundaryModel(
            network=network,
            voxel_size_nm=size,
            normalisation=normalisation,
            volumes=tuple(volume.record for volume in volumes),
            scores=tuple(scores),
            weights=tuple(weights),
            loss=loss,
            training=asdict(training),
        )
        write_model(run.path, trained)
    return trained


def settings_of(
    config: BoundaryConfig,
    network: UNetConfig | ConvNetConfig | DawmrConfig,
    size: VoxelSize,
    loss: Loss,
    n_at_a_time: int,
) -> BoundaryTraining:
    """Return the settings of the training of one fold, or of one iteration of one.

    Args:
        config: minutes of everything together, or steps.
        network: what is trained.
        size: of the voxels.
        loss: what is minimised.
        n_at_a_time: folds that are trained beside each other.
    """
    own: dict[str, Any] = {}
    if isinstance(network, DawmrConfig):
        n_turns = config.folds * len(network.iterations)
        own = {"n_evaluations": 4, "learning_rate": 2e-3}
    else:
        n_turns = math.ceil(config.folds / n_at_a_time)
    by_clock = config.minutes is not None and config.steps is None
    return BoundaryTraining(
        size,
        minutes=config.minutes / n_turns if config.minutes is not None and by_clock else None,
        steps=config.steps,
        seed=config.seed,
        loss=loss,
        **own,
    )
