"""The boundary map that is made of affinities, as a function that torch can differentiate.

`AffinityBoundary.apply` makes the map of a volume; `boundary_logits` makes that of a training patch
and stays in logits, so that its cross-entropy is exact however sure the affinities are.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from predict.boundary_network import AffinityBoundary

NO_EDGE = -100.0
"""Logit of a voxel at which no edge counts: no boundary."""

_NEVER = 1e4
"""Logarithm of the share, in the end 0, of an edge that does not count."""


def boundary_logits(
    affinity_logits: torch.Tensor, counts: torch.Tensor, rule: AffinityBoundary
) -> torch.Tensor:
    """Return the logits of the boundary map that a rule makes of affinities.

    With q the logistic function of the logits a of the edges of a voxel, the least affinity gives
    the boundary 1 − min q(a), whose logit is −min a. The mean gives Σ q(−a) / n, and its logit is
    log Σ q(−a) − log Σ q(a). At the far end of each axis the edge that leaves the array behind is
    missing; leave those voxels out of a loss.

    Args:
        affinity_logits: (n, 3, z, y, x) float, of the edges to the −z, −y and −x neighbour.
        counts: (n, 3, z, y, x) bool, edges that count, at the near end of an axis too.
        rule: which edges, and whether the least or the mean.

    Returns:
        (n, 1, z, y, x) float.
    """
    edges, taken = [], []
    for axis in (1, 2) if rule.in_section else (0, 1, 2):
        for beginning in (0, 1):  # the edge to the voxel before, then to the one behind
            extent = affinity_logits.shape[2 + axis] - beginning
            ends = [0, 0] * (2 - axis) + [0, beginning]
            for source, parts in ((affinity_logits, edges), (counts, taken)):
                part = source[:, axis].narrow(1 + axis, beginning, extent)
                parts.append(functional.pad(part, ends))
    logits, is_taken = torch.stack(edges, 1), torch.stack(taken, 1)
    if rule.take == "least":
        return -logits.masked_fill(~is_taken, -NO_EDGE).amin(1, keepdim=True)
    cut, whole = (
        functional.logsigmoid(signed).masked_fill(~is_taken, -_NEVER).logsumexp(1, keepdim=True)
        for signed in (-logits, logits)
    )
    return torch.where(is_taken.any(1, keepdim=True), cut - whole, NO_EDGE)
