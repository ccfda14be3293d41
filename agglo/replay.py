"""Record an episode of a merge policy."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.channel_volumes import open_for_policy, read_channels
from agglo.policy_file import Policy
from agglo.volumes import VoxelSize, require_volume
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.recording import Gains, Recording, View
from analysis.replay import (
    error_curve,
    joining_merges,
    least_sure,
    most_harmful,
    most_useful,
)
from analysis.segmentation_scores import score_segmentation
from envs import statistics as st
from envs.channel_sums import with_channels
from envs.channels import NO_CHANNELS, Channels
from envs.region_graph import RegionGraph, build_region_graph
from envs.rollout import Episode, play_episode
from envs.truth_rows import NO_TRUTH, truth_table

CLOSE_UP_VOX = 120
"""Side of a close-up."""

N_CLOSE_UPS = 6
"""Close-ups of the most harmful, of the most useful and of the least sure merges, each."""


class _Volumes(NamedTuple):
    """What a view is cut from; (z, y, x) each."""

    image: npt.NDArray
    boundaries: npt.NDArray
    superpixels: npt.NDArray
    labels: npt.NDArray | None


def record_episode(
    policy: Policy,
    image: npt.NDArray[np.number],
    boundaries: npt.NDArray[np.floating],
    superpixels: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer] | None = None,
    *,
    channels: Channels = NO_CHANNELS,
    section: int | None = None,
    threshold: float | None = None,
    voxel_size_nm: VoxelSize | None = None,
) -> Recording:
    """Play an episode of a policy over a volume and record it.

    The episode goes on below the threshold until nothing touches, so that the recording shows
    what stopping earlier or later would have given.

    Args:
        policy: the merge policy.
        image: (z, y, x), any real dtype.
        boundaries: (z, y, x) float in [0, 1], 1 = boundary.
        superpixels: (z, y, x) integer, 0 = none.
        labels: (z, y, x) integer truth, 0 = not known; without, the recording has no errors.
        channels: (c, z, y, x) each, that the policy looks at.
        section: z of the section that is kept; the middle one if not given.
        threshold: key below which the policy stops; the policy's own if not given.
        voxel_size_nm: edges of a voxel; those of the policy's training volumes if not given.

    Raises:
        InputError: where shapes differ, there is no such section, or the labels are all 0.
    """
    kept = image.shape[0] // 2 if section is None else section
    if not 0 <= kept < image.shape[0]:
        raise InputError(f"--section must lie in 0 … {image.shape[0] - 1}, but is {kept}.")
    cut = policy.threshold if threshold is None else threshold
    if not np.isfinite(cut):
        raise InputError(f"--threshold must be a finite number, not {cut}.")
    size = voxel_size_nm or policy.voxel_size_nm
    graph = build_region_graph(
        superpixels, image, boundaries, voxel_size_nm=size or (1.0, 1.0, 1.0)
    )
    graph = with_channels(graph, superpixels, boundaries, channels)
    truth = NO_TRUTH if labels is None else truth_table(graph.ids, superpixels, labels)
    episode = play_episode(graph, policy.network, truth=truth, threshold=-np.inf)
    places, faces = _places(graph, episode.merges)
    volumes = _Volumes(image, boundaries, superpixels, labels)
    recording = Recording(
        policy=policy.provenance.get("policy", "learned policy"),
        ids=graph.ids,
        sizes_vox=graph.regions[:, st.SIZE].copy(),
        merges=episode.merges,
        heights=episode.heights,
        threshold=float(cut),
        places_vox=places,
        contact_faces=faces,
        view=_view(volumes, graph.ids, kept),
        close_ups={},
        gains=None if labels is None else _gains(graph, episode, superpixels, labels),
        voxel_size_nm=size,
    )
    return dataclasses.replace(recording, close_ups=_close_ups(recording, volumes))


def record_volumes(
    policy: Policy,
    image: str,
    boundaries: str,
    superpixels: str,
    labels: str | None = None,
    *,
    texture: str | None = None,
    embedding: str | None = None,
    section: int | None = None,
    threshold: float | None = None,
    voxel_size_nm: VoxelSize | None = None,
) -> Recording:
    """Record an episode over volumes on disk; arguments as of `record_episode`, but addresses.

    Raises:
        InputError: where a volume is not what it should be.
    """
    texts = {
        "--image": image,
        "--boundaries": boundaries,
        "--superpixels": superpixels,
        "--labels": labels,
    }
    volumes, size = open_for_policy(
        policy, texts, voxel_size_nm, texture=texture, embedding=embedding
    )
    return record_episode(
        policy,
        require_volume(volumes["--image"], "--image", "image"),
        require_volume(volumes["--boundaries"], "--boundaries", "boundaries"),
        require_volume(volumes["--superpixels"], "--superpixels", "superpixels"),
        None if labels is None else require_volume(volumes["--labels"], "--labels", "labels"),
        channels=read_channels(volumes),
        section=section,
        threshold=threshold,
        voxel_size_nm=size,
    )


def summary_of(recording: Recording) -> dict[str, Any]:
    """Return what an episode came to, in numbers; VI in bits, `best` chosen knowing the truth."""
    n_stop = recording.n_policy_merges
    summary: dict[str, Any] = {
        "policy": recording.policy,
        "n_superpixels": len(recording.ids),
        "n_merges": n_stop,
        "n_segments": len(recording.ids) - n_stop,
        "n_merges_to_the_end": recording.n_merges,
        "threshold": recording.threshold,
        "section": recording.view.section,
    }
    if recording.gains is not None:
        curve = error_curve(recording)
        best = int(np.argmin(curve.vi))
        summary |= {
            "superpixel_vi": float(curve.vi[0]),
            "vi": float(curve.vi[n_stop]),
            "vi_split": float(curve.vi_split[n_stop]),
            "vi_merge": float(curve.vi_merge[n_stop]),
            "rand_index": float(curve.rand_index[n_stop]),
            "best_vi": float(curve.vi[best]),
            "best_n_merges": best,
        }
    return summary


def _places(
    graph: RegionGraph, merges: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return centre (M, 3) of the largest superpixel contact that each merge takes down, and faces.

    Every contact of two superpixels is taken down by exactly one merge, or by none. Of equally
    large ones the first counts.
    """
    joined = joining_merges(merges, graph.n_regions, graph.edges)
    area = graph.contacts[:, st.AREA]
    faces = np.zeros(len(merges) + 1, np.int64)
    np.add.at(faces, joined, area)
    largest_first = np.lexsort((np.arange(len(area)), -area, joined))
    edges = largest_first[np.searchsorted(joined[largest_first], np.arange(len(merges)))]
    doubled = graph.contacts[edges, st.CONTACT_POSITION : st.CONTACT_POSITION + 3]
    return doubled / (2.0 * area[edges, None]), faces[: len(merges)]


