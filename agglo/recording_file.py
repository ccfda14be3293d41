"""The recording of an episode on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agglo.checkpoint_file import SpoiltCheckpointError, load_checkpoint, save_checkpoint
from analysis.input_error import InputError
from analysis.recording import Gains, Recording, View

FORMAT = "agglo recording"
FORMAT_VERSION = 1

_ARRAYS = ("ids", "sizes_vox", "merges", "heights", "places_vox", "contact_faces")
_VIEW_ARRAYS = ("image", "boundaries", "superpixels", "truth")
_GAIN_ARRAYS = ("vi", "rand", "counted_vox")


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


def _recording_of(state: dict[str, Any]) -> Recording:
    """Put a recording together from what its file holds."""
    views = {int(name): _view_of(state, name, *place) for name, place in state["views"].items()}
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


def _view_of(state: dict[str, Any], name: str, section: int, y: int, x: int) -> View:
    """Put a view together."""
    image, boundaries, superpixels = (state[f"view {name} {part}"] for part in _VIEW_ARRAYS[:3])
    truth = state.get(f"view {name} truth")
    return View(section, (y, x), image, boundaries, superpixels, truth)
