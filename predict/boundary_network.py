"""What every boundary network has in common: its outputs and what its user must know of it.

All triples are z, y, x. A network predicts the affinities to the −z, −y and −x neighbour and either
the boundary map too, or the boundary map is made of the affinities by a stated rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from analysis.input_error import InputError
from predict.box import Box, Triple

CHANNELS = ("boundary", "affinity_z", "affinity_y", "affinity_x")
"""Channels of a prediction; the affinities are those to the −z, −y and −x neighbour."""


@dataclass(frozen=True, slots=True)
class AffinityBoundary:
    """How a boundary map is made of affinities: from the edges to a voxel's face neighbours.

    Up to six edges meet at a voxel, of which three are its own channels and three those of the
    neighbours behind it. Where labels touch, a voxel is boundary if any of them is cut, so the
    boundary is 1 − the least affinity, and made of true affinities it is exactly the target of
    `boundary_targets`. Where label 0 is membrane, all edges of a membrane voxel are cut and one or
    two of a voxel beside it, so the boundary is 1 − the mean affinity; the least would make
    membranes two voxels thicker. Edges that leave the volume do not count.

    Attributes:
        take: `least` or `mean` of the affinities.
        in_section: leave the edges along z out, for sections so thick that a change of label along
            z is no membrane and for networks that see every section alone.
    """

    take: Literal["least", "mean"]
    in_section: bool

    def __post_init__(self) -> None:
        if self.take not in ("least", "mean"):
            raise InputError(f"take must be least or mean, got {self.take!r}.")

    def apply(
        self, affinities: npt.NDArray[np.float32], block: Box, volume_shape: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """Return the boundary map of a block.

        Args:
            affinities: (3, z, y, x) float32 of the box `reach(block, volume_shape)`.
            block: voxels wanted.
            volume_shape: z, y, x, of the volume that the block lies in.

        Returns:
            (z, y, x) float32 in 0..1.
        """
        least = np.ones(block.shape, np.float32)
        total, n_edges = np.zeros(block.shape, np.float32), np.zeros(block.shape, np.float32)
        for axis in (1, 2) if self.in_section else (0, 1, 2):
            along = np.moveaxis(affinities[axis], axis, 0)
            others = [extent for other, extent in enumerate(block.shape) if other != axis]
            along = along[:, : others[0], : others[1]]
            extent = block.shape[axis]
            n_behind = len(along) - 1  # voxels of the block that have one behind them
            first = 1 if block.start[axis] == 0 else 0
            for part, edges in (
                (slice(first, extent), along[first:extent]),
                (slice(0, n_behind), along[1 : n_behind + 1]),
            ):
                for array, combine in ((least, np.minimum), (total, np.add)):
                    view = np.moveaxis(array, axis, 0)[part]
                    combine(view, edges, out=view)
                np.moveaxis(n_edges, axis, 0)[part] += 1
        if self.take == "least":
            return 1 - least
        return 1 - np.where(n_edges > 0, total / np.maximum(n_edges, 1), np.float32(1))

    @staticmethod
    def reach(block: Box, volume_shape: tuple[int, ...]) -> Box:
        """Return the block with one voxel more behind it along each axis, inside the volume."""
        z, y, x = (min(a + 1, b) for a, b in zip(block.stop, volume_shape, strict=True))
        return Box(block.start, (z, y, x))


class NetworkConfig(Protocol):
    """Shape of a boundary network."""

    @property
    def boundary(self) -> AffinityBoundary | None:
        """Return how the boundary map is made; None if it is an output of the network."""
        ...

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

    def forward(self, image: torch.Tensor, inner_only: bool = False) -> torch.Tensor:
        """Return the logits of the network's channels.

        Args:
            image: (n, in_channels, z, y, x) float, normalised; extents are multiples of the stride.
            inner_only: return the input box without `halo_vox` on every side, where no input
                border is felt; else without `lost_vox`.

        Returns:
            (n, c, z, y, x) logits of the last c of `CHANNELS`, see `channels_of`.
        """
        raise NotImplementedError


def channels_of(config: NetworkConfig) -> tuple[str, ...]:
    """Return the output channels of a network, the last ones of `CHANNELS`."""
    return CHANNELS if config.boundary is None else CHANNELS[1:]
