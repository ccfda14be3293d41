"""What the policy sees of a candidate merge: numbers computed from the additive sums alone.

Features come in groups. `region_row` is the part that depends on one region, with what else is
needed of it, and is recomputed only when that region changes; `candidate_features` assembles the
vector of an edge: contact, smaller region, larger region, their relation and, where the network
asks for it, shape (most of that in `envs.morphology`); channels follow (`envs.channel_features`).
The smaller region comes first; equal sizes are ordered by smallest member, so the vector does not
depend on the order of merges. Probabilities and grey values are scaled to 0..1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from envs import statistics as st
from envs.morphology import MORPHOLOGY_NAMES, morphology

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
    *MORPHOLOGY_NAMES,
)

N_GYRATION = len(SHAPE_NAMES) - len(MORPHOLOGY_NAMES)
"""Features of shape that come before those of `envs.morphology`."""
N_REGION = len(REGION_NAMES)
ROW_SIZE = N_REGION
"""Column of a region row: number of voxels, rounded (which keeps their order)."""
ROW_SURFACE = N_REGION + 1
ROW_TWO_THIRDS = N_REGION + 2
"""Column of a region row: size^(2/3)."""
N_ROW = N_REGION + 3
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

CONTACT_COLUMNS = np.array(
    [*range(st.CONTACT_HISTOGRAM), *range(st.CONTACT_HISTOGRAM + 1, st.CONTACT_POSITION)]
)
"""(16,) columns of contact sums that features are made of: all but position and the lowest bin."""

N_CONTACT_COLUMNS = len(CONTACT_COLUMNS)
HISTOGRAM = st.CONTACT_HISTOGRAM - 1
"""Where bin 0 would be among them."""

_LOG_BOUND = 44.0
"""Logarithm of any number of voxels that 63 bits can count."""
_RATIO_BOUND = 1.3e7
"""6 n^(1/3) of such a number: surface over size^(2/3) of single voxels strewn about."""


def statistic_bounds(
    n_features: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return lower and upper bounds of the first features, (F,) float32 each."""
    low = np.zeros(n_features, np.float32)
    high = np.ones(n_features, np.float32)
    for i, name in enumerate(SHAPE_FEATURE_NAMES[:n_features]):
        if ": log " in name:
            high[i] = _LOG_BOUND
        elif "−" in name or "cosine" in name:
            low[i] = -1
        elif "^(2/3)" in name or name.startswith("shape:"):
            high[i] = _RATIO_BOUND
    return low, high


_FIRST_RELATION = N_CONTACT + 2 * N_REGION


@njit(cache=True, error_model="numpy")
def _mean_sd(total, squares, n):
    """Return mean and standard deviation of n integers from their sums."""
    mean = total / n
    variance = squares / n - mean * mean
    return mean, np.sqrt(max(variance, 0.0))


@njit(cache=True, error_model="numpy")
def region_row(regions, u, out_rows):
    """Write what is seen of region u: regions (R, S) int64 → out_rows (R, N_ROW) float32."""
    n = float(regions[u, st.SIZE])
    mean, sd = _mean_sd(float(regions[u, st.BOUNDARY]), float(regions[u, st.BOUNDARY_SQUARED]), n)
    grey, grey_sd = _mean_sd(float(regions[u, st.GREY]), float(regions[u, st.GREY_SQUARED]), n)
    above = 0
    for k in range(st.N_BINS - 1, 4, -1):
        above += regions[u, st.REGION_HISTOGRAM + k]
    half = above / n
    above += regions[u, st.REGION_HISTOGRAM + 4] + regions[u, st.REGION_HISTOGRAM + 3]
    fifth = above / n
    above += regions[u, st.REGION_HISTOGRAM + 2]
    two_thirds = n ** (2.0 / 3.0)
    out_rows[u, 0] = np.log(n)
    out_rows[u, 1] = mean / 255.0
    out_rows[u, 2] = sd / 255.0
    out_rows[u, 3] = above / n
    out_rows[u, 4] = fifth
    out_rows[u, 5] = half
    out_rows[u, 6] = grey / 255.0
    out_rows[u, 7] = grey_sd / 255.0
    out_rows[u, 8] = regions[u, st.SURFACE] / two_thirds
    out_rows[u, ROW_SIZE] = n
    out_rows[u, ROW_SURFACE] = regions[u, st.SURFACE]
    out_rows[u, ROW_TWO_THIRDS] = two_thirds


