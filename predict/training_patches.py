"""Augmented patches that are drawn from labelled volumes.

All triples are z, y, x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.augmentation import Symmetry, symmetries
from predict.boundary_network import NetworkConfig
from predict.boundary_settings import BoundaryTraining
from predict.box import Box, Triple, whole
from predict.deformation import Deformation, source_of, warp
from predict.training_volume import TrainingVolume, known_part, targets_in

MAX_DRAWS = 20
"""A patch without a known voxel is drawn again, but not more often than this."""


class Patch(NamedTuple):
    """One augmented patch, or a batch of them with a first axis n, and of the image a second."""

    image: npt.NDArray[np.float32]  # (z, y, x)
    target: npt.NDArray[np.float32]  # (4, z, y, x)
    known: npt.NDArray[Any]  # (4, z, y, x) bool; of a batch float32
    labels: npt.NDArray[np.int64]  # (z, y, x)


class PatchSampler:
    """Draws batches of patches, augmented, from the training boxes of all volumes.

    Patches lie over what is known of a box. No label outside the boxes decides a patch but those
    one voxel around it, and of a deformed patch not even these.
    """

    def __init__(
        self,
        network_config: NetworkConfig,
        training: BoundaryTraining,
        volumes: Sequence[TrainingVolume],
        deformation: Deformation | None = None,
    ) -> None:
        """Take the volumes; the deformation is that which suits the voxel size if not given."""
        self.volumes = volumes
        self.training = training
        self.network_config = network_config
        flat = network_config.two_dimensional
        self.symmetries = symmetries(training.voxel_size_nm, two_dimensional=flat)
        if deformation is None:
            deformation = Deformation.for_voxel_size(training.voxel_size_nm, two_dimensional=flat)
        self.deformation = deformation
        boxes = [(volume, box) for volume in volumes for box in volume.split.training]
        self.patch_shape = self._fit_patch(
            [box for _, box in boxes], network_config.stride, network_config.lost_vox
        )
        n_voxels = whole(self.patch_shape).n_voxels
        self.n_patches = max(1, round(training.batch_voxels / n_voxels))
        known = [(volume, box, known_part(volume, box)) for volume, box in boxes]
        self.boxes = [(volume, box) for volume, box, part in known if part is not None]
        self.parts = [part for *_, part in known if part is not None]
        if not self.boxes:
            raise InputError("labels have no labelled voxel in the part to train on.")
        ranges = [
            self._placements(box, part, self.patch_shape)
            for (_, box), part in zip(self.boxes, self.parts, strict=True)
        ]
        placements = [math.prod(stop - start for start, stop in along) for along in ranges]
        self.chances = np.array(placements) / sum(placements)

    def batch(self, rng: np.random.Generator) -> Patch:
        """Return image (n, 1, z, y, x), target, known (n, 4, z, y, x) and labels (n, z, y, x)."""
        patches = [self.patch(rng) for _ in range(self.n_patches)]
        image, target, known, labels = (np.stack(arrays) for arrays in zip(*patches, strict=True))
        return Patch(image[:, None], target, known.astype(np.float32), labels)

    def patch(self, rng: np.random.Generator) -> Patch:
        """Return one augmented patch."""
        for _ in range(MAX_DRAWS):
            drawn = int(rng.choice(len(self.boxes), p=self.chances))
            (volume, box), part = self.boxes[drawn], self.parts[drawn]
            symmetry = self.symmetries[int(rng.integers(len(self.symmetries)))]
            shape = symmetry.source_shape(self.patch_shape)
            z, y, x = (
                int(rng.integers(start, stop)) for start, stop in self._placements(box, part, shape)
            )
            place = Box((z, y, x), (z + shape[0], y + shape[1], x + shape[2]))
            lost = symmetry.source_shape(self.network_config.lost_vox)
            if _has_known(volume, _grown(place, lost, -1)):
                break
        return self._augmented(volume, box, place, symmetry, rng)

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

    def _augmented(
        self,
        volume: TrainingVolume,
        box: Box,
        place: Box,
        symmetry: Symmetry,
        rng: np.random.Generator,
    ) -> Patch:
        """Read a patch with the labels one voxel around it, and change it."""
        rim = _grown(place, (1, 1, 1))
        displacement = self.deformation.draw(
            rim.intersect(box), box, self.training.voxel_size_nm, rng
        )
        if displacement is None:
            inside = rim.intersect(whole(volume.labels.shape))
            image = volume.normalisation.apply(np.asarray(volume.image[place.slices]))
            labels = np.asarray(volume.labels[inside.slices])
            mask = volume.mask_in(inside)
        else:
            inside = rim.intersect(box)
            source = source_of(inside, box, displacement)
            grey = volume.normalisation.apply(np.asarray(volume.image[source.slices]))
            image, index = warp(grey, source, inside, box, displacement)
            image = image[place.slices_in(inside)]
            labels = np.asarray(volume.labels[source.slices]).ravel()[index]
            mask = volume.mask_in(source)
            mask = None if mask is None else mask.ravel()[index]
        image = symmetry.apply(self.training.intensity.apply(image, rng))
        target, known = targets_in(
            symmetry.apply(labels),
            volume,
            self.training,
            self.network_config,
            None if mask is None else symmetry.apply(mask),
        )
        labels = symmetry.apply(labels[place.slices_in(inside)]).astype(np.int64)
        cut = []
        for axis, origin in enumerate(symmetry.order):
            before = place.start[origin] - inside.start[origin]
            after = inside.stop[origin] - place.stop[origin]
            first = after if symmetry.flips[axis] else before
            cut.append(slice(first, first + self.patch_shape[axis]))
        return Patch(np.ascontiguousarray(image), target[:, *cut], known[:, *cut], labels)

    def _fit_patch(self, boxes: Sequence[Box], stride: Triple, lost: Triple) -> Triple:
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
        room = np.array([box.shape for box in boxes]).min(axis=0)
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

    def _placements(self, box: Box, part: Box, shape: Triple) -> list[tuple[int, int]]:
        """Return the range of a patch's start along each axis.

        Args:
            box: what the patch must lie in.
            part: what is known of it; the patch lies in it or, where it is smaller, over it.
            shape: of the patch.
        """
        part = _grown(part, self.network_config.lost_vox).intersect(box)
        ranges = []
        for axis, extent in enumerate(shape):
            first, last = part.start[axis], part.stop[axis] - extent
            if last < first:
                first = max(last, box.start[axis])
                last = min(part.start[axis], box.stop[axis] - extent)
            ranges.append((first, last + 1))
        return ranges


def _has_known(volume: TrainingVolume, box: Box) -> bool:
    if volume.zero_is_membrane and volume.mask is None:
        return True
    return bool(volume.known_in(box).any())


def _grown(box: Box, rim: Triple, times: int = 1) -> Box:
    """Return a box with a rim more, or less, at each end."""
    z, y, x = (times * width for width in rim)
    (z0, y0, x0), (z1, y1, x1) = box
    return Box((z0 - z, y0 - y, x0 - x), (z1 + z, y1 + y, x1 + x))
