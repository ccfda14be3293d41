"""Labelled volumes and the augmented patches that are drawn from them.

All triples are z, y, x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.anisotropy import is_strongly_anisotropic
from predict.augmentation import Symmetry, symmetries
from predict.boundary_network import CHANNELS, NetworkConfig
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import BoundaryTargets, boundary_targets
from predict.box import Box, Triple, whole
from predict.folds import VolumeSplit
from predict.image_normalisation import ImageNormalisation, Sliceable


@dataclass(frozen=True, slots=True)
class TrainingVolume:
    """One labelled volume and what may be learned from it.

    Attributes:
        image: (z, y, x) grey values, anything that can be sliced.
        labels: (z, y, x) integer.
        normalisation: of the image.
        zero_is_membrane: see `boundary_targets.zero_means_membrane`.
        split: where to train and to validate.
    """

    image: Sliceable
    labels: Sliceable
    normalisation: ImageNormalisation
    zero_is_membrane: bool
    split: VolumeSplit

    def __post_init__(self) -> None:
        if tuple(self.image.shape) != tuple(self.labels.shape):
            raise InputError(
                "image and labels must have the same shape, "
                f"got {tuple(self.image.shape)} and {tuple(self.labels.shape)}."
            )


class Patch(NamedTuple):
    """One augmented patch, or a batch of them with a first axis n, and of the image a second."""

    image: npt.NDArray[np.float32]  # (z, y, x)
    target: npt.NDArray[np.float32]  # (4, z, y, x)
    known: npt.NDArray[Any]  # (4, z, y, x) bool; of a batch float32
    labels: npt.NDArray[np.int64]  # (z, y, x)


def targets_in(
    labels: npt.NDArray[np.integer],
    volume: TrainingVolume,
    training: BoundaryTraining,
    network_config: NetworkConfig,
) -> BoundaryTargets:
    """Return the targets of a part of a volume, as the voxel size and the network want them.

    Args:
        labels: (z, y, x) integer, a part of the volume's labels.
        volume: says whether 0 is membrane.
        training: says whether sections are so thick that boundaries are drawn within them.
        network_config: a two-dimensional network is asked nothing about the next section.
    """
    flat = network_config.two_dimensional
    target, known = boundary_targets(
        labels,
        zero_is_membrane=volume.zero_is_membrane,
        in_section=flat or is_strongly_anisotropic(training.voxel_size_nm),
    )
    if flat:
        known[CHANNELS.index("affinity_z")] = False
    return BoundaryTargets(target, known)


class PatchSampler:
    """Draws batches of patches, augmented, from the training boxes of all volumes."""

    def __init__(
        self,
        network_config: NetworkConfig,
        training: BoundaryTraining,
        volumes: Sequence[TrainingVolume],
    ) -> None:
        self.volumes = volumes
        self.training = training
        self.network_config = network_config
        self.symmetries = symmetries(
            training.voxel_size_nm, two_dimensional=network_config.two_dimensional
        )
        self.boxes = [(volume, box) for volume in volumes for box in volume.split.training]
        self.patch_shape = self._fit_patch(network_config.stride, network_config.lost_vox)
        n_voxels = whole(self.patch_shape).n_voxels
        self.n_patches = max(1, round(training.batch_voxels / n_voxels))
        placements = [self._placements(box, self.patch_shape) for _, box in self.boxes]
        self.chances = np.array(placements) / sum(placements)

    def batch(self, rng: np.random.Generator) -> Patch:
        """Return image (n, 1, z, y, x), target, known (n, 4, z, y, x) and labels (n, z, y, x)."""
        patches = [self.patch(rng) for _ in range(self.n_patches)]
        image, target, known, labels = (np.stack(arrays) for arrays in zip(*patches, strict=True))
        return Patch(image[:, None], target, known.astype(np.float32), labels)

    def patch(self, rng: np.random.Generator) -> Patch:
        """Return one augmented patch."""
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
        target, known, labels = self._targets(volume, place, symmetry)
        return Patch(np.ascontiguousarray(image), target, known, labels)

    def class_frequency(
        self, rng: np.random.Generator, n_batches: int = 16
    ) -> npt.NDArray[np.float64]:
        """Estimate how often the target of every channel is 1, (4,) float64, from patches."""
        positive, known_voxels = np.zeros(4), np.zeros(4)
        for _ in range(n_batches):
            _, target, known, _ = self.batch(rng)
            positive += (target * known).sum((0, 2, 3, 4))
            known_voxels += known.sum((0, 2, 3, 4))
        if known_voxels[0] == 0:
            raise InputError("labels have no labelled voxel in the part to train on.")
        if positive[0] == 0:
            raise InputError("labels have no boundary in the part to train on.")
        return positive / np.maximum(known_voxels, 1)

    def _targets(
        self, volume: TrainingVolume, place: Box, symmetry: Symmetry
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Derive the targets of a patch from its labels and those one voxel around it."""
        rim = Box(
            (place.start[0] - 1, place.start[1] - 1, place.start[2] - 1),
            (place.stop[0] + 1, place.stop[1] + 1, place.stop[2] + 1),
        )
        inside = rim.intersect(whole(volume.labels.shape))
        labels = symmetry.apply(np.asarray(volume.labels[inside.slices]))
        target, known = targets_in(labels, volume, self.training, self.network_config)
        cut = []
        for axis, origin in enumerate(symmetry.order):
            before = place.start[origin] - inside.start[origin]
            after = inside.stop[origin] - place.stop[origin]
            first = after if symmetry.flips[axis] else before
            cut.append(slice(first, first + self.patch_shape[axis]))
        return target[:, *cut], known[:, *cut], labels[tuple(cut)].astype(np.int64)

    def _fit_patch(self, stride: Triple, lost: Triple) -> Triple:
        """Return the patch shape: a cube in nm of about `patch_voxels`, where the boxes allow.

        Axes that a symmetry exchanges get the same extent; every extent is a multiple of the
        stride. What a network loses at its borders is added on.
        """
        size = np.array(self.training.voxel_size_nm)
        wanted = np.cbrt(self.training.patch_voxels * size.prod()) / size
        if self.network_config.two_dimensional:
            wanted = np.sqrt(self.training.patch_voxels * size[1:].prod()) / size
            wanted[0] = 1
        rim = 2 * np.array(lost)
        room = np.array([box.shape for _, box in self.boxes]).min(axis=0)
        for symmetry in self.symmetries:
            room = np.minimum(room, room[list(symmetry.order)])
            wanted = np.minimum(wanted, wanted[list(symmetry.order)])
        least = stride + rim
        extents = np.minimum(wanted.round() + rim, room) // stride * stride
        extents = np.maximum(extents, np.where(room >= least, least, 0)).astype(int)
        if (extents < least).any():
            raise InputError(
                f"labels leave only {tuple(int(r) for r in room)} voxels to train on, "
                f"but the network needs at least {tuple(int(voxels) for voxels in least)}."
            )
        return int(extents[0]), int(extents[1]), int(extents[2])

    @staticmethod
    def _placements(box: Box, patch: Triple) -> int:
        return math.prod(
            extent - length + 1 for extent, length in zip(box.shape, patch, strict=True)
        )
