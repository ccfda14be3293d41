"""BLOTC: train on labels that are warped towards the prediction while their topology is kept.

Jain et al., "Boundary Learning by Optimization with Topological Constraints" (CVPR 2010): over the
weights w and the warpings L of the true labels L* within a mask, minimise Σ (l_i − f_i(w))². At
every step the labels first move towards the network's output, then the network takes a gradient
step towards the labels. A membrane drawn a voxel aside costs nothing, a gap in it does.

All triples are z, y, x. Interior is foreground: 4-connected, membrane 8-connected, where sections
are warped one by one, and 6 and 26 in a volume.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from analysis.connectivity import Connectivity, neighbour_offsets, pad_widths
from analysis.input_error import InputError
from analysis.simple_points import SIMPLE_POINTS_4_8
from analysis.warping_queue import flip_simple_points
from predict.anisotropy import Spacing, validate_voxel_size
from predict.boundary_loss import boundary_loss
from predict.boundary_network import CHANNELS
from predict.boundary_targets import BoundaryTargets


@dataclass(frozen=True, slots=True)
class LabelWarp:
    """What a warp of labels may do.

    Attributes:
        voxel_size_nm: z, y, x.
        in_section: warp every section by itself; else the volume.
        reach_vox: a voxel may flip if the true border is no farther: the distance in nm to the
            nearest voxel of the other kind, in units of the finer of the y and the x voxel size.
            With 1 that is the voxels along the border on both sides.
        threshold: a voxel is proposed as boundary where the map is at least this.
    """

    voxel_size_nm: Spacing
    in_section: bool
    reach_vox: float = 2.0
    threshold: float = 0.5

    def __post_init__(self) -> None:
        validate_voxel_size(self.voxel_size_nm)
        if not 1 <= self.reach_vox < math.inf:
            raise InputError(f"reach_vox must be at least 1, got {self.reach_vox}.")
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold must lie between 0 and 1, got {self.threshold}.")


def cost_threshold(negative: float, positive: float) -> float:
    """Return the boundary probability from which a voxel costs less as boundary than as interior.

    The weighted cross-entropies −positive · log p and −negative · log (1 − p) are equal there: 0.5
    for equal weights. With it a flip lowers the very loss that the gradient step lowers; with 0.5
    and a heavier boundary class labels would thicken the membranes and train thicker ones.

    Args:
        negative: weight of the class interior.
        positive: weight of the class boundary.
    """
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if positive * math.log(middle) < negative * math.log1p(-middle):
            low = middle
        else:
            high = middle
    return high


def warping_mask(
    interior: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], warp: LabelWarp
) -> npt.NDArray[np.bool_]:
    """Mark the voxels that a warp may flip.

    They lie within reach of the true border, and all their 8 (in a volume 26) neighbours lie in the
    array and are known, so that what is not seen decides no flip and none changes it.

    Args:
        interior: (z, y, x) bool, the truth.
        known: (z, y, x) bool, where it is known.
        warp: reach.

    Returns:
        (z, y, x) bool.
    """
    axes = (1, 2) if warp.in_section else (0, 1, 2)
    inner = known
    for axis in axes:
        along = np.moveaxis(inner, axis, 0)
        inner = np.zeros_like(inner)
        np.moveaxis(inner, axis, 0)[1:-1] = along[:-2] & along[1:-1] & along[2:]
    unit = np.array(warp.voxel_size_nm) / min(warp.voxel_size_nm[1:])
    most = [int(warp.reach_vox / unit[axis]) if axis in axes else 0 for axis in range(3)]
    near = np.zeros_like(interior)
    for step in itertools.product(*(range(-reach, reach + 1) for reach in most)):
        length = math.hypot(*(unit * step))
        if step <= (0, 0, 0) or length > warp.reach_vox:  # one of each pair of opposite steps
            continue
        ahead, behind = [], []
        for steps, extent in zip(step, interior.shape, strict=True):
            ahead.append(slice(max(0, steps), max(0, extent + min(0, steps))))
            behind.append(slice(max(0, -steps), max(0, extent - max(0, steps))))
        differs = interior[*ahead] != interior[*behind]
        near[*ahead] |= differs
        near[*behind] |= differs
    return inner & near


def warp_labels(
    interior: npt.NDArray[np.bool_],
    prediction: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    *,
    threshold: float = 0.5,
    in_section: bool,
) -> npt.NDArray[np.bool_]:
    """Warp the true interior towards a boundary map, as `analysis.warping_error` does.

    Mismatches are visited by |map − threshold| falling (of equals column-major), and a voxel that
    is simple at that moment is flipped, until no mismatch is simple any more. So every flip brings
    a voxel to the side that the map proposes, and components and holes stay as many as they were.

    Args:
        interior: (z, y, x) bool, the truth.
        prediction: (z, y, x) float32 in 0..1, 1 is boundary.
        mask: (z, y, x) bool, voxels that may flip.
        threshold: interior is proposed where the map is below.
        in_section: warp every section by itself; else the volume.

    Returns:
        (z, y, x) bool, the warped interior.
    """
    if not interior.shape == prediction.shape == mask.shape or interior.ndim != 3:
        raise InputError(
            "interior, prediction and mask must have the same shape (z, y, x), "
            f"got {interior.shape}, {prediction.shape} and {mask.shape}."
        )
    if interior.dtype != np.bool_ or mask.dtype != np.bool_:
        raise InputError(
            f"interior and mask must be bool, got dtypes {interior.dtype} and {mask.dtype}."
        )
    foreground: Connectivity = 4 if in_section else 6
    widths = pad_widths(foreground)
    source = np.pad(interior, widths).view(np.uint8)
    wrong = mask & ((prediction < threshold) != interior)
    x, y, z = np.nonzero(wrong.T)
    distance = np.abs(prediction[z, y, x].astype(np.float64) - threshold).astype(np.float32)
    places = np.ravel_multi_index((z + widths[0, 0], y + 1, x + 1), source.shape)
    flip_simple_points(
        foreground,
        SIMPLE_POINTS_4_8,
        neighbour_offsets(source.shape, 8 if in_section else 26),
        1 << (np.arange(8) if in_section else np.delete(np.arange(27), 13)),
        places[np.argsort(-distance, kind="stable")],
        source.reshape(-1),
        np.full(source.size, -1, np.int32),
    )
    return source[tuple(slice(low, -low or None) for low, _ in widths)].view(np.bool_)


def warp_targets(
    prediction: npt.NDArray[np.float32],
    target: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    warp: LabelWarp,
) -> BoundaryTargets:
    """Warp the boundary target of a patch towards a boundary map.

    The true interior is where the boundary target is 0. An affinity at a voxel that has flipped
    becomes unknown: whether a voxel that joined the membrane still belongs to its neighbours
    depends on how the annotators drew membranes, which warped labels do not say. All other
    affinities stay as they are, for flips of simple points neither join nor split objects.

    Args:
        prediction: (z, y, x) float32 in 0..1, 1 is boundary.
        target: (4, z, y, x) float32, from `boundary_targets`.
        known: (4, z, y, x) bool.
        warp: what may flip.
    """
    interior = target[0] == 0
    warped = warp_labels(
        interior,
        prediction,
        warping_mask(interior, known[0], warp),
        threshold=warp.threshold,
        in_section=warp.in_section,
    )
    flipped = warped != interior
    target, known = target.copy(), known.copy()
    target[0][flipped] = ~warped[flipped]
    known[1:, flipped] = False
    known[1, 1:] &= ~flipped[:-1]
    known[2, :, 1:] &= ~flipped[:, :-1]
    known[3, :, :, 1:] &= ~flipped[:, :, :-1]
    return BoundaryTargets(target, known)


def warping_mismatches(
    prediction: npt.NDArray[np.float32],
    target: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    warp: LabelWarp,
) -> float:
    """Return the share of known voxels at which a boundary map differs from the warped truth.

    Args:
        prediction: (z, y, x) float32 in 0..1, 1 is boundary.
        target: (4, z, y, x) float32, from `boundary_targets`.
        known: (4, z, y, x) bool.
        warp: what may flip.
    """
    warped = warp_targets(prediction, target, known, warp).target[0]
    differs = (prediction >= warp.threshold) != (warped > 0)
    return float(np.count_nonzero(differs & known[0]) / max(1, np.count_nonzero(known[0])))


def blotc_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    known: torch.Tensor,
    class_weights: torch.Tensor,
    warp: LabelWarp,
) -> torch.Tensor:
    """Return the cross-entropy against labels warped towards the network's output.

    The square error of the paper is replaced by the class-weighted cross-entropy of the rest of
    the training, averaged over boundary and affinities. The labels are warped on the CPU, towards
    the output as it is, and are constants of the gradient step.

    Args:
        logits: (n, 4, z, y, x) float of boundary and affinities.
        target: (n, 4, z, y, x) float, 0 or 1.
        known: (n, 4, z, y, x) float, 1 where the target is known.
        class_weights: (4, 2) float, weight of class 0 and 1 of every channel.
        warp: what may flip; `cost_threshold` gives the threshold that fits the weights.
    """
    if not logits.shape[1] == target.shape[1] == len(CHANNELS):
        raise InputError(
            "logits and target must have the channels of boundary and affinities, "
            f"{len(CHANNELS)}, got {logits.shape[1]} and {target.shape[1]}."
        )
    warped = [
        warp_targets(*arrays, warp)
        for arrays in zip(
            torch.sigmoid(logits.detach()[:, 0]).float().cpu().numpy(),
            target.cpu().numpy(),
            known.cpu().numpy() > 0,
            strict=True,
        )
    ]
    moved = torch.from_numpy(np.stack([one.target for one in warped])).to(target)
    still_known = torch.from_numpy(np.stack([one.known for one in warped])).to(known)
    return boundary_loss(logits, moved, still_known, class_weights)