def _gains(
    graph: RegionGraph,
    episode: Episode,
    superpixels: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
) -> Gains:
    """Return what the merges did to the error."""
    table = contingency_table(superpixels, labels, ignore_segmentation_zero=True)
    counted = np.zeros(graph.n_regions, np.int64)
    counted[np.searchsorted(graph.ids, table.segments)] = table.segment_sizes
    start = score_segmentation(table)
    return Gains(
        episode.gains_vi,
        episode.gains_rand,
        counted,
        start.vi_split,
        start.vi_merge,
        start.rand_index,
    )


def _view(
    volumes: _Volumes,
    ids: npt.NDArray[np.uint64],
    z: int,
    corner: tuple[int, int] = (0, 0),
    side: int | None = None,
) -> View:
    """Cut a view out of a section: a square of some side, or all from the corner on."""
    ends = (None, None) if side is None else (corner[0] + side, corner[1] + side)
    window = (z, slice(corner[0], ends[0]), slice(corner[1], ends[1]))
    superpixels = volumes.superpixels[window].astype(np.uint64)
    index = np.where(superpixels == 0, -1, np.searchsorted(ids, superpixels))
    return View(
        z,
        corner,
        np.array(volumes.image[window]),
        volumes.boundaries[window].astype(np.float32),
        index.astype(np.int32),
        None if volumes.labels is None else volumes.labels[window].astype(np.uint64),
    )


def _close_ups(recording: Recording, volumes: _Volumes) -> dict[int, View]:
    """Cut views of the merges worth a look, around their places as far as the volume goes."""
    chosen = [least_sure(recording, N_CLOSE_UPS)]
    if recording.gains is not None:
        chosen += [most_harmful(recording, N_CLOSE_UPS), most_useful(recording, N_CLOSE_UPS)]
    _, n_y, n_x = volumes.image.shape
    views = {}
    for merge in np.unique(np.concatenate(chosen)).tolist():
        z, y, x = np.rint(recording.places_vox[merge]).astype(int).tolist()
        top = max(min(y - CLOSE_UP_VOX // 2, n_y - CLOSE_UP_VOX), 0)
        left = max(min(x - CLOSE_UP_VOX // 2, n_x - CLOSE_UP_VOX), 0)
        views[merge] = _view(volumes, recording.ids, z, (top, left), CLOSE_UP_VOX)
    return views
