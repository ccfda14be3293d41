"""The four volumes that belong together: image, boundary map, superpixels and truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.training.shard import Shard
from agglo.volumes import (
    Address,
    Kind,
    Volume,
    VoxelSize,
    agreed_voxel_size,
    open_volume,
    require_same_shape,
    require_volume,
)
from agglo.volumes.crop import CropRange
from analysis.input_error import InputError
from envs import statistics as st
from envs.instance import Instance
from envs.microscope import Damage, damaged
from envs.quantise import quantise_boundaries
from envs.region_graph import RegionGraph, build_region_graph
from envs.truth_rows import NO_TRUTH, truth_table

NO_REGIONS = Instance(
    RegionGraph(
        np.empty(0, np.uint64),
        np.empty((0, st.N_REGION_STATISTICS), np.int64),
        np.empty((0, 2), np.int32),
        np.empty((0, st.N_CONTACT_STATISTICS), np.int64),
    ),
    NO_TRUTH,
)
"""What is played on a shard without superpixels, as outside the tissue: nothing."""


class VolumeSet(NamedTuple):
    """Addresses of one training volume, and its voxel size."""

    image: str
    boundaries: str
    superpixels: str
    labels: str
    voxel_size_nm: VoxelSize | None


def open_set(
    image: str, boundaries: str, superpixels: str, labels: str, voxel_size_nm: VoxelSize | None
) -> tuple[VolumeSet, tuple[int, int, int]]:
    """Check that four volumes exist and fit together, from their headers; return set and shape.

    Raises:
        InputError: where one is missing, of the wrong kind, or of another shape than the others.
    """
    texts = {
        "--image": image,
        "--boundaries": boundaries,
        "--superpixels": superpixels,
        "--labels": labels,
    }
    with ExitStack() as opened:
        volumes = {
            name: opened.enter_context(
                open_volume(text, argument=name, voxel_size_nm=voxel_size_nm)
            )
            for name, text in texts.items()
        }
        for name, volume in volumes.items():
            if volume.ndim != 3 or 0 in volume.shape:
                raise InputError(
                    f"{name}: {texts[name]} has shape {volume.shape}, where three axes z, y, x "
                    f"that are not empty are expected."
                )
        require_same_shape(volumes)
        size = agreed_voxel_size(volumes)
        z, y, x = volumes["--image"].shape
        addresses = [str(volume.address.absolute()) for volume in volumes.values()]
    return VolumeSet(*addresses, voxel_size_nm=size), (z, y, x)


def open_sets(
    images: Sequence[str],
    boundaries: Sequence[str],
    superpixels: Sequence[str],
    labels: Sequence[str],
    voxel_size_nm: VoxelSize | None,
) -> tuple[list[VolumeSet], list[tuple[int, int, int]]]:
    """Check the training volumes, the i-th of each argument together; return sets and shapes.

    Raises:
        InputError: where their numbers differ, there is none, or a volume is not what it should be.
    """
    numbers = [len(images), len(boundaries), len(superpixels), len(labels)]
    if len(set(numbers)) != 1 or 0 in numbers:
        raise InputError(
            f"--image, --boundaries, --superpixels and --labels must name equally many "
            f"volumes, one or more; seen {numbers[0]}, {numbers[1]}, {numbers[2]} and "
            f"{numbers[3]}."
        )
    sets = [
        open_set(*texts, voxel_size_nm)
        for texts in zip(images, boundaries, superpixels, labels, strict=True)
    ]
    return [volumes for volumes, _ in sets], [shape for _, shape in sets]


def load_instance(volumes: VolumeSet, shard: Shard) -> Instance:
    """Read a shard of the four volumes and build its region graph and contingency table.

    A degraded copy has the superpixels and labels of the shard and a damaged boundary map
    (`envs.microscope.damaged`), a function of the shard and the number of the copy.

    Raises:
        InputError: where what is read is not what its argument says (NaN, float labels, …).
    """
    image = _read(volumes.image, shard, "--image", "image")
    boundaries = _read(volumes.boundaries, shard, "--boundaries", "boundaries")
    superpixels = _read(volumes.superpixels, shard, "--superpixels", "labels")
    labels = _read(volumes.labels, shard, "--labels", "labels")
    if not superpixels.any():
        return NO_REGIONS
    if shard.copy:
        seed = np.random.SeedSequence([shard.copy, shard.volume, *shard.begin_vox])
        depth, height, width = (min(64, -(-extent // 2)) for extent in shard.shape)
        damage = Damage(
            block_vox=(depth, height, width), seed=int(seed.generate_state(1, np.uint64)[0])
        )
        boundaries = damaged(quantise_boundaries(boundaries) / np.float32(255), damage)
    graph = build_region_graph(
        superpixels, image, boundaries, voxel_size_nm=volumes.voxel_size_nm or (1.0, 1.0, 1.0)
    )
    has_truth = labels[superpixels != 0].any()
    return Instance(graph, truth_table(graph.ids, superpixels, labels) if has_truth else NO_TRUTH)


def _read(text: str, shard: Shard, argument: str, kind: Kind) -> npt.NDArray:
    """Read a shard of one volume, checked; sentences name it as a crop of the volume."""
    address = Address.parse(text, argument=argument)
    begins = zip_longest((part.begin for part in address.crop), (0, 0, 0), fillvalue=0)
    crop = tuple(
        CropRange(begin + part.start, begin + part.stop)
        for (begin, _), part in zip(begins, shard.box, strict=True)
    )
    with Volume.open(dataclasses.replace(address, crop=crop), argument) as volume:
        return require_volume(volume, argument, kind)
