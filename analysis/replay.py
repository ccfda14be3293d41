"""What can be read from the recording of an episode: any moment of it, its errors, its mistakes.

"After n merges" means after the first n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from analysis.recording import Gains, Recording, View


@dataclass(frozen=True, slots=True, eq=False)
class ErrorCurve:
    """Errors along an episode, entry n after n merges.

    Attributes:
        vi: (M + 1,) float64, variation of information in bits.
        vi_split: (M + 1,) float64, H(clusters | truth) in bits; never rises.
        vi_merge: (M + 1,) float64, H(truth | clusters) in bits; never falls.
        rand_index: (M + 1,) float64.
    """

    vi: npt.NDArray[np.float64]
    vi_split: npt.NDArray[np.float64]
    vi_merge: npt.NDArray[np.float64]
    rand_index: npt.NDArray[np.float64]


def clusters_after(recording: Recording, n_merges: int) -> npt.NDArray[np.int64]:
    """Return (R,) int64, the smallest member of every superpixel's cluster after n merges.

    Every merge makes one smallest member point to another; pointers are then followed all at once
    until they rest, in as many passes as the logarithm of the longest chain.

    Raises:
        InputError: there are not so many merges.
    """
    if not 0 <= n_merges <= recording.n_merges:
        raise InputError(f"n_merges must lie in 0 … {recording.n_merges}, but is {n_merges}.")
    cluster = np.arange(len(recording.ids))
    cluster[recording.merges[:n_merges, 1]] = recording.merges[:n_merges, 0]
    while True:
        further = cluster[cluster]
        if np.array_equal(further, cluster):
            return cluster
        cluster = further


def labels_after(recording: Recording, view: View, n_merges: int) -> npt.NDArray[np.uint64]:
    """Return the segmentation of a view after n merges, (y, x) uint64, 0 = no superpixel.

    A cluster is named by its smallest superpixel id, as `agglo segment` does.
    """
    names = np.append(recording.ids[clusters_after(recording, n_merges)], np.uint64(0))
    return names[view.superpixels]


def merged_sizes(
    recording: Recording, sizes: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Return (M, 2) int64, the sizes of the two clusters of every merge, just before it.

    Args:
        recording: the episode.
        sizes: (R,) int64, additive sizes of the superpixels; their voxels if not given.
    """
    pairs = np.empty((recording.n_merges, 2), np.int64)
    _sum_along(recording.merges, (recording.sizes_vox if sizes is None else sizes).copy(), pairs)
    return pairs


def error_curve(recording: Recording) -> ErrorCurve:
    """Return the errors along the episode.

    VI = 2 H(S, T) − H(S) − H(T) for clusters S and truth T. A merge lowers H(S) by
    [F(a + b) − F(a) − F(b)] / N with F(x) = x log2 x and a, b the counted voxels of the two; with
    the recorded change of VI that gives the change of H(S, T), so of H(S | T) = H(S, T) − H(T) and
    of H(T | S) = H(S, T) − H(S) (Meilă 2007).

    Raises:
        InputError: the episode was recorded without truth.
    """
    gains = _gains_of(recording)
    a, b = merged_sizes(recording, gains.counted_vox).T
    joined = (_x_log_x(a + b) - _x_log_x(a) - _x_log_x(b)) / gains.counted_vox.sum()
    vi_split = _running(gains.start_vi_split, -0.5 * (joined + gains.vi))
    vi_merge = _running(gains.start_vi_merge, 0.5 * (joined - gains.vi))
    return ErrorCurve(
        _running(gains.start_vi_split + gains.start_vi_merge, -gains.vi),
        vi_split,
        vi_merge,
        _running(gains.start_rand_index, gains.rand),
    )


def most_harmful(recording: Recording, k: int) -> npt.NDArray[np.int64]:
    """Return up to k merges of the policy that raised VI most, worst first.

    Raises:
        InputError: the episode was recorded without truth.
    """
    made = _gains_of(recording).vi[: recording.n_policy_merges]
    order = np.argsort(made, kind="stable")[:k]
    return order[made[order] < 0]


def most_useful(recording: Recording, k: int) -> npt.NDArray[np.int64]:
    """Return up to k merges of the policy that lowered VI most, best first.

    Raises:
        InputError: the episode was recorded without truth.
    """
    made = _gains_of(recording).vi[: recording.n_policy_merges]
    order = np.argsort(-made, kind="stable")[:k]
    return order[made[order] > 0]


def least_sure(recording: Recording, k: int) -> npt.NDArray[np.int64]:
    """Return up to k merges of the policy with the lowest keys, the last one first."""
    n = recording.n_policy_merges
    return np.arange(n - 1, max(n - 1 - k, -1), -1)


def joining_merges(
    merges: npt.NDArray[np.int32], n_regions: int, pairs: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Return for every pair of regions the merge that first puts both into one cluster.

    Args:
        merges: (M, 2) int32, as in a `Recording`.
        n_regions: R.
        pairs: (P, 2) int32, region indices.

    Returns:
        (P,) int64, M where the pair is never joined, −1 where it is one region.
    """
    joined = np.empty(len(pairs), np.int64)
    _join_times(merges, n_regions, pairs, joined)
    return joined


def _gains_of(recording: Recording) -> Gains:
    """Return the gains of an episode that has them."""
    if recording.gains is None:
        raise InputError("the episode was recorded without labels, so its errors are not known.")
    return recording.gains


def _running(start: float, changes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the start and the value after every change."""
    return start + np.concatenate([[0.0], np.cumsum(changes)])


def _x_log_x(count: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return count · log2(count), 0 at 0."""
    return count.astype(np.float64) * np.log2(np.maximum(count, 1))


@njit(cache=True)
def _sum_along(merges, sizes, out_pairs):
    """Write the sizes of both clusters at every merge; `sizes` is used up."""
    for t in range(len(merges)):
        u, v = merges[t, 0], merges[t, 1]
        out_pairs[t, 0] = sizes[u]
        out_pairs[t, 1] = sizes[v]
        sizes[u] += sizes[v]


@njit(cache=True)
def _join_times(merges, n_regions, pairs, out_joined):
    """Join trees by size, then climb from both ends, always where the next join is earlier."""
    parent = np.arange(n_regions)
    joined_at = np.full(n_regions, len(merges))
    root = np.arange(n_regions)
    count = np.ones(n_regions, np.int64)
    for t in range(len(merges)):
        large, small = root[merges[t, 0]], root[merges[t, 1]]
        if count[large] < count[small]:
            large, small = small, large
        parent[small] = large
        joined_at[small] = t
        count[large] += count[small]
        root[merges[t, 0]] = large
    for i in range(len(pairs)):
        a, b = np.int64(pairs[i, 0]), np.int64(pairs[i, 1])
        last = np.int64(-1)
        while a != b:
            if joined_at[a] > joined_at[b]:
                a, b = b, a
            last = joined_at[a]
            if last == len(merges):
                break
            a = parent[a]
        out_joined[i] = last
