"""What a step of the training of a boundary network lowers.

All triples are z, y, x.
"""

from __future__ import annotations

import torch

from predict.anisotropy import is_strongly_anisotropic
from predict.blotc import LabelWarp, blotc_loss, cost_threshold
from predict.boundary_loss import boundary_loss
from predict.boundary_network import CHANNELS, NetworkConfig
from predict.boundary_settings import BoundaryTraining
from predict.box import Triple
from predict.embedding_loss import embedding_loss
from predict.malis import Malis


def training_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    known: torch.Tensor,
    labels: torch.Tensor,
    class_weights: torch.Tensor,
    *,
    network_config: NetworkConfig,
    training: BoundaryTraining,
    structured: bool,
) -> torch.Tensor:
    """Return what a step lowers: cross-entropy alone, or with a structured loss once it has begun.

    MALIS acts on the affinities alone; cross-entropy goes on training all channels. The loss of an
    embedding is added from the first step on.

    Args:
        logits: (n, 4 + E, z, y, x) float of boundary, affinities and embedding.
        target: (n, 4, z, y, x) float, 0 or 1.
        known: (n, 4, z, y, x) float, 1 where the target is known.
        labels: (n, z, y, x) integer.
        class_weights: (4, 2) float.
        network_config: whether every section stands alone.
        training: which loss.
        structured: whether a loss other than cross-entropy has begun.
    """
    if logits.shape[1] > len(CHANNELS):
        loss = training_loss(
            *(logits[:, : len(CHANNELS)], target, known, labels, class_weights),
            network_config=network_config,
            training=training,
            structured=structured,
        )
        embedding = torch.sigmoid(logits[:, len(CHANNELS) :])
        return loss + training.embedding_weight * embedding_term(embedding, known, labels, training)
    if structured and training.loss == "blotc":
        warp = label_warp(network_config, training, class_weights)
        return blotc_loss(logits, target, known, class_weights, warp)
    loss = boundary_loss(logits, target, known, class_weights)
    if structured and training.loss == "malis":
        malis = Malis.apply(torch.sigmoid(logits[:, 1:]), labels, known[:, 1:], training.malis_most)
        loss = loss + training.malis_weight * malis
    return loss


def embedding_term(
    embedding: torch.Tensor, known: torch.Tensor, labels: torch.Tensor, training: BoundaryTraining
) -> torch.Tensor:
    """Return the loss of an embedding, over what is known.

    Args:
        embedding: (n, E, z, y, x) float in 0..1.
        known: (n, 4, z, y, x) float; where the boundary is not known nothing is.
        labels: (n, z, y, x) integer.
        training: its margins.
    """
    return embedding_loss(
        embedding,
        labels * (known[:, 0] > 0),
        within=training.embedding_within,
        apart=training.embedding_apart,
    )


def label_warp(
    network_config: NetworkConfig, training: BoundaryTraining, class_weights: torch.Tensor
) -> LabelWarp:
    """Return how labels may be warped: within sections where boundaries are drawn within them."""
    size = training.voxel_size_nm
    return LabelWarp(
        size,
        in_section=network_config.two_dimensional or is_strongly_anisotropic(size),
        reach_vox=training.blotc_reach_vox,
        threshold=cost_threshold(*class_weights[0].tolist()),
    )


def without_rim(array: torch.Tensor, rim: Triple) -> torch.Tensor:
    """Return a (…, z, y, x) tensor without the voxels of a rim on every side."""
    if rim == (0, 0, 0):
        return array
    z, y, x = rim
    depth, height, width = array.shape[-3:]
    return array[..., z : depth - z, y : height - y, x : width - x].contiguous()
