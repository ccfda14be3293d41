"""The volumes that belong together: image, boundary map, superpixels, truth, and channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.channel_volumes import OPTIONS, read_channels
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
from envs.channel_sums import with_channels
from envs.channels import Channels
from envs.instance import Instance
from envs.microscope import Damage, damaged
from envs.quantise import quantise_boundaries
from envs.region_graph import Core, RegionGraph, build_region_graph
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
    """Addresses of one training volume and its channels, and its voxel size."""

    image: str
    boundaries: str
    superpixels: str
    labels: str
    voxel_size_nm: VoxelSize | None
    texture: str | None = None
    embedding: str | None = None

    def stated(self) -> list[Any]:
        """Return what a run folder says of it; nothing of channels that are not there."""
        channels = [self.texture, self.embedding]
        return [*self[: -len(channels)], *(channels if any(channels) else [])]


def open_set(
    image: str,
    boundaries: str,
    superpixels: str,
    labels: str,
    voxel_size_nm: VoxelSize | None,
    *,
    texture: str | None = None,
    embedding: str | None = None,
) -> tuple[VolumeSet, tuple[int, int, int]]:
    """Check that volumes exist and fit together, from their headers; return set and shape.

    Raises:
        InputError: where one is missing, of the wrong kind, or of another shape than the others.
    """
    texts = {
        "--image": image,
        "--boundaries": boundaries,
        "--superpixels": superpixels,
        "--labels": labels,
    }
    channels = {"--texture": texture, "--embedding": embedding}
    texts |= {name: text for name, text in channels.items() if text is not None}
    with ExitStack() as opened:
        volumes = {
            name: opened.enter_context(
                open_volume(text, argument=name, voxel_size_nm=voxel_size_nm)
            )
            for name, text in texts.items()
        }
        for name, volume in volumes.items():
            axes = "four axes c, z, y, x" if name in channels else "three axes z, y, x"
            if volume.ndim != 3 + (name in channels) or 0 in volume.shape:
                raise InputError(
                    f"{name}: {texts[name]} has shape {volume.shape}, where {axes} "
                    f"that are not empty are expected."
                )
        require_same_shape(volumes)
        size = agreed_voxel_size(volumes)
        z, y, x = volumes["--image"].shape
        addresses = {
            name.removeprefix("--"): str(volume.address.absolute())
            for name, volume in volumes.items()
        }
    return VolumeSet(**addresses, voxel_size_nm=size), (z, y, x)


def open_sets(
    images: Sequence[str],
    boundaries: Sequence[str],
    superpixels: Sequence[str],
    labels: Sequence[str],
    voxel_size_nm: VoxelSize | None,
    *,
    texture: Sequence[str] = (),
    embedding: Sequence[str] = (),
) -> tuple[list[VolumeSet], list[tuple[int, int, int]]]:
    """Check the training volumes, the i-th of each argument together; return sets and shapes.

    Channels are of all volumes or of none.

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
    for name, texts in (("--texture", texture), ("--embedding", embedding)):
        if len(texts) not in (0, len(images)):
            raise InputError(
                f"{name} must name as many volumes as --image, {len(images)}, or none; seen "
                f"{len(texts)}."
            )
    channels = [texture or (None,) * len(images), embedding or (None,) * len(images)]
    sets = [
        open_set(*texts, voxel_size_nm, texture=own[0], embedding=own[1])
        for texts, own in zip(
            zip(images, boundaries, superpixels, labels, strict=True),
            zip(*channels, strict=True),
            strict=True,
        )
    ]
    return [volumes for volumes, _ in sets], [shape for _, shape in sets]


def load_instance(volumes: VolumeSet, shard: Shard) -> Instance:
    """Read a shard of the volumes and build its region graph and contingency table.

    A degraded copy has the superpixels and labels of the shard and a damaged boundary map
    (`envs.microscope.damaged`), a function of the shard and the number of the copy. Channels are
    read where there are.

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
    channels = load_channels(volumes, shard.box)
    graph = with_channels(graph, superpixels, boundaries, channels)
    has_truth = labels[superpixels != 0].any()
    return Instance(graph, truth_table(graph.ids, superpixels, labels) if has_truth else NO_TRUTH)


def load_channels(volumes: VolumeSet, box: Core | None = None) -> Channels:
    """Read the channels of volumes, all or of a box (z, y, x); none where there are none."""
    with ExitStack() as opened:
        there = {
            option: opened.enter_context(open_volume(text, argument=option))
            for option, text in zip(OPTIONS, (volumes.texture, volumes.embedding), strict=True)
            if text is not None
        }
        return read_channels(there, box)


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
