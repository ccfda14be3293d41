"""Errors of a segmentation, chosen by name, each with its exact difference for a merge.

All are kept in one state, so that the kernels compile once; what the chosen error does not use is
empty. For each, error(start) − error(end) = sum of gains (+ the terminal gain).

    name          error
    vi            variation of information in bits, truth 0 dropped (Meilă 2007)
    rand          1 − Rand index, truth 0 dropped
    adapted_rand  1 − 2PR/(P + R), truth 0 dropped, N² pairs (Arganda-Carreras et al. 2015)
    synapse_vi    variation of information in bits of weighted points (`envs.synapse_rows`)
    run_length    1 − ERL / ERL of whole neurons (`envs.skeleton_runs`)
    warping       warping error of the sections (`analysis.warping_error`), at the end only
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from analysis.warping_error import segmentation_warping_error
from envs.instance import Instance
from envs.region_graph import dense_labels
from envs.skeleton_runs import NO_SKELETONS, RunState, join_runs, run_error, run_gain, start_runs
from envs.truth_rows import (
    MAX_EXACT_VOXELS,
    NO_TRUTH,
    TruthRows,
    carried,
    errors_of_rows,
    float_of,
    join_rows,
    merge_gains,
    pair_changes,
    start_rows,
    sum_pairs,
)

ObjectiveName = Literal["vi", "rand", "adapted_rand", "synapse_vi", "run_length", "warping"]
OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)

# Values of `ObjectiveState.kind`, places in OBJECTIVES.
_VI = 0
_RAND = 1
_ADAPTED_RAND = 2
_SYNAPSE_VI = 3
_RUN_LENGTH = 4


class ObjectiveState(NamedTuple):
    """What the chosen error needs of the current clusters.

    Attributes:
        kind: (1,) int64, place in `OBJECTIVES`.
        rows: rows of voxels, or of points for synapse_vi; else empty.
        pairs: (3, 2) int64, for adapted_rand the sums Σ c², Σ a², Σ b² in two words each, exact.
        runs: skeletons for run_length; else empty.
    """

    kind: npt.NDArray[np.int64]
    rows: TruthRows
    pairs: npt.NDArray[np.int64]
    runs: RunState


def start_objective(name: ObjectiveName, instance: Instance) -> ObjectiveState:
    """Lay out an objective for the unmerged regions of an instance.

    Without truth, vi, rand and adapted_rand are 0 throughout.

    Raises:
        ValueError: there is no such objective.
        InputError: the instance lacks what the objective needs.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, not {name!r}")
    if name == "synapse_vi" and not len(instance.synapses.rows):
        raise InputError("objective synapse_vi needs an instance with synapses, but it has none")
    if name == "run_length" and not instance.skeletons.lengths_nm.any():
        raise InputError(
            "objective run_length needs an instance with skeletons, but theirs are "
            f"{len(instance.skeletons.lengths_nm)} edges without length"
        )
    if name == "warping" and instance.volume is None:
        raise InputError("objective warping needs an instance with its volume, but it has none")
    n_regions = instance.graph.n_regions
    has_runs = name == "run_length"
    has_rows = not has_runs and name != "warping"
    table = instance.synapses if name == "synapse_vi" else instance.truth
    objective = ObjectiveState(
        kind=np.array([OBJECTIVES.index(name)], np.int64),
        rows=start_rows(table if has_rows else NO_TRUTH, n_regions if has_rows else 0),
        pairs=np.zeros((3, 2), np.int64),
        runs=start_runs(
            instance.skeletons if has_runs else NO_SKELETONS, n_regions if has_runs else 0
        ),
    )
    if name == "adapted_rand":
        if (n_voxels := int(objective.rows.n_voxels[0])) > MAX_EXACT_VOXELS:
            raise InputError(
                f"objective adapted_rand is exact up to {MAX_EXACT_VOXELS} voxels with truth, "
                f"but there are {n_voxels}"
            )
        sum_pairs(objective.rows, objective.pairs)
    return objective


@njit(cache=True)
def gain_of(objective, u, v):
    """Return by how much the error falls if regions u and v merge; 0 for warping."""
    kind = objective.kind[0]
    if kind == _VI or kind == _SYNAPSE_VI:
        return merge_gains(objective.rows, u, v)[0]
    if kind == _RAND:
        return merge_gains(objective.rows, u, v)[1]
    if kind == _ADAPTED_RAND:
        return _adapted_rand_gain(objective.rows, objective.pairs, u, v)
    if kind == _RUN_LENGTH:
        return run_gain(objective.runs, u, v)
    return 0.0


