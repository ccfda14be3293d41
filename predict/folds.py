"""Which part of a labelled volume trains, selects and never meets a model.

All triples are z, y, x. The rule of the folds: a volume is cut along its longest axis into
`n_folds` parts; model k sees no label of part k. Predicting part k with model k reads image beyond
the part's border as context, which is no leak: only labels must be unseen. `GAP_VOX` voxels lie
between what trains and what does not, so that no target depends on a held-out label.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from analysis.input_error import InputError
from predict.box import Box, Triple, whole

GAP_VOX = 4
"""Voxels between training and held-out labels; a target reads labels one voxel away."""

VALIDATION_SHARE = 0.12
"""Share of the second longest axis that is kept for validation."""


@dataclass(frozen=True, slots=True)
class VolumeSplit:
    """Where one model trains, is validated and is held out in one volume.

    Attributes:
        training: boxes that training patches lie in.
        validation: boxes that decide which weights are kept.
        held_out: the part that this model predicts out of fold; None with a single fold.
    """

    training: tuple[Box, ...]
    validation: tuple[Box, ...]
    held_out: Box | None


def fold_parts(shape: Triple, n_folds: int) -> tuple[Box, ...]:
    """Cut a volume along its longest axis into `n_folds` contiguous parts of equal size.

    Args:
        shape: z, y, x; of equally long axes the first is cut.
        n_folds: at least 1.
    """
    axis = _longest(shape)
    if n_folds < 1:
        raise InputError(f"n_folds must be at least 1, got {n_folds}.")
    if shape[axis] < n_folds:
        raise InputError(f"n_folds is {n_folds}, too many for a volume of shape {shape}.")
    cuts = [shape[axis] * fold // n_folds for fold in range(n_folds + 1)]
    return tuple(whole(shape).along(axis, start, stop) for start, stop in pairwise(cuts))


def split_volume(shape: Triple, n_folds: int, fold: int) -> VolumeSplit:
    """Return the split of a volume for model `fold`.

    The validation slab is the end of the second longest axis, over the whole length of the
    longest: it crosses every training part, so it sees what they see.

    Args:
        shape: z, y, x.
        n_folds: number of models; with 1 the model sees the whole volume.
        fold: index of the model.
    """
    parts = fold_parts(shape, n_folds)
    if not 0 <= fold < n_folds:
        raise InputError(f"fold must be in 0..{n_folds - 1}, got {fold}.")
    axis = _longest(shape)
    others = [other for other in range(3) if other != axis]
    across = max(others, key=lambda other: shape[other])
    n_validation = max(1, round(VALIDATION_SHARE * shape[across]))
    cut = shape[across] - n_validation
    gap = min(GAP_VOX, max(1, cut - 1))
    if n_folds == 1:
        seen, held_out = [whole(shape)], None
    else:
        held_out = parts[fold]
        before, after = held_out.start[axis] - GAP_VOX, held_out.stop[axis] + GAP_VOX
        seen = [whole(shape).along(axis, 0, before), whole(shape).along(axis, after, shape[axis])]
    training = tuple(box.along(across, 0, cut - gap) for box in seen)
    validation = tuple(box.along(across, cut, shape[across]) for box in seen)
    split = VolumeSplit(
        tuple(box for box in training if box.n_voxels > 0),
        tuple(box for box in validation if box.n_voxels > 0),
        held_out,
    )
    if not split.training or not split.validation:
        raise InputError(f"labels of shape {shape} are too small to train {n_folds} fold(s) on.")
    return split


def _longest(shape: Triple) -> int:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"a volume must be a non-empty (z, y, x) array, got shape {shape}.")
    return max(range(3), key=lambda axis: shape[axis])
