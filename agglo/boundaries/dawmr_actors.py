"""The actors of a DAWMR training: many that read the volumes, and one that trains the heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from agglo.boundaries.saved_state import load_state, save_state
from agglo.volumes import BlockHandle, Volume, open_volume
from predict import compute_device
from predict.boundary_settings import BoundaryTraining
from predict.box import Box, Triple
from predict.cross_fitting import assign_heads, cut_training_boxes
from predict.dawmr import DawmrConfig, DawmrStage
from predict.dawmr_examples import (
    Examples,
    ExampleSampler,
    ExampleSettings,
    known_targets,
)
from predict.dawmr_features import DawmrFeatures
from predict.dawmr_heads import HeadTrainer
from predict.dawmr_stage_maps import assigned_affinities, stage_logits
from predict.error_density import error_density
from predict.folds import split_volume
from predict.image_normalisation import ImageNormalisation
from predict.recursion_volume import RecursionVolume
from predict.training_volume import TrainingVolume

ERRORS = "errors"
"""Name of the error densities inside a volume of affinities: `V.zarr:errors`, (z, y, x)."""

ERROR_RADIUS_NM = 40.0
"""Errors are counted in boxes that reach so far from a voxel, at least one voxel in the plane."""


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration of one fold, as the actors need to know it.

    Attributes:
        fold: index of the model.
        index: of the iteration.
        filters: buffers of its `DawmrFeatures`; None before they are learned.
        before: address of the affinities of the iteration before, of every volume; empty in the
            first.
        mean_errors: mean density of their errors, of every volume.
    """

    fold: int
    index: int
    filters: dict[str, torch.Tensor] | None
    before: tuple[str, ...]
    mean_errors: tuple[float, ...]


class ErrorCount(NamedTuple):
    """Sum of the density of errors over the voxels with known edges, and their number."""

    total: float
    n_voxels: int


class Validation(NamedTuple):
    """What a head says of a box kept for validation, known voxels and edges only."""

    logits: tuple[npt.NDArray[np.float32], ...]  # of every channel, (m_c,) each
    targets: tuple[npt.NDArray[np.float32], ...]  # the same shapes


class FeatureActor:
    """Read volumes and make dictionaries, examples and affinities; keeps nothing but caches."""

    def __init__(
        self,
        network: DawmrConfig,
        training: BoundaryTraining,
        n_folds: int,
        given: Sequence[tuple[Volume, Volume, Volume | None]],
        described: Sequence[tuple[ImageNormalisation, bool]],
        examples: ExampleSettings,
    ) -> None:
        """Take image, labels and mask of every volume, and what is known of it."""
        torch.set_num_threads(1)
        self.network, self.training, self.n_folds = network, training, n_folds
        self.given, self.described, self.settings = given, described, examples
        self.device = compute_device.choose_device("cpu")
        self._cached: tuple[Any, ExampleSampler] | None = None

    def learn_filters(
        self, iteration: Iteration, scale: int, channel: int
    ) -> npt.NDArray[np.float32]:
        """Learn a dictionary; see `ExampleSampler.learn_filters`."""
        return self._sampler(iteration).learn_filters(scale, channel)

    def examples(self, iteration: Iteration, batch: int) -> Examples:
        """Make a batch of examples."""
        return self._sampler(iteration).examples(batch)

    def whole_cube(self, iteration: Iteration, batch: int) -> Examples:
        """Make a batch of all voxels of a cube."""
        return self._sampler(iteration).whole_cube(batch)

    def validate(
        self,
        iteration: Iteration,
        weights: dict[str, torch.Tensor],
        volume: int,
        box: Box,
    ) -> Validation:
        """Apply a head to a box of a volume and return it beside the truth."""
        one = self._sampler(iteration).volumes[volume]
        logits = stage_logits(
            self._stage(iteration, weights),
            one.volume.image,
            one.affinities,
            box,
            normalisation=one.volume.normalisation,
            device=self.device,
        )
        target, known = known_targets(one.volume, box, self.training, self.network)
        return Validation(
            tuple(logit[seen] for logit, seen in zip(logits, known, strict=True)),
            tuple(truth[seen] for truth, seen in zip(target, known, strict=True)),
        )

    def write(
        self,
        iteration: Iteration,
        heads: list[dict[str, torch.Tensor]],
        volume: int,
        block: Box,
        output: BlockHandle,
    ) -> ErrorCount:
        """Predict a block, each part by the head that saw none of its labels, and write it."""
        one = self._sampler(iteration).volumes[volume]
        z, y, x = one.volume.image.shape
        affinities = assigned_affinities(
            [self._stage(iteration, weights) for weights in heads],
            assign_heads((z, y, x), cut_training_boxes(one.volume.split.training)),
            one.volume.image,
            one.affinities,
            block,
            normalisation=one.volume.normalisation,
            device=self.device,
        )
        if self.network.two_dimensional:
            affinities[0] = 0
        target, known = known_targets(one.volume, block, self.training, self.network)
        density = error_density(affinities, target[1:], known[1:], radius_vox=self._error_radius())
        output.write((0, *block.start), affinities.astype(np.float16))
        output.write(block.start, density.astype(np.float16), ERRORS)
        trains = np.zeros(block.shape, bool)
        for box in one.volume.split.training:
            common = block.intersect(box)
            if common.n_voxels > 0:
                trains[common.slices_in(block)] = True
        trains &= known[1:].any(axis=0)
        return ErrorCount(float(density[trains].sum(dtype=np.float64)), int(trains.sum()))

    def _sampler(self, iteration: Iteration) -> ExampleSampler:
        """Return the sampler of an iteration, the same one as long as the iteration is the same."""
        key = (iteration.fold, iteration.index, iteration.filters is None)
        if self._cached is None or self._cached[0] != key:
            features = DawmrFeatures(self.network.iterations[iteration.index])
            if iteration.filters is not None:
                features.load_state_dict(iteration.filters)
            volumes = recursion_volumes(self.given, self.described, self.n_folds, iteration)
            sampler = ExampleSampler(
                *(self.network, iteration.index, features, self.training, volumes, self.device),
                fold=iteration.fold,
                examples=self.settings,
            )
            self._cached = (key, sampler)
        return self._cached[1]

    def _stage(self, iteration: Iteration, weights: dict[str, torch.Tensor]) -> DawmrStage:
        """Return a stage with dictionaries, standardisation and a head."""
        stage = self.network.build_stage(iteration.index)
        assert iteration.filters is not None
        stage.features.load_state_dict(iteration.filters)
        stage.load_state_dict(weights, strict=False)
        return stage.eval()

    def _error_radius(self) -> Triple:
        z, y, x = (int(ERROR_RADIUS_NM / size) for size in self.training.voxel_size_nm)
        return (0 if self.network.two_dimensional else z), max(1, y), max(1, x)


