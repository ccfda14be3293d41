"""The four volumes that belong together: image, boundary map, superpixels and truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy.typing as npt

from agglo.training.shard import Shard
from agglo.volumes import Kind, Volume, VoxelSize, open_volume, require_same_shape, require_volume
from analysis.input_error import InputError
from envs.generator import Instance
from envs.region_graph import build_region_graph
from envs.truth_rows import NO_TRUTH, truth_table


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
    volumes = {
        name: open_volume(text, argument=name, voxel_size_nm=voxel_size_nm)
        for name, text in texts.items()
    }
    for name, volume in volumes.items():
        if volume.ndim != 3:
            raise InputError(
                f"{name}: {texts[name]} has shape {volume.shape}, where z, y, x are expected."
            )
    require_same_shape(volumes)
    size = agreed_voxel_size(volumes)
    z, y, x = volumes["--image"].shape
    texts = [str(volume.address.absolute()) for volume in volumes.values()]
    return VolumeSet(texts[0], texts[1], texts[2], texts[3], size), (z, y, x)


def agreed_voxel_size(volumes: Mapping[str, Volume]) -> VoxelSize | None:
    """Return the voxel size that volumes, given by argument, state; None if none does.

    Raises:
        InputError: where two state different ones.
    """
    stated = {name: v.voxel_size_nm for name, v in volumes.items() if v.voxel_size_nm is not None}
    if not stated:
        return None
    first, size = next(iter(stated.items()))
    for name, other in stated.items():
        if other != size:
            raise InputError(f"{name} has voxels of {other} nm but {first} of {size} nm.")
    return size


def load_instance(volumes: VolumeSet, shard: Shard) -> Instance:
    """Read a shard of the four volumes and build its region graph and contingency table.

    Raises:
        InputError: where what is read is not what its argument says (NaN, float labels, …).
    """
    image = _read(volumes.image, shard, "--image", "image")
    boundaries = _read(volumes.boundaries, shard, "--boundaries", "boundaries")
    superpixels = _read(volumes.superpixels, shard, "--superpixels", "labels")
    labels = _read(volumes.labels, shard, "--labels", "labels")
    graph = build_region_graph(
        superpixels, image, boundaries, voxel_size_nm=volumes.voxel_size_nm or (1.0, 1.0, 1.0)
    )
    has_truth = labels[superpixels != 0].any()
    return Instance(graph, truth_table(graph.ids, superpixels, labels) if has_truth else NO_TRUTH)


def _read(text: str, shard: Shard, argument: str, kind: Kind) -> npt.NDArray:
    """Read a shard of one volume, checked."""
    with open_volume(text, argument=argument) as volume:
        return require_volume(volume[shard.box], argument, kind)
