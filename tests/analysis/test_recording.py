from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from analysis.input_error import InputError
from analysis.recording import View
from tests.analysis.drawn_episode import drawn_recording

RECORDING = drawn_recording()
VIEW = RECORDING.view


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": np.array([10, 10, 30, 40], np.uint64)}, "ids must be positive and ascend"),
        ({"ids": np.array([0, 20, 30, 40], np.uint64)}, "ids must be positive and ascend"),
        ({"ids": np.array([10, 20, 30, 40])}, "ids must have the shape .* int64"),
        ({"sizes_vox": np.ones(3, np.int64)}, r"sizes_vox must have the shape \(4,\)"),
        ({"heights": np.array([1.0, 2.0, 0.0])}, "heights must never increase"),
        ({"heights": np.array([1.0, np.nan, 0.0])}, "must be finite"),
        ({"heights": np.zeros(2)}, r"heights must have the shape \(3,\)"),
        ({"threshold": np.nan}, "must be finite"),
        ({"places_vox": np.full((3, 3), np.inf)}, "must be finite"),
        ({"merges": np.array([(0, 1), (0, 1), (0, 2)], np.int32)}, "join two present clusters"),
        ({"merges": np.array([(0, 1), (1, 2), (0, 3)], np.int32)}, "join two present clusters"),
        ({"merges": np.array([(1, 0), (2, 3), (0, 2)], np.int32)}, "join two present clusters"),
        ({"merges": np.array([(0, 1), (2, 4), (0, 2)], np.int32)}, "join two present clusters"),
        ({"merges": np.array([(-1, 1), (2, 3), (0, 2)], np.int32)}, "join two present clusters"),
        ({"merges": np.zeros((3, 2))}, "merges must have the shape .* float64"),
        ({"close_ups": {3: VIEW}}, r"close_ups must be of the merges 0 … 2"),
        ({"gains": None}, "just where the episode has gains"),
        (
            {"view": dataclasses.replace(VIEW, superpixels=VIEW.superpixels + np.int32(1))},
            "indices of 4 ids",
        ),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(RECORDING, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vi": np.zeros(2)}, "must be as many"),
        ({"vi": np.array([0.0, np.inf, 0.0])}, "must be finite"),
        ({"start_vi_split": np.nan}, "must be finite"),
        ({"counted_vox": np.zeros(4, np.int64)}, "not all of them 0"),
        ({"counted_vox": np.array([1, -1, 0, 0])}, "must be .* numbers of voxels"),
    ],
)
def test_gains_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    assert RECORDING.gains is not None
    with pytest.raises(InputError, match=words):
        dataclasses.replace(RECORDING.gains, **changes)


def test_gains_of_another_episode_are_refused() -> None:
    assert RECORDING.gains is not None
    gains = dataclasses.replace(RECORDING.gains, counted_vox=np.ones(5, np.int64))
    with pytest.raises(InputError, match="must be of 3 merges and 4 superpixels"):
        dataclasses.replace(RECORDING, gains=gains)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": np.zeros((2, 2), np.uint8)}, r"boundaries of a view must be .* \(2, 2\)"),
        ({"image": np.zeros(5, np.uint8)}, r"image of a view must be \(y, x\)"),
        ({"boundaries": VIEW.boundaries + np.float32(1)}, r"must lie in \[0, 1\]"),
        ({"boundaries": VIEW.boundaries * np.float32(np.nan)}, r"must lie in \[0, 1\]"),
        ({"superpixels": VIEW.superpixels.astype(float)}, "superpixels .* not be of dtype float64"),
        ({"truth": VIEW.superpixels}, "truth of a view must not be of dtype int32"),
    ],
)
def test_a_view_of_unlike_arrays_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(VIEW, **changes)


def test_an_empty_view_is_refused() -> None:
    nothing = np.zeros((0, 3), np.float32)
    with pytest.raises(InputError, match=r"its shape is \(0, 3\)"):
        View(0, (0, 0), nothing, nothing, nothing.astype(np.int32))
