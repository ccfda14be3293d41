"""Cut pixels: the pixels without which their object falls apart."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def mark_cut_pixels(image, rows, cols, out_cut):
    """Mark the cut pixels (articulation points) of the 4-connected objects at given pixels.

    One depth-first search per object (Hopcroft and Tarjan, CACM 1973): a pixel cuts if it is the
    root with several children, or has a child whose subtree reaches no pixel found before it.

    Args:
        image: (y, x) uint8, objects are where it is not 0.
        rows: (N,) int64, rows of pixels; each one in an object brings its whole object in.
        cols: (N,) int64, their columns.
        out_cut: (y, x) bool, False everywhere; True on cut pixels afterwards.
    """
    n_y, n_x = image.shape
    found = np.zeros(image.size, np.int32)
    lowest = np.empty(image.size, np.int32)
    parents = np.empty(image.size, np.int32)
    next_step = np.zeros(image.size, np.uint8)
    n_found = 0
    for i in range(rows.size):
        root = rows[i] * n_x + cols[i]
        if image[rows[i], cols[i]] == 0 or found[root] != 0:
            continue
        n_found += 1
        found[root] = lowest[root] = n_found
        parents[root] = -1
        n_children = 0
        here = root
        while here >= 0:
            step = next_step[here]
            if step < 4:
                next_step[here] = step + 1
                y, x = divmod(here, n_x)
                v = y + (step == 0) - (step == 1)
                u = x + (step == 2) - (step == 3)
                if v < 0 or v >= n_y or u < 0 or u >= n_x or image[v, u] == 0:
                    continue
                there = v * n_x + u
                if found[there] == 0:
                    n_found += 1
                    found[there] = lowest[there] = n_found
                    parents[there] = here
                    n_children += here == root
                    here = there
                elif there != parents[here]:
                    lowest[here] = min(lowest[here], found[there])
            else:
                parent = parents[here]
                if parent >= 0:
                    lowest[parent] = min(lowest[parent], lowest[here])
                    if parent != root and lowest[here] >= found[parent]:
                        out_cut[parent // n_x, parent % n_x] = True
                here = parent
        out_cut[rows[i], cols[i]] = n_children > 1
