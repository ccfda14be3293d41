"""What the policy sees of a candidate merge: numbers computed from the additive sums alone.

Features come in groups. `region_row` is the part that depends on one region and is recomputed only
when that region changes; `candidate_features` assembles the vector of an edge: contact, smaller
region, larger region, their relation and, where the network asks for it, shape. The smaller region
comes first; equal sizes are ordered by smallest member, so the vector does not depend on the order
of merges. Probabilities and grey values are scaled to 0..1.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs import statistics as st

REGION_NAMES = (
    "log size",
    "boundary mean",
    "boundary sd",
    "share of boundary >= 0.1",
    "share of boundary >= 0.2",
    "share of boundary >= 0.5",
    "grey mean",
    "grey sd",
    "surface / size^(2/3)",
)

CONTACT_NAMES = (
    "face maximum, mean",
    "face maximum, sd",
    "face mean",
    "path maximum, mean",
    *(f"share of face maximum >= {edge / 255:.2f}" for edge in st.BIN_EDGES),
    "log area",
    "contact grey mean",
    "contact grey sd",
    "grey step",
    "share of z faces",
)

RELATION_NAMES = (
    "area / surface of smaller",
    "area / surface of larger",
    "area / size of smaller^(2/3)",
    "grey mean difference",
    "grey sd difference",
    "face maximum − boundary mean of smaller",
    "face maximum − boundary mean of larger",
)

SHAPE_NAMES = (
    "centroid distance / sum of gyration radii",
    "gyration radius / radius of smaller",
    "gyration radius / radius of larger",
    "gyration radius / radius of contact",
)

N_REGION = len(REGION_NAMES)
N_CONTACT = len(CONTACT_NAMES)
N_RELATION = len(RELATION_NAMES)

FEATURE_NAMES = (
    *(f"contact: {name}" for name in CONTACT_NAMES),
    *(f"smaller: {name}" for name in REGION_NAMES),
    *(f"larger: {name}" for name in REGION_NAMES),
    *(f"relation: {name}" for name in RELATION_NAMES),
)
SHAPE_FEATURE_NAMES = (*FEATURE_NAMES, *(f"shape: {name}" for name in SHAPE_NAMES))

N_FEATURES = len(FEATURE_NAMES)
N_SHAPE_FEATURES = len(SHAPE_FEATURE_NAMES)

_FIRST_RELATION = N_CONTACT + 2 * N_REGION


@njit(cache=True)
def _mean_sd(total, squares, n):
    """Return mean and standard deviation of n integers from their sums."""
    mean = total / n
    variance = squares / n - mean * mean
    return mean, np.sqrt(max(variance, 0.0))


@njit(cache=True)
def region_row(region, out_row):
    """Write the features of one region: region (S,) int64 → out_row (N_REGION,) float32."""
    n = float(region[st.SIZE])
    mean, sd = _mean_sd(float(region[st.BOUNDARY]), float(region[st.BOUNDARY_SQUARED]), n)
    grey, grey_sd = _mean_sd(float(region[st.GREY]), float(region[st.GREY_SQUARED]), n)
    above = 0
    for k in range(st.N_BINS - 1, 4, -1):
        above += region[st.REGION_HISTOGRAM + k]
    half = above / n
    above += region[st.REGION_HISTOGRAM + 4] + region[st.REGION_HISTOGRAM + 3]
    fifth = above / n
    above += region[st.REGION_HISTOGRAM + 2]
    out_row[0] = np.log(n)
    out_row[1] = mean / 255.0
    out_row[2] = sd / 255.0
    out_row[3] = above / n
    out_row[4] = fifth
    out_row[5] = half
    out_row[6] = grey / 255.0
    out_row[7] = grey_sd / 255.0
    out_row[8] = region[st.SURFACE] / n ** (2.0 / 3.0)


@njit(cache=True)
def _gyration(sums, first, n, half, voxel_size):
    """Return squared radius of gyration (nm²) of positions; half = 0.5 for doubled ones."""
    spread = 0.0
    for axis in range(3):
        mean = sums[first + axis] / n
        variance = max(sums[first + 3 + axis] / n - mean * mean, 0.0)
        spread += variance * (half * voxel_size[axis]) ** 2
    return spread


@njit(cache=True)
def candidate_features(
    region_u, region_v, row_u, row_v, contact, u_is_smaller, voxel_size, out_features
):
    """Write the features of merging u and v; shape only if `out_features` has room for it.

    Args:
        region_u: (S,) int64 sums of u.
        region_v: (S,) int64 sums of v.
        row_u: (N_REGION,) float32 of u from `region_row`.
        row_v: (N_REGION,) float32 of v.
        contact: (C,) int64 sums.
        u_is_smaller: whether u comes first.
        voxel_size: (3,) float64, nm.
        out_features: (N_FEATURES,) or (N_SHAPE_FEATURES,) float32.
    """
    area = float(contact[st.AREA])
    face, face_sd = _mean_sd(float(contact[st.FACE_MAX]), float(contact[st.FACE_MAX_SQUARED]), area)
    grey, grey_sd = _mean_sd(
        float(contact[st.FACE_GREY]), float(contact[st.FACE_GREY_SQUARED]), area
    )
    out_features[0] = face / 255.0
    out_features[1] = face_sd / 255.0
    out_features[2] = contact[st.FACE_SUM] / area / 510.0
    out_features[3] = contact[st.PATH_MAX] / area / 255.0
    above = 0
    for k in range(st.N_BINS - 1, 0, -1):
        above += contact[st.CONTACT_HISTOGRAM + k]
        out_features[3 + k] = above / area
    out_features[11] = np.log(area)
    out_features[12] = grey / 510.0
    out_features[13] = grey_sd / 510.0
    out_features[14] = contact[st.GREY_STEP] / area / 255.0
    out_features[15] = contact[st.AREA_Z] / area
    if u_is_smaller:
        small, large, row_small, row_large = region_u, region_v, row_u, row_v
    else:
        small, large, row_small, row_large = region_v, region_u, row_v, row_u
    for k in range(N_REGION):
        out_features[N_CONTACT + k] = row_small[k]
        out_features[N_CONTACT + N_REGION + k] = row_large[k]
    r = _FIRST_RELATION
    out_features[r] = area / small[st.SURFACE]
    out_features[r + 1] = area / large[st.SURFACE]
    out_features[r + 2] = area / float(small[st.SIZE]) ** (2.0 / 3.0)
    out_features[r + 3] = abs(row_small[6] - row_large[6])
    out_features[r + 4] = abs(row_small[7] - row_large[7])
    out_features[r + 5] = face / 255.0 - row_small[1]
    out_features[r + 6] = face / 255.0 - row_large[1]
    if len(out_features) == N_FEATURES:
        return
    s = N_FEATURES
    n_small, n_large = float(small[st.SIZE]), float(large[st.SIZE])
    unit = (voxel_size[0] * voxel_size[1] * voxel_size[2]) ** (1.0 / 3.0)
    spread_small = np.sqrt(_gyration(small, st.REGION_POSITION, n_small, 1.0, voxel_size))
    spread_large = np.sqrt(_gyration(large, st.REGION_POSITION, n_large, 1.0, voxel_size))
    distance = 0.0
    for axis in range(3):
        step = (
            small[st.REGION_POSITION + axis] / n_small - large[st.REGION_POSITION + axis] / n_large
        )
        distance += (step * voxel_size[axis]) ** 2
    out_features[s] = np.sqrt(distance) / (spread_small + spread_large + unit)
    out_features[s + 1] = spread_small / (unit * n_small ** (1.0 / 3.0))
    out_features[s + 2] = spread_large / (unit * n_large ** (1.0 / 3.0))
    out_features[s + 3] = np.sqrt(
        _gyration(contact, st.CONTACT_POSITION, area, 0.5, voxel_size)
    ) / (unit * np.sqrt(area))
