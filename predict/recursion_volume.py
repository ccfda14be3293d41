"""A training volume as an iteration of a recursion sees it: with the affinities of the one before.

All triples are z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from predict.augmentation import Symmetry
from predict.image_normalisation import Sliceable
from predict.training_volume import TrainingVolume


class ChannelsArray(Protocol):
    """A (3, z, y, x) array that can be cut: NumPy, zarr, or a lazy volume."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the extents."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Return the type of a value."""
        ...

    def __getitem__(self, key: tuple[slice, slice, slice, slice], /) -> npt.NDArray[Any]:
        """Return the voxels of a box, of some channels."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelsLast:
    """A (3, z, y, x) array as one that is cut like (z, y, x) and has its channels at the end."""

    channels: ChannelsArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the extents in space."""
        return self.channels.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """Return the type of a value."""
        return self.channels.dtype

    def __getitem__(self, key: tuple[slice, slice, slice], /) -> npt.NDArray[Any]:
        """Return a (z, y, x, 3) box."""
        return np.moveaxis(self.channels[(slice(None), *key)], 0, -1)


@dataclass(frozen=True, slots=True)
class RecursionVolume:
    """A training volume as one iteration sees it.

    Attributes:
        volume: image, labels and where they train.
        affinities: (3, z, y, x) float in 0..1 of the iteration before, predicted by heads that saw
            no label there; None in the first iteration.
        errors: (z, y, x) float, local density of its errors; None in the first iteration.
        mean_error: mean of `errors` over the voxels with known edges.
    """

    volume: TrainingVolume
    affinities: ChannelsArray | None = None
    errors: Sliceable | None = None
    mean_error: float = 0.0


def transformed_affinities(
    affinities: npt.NDArray[np.floating], symmetry: Symmetry
) -> npt.NDArray[np.float32]:
    """Apply a symmetry of the grid to affinities, each an edge to the voxel before along its axis.

    Along a reversed axis the edge to the voxel before becomes one to the voxel behind, so it moves
    by one voxel; along exchanged axes the channels are exchanged.

    Args:
        affinities: (3, z + 1, y + 1, x + 1) of a box with one voxel more behind it on each axis.
        symmetry: what is done to the image too.

    Returns:
        (3, z', y', x') float32 of the box.
    """
    channels = []
    for to, origin in enumerate(symmetry.order):
        turned = symmetry.apply(affinities[origin])
        cut = tuple(
            slice(1, None) if symmetry.flips[axis] and axis != to else slice(0, -1)
            for axis in range(3)
        )
        channels.append(turned[cut])
    return np.stack(channels).astype(np.float32)