@njit(cache=True)
def join_objective(objective, kept, gone):
    """Let region `kept` stand for the union of regions `kept` and `gone`."""
    kind = objective.kind[0]
    if kind == _ADAPTED_RAND:
        _join_pairs(objective.rows, kept, gone, objective.pairs)
    if kind <= _SYNAPSE_VI:
        join_rows(objective.rows, kept, gone)
    elif kind == _RUN_LENGTH:
        join_runs(objective.runs, kept, gone)


@njit(cache=True)
def error_of(objective):
    """Return the error of the current clusters from scratch; 0 for warping (`terminal_gain`)."""
    kind = objective.kind[0]
    if kind == _VI or kind == _SYNAPSE_VI:
        return errors_of_rows(objective.rows)[0]
    if kind == _RAND:
        return 1.0 - errors_of_rows(objective.rows)[1]
    if kind == _ADAPTED_RAND:
        pairs = np.zeros((3, 2), np.int64)
        sum_pairs(objective.rows, pairs)
        return _adapted_rand_error(pairs)
    if kind == _RUN_LENGTH:
        return run_error(objective.runs)
    return 0.0


def terminal_gain(
    name: ObjectiveName, instance: Instance, clusters: npt.NDArray[np.integer]
) -> float:
    """Return by how much the error that shows only at the end falls from start to end.

    Args:
        name: only for warping is it not 0.
        instance: with its volume.
        clusters: (R,) integer, for every region the index of a region that stands for its cluster.

    Raises:
        InputError: the volume is missing or its superpixels are not those of the graph.
    """
    if name != "warping":
        return 0.0
    unmerged = np.arange(instance.graph.n_regions)
    return warping_of(instance, unmerged) - warping_of(instance, clusters)


def warping_of(instance: Instance, clusters: npt.NDArray[np.integer]) -> float:
    """Return the warping error of a clustering of an instance's regions.

    Args:
        instance: with its volume.
        clusters: (R,) integer, for every region the index of a region that stands for its cluster.

    Raises:
        InputError: the volume is missing or its superpixels are not those of the graph.
    """
    if instance.volume is None:
        raise InputError("objective warping needs an instance with its volume, but it has none")
    ids, region = dense_labels(instance.volume.superpixels)
    if not np.array_equal(ids, instance.graph.ids):
        raise InputError(
            f"superpixels hold {len(ids)} ids that are not the {instance.graph.n_regions} of the "
            "graph"
        )
    segments = np.append(clusters.astype(np.int64) + 1, 0)[region]
    return segmentation_warping_error(segments, instance.volume.labels).error


@njit(cache=True)
def _adapted_rand_gain(rows, pairs, u, v):
    """Return the fall of 1 − 2C/S, C = Σ c² and S = Σ a² + Σ b²: 2 (ΔC − ΔS·C/S) / (S + ΔS)."""
    joint_high, joint_low, segment_high, segment_low = pair_changes(rows, u, v)
    joint = float_of(pairs[0, 0], pairs[0, 1])
    both = float_of(pairs[1, 0] + pairs[2, 0], pairs[1, 1] + pairs[2, 1])
    if both == 0.0:
        return 0.0
    more_joint = float_of(joint_high, joint_low)
    more_both = float_of(segment_high, segment_low)
    return 2.0 * (more_joint - more_both * (joint / both)) / (both + more_both)


@njit(cache=True)
def _join_pairs(rows, kept, gone, out_pairs):
    """Bring the sums of pairs up to date with a merge; out_pairs: (3, 2) int64."""
    joint_high, joint_low, segment_high, segment_low = pair_changes(rows, kept, gone)
    out_pairs[0, 0], out_pairs[0, 1] = carried(
        out_pairs[0, 0] + joint_high, out_pairs[0, 1] + joint_low
    )
    out_pairs[1, 0], out_pairs[1, 1] = carried(
        out_pairs[1, 0] + segment_high, out_pairs[1, 1] + segment_low
    )


@njit(cache=True)
def _adapted_rand_error(pairs):
    """Return (Σ a² + Σ b² − 2 Σ c²) / (Σ a² + Σ b²), the numerator exact before it is rounded."""
    high, low = pairs[1, 0] + pairs[2, 0], pairs[1, 1] + pairs[2, 1]
    both = float_of(high, low)
    if both == 0.0:
        return 0.0
    return float_of(high - 2 * pairs[0, 0], low - 2 * pairs[0, 1]) / both
