"""The warp itself: flip simple points of a list, pass after pass, until a pass flips none.

A point that was not simple stays so until a neighbour flips. So a point is tested again only
then: later in the same pass if it comes after the flip in the list, in the next pass if before.
A queue ordered by (pass, place in the list) holds the points to test, and the flips are those of
whole passes, one for one, while n points cost O(n log n) however many passes there are.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numba import njit

from analysis.simple_points_3d import is_simple_6_26, is_simple_26_6


@njit(cache=True)
def flip_simple_points(foreground, table, offsets, bits, order, out_volume, out_places):
    """Flip the listed points of a binary volume that are simple when their turn comes.

    Args:
        foreground: 4, 8, 6 or 26; the background has the dual connectivity.
        table: (256,) bool, simple points by neighbour code; read for 4 and 8 only.
        offsets: (N,) int64, steps to the 8 or 26 neighbours in the flattened volume.
        bits: (N,) int64, the bit of each in the code of a neighbourhood.
        order: (M,) int64, flat places of the points in the order of their turns, none at the edge
            of the padded volume (or section).
        out_volume: flat uint8, 0 or 1; the points that become simple are flipped in place.
        out_places: flat signed integers, −1 everywhere, as large as the volume; afterwards the
            place in `order` of each point that is left.

    Returns:
        How many tests were made: at most M + N × flips.
    """
    n_points = order.size
    n_tests = 0
    for i in range(n_points):
        out_places[order[i]] = i
    queued = np.zeros(n_points, np.bool_)
    queue = [np.int64(0)]
    queue.pop()
    n_listed = 0
    while n_listed < n_points or queue:
        if n_listed < n_points:
            key = np.int64(n_listed)
            n_listed += 1
        else:
            key = heappop(queue)
        i = key % n_points
        queued[i] = False
        here = order[i]
        code = np.int64(0)
        for k in range(offsets.size):
            code += out_volume[here + offsets[k]] * bits[k]
        n_tests += 1
        if foreground == 4 or foreground == 8:
            simple = table[code]
        elif foreground == 6:
            simple = is_simple_6_26(code)
        else:
            simple = is_simple_26_6(code)
        if not simple:
            continue
        out_volume[here] = 1 - out_volume[here]
        out_places[here] = -1
        for k in range(offsets.size):
            j = out_places[here + offsets[k]]
            is_listed = j > i and key < n_points
            if j >= 0 and not queued[j] and not is_listed:
                queued[j] = True
                start_of_pass = key - i
                heappush(queue, start_of_pass + j if j > i else start_of_pass + n_points + j)
    return n_tests
