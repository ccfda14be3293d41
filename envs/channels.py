"""Dense channels: what dictionaries and networks say of every voxel, to be pooled as sums.

Texture is what a dictionary of patches says; its channels mean the same everywhere, so their means
over regions and contacts are looked at one by one. The coordinates of an embedding mean nothing by
themselves, and those of two networks have nothing in common: only distances are looked at.

Their sums follow the columns of `envs.statistics`, and add up as these do. Of a region: one column
for each channel of texture, the sum over its voxels; one for each of the embedding, summed with the
weight 256 − b of a voxel whose boundary value is b, as membrane belongs to no cell; and, if there
is an embedding, the sum of the squares of all its coordinates with that weight. Of a contact: one
for each channel of texture, the sum over faces of t_p + t_q; and, if there is an embedding, the sum
over faces of the squared distance between the outer two of the four voxels in line across the face.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from envs import statistics as st


class ChannelCounts(NamedTuple):
    """How many channels there are.

    Attributes:
        texture: T.
        embedding: E, of all networks together.
    """

    texture: int
    embedding: int


NO_COUNTS = ChannelCounts(0, 0)


class Channels(NamedTuple):
    """Channels of a volume, or of a block of one with its rim.

    Attributes:
        texture: (T, z, y, x) uint8, or (0, 0, 0, 0).
        embedding: (E, z, y, x) uint8, or (0, 0, 0, 0).
    """

    texture: npt.NDArray[np.uint8]
    embedding: npt.NDArray[np.uint8]

    @property
    def counts(self) -> ChannelCounts:
        """Return how many there are."""
        return ChannelCounts(len(self.texture), len(self.embedding))


NO_CHANNEL = np.empty((0, 0, 0, 0), np.uint8)
NO_CHANNELS = Channels(NO_CHANNEL, NO_CHANNEL)


def require_channels(channels: Channels, shape: tuple[int, ...]) -> None:
    """Refuse channels that are not 8-bit or not of the shape (z, y, x) of the superpixels.

    Raises:
        InputError: the sentence says which.
    """
    for name, array in channels._asdict().items():
        if not len(array):
            continue
        if array.dtype != np.uint8:
            raise InputError(f"{name} must be uint8, not {array.dtype}")
        if array.ndim != 4 or array.shape[1:] != shape:
            raise InputError(f"{name} has shape {array.shape} but superpixels has shape {shape}")


def count_channels(n_region_columns: int, n_contact_columns: int) -> ChannelCounts:
    """Tell from the number of columns of sums which channels they hold.

    Raises:
        ValueError: no channels have so many.
    """
    more_of_region = n_region_columns - st.N_REGION_STATISTICS
    more_of_contact = n_contact_columns - st.N_CONTACT_STATISTICS
    embedding = max(more_of_region - more_of_contact, 0)
    texture = more_of_contact - (embedding > 0)
    if texture < 0 or (n_region_columns, n_contact_columns) != columns_of(texture, embedding):
        raise ValueError(
            f"regions have {n_region_columns} columns and contacts {n_contact_columns}, which no "
            f"channels beside {st.N_REGION_STATISTICS} and {st.N_CONTACT_STATISTICS} statistics do"
        )
    return ChannelCounts(texture, embedding)


def columns_of(texture: int, embedding: int) -> tuple[int, int]:
    """Return how many columns the sums of regions and of contacts have."""
    once = int(embedding > 0)
    return (
        st.N_REGION_STATISTICS + texture + embedding + once,
        st.N_CONTACT_STATISTICS + texture + once,
    )
