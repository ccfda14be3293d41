"""The function that scores a candidate merge: a small network, averaged over its members.

The score is a logit: its sign is the decision, its size the priority. Forward passes are loops in
a fixed order, input-major, without fused or reordered sums, so that a score is the same bit for
bit wherever it is computed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.features import FEATURE_NAMES, N_FEATURES, N_SHAPE_FEATURES


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
    f = network.mean.shape[0] if network.mean.ndim == 1 else -1
    if f not in (N_FEATURES, N_SHAPE_FEATURES):
        raise ValueError(
            f"network looks at {network.mean.shape} features; "
            f"this version computes {N_FEATURES} or, with shape, {N_SHAPE_FEATURES}"
        )
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


@njit(cache=True)
def logit(network, features, hidden_1, hidden_2):
    """Return the mean logit of the members; hidden_1, hidden_2 are scratch of H1 and H2."""
    n_members = network.w1.shape[0]
    n_1 = len(hidden_1)
    n_2 = len(hidden_2)
    total = np.float32(0)
    for m in range(n_members):
        for j in range(n_1):
            hidden_1[j] = network.b1[m, j]
        for i in range(len(features)):
            x = (features[i] - network.mean[i]) * network.scale[i]
            for j in range(n_1):
                hidden_1[j] += x * network.w1[m, i, j]
        for k in range(n_2):
            hidden_2[k] = network.b2[m, k]
        for j in range(n_1):
            h = hidden_1[j]
            if h > 0:
                for k in range(n_2):
                    hidden_2[k] += h * network.w2[m, j, k]
        out = network.b3[m]
        for k in range(n_2):
            if hidden_2[k] > 0:
                out += hidden_2[k] * network.w3[m, k]
        total += out
    return total / np.float32(n_members)