class HeadActor:
    """Hold the trainer of the heads of an iteration between two saved states."""

    def __init__(
        self,
        network: DawmrConfig,
        training: BoundaryTraining,
        device: compute_device.DeviceName,
        n_threads: int,
    ) -> None:
        """Take what is the same for all iterations."""
        torch.set_num_threads(n_threads)
        self.network, self.training = network, training
        self.device = compute_device.choose_device(device)
        self._trainer: HeadTrainer | None = None
        self._loss, self._n_steps = 0.0, 0

    def begin(
        self, fold: int, iteration: int, standard: dict[str, torch.Tensor], saved: bytes
    ) -> None:
        """Go on from a saved state."""
        state = load_state(saved)
        self._trainer = HeadTrainer(
            *(self.network, iteration, self.training, self.device, standard, state), fold=fold
        )
        self._loss, self._n_steps = 0.0, 0

    def step(self, examples: Examples, progress: float) -> None:
        """Take a step."""
        assert self._trainer is not None
        self._loss += self._trainer.step(examples, progress)
        self._n_steps += 1

    def end(self) -> tuple[bytes, float]:
        """Return the state and the mean loss since `begin`."""
        assert self._trainer is not None
        return save_state(self._trainer.state()), self._loss / max(1, self._n_steps)


def recursion_volumes(
    given: Sequence[tuple[Volume, Volume, Volume | None]],
    described: Sequence[tuple[ImageNormalisation, bool]],
    n_folds: int,
    iteration: Iteration,
) -> list[RecursionVolume]:
    """Return the volumes as an iteration of a fold sees them.

    Args:
        given: image, labels and mask of every volume.
        described: normalisation of each, and whether its label 0 is membrane.
        n_folds: number of models.
        iteration: which one.
    """
    volumes = []
    for index, ((image, labels, mask), (normalisation, zero_is_membrane)) in enumerate(
        zip(given, described, strict=True)
    ):
        z, y, x = image.shape
        volume = TrainingVolume(
            image,
            labels,
            normalisation,
            zero_is_membrane,
            split=split_volume((z, y, x), n_folds, iteration.fold),
            mask=mask,
        )
        if not iteration.before:
            volumes.append(RecursionVolume(volume))
            continue
        address = iteration.before[index]
        volumes.append(
            RecursionVolume(
                volume,
                open_volume(address, argument="--out"),
                open_volume(f"{address}:{ERRORS}", argument="--out"),
                iteration.mean_errors[index],
            )
        )
    return volumes


def validation_boxes(shapes: Sequence[Triple], n_folds: int, fold: int) -> list[tuple[int, Box]]:
    """Return the boxes kept for validation with the number of their volume."""
    return [
        (index, box)
        for index, shape in enumerate(shapes)
        for box in split_volume(shape, n_folds, fold).validation
    ]
