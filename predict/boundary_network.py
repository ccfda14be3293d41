"""What every boundary network has in common: its outputs and what its user must know of it.

All triples are z, y, x. Every network predicts a boundary map and the affinities to the −z, −y and
−x neighbour, each as a channel of its own; some predict a dense embedding beside them: channels
whose means over two neurons differ.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from predict.box import Triple

CHANNELS = ("boundary", "affinity_z", "affinity_y", "affinity_x")
"""Channels of a prediction; the affinities are those to the −z, −y and −x neighbour.

A boundary map that is learned gives better superpixels than one made of affinities: its average
precision was 0.769, that of 1 − the least of a voxel's six affinities 0.733, and VI after
agglomeration 1.47 and 2.02.
"""


class NetworkConfig(Protocol):
    """Shape of a boundary network."""

    @property
    def stride(self) -> Triple:
        """Return the period of what the network does; blocks are read on multiples of it."""
        ...

    @property
    def halo_vox(self) -> Triple:
        """Return the width of the rim an input border can reach, a multiple of the stride."""
        ...

    @property
    def two_dimensional(self) -> bool:
        """Tell whether every section is predicted alone."""
        ...

    @property
    def lost_vox(self) -> Triple:
        """Return how many voxels the whole output has less than the input, at each end."""
        ...

    def build(self) -> BoundaryNetwork:
        """Return a network of this shape with random weights."""
        ...


class BoundaryNetwork(nn.Module):
    """A network from images to logits; subclasses have a `config` and say what `forward` does."""

    config: NetworkConfig
    n_embedding: int = 0
    """Channels of the embedding, behind `CHANNELS`.

    Their values in 0..1 are coordinates that the network made up, so only distances say anything,
    and only between values of one network.
    """

    def forward(self, image: torch.Tensor, inner_only: bool = False) -> torch.Tensor:
        """Return the logits of the channels.

        Args:
            image: (n, in_channels, z, y, x) float, normalised; extents are multiples of the stride.
            inner_only: return the input box without `halo_vox` on every side, where no input
                border is felt; else without `lost_vox`.

        Returns:
            (n, 4 + n_embedding, z, y, x) logits, the first in the order of `CHANNELS`.
        """
        raise NotImplementedError
