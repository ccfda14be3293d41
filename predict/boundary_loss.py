"""The losses of single voxels and edges that boundary maps and affinities are trained with."""

from __future__ import annotations

import torch
from torch.nn import functional


def boundary_loss(
    logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, class_weights: torch.Tensor
) -> torch.Tensor:
    """Return the class-weighted binary cross-entropy, averaged over channels and known voxels.

    Args:
        logits: (n, c, z, y, x) float.
        target: (n, c, z, y, x) float, 0 or 1.
        known: (n, c, z, y, x) float, 1 where the target is known.
        class_weights: (c, 2) float, weight of class 0 and 1 of every channel.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    over = (0, 2, 3, 4)
    n_known = known.sum(over)
    weight = _weight(target, known, class_weights)
    per_channel = (weight * losses).sum(over) / n_known.clamp(min=1)
    return per_channel.sum() / (n_known > 0).sum().clamp(min=1)


def hinge_loss(
    logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, class_weights: torch.Tensor
) -> torch.Tensor:
    """Return the class-weighted squared hinge loss of a linear support vector machine.

    It averages over all known voxels and takes what `boundary_loss` takes.
    """
    losses = functional.relu(1 - (2 * target - 1) * logits).square()
    return (_weight(target, known, class_weights) * losses).sum() / known.sum().clamp(min=1)


def _weight(target: torch.Tensor, known: torch.Tensor, class_weights: torch.Tensor) -> torch.Tensor:
    """Return the weight of every voxel's class, 0 where nothing is known."""
    negative, positive = class_weights.T[:, None, :, None, None, None]
    return known * torch.lerp(negative, positive, target)
