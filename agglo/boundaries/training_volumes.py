"""The volumes that a boundary model is trained on, opened and checked.

All triples are z, y, x.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.boundaries.model_folder import TrainedOn
from agglo.volumes import Volume, VoxelSize, open_volume, require_same_shape, require_volume
from agglo.volumes.fingerprint import fingerprint
from analysis.input_error import InputError
from predict.anisotropy import same_voxel_size
from predict.boundary_targets import zero_means_membrane
from predict.folds import split_volume
from predict.image_normalisation import ImageNormalisation
from predict.training_volume import TrainingVolume

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedVolume:
    """A volume to train on, read and described.

    Attributes:
        image: (z, y, x) grey values.
        labels: (z, y, x) uint64.
        mask: (z, y, x) bool, False where nothing is known; None if everything is.
        zero_is_membrane: what label 0 means.
        record: what the model folder says of it.
        sources: image, labels and mask, to be read anywhere.
    """

    image: npt.NDArray[Any]
    labels: npt.NDArray[np.uint64]
    mask: npt.NDArray[np.bool_] | None
    zero_is_membrane: bool
    record: TrainedOn
    sources: tuple[Volume, Volume, Volume | None]


def open_training_volumes(
    images: Sequence[str],
    labels: Sequence[str],
    masks: Sequence[str] = (),
    *,
    zero_is_membrane: bool | None = None,
    voxel_size_nm: VoxelSize | None = None,
) -> tuple[list[OpenedVolume], VoxelSize]:
    """Read and check the volumes, and return them with their common voxel size.

    Args:
        images: addresses of the images.
        labels: addresses of their labels, in the same order.
        masks: addresses of their masks, in the same order, or none; 0 = nothing is known there.
        zero_is_membrane: whether label 0 is membrane; None decides by what the labels touch.
        voxel_size_nm: for files that state none.

    Raises:
        InputError: see the sentence.
    """
    if len(images) != len(labels) or not images:
        raise InputError(
            "--image and --labels must name equally many volumes, at least one; seen "
            f"{len(images)} and {len(labels)}."
        )
    if masks and len(masks) != len(images):
        raise InputError(
            "--mask must name one volume for each --image, or none at all; seen "
            f"{len(masks)} and {len(images)}."
        )
    opened: list[OpenedVolume] = []
    sizes: list[VoxelSize] = []
    mask_texts = masks or (None,) * len(images)
    for image_text, labels_text, mask_text in zip(images, labels, mask_texts, strict=True):
        image = open_volume(image_text, argument="--image", voxel_size_nm=voxel_size_nm)
        truth = open_volume(labels_text, argument="--labels", voxel_size_nm=voxel_size_nm)
        given = {"--image": image, "--labels": truth}
        if mask_text is not None:
            given["--mask"] = open_volume(mask_text, argument="--mask", voxel_size_nm=voxel_size_nm)
        require_same_shape(given)
        size = image.voxel_size_nm or truth.voxel_size_nm
        if size is None:
            raise InputError(f"--voxel-size-nm is needed, because {image_text} states none.")
        opened.append(_read(given, zero_is_membrane))
        sizes.append(size)
    for text, size in zip(images, sizes, strict=True):
        if not same_voxel_size(size, sizes[0]):
            raise InputError(
                f"--image: {text} has voxels of {size} nm and {images[0]} of {sizes[0]} nm; "
                "one model needs equal voxels."
            )
    return opened, sizes[0]


def require_sections(volumes: Sequence[OpenedVolume]) -> None:
    """Refuse volumes of one section, from which nothing about the next can be learned."""
    for volume in volumes:
        if volume.image.shape[0] == 1:
            raise InputError(
                f"--image: {volume.record.image} is one section, shape {volume.image.shape}; "
                "--two-dimensional trains on sections alone."
            )


def fold_volumes(
    arrays: Sequence[npt.NDArray[Any] | None],
    described: Sequence[tuple[ImageNormalisation, bool]],
    n_folds: int,
    fold: int,
) -> list[TrainingVolume]:
    """Return the volumes with the split of a fold.

    Args:
        arrays: image, labels, mask, image, …, each (z, y, x); a mask may be None.
        described: normalisation of each volume, and whether its label 0 is membrane.
        n_folds: number of folds.
        fold: index of the fold.
    """
    volumes = []
    for index, (normalisation, zero_is_membrane) in enumerate(described):
        image, labels, mask = arrays[3 * index : 3 * index + 3]
        assert image is not None
        assert labels is not None
        depth, height, width = image.shape
        split = split_volume((depth, height, width), n_folds, fold)
        volumes.append(TrainingVolume(image, labels, normalisation, zero_is_membrane, split, mask))
    return volumes


def _read(given: dict[str, Volume], zero_is_membrane: bool | None) -> OpenedVolume:
    """Read image, labels and mask, by argument, and refuse what nothing can be learned from."""
    image, truth, mask = given["--image"], given["--labels"], given.get("--mask")
    grey = require_volume(image, "--image", "image")
    if grey.min() == grey.max():
        raise InputError(f"--image: {image.address} is constant: every voxel is {grey.min():g}.")
    labels = np.asarray(require_volume(truth, "--labels", "labels"), np.uint64)
    known = None if mask is None else require_volume(mask, "--mask", "image") != 0
    if known is not None and mask is not None and not known.any():
        raise InputError(f"--mask: {mask.address} is 0 everywhere, which leaves nothing to learn.")
    membrane = zero_is_membrane
    if membrane is None:
        membrane = zero_means_membrane(labels, known)
    logger.info(
        "%s: label 0 is taken for %s", truth.address, "membrane" if membrane else "not labelled"
    )
    if not membrane and not (labels.any() if known is None else labels[known].any()):
        where = "everywhere" if known is None else "wherever --mask is not"
        raise InputError(f"--labels: {truth.address} is 0, not labelled, {where}.")
    depth, height, width = grey.shape
    record = TrainedOn(
        str(image.address.absolute()),
        str(truth.address.absolute()),
        (depth, height, width),
        fingerprint(image),
        None if mask is None else str(mask.address.absolute()),
        str(image.dtype),
    )
    return OpenedVolume(grey, labels, known, membrane, record, (image, truth, mask))
