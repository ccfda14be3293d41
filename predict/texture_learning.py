"""How a dictionary of texture is learned: without labels, from patches of one volume.

All triples are z, y, x.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.anisotropy import Spacing
from predict.blockwise import read_reflected
from predict.box import Box, Triple, whole
from predict.image_normalisation import Sliceable
from predict.patch_dictionary import contrast_normalised, learn_dictionary
from predict.texture_dictionary import HIGHEST, LARGEST_WEIGHT, TextureDictionary, require_pair
from predict.texture_patch import TexturePatch

PLACE_VOX: Triple = (16, 16, 16)
"""Patches are taken from places of this extent, each of which is read once."""

PATCHES_A_PLACE = 500

CONTRAST_FLOOR = 0.1
"""Added to the variance of a patch of the image, as a share of the image's variance."""

THRESHOLD = 0.5
"""Of responses whose mean square is 1; that of DAWMR."""

LARGEST_SHARE = 0.001
"""So many responses at most reach the end of the 8-bit scale."""


def learn_texture(
    image: Sliceable,
    boundaries: Sliceable,
    n_atoms: int,
    seed: int,
    *,
    voxel_size_nm: Spacing | None = None,
    n_patches: int = 50_000,
) -> TextureDictionary:
    """Learn a dictionary from patches at random places of a volume.

    The image's part of a patch is contrast-normalised, that of the boundary map centred and divided
    by the map's deviation; `patch_dictionary.learn_dictionary` finds filters for both together.
    Learning multiplies matrices in float32: the same seed gives the same filters on one machine,
    and to rounding on another. Whoever wants the same channels elsewhere passes the dictionary on.

    Args:
        image: (z, y, x) uint8, anything that can be sliced.
        boundaries: (z, y, x) uint8, of the same shape.
        n_atoms: at least 1; there are twice as many channels.
        seed: draws places and first atoms.
        voxel_size_nm: z, y, x; cubes if None.
        n_patches: that it is learned from.

    Raises:
        InputError: the arrays do not belong together, or one of them is constant.
    """
    require_pair(image, boundaries)
    if n_atoms < 1 or n_patches < 1:
        raise InputError(f"n_atoms and n_patches must be positive, got {n_atoms} and {n_patches}.")
    patch = TexturePatch.for_voxel_size(voxel_size_nm)
    rng = np.random.default_rng(seed)
    grey, edges = _sample(image, boundaries, patch, n_patches, rng)
    deviations = []
    for name, values in (("image", grey), ("boundaries", edges)):
        deviations.append(float(values.std(dtype=np.float64)))
        if deviations[-1] == 0:
            raise InputError(f"{name} is constant: every voxel looked at is {values[0, 0]:g}.")
    floor = CONTRAST_FLOOR * deviations[0] ** 2
    edges = (edges - edges.mean(axis=1, keepdims=True)) / np.float32(deviations[1])
    patches = np.concatenate([contrast_normalised(grey, floor), edges], axis=1)
    filters = learn_dictionary(patches, n_atoms, rng)
    step = float(np.abs(filters).max()) / LARGEST_WEIGHT
    weights = np.rint(filters / step).astype(np.int16)
    responses = np.abs(patches @ filters.T)
    largest = max(float(np.quantile(responses, 1 - LARGEST_SHARE)), 2 * THRESHOLD)
    return TextureDictionary(
        patch,
        weights[:, : grey.shape[1]].reshape(n_atoms, *patch.extent),
        weights[:, grey.shape[1] :].reshape(n_atoms, *patch.extent),
        step,
        floor,
        deviations[1],
        THRESHOLD,
        HIGHEST / (largest - THRESHOLD),
        voxel_size_nm,
    )


def _sample(
    image: Sliceable,
    boundaries: Sliceable,
    patch: TexturePatch,
    n_patches: int,
    rng: np.random.Generator,
) -> list[npt.NDArray[np.float32]]:
    """Take patches of both arrays at the same voxels, each (n_patches, voxels) float32."""
    found: tuple[list[npt.NDArray], list[npt.NDArray]] = ([], [])
    n_found = 0
    while n_found < n_patches:
        middle = rng.integers(0, image.shape).tolist()
        z, y, x = (m - extent // 2 for m, extent in zip(middle, PLACE_VOX, strict=True))
        stop = (z + PLACE_VOX[0], y + PLACE_VOX[1], x + PLACE_VOX[2])
        place = Box((z, y, x), stop).intersect(whole(image.shape))
        drawn = rng.permutation(place.n_voxels)[: min(PATCHES_A_PLACE, n_patches - n_found)]
        at = np.unravel_index(drawn, place.shape)
        for patches, volume in zip(found, (image, boundaries), strict=True):
            windows = patch.windows(read_reflected(volume, patch.seen_from(place)))
            patches.append(windows[at].reshape(len(drawn), patch.n_voxels))
        n_found += len(drawn)
    return [np.concatenate(patches).astype(np.float32) for patches in found]
