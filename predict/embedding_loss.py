"""The loss of dense embeddings: voxels of an object near its mean, means of two neurons apart.

All triples are z, y, x. It is the discriminative loss of De Brabandere, Neven & Van Gool 2017
("Semantic instance segmentation with a discriminative loss function", arXiv 1708.02551, section
3.1), without the term that keeps means near the origin: coordinates lie in 0..1 already. Distances
are the root of the mean, not of the sum, of the squared differences of the channels, so that
margins mean the same for any number of channels, and no distance is above 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from skimage.measure import label as label_parts
from torch.nn import functional

LEAST_VOXELS = 64
"""An object with fewer voxels in the patch is left out: its mean is one of membranes."""

TINY = 1e-12
"""Squared distances are raised to this, below which the root has no slope to speak of."""


class Objects(NamedTuple):
    """The objects of a patch: connected parts of labels."""

    of_voxel: npt.NDArray[np.int64]  # (z, y, x), 0..K−1, K where there is none
    label: npt.NDArray[np.int64]  # (K,)


def find_objects(labels: npt.NDArray[np.integer], *, least_voxels: int = LEAST_VOXELS) -> Objects:
    """Return the parts of labels that hang together by faces within a patch.

    Args:
        labels: (z, y, x) integer, 0 is no object.
        least_voxels: smaller parts are none.
    """
    parts = np.asarray(label_parts(labels, background=0, connectivity=1))
    counts = np.bincount(parts.ravel())
    kept = counts >= max(1, least_voxels)
    kept[0] = False
    n_kept = np.count_nonzero(kept)
    renamed = np.where(kept, np.cumsum(kept) - 1, n_kept)
    of_voxel = renamed[parts]
    of_label = np.zeros(n_kept + 1, np.int64)
    of_label[of_voxel] = labels
    return Objects(of_voxel, of_label[:-1])


def embedding_loss(
    embedding: torch.Tensor,
    labels: torch.Tensor,
    *,
    within: float,
    apart: float,
    least_voxels: int = LEAST_VOXELS,
) -> torch.Tensor:
    """Return the mean over patches of what pulls voxels together and pushes objects apart.

    The pull is the mean over objects of the mean over their voxels of what a voxel's distance to
    the object's mean has above `within`, squared; the push the mean over pairs of objects of two
    labels of what their means' distance has below `apart`, squared. Two parts of one label are
    neither pulled together, which what lies outside of the patch would have to tell, nor pushed
    apart.

    Args:
        embedding: (n, E, z, y, x) float in 0..1.
        labels: (n, z, y, x) integer, 0 is no object.
        within: margin of the pull (δ_v), 0..1.
        apart: margin of the push (2 δ_d), 0..1.
        least_voxels: objects with fewer are left out.

    Returns:
        A scalar, 0 where there is no object.
    """
    losses = [
        _loss_of_patch(one, find_objects(own, least_voxels=least_voxels), within, apart)
        for one, own in zip(embedding, labels.cpu().numpy(), strict=True)
    ]
    return torch.stack(losses).mean()


def _loss_of_patch(
    embedding: torch.Tensor, objects: Objects, within: float, apart: float
) -> torch.Tensor:
    """Return the loss of one patch, (E, z, y, x)."""
    n_channels, n_objects = embedding.shape[0], objects.label.size
    if n_objects == 0:
        return embedding.sum() * 0
    values = embedding.permute(1, 2, 3, 0).reshape(-1, n_channels)
    index = torch.from_numpy(objects.of_voxel.ravel()).to(values.device)
    # Sums over objects are products, since a GPU that adds by index in one order is slow: eight
    # trainings had 1 to 4 steps a second each on an H200, and 18 without an embedding.
    belongs = (index == torch.arange(n_objects, device=index.device)[:, None]).to(values.dtype)
    counts = torch.bincount(index, minlength=n_objects + 1)[:n_objects].to(values.dtype)
    means = belongs @ values / counts[:, None]
    squares = (values - belongs.T @ means).square().mean(1)
    beyond = functional.relu(squares.clamp(min=TINY).sqrt() - within).square()
    pulls = belongs @ beyond / counts
    return pulls.mean() + _push(means, objects.label, apart)


def _push(means: torch.Tensor, labels: npt.NDArray[np.int64], apart: float) -> torch.Tensor:
    """Return what pushes the means of objects of two labels apart, (K, E) and (K,)."""
    first, second = np.triu_indices(labels.size, 1)
    differs = torch.from_numpy(labels[first] != labels[second]).to(means.device)
    distances = functional.pdist(means) / means.shape[1] ** 0.5
    lacking = functional.relu(apart - distances).square() * differs
    return lacking.sum() / differs.sum().clamp(min=1)
