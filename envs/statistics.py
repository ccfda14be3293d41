"""The additive statistics of regions and of contacts, column by column.

Every column is a sum of integers over voxels (regions) or over voxel faces (contacts), kept in
int64. Sums of parts therefore add up exactly, in any order: merging two regions, joining the two
contacts they had with a third, and joining the partial sums of two blocks are all one addition.
Grey values and boundary probabilities enter as 8-bit integers (see `envs.quantise`).

The one exception is `SURFACE`, the number of faces a region shares with other regions: on a merge
it is the sum less twice the contact that disappears, which is still an exact integer.

Positions are voxel indices (z, y, x) of the volume; those of a contact are doubled, because a face
lies half-way between two voxels.
"""

from __future__ import annotations

BIN_EDGES = (13, 26, 51, 77, 128, 179, 230)
"""First 8-bit boundary value of histogram bins 1..7: 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9."""

N_BINS = len(BIN_EDGES) + 1

# Region columns.
SIZE = 0
GREY = 1
GREY_SQUARED = 2
BOUNDARY = 3
BOUNDARY_SQUARED = 4
SURFACE = 5
REGION_HISTOGRAM = 6
REGION_POSITION = REGION_HISTOGRAM + N_BINS
"""First of nine: z, y, x, zz, yy, xx, zy, zx, yx."""
N_REGION_STATISTICS = REGION_POSITION + 9

# Contact columns. A face joins voxels p and q; b is the boundary value, g the grey value.
AREA = 0
FACE_MAX = 1
"""Sum over faces of max(b_p, b_q)."""
FACE_MAX_SQUARED = 2
FACE_SUM = 3
"""Sum over faces of b_p + b_q."""
PATH_MAX = 4
"""Sum over faces of the largest b among the four voxels in line across the face."""
FACE_GREY = 5
"""Sum over faces of g_p + g_q."""
FACE_GREY_SQUARED = 6
"""Sum over faces of (g_p + g_q) squared."""
GREY_STEP = 7
"""Sum over faces of |g_p − g_q|."""
AREA_Z = 8
"""Faces whose normal is the z axis."""
CONTACT_HISTOGRAM = 9
"""First of `N_BINS`: faces by the bin of max(b_p, b_q)."""
CONTACT_POSITION = CONTACT_HISTOGRAM + N_BINS
"""First of nine, as `REGION_POSITION`, in doubled coordinates."""
N_CONTACT_STATISTICS = CONTACT_POSITION + 9