@njit(cache=True, error_model="numpy")
def _gyration(sums, row, first, n, half, voxel_size):
    """Return squared radius of gyration (nm²) of positions; half = 0.5 for doubled ones."""
    spread = 0.0
    for axis in range(3):
        mean = sums[row, first + axis] / n
        variance = max(sums[row, first + 3 + axis] / n - mean * mean, 0.0)
        spread += variance * (half * voxel_size[axis]) ** 2
    return spread


@njit(cache=True, error_model="numpy")
def candidate_features(
    regions, rows, contacts, positions, small, large, edge, voxel_size, out_features
):
    """Write the features of merging two regions; shape only if `out_features` has room for it.

    Args:
        regions: (R, S) int64 sums of regions.
        rows: (R, N_ROW) float32 from `region_row`.
        contacts: (E, 16) int64 sums of contacts, `CONTACT_COLUMNS`.
        positions: (E, 9) int64 sums of the positions of contacts, read for shape only.
        small: index of the smaller region.
        large: index of the larger region.
        edge: index of their contact.
        voxel_size: (3,) float64, nm.
        out_features: (N_FEATURES,), or (N_SHAPE_FEATURES,) or more, float32.
    """
    area = float(contacts[edge, st.AREA])
    per_face = 1.0 / area
    face, face_sd = _mean_sd(
        float(contacts[edge, st.FACE_MAX]), float(contacts[edge, st.FACE_MAX_SQUARED]), area
    )
    grey, grey_sd = _mean_sd(
        float(contacts[edge, st.FACE_GREY]), float(contacts[edge, st.FACE_GREY_SQUARED]), area
    )
    out_features[0] = face / 255.0
    out_features[1] = face_sd / 255.0
    out_features[2] = contacts[edge, st.FACE_SUM] * per_face / 510.0
    out_features[3] = contacts[edge, st.PATH_MAX] * per_face / 255.0
    above = 0
    for k in range(st.N_BINS - 1, 0, -1):
        above += contacts[edge, HISTOGRAM + k]
        out_features[3 + k] = above * per_face
    out_features[11] = np.log(area)
    out_features[12] = grey / 510.0
    out_features[13] = grey_sd / 510.0
    out_features[14] = contacts[edge, st.GREY_STEP] * per_face / 255.0
    out_features[15] = contacts[edge, st.AREA_Z] * per_face
    for k in range(N_REGION):
        out_features[N_CONTACT + k] = rows[small, k]
        out_features[N_CONTACT + N_REGION + k] = rows[large, k]
    r = _FIRST_RELATION
    out_features[r] = area / rows[small, ROW_SURFACE]
    out_features[r + 1] = area / rows[large, ROW_SURFACE]
    out_features[r + 2] = area / rows[small, ROW_TWO_THIRDS]
    out_features[r + 3] = abs(rows[small, 6] - rows[large, 6])
    out_features[r + 4] = abs(rows[small, 7] - rows[large, 7])
    out_features[r + 5] = face / 255.0 - rows[small, 1]
    out_features[r + 6] = face / 255.0 - rows[large, 1]
    if len(out_features) == N_FEATURES:
        return
    s = N_FEATURES
    n_small, n_large = float(regions[small, st.SIZE]), float(regions[large, st.SIZE])
    unit = (voxel_size[0] * voxel_size[1] * voxel_size[2]) ** (1.0 / 3.0)
    spread_small = np.sqrt(_gyration(regions, small, st.REGION_POSITION, n_small, 1.0, voxel_size))
    spread_large = np.sqrt(_gyration(regions, large, st.REGION_POSITION, n_large, 1.0, voxel_size))
    distance = 0.0
    for axis in range(3):
        step = (
            regions[small, st.REGION_POSITION + axis] / n_small
            - regions[large, st.REGION_POSITION + axis] / n_large
        )
        distance += (step * voxel_size[axis]) ** 2
    out_features[s] = np.sqrt(distance) / (spread_small + spread_large + unit)
    out_features[s + 1] = spread_small / (unit * n_small ** (1.0 / 3.0))
    out_features[s + 2] = spread_large / (unit * n_large ** (1.0 / 3.0))
    out_features[s + 3] = np.sqrt(_gyration(positions, edge, 0, area, 0.5, voxel_size)) / (
        unit * np.sqrt(area)
    )
    morphology(
        regions,
        positions,
        small,
        large,
        edge,
        n_small,
        n_large,
        area,
        voxel_size,
        s + N_GYRATION,
        out_features,
    )
