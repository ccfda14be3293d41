"""A volume drawn by hand, 3 × 3 × 3, whose statistics were worked out on paper.

Regions 7, 3 and 9; 0 elsewhere (shown as a dot), with grey 255 and boundary 255, but 200 at
(2, 0, 1), which two of the lines across faces reach.

    z = 0:  7 7 3    z = 1:  7 3 3    z = 2:  . . .
            . . .            . . 9            . . .
            . . .            . . .            . . .
"""

from __future__ import annotations

import numpy as np

from tests.envs.random_tissue import Volume

_VOXELS = (  # position, superpixel, grey, boundary
    ((0, 0, 0), 7, 10, 13),
    ((0, 0, 1), 7, 20, 26),
    ((1, 0, 0), 7, 30, 12),
    ((0, 0, 2), 3, 40, 51),
    ((1, 0, 1), 3, 50, 128),
    ((1, 0, 2), 3, 60, 230),
    ((1, 1, 2), 9, 100, 77),
    ((2, 0, 1), 0, 255, 200),
)

DRAWN_IDS = [3, 7, 9]
DRAWN_EDGES = [[0, 1], [0, 2]]
# fmt: off
DRAWN_REGIONS = [
    # size, grey, grey², boundary, boundary², surface, histogram, z, y, x, zz, yy, xx, zy, zx, yx
    [3, 150, 7700, 409, 71885, 4,   0, 0, 0, 1, 0, 1, 0, 1,   2, 0, 5, 2, 0, 9, 0, 3, 0],
    [3, 60, 1400, 51, 989, 3,       1, 1, 1, 0, 0, 0, 0, 0,   1, 0, 1, 1, 0, 1, 0, 0, 0],
    [1, 100, 10000, 77, 5929, 1,    0, 0, 0, 0, 1, 0, 0, 0,   1, 1, 2, 1, 1, 4, 1, 2, 2],
]
DRAWN_CONTACTS = [
    # area, face max, face max², face sum, path max, face grey, face grey², step, z faces,
    #   histogram, then z, y, x, zz, yy, xx, zy, zx, yx
    [3, 307, 35369, 371, 481, 210, 14900, 70, 1,
        0, 0, 0, 1, 0, 2, 0, 0,   3, 0, 6, 5, 0, 14, 0, 4, 0],
    [1, 230, 52900, 307, 255, 160, 25600, 40, 0,
        0, 0, 0, 0, 0, 0, 0, 1,   2, 1, 4, 4, 1, 16, 2, 8, 4],
]
# fmt: on


def drawn_volume() -> Volume:
    """Draw it."""
    superpixels = np.zeros((3, 3, 3), np.int32)
    image = np.full((3, 3, 3), 255, np.uint8)
    boundaries = np.full((3, 3, 3), 255, np.uint8)
    for position, label, grey, boundary in _VOXELS:
        superpixels[position], image[position], boundaries[position] = label, grey, boundary
    return Volume(superpixels, image, boundaries)
