"""A labelled volume that boundary models learn from, and what of it is known.

All triples are z, y, x.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.anisotropy import is_strongly_anisotropic
from predict.boundary_network import CHANNELS, NetworkConfig
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import BoundaryTargets, boundary_targets
from predict.box import Box
from predict.folds import VolumeSplit
from predict.image_normalisation import ImageNormalisation, Sliceable

SLAB = 32
"""So many sections of labels are looked at a time."""


@dataclass(frozen=True, slots=True)
class TrainingVolume:
    """One labelled volume and what may be learned from it.

    Attributes:
        image: (z, y, x) grey values, anything that can be sliced.
        labels: (z, y, x) integer.
        normalisation: of the image.
        zero_is_membrane: see `boundary_targets.zero_means_membrane`.
        split: where to train and to validate.
        mask: (z, y, x), 0 where nothing is known whatever the label; None if there is no such part.
    """

    image: Sliceable
    labels: Sliceable
    normalisation: ImageNormalisation
    zero_is_membrane: bool
    split: VolumeSplit
    mask: Sliceable | None = None

    def __post_init__(self) -> None:
        for name, volume in (("labels", self.labels), ("mask", self.mask)):
            if volume is not None and tuple(self.image.shape) != tuple(volume.shape):
                raise InputError(
                    f"image and {name} must have the same shape, "
                    f"got {tuple(self.image.shape)} and {tuple(volume.shape)}."
                )

    def mask_in(self, box: Box) -> npt.NDArray[np.bool_] | None:
        """Return the mask of a box, None if there is no mask."""
        return None if self.mask is None else np.asarray(self.mask[box.slices]) != 0

    def known_in(self, box: Box) -> npt.NDArray[np.bool_]:
        """Return which voxels of a box have a target, (z, y, x) bool."""
        mask = self.mask_in(box)
        if self.zero_is_membrane:
            return np.ones(box.shape, np.bool_) if mask is None else mask
        labelled = np.asarray(self.labels[box.slices]) != 0
        return labelled if mask is None else labelled & mask


def targets_in(
    labels: npt.NDArray[np.integer],
    volume: TrainingVolume,
    training: BoundaryTraining,
    network_config: NetworkConfig,
    mask: npt.NDArray[np.bool_] | None = None,
) -> BoundaryTargets:
    """Return the targets of a part of a volume, as the voxel size and the network want them.

    Args:
        labels: (z, y, x) integer, a part of the volume's labels.
        volume: says whether 0 is membrane.
        training: says whether sections are so thick that boundaries are drawn within them.
        network_config: a two-dimensional network is asked nothing about the next section.
        mask: (z, y, x) bool, of the same part; see `TrainingVolume.mask_in`.
    """
    flat = network_config.two_dimensional
    target, known = boundary_targets(
        labels,
        zero_is_membrane=volume.zero_is_membrane,
        in_section=flat or is_strongly_anisotropic(training.voxel_size_nm),
        mask=mask,
    )
    if flat:
        known[CHANNELS.index("affinity_z")] = False
    return BoundaryTargets(target, known)


def known_part(volume: TrainingVolume, box: Box) -> Box | None:
    """Return the smallest box around the known voxels of a box, None if there are none."""
    if volume.zero_is_membrane and volume.mask is None:
        return box
    per_section: list[npt.NDArray[np.bool_]] = []
    in_section = np.zeros(box.shape[1:], np.bool_)
    for slab in _slabs(box):
        known = volume.known_in(slab)
        per_section.append(np.asarray(known.any(axis=(1, 2))))
        in_section |= known.any(axis=0)
    if not in_section.any():
        return None
    part = box
    found = (np.concatenate(per_section), in_section.any(axis=1), in_section.any(axis=0))
    for axis, is_known in enumerate(found):
        places = np.flatnonzero(is_known) + box.start[axis]
        part = part.along(axis, int(places[0]), int(places[-1]) + 1)
    return part


def require_learnable(
    volumes: Sequence[TrainingVolume], training: BoundaryTraining, network_config: NetworkConfig
) -> None:
    """Refuse labels from which nothing can be learned, or by which nothing can be judged.

    Args:
        volumes: what is to be trained on.
        training: settings.
        network_config: shape of the network.

    Raises:
        InputError: no voxel is labelled, or none is boundary, in the part to train on, or not both
            boundary and interior are in the part kept for validation.
    """
    for part in ("training", "validation"):
        n_boundary = n_known = 0
        for n_new_boundary, n_new_known in _counts(part, volumes, training, network_config):
            n_boundary, n_known = n_boundary + n_new_boundary, n_known + n_new_known
            if 0 < n_boundary < n_known:
                break
        where = "to train on" if part == "training" else "kept for validation"
        if n_known == 0:
            raise InputError(f"labels have no labelled voxel in the part {where}.")
        if n_boundary == 0:
            raise InputError(f"labels have no boundary in the part {where}.")
        if n_boundary == n_known:
            raise InputError(f"labels are boundary everywhere in the part {where}.")


def _counts(
    part: Literal["training", "validation"],
    volumes: Sequence[TrainingVolume],
    training: BoundaryTraining,
    network_config: NetworkConfig,
) -> Iterator[tuple[int, int]]:
    """Yield how many voxels of a slab are boundary, and how many are known."""
    for volume in volumes:
        for box in getattr(volume.split, part):
            for slab in _slabs(box, overlap=1):
                labels = np.asarray(volume.labels[slab.slices])
                target, known = targets_in(
                    labels, volume, training, network_config, volume.mask_in(slab)
                )
                n_boundary = np.count_nonzero(known[0] & (target[0] > 0))
                yield int(n_boundary), int(np.count_nonzero(known[0]))


def _slabs(box: Box, overlap: int = 0) -> Iterator[Box]:
    """Yield a box in slabs along z that share `overlap` sections."""
    for start in range(box.start[0], max(box.stop[0] - overlap, box.start[0] + 1), SLAB):
        yield box.along(0, start, min(start + SLAB + overlap, box.stop[0]))
