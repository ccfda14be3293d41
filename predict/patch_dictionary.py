"""Dictionaries of image patches, learned without labels by whitening and spherical k-means."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError

CHUNK_RESPONSES = 1 << 22
"""So many responses of atoms to patches exist at a time."""


def contrast_normalised(patches: npt.NDArray[np.float32], floor: float) -> npt.NDArray[np.float32]:
    """Subtract each patch's mean and divide by sqrt(variance + floor).

    Args:
        patches: (n, d) float32.
        floor: positive; noise in patches with less variance is not blown up.
    """
    _require_patches(patches)
    if not floor > 0:
        raise InputError(f"floor must be positive, got {floor}.")
    patches = patches.astype(np.float32)
    patches -= patches.mean(axis=1, keepdims=True)
    return patches / np.sqrt(np.square(patches).mean(axis=1, keepdims=True) + np.float32(floor))


def learn_dictionary(
    patches: npt.NDArray[np.float32],
    n_atoms: int,
    rng: np.random.Generator,
    *,
    n_rounds: int = 10,
    whitening_floor: float = 0.1,
) -> npt.NDArray[np.float32]:
    """Learn filters whose responses tell patches apart.

    Patches are whitened (ZCA) and `spherical_kmeans` finds atoms d for them, after Coates & Ng 2012
    ("Learning feature representations with k-means"). A filter is d times the whitening matrix,
    without its mean: its product with a patch, divided by sqrt(variance + floor), is the response
    of d to the normalised and whitened patch. All filters are multiplied by one number such that
    the mean square of all their responses to these patches is 1, so that one soft threshold suits
    the dictionaries of all channels and scales.

    Args:
        patches: (n, d) float32, contrast-normalised.
        n_atoms: of the dictionary, may be more than d.
        rng: draws the first atoms.
        n_rounds: of k-means.
        whitening_floor: added to the variance along every principal axis, as a share of the mean
            variance.

    Returns:
        (n_atoms, d) float32 filters.
    """
    _require_patches(patches)
    if not whitening_floor > 0:
        raise InputError(f"whitening_floor must be positive, got {whitening_floor}.")
    moment = np.zeros((patches.shape[1], patches.shape[1]))
    for chunk in _chunks(patches, patches.shape[1]):
        moment += chunk.T @ chunk
    moment /= len(patches)
    variances, axes = np.linalg.eigh(moment)
    if not variances.mean() > 0:
        raise InputError("patches are all constant.")
    gains = 1 / np.sqrt(variances.clip(0) + whitening_floor * variances.mean())
    whitening = (axes * gains) @ axes.T
    atoms = spherical_kmeans(
        patches @ whitening.astype(np.float32), n_atoms, rng, n_rounds=n_rounds
    )
    filters = atoms.astype(np.float64) @ whitening
    filters -= filters.mean(axis=1, keepdims=True)
    mean_square = np.einsum("kd,de,ke->k", filters, moment, filters, optimize=True).mean()
    return (filters / np.sqrt(mean_square)).astype(np.float32)


def spherical_kmeans(
    vectors: npt.NDArray[np.float32],
    n_atoms: int,
    rng: np.random.Generator,
    *,
    n_rounds: int = 10,
) -> npt.NDArray[np.float32]:
    """Find unit vectors of which one, times a number of either sign, is close to every vector.

    Also known as gain-shape vector quantisation and as orthogonal matching pursuit with one atom
    (OMP-1; Coates & Ng 2012, section 2): every vector x chooses the atom with the largest |d · x|,
    and every atom becomes the normalised sum of (d · x) x over those that chose it. Atoms that
    nothing chose are drawn anew from the vectors.

    Args:
        vectors: (n, d) float32.
        n_atoms: at most as many as there are vectors other than 0.
        rng: draws the first atoms.
        n_rounds: of choosing and summing.

    Returns:
        (n_atoms, d) float32 unit vectors.
    """
    _require_patches(vectors)
    if n_atoms < 1 or n_rounds < 1:
        raise InputError(f"n_atoms and n_rounds must be positive, got {n_atoms} and {n_rounds}.")
    (usable,) = np.nonzero((vectors != 0).any(axis=1))
    if len(usable) < n_atoms:
        raise InputError(
            f"n_atoms must be at most the number of patches that are not constant, {len(usable)}, "
            f"got {n_atoms}."
        )
    atoms = _unit(vectors[rng.choice(usable, n_atoms, replace=False)].astype(np.float64))
    for _ in range(n_rounds):
        sums = np.zeros_like(atoms)
        for chunk in _chunks(vectors, n_atoms):
            responses = chunk @ atoms.T.astype(np.float32)
            chosen = np.abs(responses).argmax(axis=1)[:, None]
            code = np.zeros_like(responses)
            np.put_along_axis(code, chosen, np.take_along_axis(responses, chosen, 1), 1)
            sums += code.T @ chunk
        (idle,) = np.nonzero(np.square(sums).sum(axis=1) == 0)
        sums[idle] = vectors[rng.choice(usable, len(idle), replace=False)]
        atoms = _unit(sums)
    return atoms.astype(np.float32)


def _chunks(vectors: npt.NDArray[np.float32], width: int) -> Iterator[npt.NDArray[np.float32]]:
    """Cut vectors into chunks for each of which `width` numbers per vector are bearable."""
    size = max(1, CHUNK_RESPONSES // width)
    for start in range(0, len(vectors), size):
        yield np.asarray(vectors[start : start + size], np.float32)


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return vectors of length 1 in the same directions."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _require_patches(patches: npt.NDArray[np.float32]) -> None:
    """Refuse anything but a non-empty (n, d) array of finite floats."""
    if patches.ndim != 2 or patches.size == 0 or not np.issubdtype(patches.dtype, np.floating):
        raise InputError(
            "patches must be a non-empty (n, d) array of floats, "
            f"got shape {patches.shape} and dtype {patches.dtype}."
        )
    if not np.isfinite(patches).all():
        raise InputError("patches have values that are not finite.")
