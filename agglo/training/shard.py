"""Shards: the sub-volumes that episodes are played on."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError


class Shard(NamedTuple):
    """A box of one training volume.

    Attributes:
        volume: index of the volume.
        begin_vox: first voxel (z, y, x).
        end_vox: first voxel beyond.
        copy: 0 for the volume as it is, else which degraded copy of it.
    """

    volume: int
    begin_vox: tuple[int, int, int]
    end_vox: tuple[int, int, int]
    copy: int = 0

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Return the shard as slices of its volume."""
        z, y, x = (
            slice(begin, end) for begin, end in zip(self.begin_vox, self.end_vox, strict=True)
        )
        return z, y, x

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shard's extent in voxels."""
        z, y, x = (end - begin for begin, end in zip(self.begin_vox, self.end_vox, strict=True))
        return z, y, x


def cut_shards(shapes: list[tuple[int, int, int]], shard_vox: tuple[int, int, int]) -> list[Shard]:
    """Cut volumes into equal boxes near a wanted size, volume by volume, in z, y, x order.

    An axis is divided into size / wanted parts, rounded to a whole number of at least one; they
    differ by a voxel at most.

    Raises:
        InputError: where a wanted size is not positive.
    """
    if min(shard_vox) < 1:
        raise InputError(f"--shard-vox must be three positive numbers, not {shard_vox}.")
    shards = []
    for volume, shape in enumerate(shapes):
        cuts = [
            np.linspace(0, size, max(round(size / wanted), 1) + 1).round().astype(int).tolist()
            for size, wanted in zip(shape, shard_vox, strict=True)
        ]
        for z0, z1 in zip(cuts[0], cuts[0][1:], strict=False):
            for y0, y1 in zip(cuts[1], cuts[1][1:], strict=False):
                for x0, x1 in zip(cuts[2], cuts[2][1:], strict=False):
                    shards.append(Shard(volume, (z0, y0, x0), (z1, y1, x1)))
    return shards


def cut_at_scales(
    shapes: list[tuple[int, int, int]],
    shard_vox: tuple[int, int, int],
    scales: tuple[float, ...],
    kept_out: list[Shard],
) -> list[Shard]:
    """Cut volumes at several multiples of a wanted size, scale by scale, and leave some parts out.

    What crosses a border is cut into pieces, so shards of several sizes show one tissue with
    regions of several sizes. A volume below the wanted size is one shard at more than one scale,
    and is there as often.

    Args:
        shapes: of the volumes.
        shard_vox: wanted size at scale 1.
        scales: multiples of it.
        kept_out: shards of these volumes; what shares a voxel with one of them is left out.
    """
    shards = []
    for scale in scales:
        z, y, x = (max(round(scale * wanted), 1) for wanted in shard_vox)
        shards += cut_shards(shapes, (z, y, x))
    return [
        shard for shard, meets in zip(shards, _meet(shards, kept_out), strict=True) if not meets
    ]


def _meet(shards: list[Shard], others: list[Shard]) -> npt.NDArray[np.bool_]:
    """Return (S,) bool, whether each shard shares a voxel with one of the others."""
    meets = np.zeros(len(shards), np.bool_)
    volumes = np.array([shard.volume for shard in shards])
    begins = np.array([shard.begin_vox for shard in shards])
    ends = np.array([shard.end_vox for shard in shards])
    for other in others:
        overlaps = (begins < other.end_vox) & (ends > other.begin_vox)
        meets |= (volumes == other.volume) & overlaps.all(axis=1)
    return meets


def with_copies(shards: list[Shard], n_copies: int) -> list[Shard]:
    """Return the shards, then every degraded copy of all of them."""
    return [shard._replace(copy=copy) for copy in range(n_copies + 1) for shard in shards]


def halve_shards(shards: list[Shard]) -> list[Shard]:
    """Cut every shard in two along each axis that has more than one voxel."""
    halves = []
    for shard in shards:
        cuts = [
            [begin, (begin + end) // 2, end] if end - begin > 1 else [begin, end]
            for begin, end in zip(shard.begin_vox, shard.end_vox, strict=True)
        ]
        for (z0, z1), (y0, y1), (x0, x1) in product(*map(pairwise, cuts)):
            halves.append(Shard(shard.volume, (z0, y0, x0), (z1, y1, x1)))
    return halves


def split_shards(
    shards: list[Shard], n_validation: int, seed: int
) -> tuple[list[Shard], list[Shard]]:
    """Set shards apart for validation, drawn without replacement; both lists keep their order.

    Raises:
        InputError: where no shard would be left to train on.
    """
    if not 0 <= n_validation < len(shards):
        raise InputError(
            f"--validation-shards must leave a shard to train on: "
            f"{n_validation} of {len(shards)} asked for."
        )
    drawn = np.random.default_rng([seed, 0x5A1D]).choice(len(shards), n_validation, replace=False)
    chosen = set(drawn.tolist())
    return (
        [shard for i, shard in enumerate(shards) if i not in chosen],
        [shard for i, shard in enumerate(shards) if i in chosen],
    )


def divide_shards(shards: list[Shard], share: float, seed: int) -> tuple[list[Shard], list[Shard]]:
    """Set at least a share of every volume's shards apart for validation; both keep their order.

    Args:
        shards: of all volumes.
        share: of a volume's shards, above 0 and below 1; at least one is set apart and one left.
        seed: decides which.

    Raises:
        InputError: a volume is one shard, or only one shard in all would be set apart.
    """
    training, validation = [], []
    for volume in sorted({shard.volume for shard in shards}):
        own = [shard for shard in shards if shard.volume == volume]
        if len(own) < 2:
            raise InputError(
                f"--shard-vox must cut every volume into two shards or more, to train on and to "
                f"validate on, but leaves volume {volume} in one."
            )
        n = min(max(math.ceil(share * len(own) - 1e-9), 1), len(own) - 1)
        drawn = np.random.default_rng([seed, volume, 0x5A1D]).choice(len(own), n, replace=False)
        chosen = set(drawn.tolist())
        training += [shard for i, shard in enumerate(own) if i not in chosen]
        validation += [shard for i, shard in enumerate(own) if i in chosen]
    if len(validation) < 2:
        raise InputError(
            f"--validation-share and --shard-vox must set several shards apart, but {share:g} of "
            f"{len(shards)} is {len(validation)}."
        )
    return training, validation
