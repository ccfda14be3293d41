"""Whether an image is one that a boundary model can be applied to, and in which grey values."""

from __future__ import annotations

import logging

from agglo.boundaries.model_folder import BoundaryModel
from agglo.volumes import Volume
from analysis.input_error import InputError
from predict.anisotropy import same_voxel_size, words_of_size
from predict.image_normalisation import (
    ImageNormalisation,
    measure_normalisation,
    require_image,
)

SEEN_SHARE = 4
"""An image has along each axis at least 1 / so many of the voxels that the network sees."""

logger = logging.getLogger(__name__)


def require_fitting_image(image: Volume, model: BoundaryModel, name: object) -> ImageNormalisation:
    """Refuse an image that a model was not made for, and warn of one unlike those it has seen.

    Beyond its border an image is mirrored, so one of any extent could be predicted; where three
    quarters of what the network sees are mirror image it is refused.

    Args:
        image: what is to be predicted.
        model: by this model.
        name: of the model, for sentences.

    Returns:
        How its grey values are to be normalised: like the model's images if it is of their range,
        else by its own mean and deviation.

    Raises:
        InputError: see the sentence.
    """
    what = f"{image.argument}: {image.address}"
    n_channels = model.network.in_channels
    if image.ndim != 3 or n_channels != 1:
        raise InputError(
            f"{what} has shape {image.shape}, but {name} takes {n_channels} "
            f"channel{'' if n_channels == 1 else 's'}, (z, y, x)."
        )
    require_image(image)
    _require_voxel_size(image, model, name)
    _require_extents(image, model, name)
    own = measure_normalisation(image)
    known = {one.dtype for one in model.volumes if one.dtype is not None}
    fits = model.normalisation.fits(own)
    if not fits or (known and str(image.dtype) not in known):
        logger.warning(
            "%s is %s of mean %.4g and deviation %.4g, but %s was trained on %s of mean %.4g and "
            "deviation %.4g; it is normalised by %s",
            *(image.address, image.dtype, own.mean, own.deviation, name),
            *(" and ".join(sorted(known)) or "values", model.normalisation.mean),
            *(model.normalisation.deviation, "the latter" if fits else "its own"),
        )
    return model.normalisation if fits else own


def _require_voxel_size(image: Volume, model: BoundaryModel, name: object) -> None:
    size, trained = image.voxel_size_nm, model.voxel_size_nm
    if size is None:
        logger.warning(
            "%s states no voxel size; that of %s is assumed, %s nm (z y x)",
            *(image.address, name, words_of_size(trained)),
        )
    elif not same_voxel_size(size, trained):
        raise InputError(
            f"{image.argument}: {image.address} has voxels of {words_of_size(size)} nm (z y x), "
            f"but {name} was trained on voxels of {words_of_size(trained)} nm."
        )


def _require_extents(image: Volume, model: BoundaryModel, name: object) -> None:
    what = f"{image.argument}: {image.address}"
    for axis, extent, halo in zip("zyx", image.shape, model.network.halo_vox, strict=True):
        seen = 2 * halo + 1
        if axis == "z" and extent == 1 and seen > 1:
            raise InputError(
                f"{what} is a single section, but {name} looks at {seen} sections; train a model "
                "with --two-dimensional for sections that stand alone."
            )
        if SEEN_SHARE * extent < seen:
            raise InputError(
                f"{what} has {extent} voxels along {axis}, but {name} looks at {seen}, of which "
                f"at least a quarter must be image."
            )
