"""Digital topology straight from the definitions: the oracle of the tests, slow and plain."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import euler_number

from tests.analysis.components import n_components

DUAL = {4: 8, 8: 4, 6: 26, 26: 6}
ORDER = {4: 1, 8: 2, 6: 1, 26: 3}
_STEPS = np.abs(np.indices((3, 3, 3)) - 1).sum(0)


def numbers_of_blocks(sets: np.ndarray, connectivity: int) -> np.ndarray:
    """Topological numbers of many sets at once: (N, 3, 3, 3) or (N, 3, 3) bool → (N,).

    Components in the neighbourhood of the centre (its 18 for connectivity 6) that are adjacent to
    it, found by labelling all N blocks as one array in which blocks do not touch.
    """
    n_axes = sets.ndim - 1
    steps = _STEPS if n_axes == 3 else _STEPS[1]
    near = (steps > 0) & (steps <= (2 if connectivity == 6 else n_axes))
    structure = np.zeros((3,) * sets.ndim, dtype=bool)
    structure[1] = ndimage.generate_binary_structure(n_axes, ORDER[connectivity])
    components = np.empty(sets.shape, dtype=np.int32)
    ndimage.label(sets & near, structure, output=components)
    adjacent = components[:, (steps > 0) & (steps <= ORDER[connectivity])]
    block, _ = np.unique(np.stack((np.nonzero(adjacent)[0], adjacent[adjacent > 0])), axis=1)
    return np.bincount(block, minlength=sets.shape[0])


def blocks_of(image: np.ndarray) -> np.ndarray:
    """The 3 × 3 (× 3) neighbourhood of every point of an image, what lies outside 0."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1), (3,) * image.ndim)
    return windows.reshape(-1, *(3,) * image.ndim)


def is_simple(block: np.ndarray, foreground: int) -> bool:
    """Whether the centre of one block is simple."""
    inside = numbers_of_blocks(block[None], foreground)[0]
    outside = numbers_of_blocks(~block[None], DUAL[foreground])[0]
    return inside == 1 and outside == 1


def betti_numbers(image: np.ndarray, foreground: int) -> tuple[int, int, int]:
    """Objects, tunnels (holes of a section) and cavities by scikit-image."""
    n_objects = n_components(image, ORDER[foreground])
    outside = np.pad(~image, 1, constant_values=True)
    n_closed = n_components(outside, ORDER[DUAL[foreground]]) - 1
    euler = int(euler_number(image, connectivity=ORDER[foreground]))
    if image.ndim == 2:
        assert euler == n_objects - n_closed
        return n_objects, n_closed, 0
    return n_objects, n_objects + n_closed - euler, n_closed


def warp_by_passes(
    truth: np.ndarray,
    boundary: np.ndarray,
    threshold: float,
    foreground: int,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """The warp as it is defined: whole passes through a sorted list until one changes nothing."""
    target = boundary < threshold
    source = np.pad(truth, 1)
    inner = (slice(1, -1),) * truth.ndim
    while True:
        wrong = source[inner] != target
        if mask is not None:
            wrong &= mask
        differing = [place[::-1] for place in np.argwhere(wrong.T).tolist()]
        differing.sort(
            key=lambda place: -np.float32(abs(float(boundary[tuple(place)]) - threshold))
        )
        n_flips = 0
        for place in differing:
            block = source[tuple(slice(i, i + 3) for i in place)]
            if is_simple(block, foreground):
                n_flips += 1
                middle = tuple(i + 1 for i in place)
                source[middle] = not source[middle]
        if not n_flips:
            return source[inner]
