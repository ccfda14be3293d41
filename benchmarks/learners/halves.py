"""Two parts of a volume, or two volumes, each to be trained on and measured."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.training.shard import Shard
from agglo.training.volume_set import VolumeSet, load_instance, open_set
from agglo.volumes import open_volume, require_volume
from envs.instance import Instance

DATASETS = ("raw", "boundary_prob", "superpixels", "gt")
VOXEL_NM = (10.0, 10.0, 10.0)


class Half(NamedTuple):
    """What is trained on or measured.

    Attributes:
        name: its range along the axis that is cut, or its place in the command.
        volumes: its addresses.
        shape: (z, y, x).
        instance: its region graph and truth.
        superpixels: (z, y, x) integer.
        labels: (z, y, x) integer, 0 = dropped.
    """

    name: str
    volumes: VolumeSet
    shape: tuple[int, int, int]
    instance: Instance
    superpixels: npt.NDArray[np.integer]
    labels: npt.NDArray[np.integer]


def halves_of(data: Path, axis: int, gap_vox: int) -> tuple[Half, Half]:
    """Cut a volume in two along an axis, with a gap."""
    with open_volume(f"{data}:{DATASETS[0]}", argument="--data") as volume:
        shape = volume.shape
    middle = shape[axis] // 2
    before = (0, middle - gap_vox // 2)
    behind = (middle + gap_vox - gap_vox // 2, shape[axis])
    return _half(data, shape, axis, before), _half(data, shape, axis, behind)


def _half(data: Path, shape: tuple[int, ...], axis: int, extent: tuple[int, int]) -> Half:
    """Read a part."""
    ranges = [(0, size) for size in shape]
    ranges[axis] = extent
    crop = "[" + ",".join(f"{begin}:{end}" for begin, end in ranges) + "]"
    name = f"{'zyx'[axis]} {extent[0]}–{extent[1] - 1}"
    image, boundaries, superpixels, labels = (f"{data}:{dataset}{crop}" for dataset in DATASETS)
    return half_at(name, (image, boundaries, superpixels, labels))


def half_at(name: str, texts: tuple[str, str, str, str]) -> Half:
    """Read image, boundaries, superpixels and labels at four addresses."""
    volumes, shape = open_set(*texts, VOXEL_NM)
    superpixels, labels = (
        require_volume(open_volume(text, argument=f"--{name}"), f"--{name}", "labels")
        for text in texts[2:]
    )
    instance = load_instance(volumes, Shard(0, (0, 0, 0), shape))
    return Half(name, volumes, shape, instance, superpixels, labels)
