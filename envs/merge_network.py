"""The function that scores a candidate merge: a small network, averaged over its members.

The score is a logit: its sign is the decision, its size the priority. Forward passes sum in a fixed
order, input-major, without fused or reordered sums (`envs.vector_layer`), so that a score is the
same bit for bit wherever it is computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.feature_layout import layout_of
from envs.features import FEATURE_NAMES, N_FEATURES
from envs.vector_layer import (
    LANES,
    ROWS,
    inner_product,
    rectified_layer,
    rectified_layer_of_rows,
)


class MergeNetwork(NamedTuple):
    """M members of two hidden layers each, behind one standardisation of the features.

    Attributes:
        mean: (F,) float32, subtracted from the features.
        scale: (F,) float32, multiplied with them then.
        w1: (M, F, H1) float32; b1: (M, H1).
        w2: (M, H1, H2) float32; b2: (M, H2).
        w3: (M, H2) float32; b3: (M,).
    """

    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    w1: npt.NDArray[np.float32]
    b1: npt.NDArray[np.float32]
    w2: npt.NDArray[np.float32]
    b2: npt.NDArray[np.float32]
    w3: npt.NDArray[np.float32]
    b3: npt.NDArray[np.float32]

    @property
    def n_features(self) -> int:
        """Return how many features the network looks at."""
        return len(self.mean)


def checked_network(arrays: dict[str, npt.NDArray]) -> MergeNetwork:
    """Build a network from named arrays, as own writable float32 copies.

    Raises:
        ValueError: where an array is missing, has the wrong shape or is not finite.
    """
    missing = [name for name in MergeNetwork._fields if name not in arrays]
    if missing:
        raise ValueError(f"network lacks {', '.join(missing)}")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        network = MergeNetwork(
            **{name: np.array(arrays[name], np.float32, order="C") for name in MergeNetwork._fields}
        )
    if network.mean.ndim != 1:
        raise ValueError(f"network array mean has shape {network.mean.shape}, not (F,)")
    f = len(network.mean)
    layout_of(f)
    if network.w1.ndim != 3 or network.w2.ndim != 3 or 0 in network.w1.shape + network.w2.shape:
        raise ValueError(
            f"network arrays w1 and w2 have shapes {network.w1.shape} and {network.w2.shape}, "
            f"not (M, {f}, H1) and (M, H1, H2)"
        )
    m, _, h1 = network.w1.shape
    h2 = network.w2.shape[2]
    shapes = ((f,), (f,), (m, f, h1), (m, h1), (m, h1, h2), (m, h2), (m, h2), (m,))
    for name, array, shape in zip(MergeNetwork._fields, network, shapes, strict=True):
        if array.shape != shape:
            raise ValueError(f"network array {name} has shape {array.shape}, not {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"network array {name} is not finite")
    return network


def average(networks: list[MergeNetwork]) -> MergeNetwork:
    """Join networks of one shape and standardisation into one whose logit is the mean of theirs."""
    if not networks:
        raise ValueError("there must be at least one network to average")
    first = networks[0]
    for other in networks[1:]:
        if not (
            np.array_equal(other.mean, first.mean) and np.array_equal(other.scale, first.scale)
        ):
            raise ValueError("networks to average must share their standardisation")
        if [a.shape for a in other] != [a.shape for a in first]:
            raise ValueError("networks to average must have the same shapes of arrays")
    return MergeNetwork(
        first.mean,
        first.scale,
        *(np.concatenate(arrays) for arrays in zip(*(n[2:] for n in networks), strict=True)),
    )


def mean_boundary_network(threshold: float) -> MergeNetwork:
    """Write mean-boundary agglomeration as a network: score = threshold − mean face maximum.

    One hidden unit passes the feature on, which is never negative, so the rectifier is idle.
    """
    f = N_FEATURES
    w1 = np.zeros((1, f, 1), np.float32)
    w1[0, FEATURE_NAMES.index("contact: face maximum, mean"), 0] = 1
    one = np.ones((1, 1, 1), np.float32)
    zero = np.zeros((1, 1), np.float32)
    return MergeNetwork(
        np.zeros(f, np.float32),
        np.ones(f, np.float32),
        w1,
        zero.copy(),
        one,
        zero.copy(),
        np.full((1, 1), -1, np.float32),
        np.full(1, threshold, np.float32),
    )


class PackedNetwork(NamedTuple):
    """A network laid out for the kernels: flat, hidden layers padded with zeros to whole vectors.

    Attributes:
        mean: (F,) float32; scale: (F,) float32.
        w1: (M·F·H1,) float32; b1: (M·H1,).
        w2: (M·H1·H2,) float32; b2: (M·H2,).
        w3: (M·H2,) float32; b3: (M,).
        shape: (4,) int64: M, F, H1, H2.
    """

    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    w1: npt.NDArray[np.float32]
    b1: npt.NDArray[np.float32]
    w2: npt.NDArray[np.float32]
    b2: npt.NDArray[np.float32]
    w3: npt.NDArray[np.float32]
    b3: npt.NDArray[np.float32]
    shape: npt.NDArray[np.int64]

    @property
    def n_features(self) -> int:
        """Return how many features the network looks at."""
        return len(self.mean)

    @property
    def n_scratch(self) -> int:
        """Return how many numbers the forward passes of `ROWS` inputs need room for."""
        return ROWS * int(self.shape[1] + self.shape[2] + self.shape[3])


def pack(network: MergeNetwork) -> PackedNetwork:
    """Lay a network out for the kernels."""
    m, f, h1 = network.w1.shape
    h2 = network.w2.shape[2]
    more_1, more_2 = -h1 % LANES, -h2 % LANES
    return PackedNetwork(
        np.array(network.mean, np.float32),
        np.array(network.scale, np.float32),
        _flat(network.w1, (0, 0), (0, 0), (0, more_1)),
        _flat(network.b1, (0, 0), (0, more_1)),
        _flat(network.w2, (0, 0), (0, more_1), (0, more_2)),
        _flat(network.b2, (0, 0), (0, more_2)),
        _flat(network.w3, (0, 0), (0, more_2)),
        np.array(network.b3, np.float32),
        np.array([m, f, h1 + more_1, h2 + more_2], np.int64),
    )


def _flat(array: npt.NDArray, *padding: Any) -> npt.NDArray[np.float32]:
    """Pad with zeros and flatten, from the beginning of a cache line on."""
    padded = np.pad(np.asarray(array, np.float32), list(padding)).ravel()
    room = np.empty(len(padded) + LANES, np.float32)
    first = -room.ctypes.data % 64 // 4
    room[first : first + len(padded)] = padded
    return room[first : first + len(padded)]


@njit(cache=True, inline="always")
def packed_logit(network, features, scratch):
    """Return the mean logit of the members.

    Args:
        network: a `PackedNetwork`.
        features: (F,) float32.
        scratch: (F + H1 + H2,) float32.
    """
    n_members, n, h1, h2 = network.shape[0], network.shape[1], network.shape[2], network.shape[3]
    mean, scale = network.mean, network.scale
    w1, b1, w2, b2, w3, b3 = network.w1, network.b1, network.w2, network.b2, network.w3, network.b3
    for i in range(n):
        scratch[i] = (features[i] - mean[i]) * scale[i]
    total = np.float32(0)
    at_1, at_2 = n, n + h1
    for m in range(n_members):
        rectified_layer(scratch, 0, n, w1, m * n * h1, b1, m * h1, h1, at_1)
        rectified_layer(scratch, at_1, h1, w2, m * h1 * h2, b2, m * h2, h2, at_2)
        total += b3[m] + inner_product(scratch, at_2, w3, m * h2, h2)
    return total / np.float32(n_members)


@njit(cache=True, inline="always")
def packed_logits_of_rows(network, scratch, out_logits):
    """Write the mean logits of `ROWS` inputs, the same bit for bit as one by one.

    Args:
        network: a `PackedNetwork`.
        scratch: (ROWS · (F + H1 + H2),) float32; a row begins with its F features, which are
            standardised in place.
        out_logits: (ROWS,) float32.
    """
    n_members, n, h1, h2 = network.shape[0], network.shape[1], network.shape[2], network.shape[3]
    mean, scale = network.mean, network.scale
    w1, b1, w2, b2, w3, b3 = network.w1, network.b1, network.w2, network.b2, network.w3, network.b3
    apart = n + h1 + h2
    at_1, at_2 = n, n + h1
    for r in range(ROWS):
        out_logits[r] = 0
        for i in range(n):
            scratch[r * apart + i] = (scratch[r * apart + i] - mean[i]) * scale[i]
    for m in range(n_members):
        rectified_layer_of_rows(scratch, 0, apart, n, w1, m * n * h1, b1, m * h1, h1, at_1)
        rectified_layer_of_rows(scratch, at_1, apart, h1, w2, m * h1 * h2, b2, m * h2, h2, at_2)
        for r in range(ROWS):
            out_logits[r] += b3[m] + inner_product(scratch, r * apart + at_2, w3, m * h2, h2)
    for r in range(ROWS):
        out_logits[r] /= np.float32(n_members)


@njit(cache=True)
def logit(network, features, scratch):
    """Return what `packed_logit` does, as a function to be called from outside."""
    return packed_logit(network, features, scratch)
