"""MALIS: the loss of affinities by what thresholding them and taking components gets wrong.

All triples are z, y, x. Affinities are (3, z, y, x), to the −z, −y and −x neighbour. The pairs of
voxels are counted by `maximin_pairs`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from predict.maximin_pairs import maximin_pairs


class MalisLoss(NamedTuple):
    """The loss of a volume and its derivative by every affinity."""

    loss: float
    gradient: npt.NDArray[np.float32]  # (3, z, y, x)


def malis_loss(
    affinities: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    known: npt.NDArray[np.bool_] | None = None,
    *,
    constrained: bool = True,
    most: float = 1.0,
) -> MalisLoss:
    """Return the MALIS loss of affinities and its gradient.

    With a the maximin affinity of a pair, pairs of one label cost (1 − a)² and pairs of two labels
    a², each kind averaged over its own pairs, the two averages added. A pair that no path of known
    edges joins does not count, nor does any pair with a voxel of label 0.

    The constrained form (Funke et al. 2018, section 3.3) judges pairs of one label by affinities
    capped by the truth, min(A, T), so only paths in the object count, and pairs of two labels by
    max(A, T), so that objects are whole when they are wrongly joined. Its two passes have one order
    in common: the true edges by falling A, then the false ones by falling A. In the first pass the
    false edges are all 0 at the end, in the second the true ones all 1 at the beginning, and among
    equals any order gives the same maximin affinities. So one tree serves both: its true edges
    count the pairs of one label and its false ones those of two. Pairs of one label that the truth
    does not join within the array cannot be joined by any capped affinity and do not count.

    Args:
        affinities: (3, z, y, x) float in 0..1; taken as float32.
        labels: (z, y, x) integer, 0 is no object.
        known: (3, z, y, x) bool, edges that exist; None takes all. Edges that leave the array
            never exist.
        constrained: the two-pass form; False is that of Turaga et al. 2009.
        most: an edge counts for at most this share of the pairs of a kind. One edge decides all the
            pairs of two large objects, and what it says of a patch is mostly chance; 1 is the loss
            of all pairs.
    """
    pairs = maximin_pairs(affinities, labels, known, constrained=constrained)
    values = np.asarray(affinities, np.float32).ravel()[pairs.edge].astype(np.float64)
    same, other = pairs.same, pairs.other
    if constrained:
        same, other = np.where(pairs.is_true, same, 0), np.where(pairs.is_true, 0, other)
    positive = np.minimum(same / max(1, int(same.sum())), most)
    negative = np.minimum(other / max(1, int(other.sum())), most)
    gradient = np.zeros(np.shape(affinities), np.float32)
    gradient.reshape(-1)[pairs.edge] = 2 * (negative * values - positive * (1 - values))
    loss = positive @ (1 - values) ** 2 + negative @ values**2
    return MalisLoss(float(loss), gradient)


class Malis(torch.autograd.Function):
    """The MALIS loss of a batch as a function that torch can differentiate.

    The pairs are counted on the CPU; the gradient is a constant weight on every affinity.
    """

    @staticmethod
    def forward(
        ctx: Any,
        affinities: torch.Tensor,
        labels: torch.Tensor,
        known: torch.Tensor,
        most: float = 1.0,
    ) -> torch.Tensor:
        """Return the mean of the constrained loss over the batch.

        Args:
            ctx: what backward needs.
            affinities: (n, 3, z, y, x) float in 0..1.
            labels: (n, z, y, x) integer, 0 is no object.
            known: (n, 3, z, y, x), not 0 where the edge exists.
            most: see `malis_loss`.
        """
        found = [
            malis_loss(*arrays, most=most)
            for arrays in zip(
                affinities.detach().float().cpu().numpy(),
                labels.cpu().numpy(),
                known.cpu().numpy() > 0,
                strict=True,
            )
        ]
        gradient = np.stack([one.gradient for one in found]) / np.float32(len(found))
        ctx.save_for_backward(torch.from_numpy(gradient).to(affinities))
        return affinities.new_tensor(np.mean([one.loss for one in found]))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Return the gradient of the affinities."""
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient, None, None, None
