"""Record an episode of a merge policy, and keep the recording on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.checkpoint_file import SpoiltCheckpointError, load_checkpoint, save_checkpoint
from agglo.policy_file import Policy
from agglo.training.volume_set import agreed_voxel_size
from agglo.volumes import VoxelSize, open_volume, require_same_shape, require_volume
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
from envs.region_graph import RegionGraph, build_region_graph
from envs.rollout import Episode, play_episode
from envs.truth_rows import NO_TRUTH, truth_table

FORMAT = "agglo recording"
FORMAT_VERSION = 1

CLOSE_UP_VOX = 120
"""Side of a close-up."""

N_CLOSE_UPS = 6
"""Close-ups of the most harmful, of the most useful and of the least sure merges, each."""


def record_episode(
    policy: Policy,
    image: npt.NDArray[np.number],
    boundaries: npt.NDArray[np.floating],
    superpixels: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer] | None = None,
    *,
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
    if np.isnan(cut):
        raise InputError("--threshold must be a number, but is NaN.")
    size = voxel_size_nm or policy.voxel_size_nm
    graph = build_region_graph(
        superpixels, image, boundaries, voxel_size_nm=size or (1.0, 1.0, 1.0)
    )
    truth = NO_TRUTH if labels is None else truth_table(graph.ids, superpixels, labels)
    episode = play_episode(graph, policy.network, truth=truth, threshold=-np.inf)
    places, faces = _places(graph, episode.merges)
    whole = (slice(None), slice(None))
    volumes = (image, boundaries, superpixels, labels)
    recording = Recording(
        policy=policy.provenance.get("policy", "learned policy"),
        ids=graph.ids,
        sizes_vox=graph.regions[:, st.SIZE].copy(),
        merges=episode.merges,
        heights=episode.heights,
        threshold=float(cut),
        places_vox=places,
        contact_faces=faces,
        view=_view(volumes, graph.ids, kept, whole),
        close_ups={},
        gains=None if labels is None else _gains(graph, episode, superpixels, labels),
        voxel_size_nm=size,
    )
    return _with_close_ups(recording, volumes)


def record_volumes(
    policy: Policy,
    image: str,
    boundaries: str,
    superpixels: str,
    labels: str | None = None,
    *,
    section: int | None = None,
    threshold: float | None = None,
    voxel_size_nm: VoxelSize | None = None,
) -> Recording:
    """Record an episode over volumes on disk; arguments as of `record_episode`, but addresses.

    Raises:
        InputError: where a volume is not what it should be.
    """
    texts = {"--image": image, "--boundaries": boundaries, "--superpixels": superpixels}
    if labels is not None:
        texts["--labels"] = labels
    volumes = {
        name: open_volume(text, argument=name, voxel_size_nm=voxel_size_nm)
        for name, text in texts.items()
    }
    require_same_shape(volumes)
    return record_episode(
        policy,
        require_volume(volumes["--image"], "--image", "image"),
        require_volume(volumes["--boundaries"], "--boundaries", "boundaries"),
        require_volume(volumes["--superpixels"], "--superpixels", "superpixels"),
        None if labels is None else require_volume(volumes["--labels"], "--labels", "labels"),
        section=section,
        threshold=threshold,
        voxel_size_nm=agreed_voxel_size(volumes),
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


def check_recording_output(path: Path, *, overwrite: bool) -> None:
    """Check that a recording may be written, before any work is done for it.

    Raises:
        InputError: where it exists and may not be replaced, or has no folder.
    """
    if path.is_dir():
        raise InputError(f"--out: {path} is a folder, where a file is to be written.")
    if not path.parent.is_dir():
        raise InputError(f"--out: there is no folder {path.parent} to write {path.name} to.")
    if path.exists() and not overwrite:
        raise InputError(f"--out: {path} exists; --overwrite replaces it.")


def save_recording(path: Path, recording: Recording, *, overwrite: bool = False) -> None:
    """Write a recording, whole or not at all.

    Raises:
        InputError: where it exists and may not be replaced, or cannot be written.
    """
    check_recording_output(path, overwrite=overwrite)
    state: dict[str, Any] = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "policy": recording.policy,
        "threshold": recording.threshold,
        "voxel_size_nm": recording.voxel_size_nm,
        "views": {},
        "starts": None,
    }
    for name in _ARRAYS:
        state[name] = getattr(recording, name)
    for name, view in {-1: recording.view, **recording.close_ups}.items():
        state["views"][str(name)] = (view.section, *view.corner_vox)
        for part in _VIEW_ARRAYS:
            array = getattr(view, part)
            if array is not None:
                state[f"view {name} {part}"] = array
    if recording.gains is not None:
        gains = recording.gains
        state["starts"] = (gains.start_vi_split, gains.start_vi_merge, gains.start_rand_index)
        for name in _GAIN_ARRAYS:
            state[f"gains {name}"] = getattr(gains, name)
    try:
        save_checkpoint(path, state)
    except OSError as error:
        raise InputError(f"--out: {path} cannot be written ({error.strerror}).") from error


def load_recording(path: Path, *, argument: str = "EPISODE") -> Recording:
    """Read a recording.

    Raises:
        InputError: where there is none, it is damaged, or another version wrote it.
    """
    if not path.is_file():
        raise InputError(f"{argument}: there is no file {path}.")
    try:
        state = load_checkpoint(path)
    except SpoiltCheckpointError as error:
        raise InputError(f"{argument}: {path} is no whole recording ({error}).") from error
    if state.get("format") != FORMAT:
        raise InputError(f"{argument}: {path} is no recording of an episode.")
    if state["version"] != FORMAT_VERSION:
        raise InputError(
            f"{argument}: {path} is of version {state['version']}, this agglo reads "
            f"{FORMAT_VERSION}."
        )
    try:
        return _recording_of(state)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{argument}: {path} contradicts itself: {error}") from error


_ARRAYS = ("ids", "sizes_vox", "merges", "heights", "places_vox", "contact_faces")
_VIEW_ARRAYS = ("image", "boundaries", "superpixels", "truth")
_GAIN_ARRAYS = ("vi", "rand", "counted_vox")


def _recording_of(state: dict[str, Any]) -> Recording:
    """Put a recording together from what its file holds."""
    views = {
        int(name): View(
            section, (y, x), *(state.get(f"view {name} {part}") for part in _VIEW_ARRAYS)
        )
        for name, (section, y, x) in state["views"].items()
    }
    starts, size = state["starts"], state["voxel_size_nm"]
    return Recording(
        policy=state["policy"],
        threshold=state["threshold"],
        **{name: state[name] for name in _ARRAYS},
        view=views.pop(-1),
        close_ups=views,
        gains=starts and Gains(*(state[f"gains {name}"] for name in _GAIN_ARRAYS), *starts),
        voxel_size_nm=size and (size[0], size[1], size[2]),
    )


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


_Volumes = tuple[npt.NDArray, npt.NDArray, npt.NDArray, npt.NDArray | None]


def _view(
    volumes: _Volumes, ids: npt.NDArray[np.uint64], z: int, window: tuple[slice, slice]
) -> View:
    """Cut a view out of image, boundaries, superpixels and labels."""
    image, boundaries, superpixels, labels = (
        None if volume is None else np.array(volume[z][window]) for volume in volumes
    )
    assert image is not None and boundaries is not None and superpixels is not None
    pieces = superpixels.astype(np.uint64)
    return View(
        z,
        (window[0].start or 0, window[1].start or 0),
        image,
        boundaries.astype(np.float32),
        np.where(pieces == 0, -1, np.searchsorted(ids, pieces)).astype(np.int32),
        None if labels is None else labels.astype(np.uint64),
    )


def _with_close_ups(recording: Recording, volumes: _Volumes) -> Recording:
    """Add views of the merges worth a look."""
    chosen = [least_sure(recording, N_CLOSE_UPS)]
    if recording.gains is not None:
        chosen += [most_harmful(recording, N_CLOSE_UPS), most_useful(recording, N_CLOSE_UPS)]
    shape = volumes[0].shape
    close_ups = {}
    for merge in np.unique(np.concatenate(chosen)).tolist():
        z, *centre = np.floor(recording.places_vox[merge]).astype(int).tolist()
        begins = [
            max(min(middle - CLOSE_UP_VOX // 2, size - CLOSE_UP_VOX), 0)
            for middle, size in zip(centre, shape[1:], strict=True)
        ]
        window = (
            slice(begins[0], begins[0] + CLOSE_UP_VOX),
            slice(begins[1], begins[1] + CLOSE_UP_VOX),
        )
        close_ups[merge] = _view(volumes, recording.ids, z, window)
    return dataclasses.replace(recording, close_ups=close_ups)
