from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from agglo.volumes import open_volume
from benchmarks.accuracy import maps as module
from benchmarks.accuracy.cases import (
    FIB25_HALVES,
    FIB25_HIGH,
    FIB25_LOW,
    GALA,
    SNEMI_LEFT,
    SNEMI_RIGHT,
    Case,
)
from benchmarks.accuracy.maps import Maps
from tests.benchmarks.recorded_commands import recorder

WORDS = ("--steps", "7")


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """Record the commands instead of running them, and make what they would."""
    seen: list[list[str]] = []
    monkeypatch.setattr(module, "agglo", recorder(seen))
    return seen


def words_after(command: list[str], option: str, n: int = 1) -> list[str]:
    start = command.index(option) + 1
    return command[start : start + n]


def test_two_training_parts_have_one_model_and_are_predicted_out_of_fold(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    case = Case((FIB25_LOW, FIB25_HIGH), GALA)
    maps = Maps(Path("/data"), tmp_path, WORDS, ("--views", "8"))
    train, test = maps.prepare(case)
    folder = tmp_path / "maps" / "fib25_low+fib25_high"
    assert [words[:2] for words in commands] == [
        ["boundaries", "train"],
        *[["boundaries", "predict"], ["superpixels", "--boundaries"]] * 3,
    ]
    trained = commands[0]
    assert words_after(trained, "--steps") == ["7"]
    assert words_after(trained, "--image", 2) == [
        "/data/fib25_medulla/train.h5:raw[0:60]",
        "/data/fib25_medulla/train.h5:raw[64:120]",
    ]
    assert words_after(trained, "--out") == [str(folder / "model")]
    assert "--resume" not in trained
    predicted = [words for words in commands if words[1] == "predict"]
    assert ["--out-of-fold" in words for words in predicted] == [True, True, False]
    assert [words_after(words, "--views") for words in predicted] == [["8"]] * 3
    assert "--views" not in trained
    assert words_after(predicted[2], "--image") == ["/data/gala_fib/train.h5:raw"]
    assert test.boundaries == f"{folder}/gala_boundaries.zarr"
    assert train[1].superpixels == f"{folder}/fib25_high_superpixels.zarr"
    assert train[1].labels == "/data/fib25_medulla/train.h5:gt[64:120]"
    commands.clear()
    assert maps.prepare(case) == (train, test)
    assert not commands


def test_halves_of_a_part_share_its_map(tmp_path: Path, commands: list[list[str]]) -> None:
    first, second = FIB25_HALVES[3]
    (train,), test = Maps(Path("/data"), tmp_path, WORDS).prepare(Case((first,), second))
    folder = tmp_path / "maps" / "fib25_high"
    assert [words[:2] for words in commands] == [
        ["boundaries", "train"],
        ["boundaries", "predict"],
        ["superpixels", "--boundaries"],
    ]
    assert words_after(commands[0], "--image") == ["/data/fib25_medulla/train.h5:raw[64:120]"]
    assert "--out-of-fold" in commands[1]
    assert train.image == "/data/fib25_medulla/train.h5:raw[64:120,0:250,0:123]"
    assert train.boundaries == f"{folder}/fib25_high_boundaries.zarr[0:56,0:250,0:123]"
    assert test.superpixels == f"{folder}/fib25_high_superpixels.zarr[0:56,0:250,127:250]"
    assert test.labels == "/data/fib25_medulla/train.h5:gt[64:120,0:250,127:250]"


def test_a_model_that_was_cut_short_is_gone_on_with(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    (tmp_path / "maps" / "fib25_low" / "model").mkdir(parents=True)
    Maps(Path("/data"), tmp_path, WORDS).prepare(Case((FIB25_LOW,), FIB25_HIGH))
    assert "--resume" in commands[0]


def test_a_blank_image_stands_for_one_that_is_not_there(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["gt"] = np.ones((14, 160, 160), np.int32)
    data = tmp_path / "snemi_mini"
    data.mkdir()
    (tmp_path / "train.h5").rename(data / "train.h5")
    case = Case((SNEMI_LEFT,), SNEMI_RIGHT)
    (train,), test = Maps(tmp_path, tmp_path, WORDS).prepare(case)
    assert not commands
    assert train.boundaries == f"{data}/train.h5:boundary_prob[0:14,0:160,0:78]"
    blank = open_volume(test.image, argument="--image")
    assert blank.shape == (14, 160, 78)
    assert not blank.read().any()
    assert train.voxel_size_nm == (30.0, 6.0, 6.0)
