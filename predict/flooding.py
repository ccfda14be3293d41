"""Flooding of a landscape from seeds, lowest voxels first (Meyer's watershed).

Heights are replaced by their ranks and voxels that were reached wait in a queue of their rank, so a
voxel costs the same in a volume of any size. Voxels of one height go on in the order in which
they were reached, seeds before all others, in the order of the array. All triples are z, y, x.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError

MAX_VOXELS = 2**31 - 1
"""Places are counted in 31 bits."""

OUTSIDE = -1
FREE = -1
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def flood(
    landscape: npt.NDArray[np.floating], seeds: npt.NDArray[np.integer]
) -> npt.NDArray[np.int32]:
    """Give every voxel the label of the seed from which it is flooded first.

    Meyer 1994, "Topographic distance and watershed lines", section 4, without lines: equal to
    `skimage.segmentation.watershed` where no two seeds stand at one height; among seeds that do,
    the order there is that of a binary heap, which depends on all that went through it.

    Args:
        landscape: (z, y, x) float, finite and not negative, taken as float32.
        seeds: (z, y, x) integer below 2³¹, 0 = none, one voxel at least with a label.

    Returns:
        (z, y, x) int32.

    Raises:
        InputError: the volume is too large to be flooded at once.
    """
    padded = tuple(size + 2 for size in landscape.shape)
    n_voxels = int(np.prod(padded, dtype=np.int64))
    if n_voxels > MAX_VOXELS:
        raise InputError(
            f"boundaries of shape {landscape.shape} has more voxels than can be flooded at once; "
            "cut it into blocks."
        )
    # The bits of floats that are not negative are in the order of the floats; + 0 makes −0 one.
    heights = np.pad(landscape.astype(np.float32) + np.float32(0), 1).view(np.uint32)
    labels = np.pad(seeds.astype(np.int32), 1, constant_values=OUTSIDE)
    row, section = padded[2], padded[1] * padded[2]
    steps = np.array([-section, -row, -1, 1, row, section])
    ranks, n_ranks = _rank(heights.reshape(-1))
    _flood(ranks, n_ranks, steps, labels.reshape(-1))
    return np.ascontiguousarray(labels[1:-1, 1:-1, 1:-1])


def _rank(heights: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.int32], int]:
    """Number the distinct heights from the lowest; return each voxel's number and how many."""
    numbers, distinct = _number(heights)
    ranks = np.empty(len(distinct), np.int32)
    ranks[np.argsort(distinct)] = np.arange(len(distinct), dtype=np.int32)
    return ranks[numbers], len(distinct)


@njit(cache=True)
def _number(heights):
    """Number the distinct heights as they appear, through a hash table that grows with them."""
    numbers = np.empty(len(heights), np.int32)
    distinct = np.empty(1 << 10, np.uint32)
    slots = np.full(2 * len(distinct), FREE, np.int32)
    n = 0
    for place in range(len(heights)):
        slot = _slot_of(heights[place], distinct, slots)
        if slots[slot] == FREE:
            if n == len(distinct):
                distinct = np.concatenate((distinct, np.empty_like(distinct)))
                slots = np.full(2 * len(distinct), FREE, np.int32)
                for number in range(n):
                    slots[_slot_of(distinct[number], distinct, slots)] = number
                slot = _slot_of(heights[place], distinct, slots)
            slots[slot], distinct[n] = n, heights[place]
            n += 1
        numbers[place] = slots[slot]
    return numbers, distinct[:n]


@njit(cache=True)
def _slot_of(height, distinct, slots):
    """Return the slot of a height, or the free one where it belongs."""
    last = len(slots) - 1
    hashed = np.uint64(height) * HASH_FACTOR
    slot = np.int64((hashed >> np.uint64(32)) & np.uint64(last))
    while slots[slot] != FREE and distinct[slots[slot]] != height:
        slot = (slot + 1) & last
    return slot


@njit(cache=True)
def _flood(ranks, n_ranks, steps, inout_labels):
    """Flood from the labels that there are; voxels outside hold `OUTSIDE`."""
    starts = np.zeros(n_ranks + 1, np.int64)
    for rank in ranks:
        starts[rank + 1] += 1
    for rank in range(n_ranks):
        starts[rank + 1] += starts[rank]
    ends = starts[:-1].copy()
    waiting = np.empty(len(ranks), np.int32)  # those of each rank, from its start to its end
    queue = np.empty(len(ranks), np.int32)  # those of the rank that is flooded
    for place in range(len(ranks)):
        if inout_labels[place] > 0 and _has_unlabelled(place, steps, inout_labels):
            waiting[ends[ranks[place]]] = place
            ends[ranks[place]] += 1
    for rank in range(n_ranks):
        n = ends[rank] - starts[rank]
        queue[:n] = waiting[starts[rank] : ends[rank]]
        at = 0
        while at < n:
            place = queue[at]
            at += 1
            for step in steps:
                beside = place + step
                if inout_labels[beside] != 0:
                    continue
                inout_labels[beside] = inout_labels[place]
                own = ranks[beside]
                if own <= rank:
                    queue[n] = beside
                    n += 1
                else:
                    waiting[ends[own]] = beside
                    ends[own] += 1


@njit(cache=True)
def _has_unlabelled(place, steps, labels):
    for step in steps:
        if labels[place + step] == 0:
            return True
    return False
