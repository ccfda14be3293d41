from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from agglo import channel_blocks
from agglo import masks as module
from agglo.masks import make_masks
from agglo.volumes import open_volume
from agglo.volumes.attributes import CHANNELS_OF
from analysis.input_error import InputError
from predict.object_mask import ObjectMask
from tests.agglo.here_pool import CutPool, HerePool
from tests.agglo.small_volumes import agglo, make_tissue, tree_of, write_tissue

SHAPE = (16, 70, 130)
N_BLOCKS = 6
MASK = ObjectMask(80.0, (8.0, 8.0, 8.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tissue, one of which nobody knows the voxels, and some volumes that are wrong."""
    folder = tmp_path_factory.mktemp("masks")
    tissue = make_tissue(3, SHAPE, n_superpixels=30)
    tissue.superpixels[:3, 20:40, 50:] = 0
    signed = tissue.superpixels.astype(np.int32)
    negative = signed.copy()
    negative[9, 69, 129] = -1
    more = {
        "signed": signed,
        "negative": negative,
        "floats": signed.astype(np.float32),
        "channels": np.stack([signed] * 2),
        "empty": signed[:0],
    }
    write_tissue(folder / "v.h5", tissue, **more)
    write_tissue(folder / "bare.h5", make_tissue(4, (8, 30, 30)), voxel_size_nm=None)
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "choose_block", lambda shape: (64, 64, 64))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_blocks, "ActorPool", HerePool)
    monkeypatch.setattr(channel_blocks, "actor_room", lambda cpus, gpus: 1.0)


@pytest.fixture(scope="module")
def wanted(folder: Path) -> np.ndarray:
    """Channels of the whole volume at once."""
    with h5py.File(folder / "v.h5") as file:
        return MASK.channels(np.array(file["superpixels"]))


def _make(folder: Path, out: Path, name: str = "superpixels", **options: Any) -> dict[str, Any]:
    return make_masks(f"{folder}/v.h5:{name}", str(out), **{"radius_nm": 80.0, **options})


@pytest.mark.usefixtures("ray_local")
def test_actors_make_the_channels_of_the_whole_volume(
    folder: Path, wanted: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--objects", f"{folder}/v.h5:superpixels", "--radius-nm", 80]
    out, results = tmp_path / "masks.zarr", tmp_path / "results.json"
    said = agglo(capsys, "masks", *words, "--out", out, "--json", results)
    assert said.status == 0
    assert "9 channels, masks 80 nm in 3 shells, voxels of 8 8 8 nm, in" in said.out
    channels = open_volume(str(out), argument="--texture")
    np.testing.assert_array_equal(channels.read(), wanted)
    assert channels.dtype == np.uint8
    assert channels.voxel_size_nm == (8.0, 8.0, 8.0)
    assert channels.attributes["objects"] == f"{folder}/v.h5:superpixels"
    result = json.loads(results.read_text())
    assert channels.attributes[CHANNELS_OF] == str(MASK) == result["made_by"]
    assert (result["n_blocks"], result["n_blocks_done_before"]) == (N_BLOCKS, 0)
    assert sorted(os.listdir(tmp_path)) == ["masks.zarr", "results.json"]


@pytest.mark.usefixtures("here")
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    folder: Path,
    wanted: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    out = tmp_path / "masks.zarr"
    with pytest.raises(InputError, match="--resume: there is no unfinished masks of"):
        _make(folder, out, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(channel_blocks, "ActorPool", CutPool)
        with caplog.at_level(logging.WARNING, "agglo"), pytest.raises(KeyboardInterrupt):
            _make(folder, out)
    assert f"3 of {N_BLOCKS} blocks of {out} are kept; --resume goes on" in caplog.text
    assert not out.exists()
    with pytest.raises(InputError, match=r'another one, its mask was "masks 80 .* now "masks 81'):
        _make(folder, out, resume=True, radius_nm=81.0)
    with pytest.raises(InputError, match=r"another one, its volumes was .*superpixels"):
        _make(folder, out, "labels", resume=True)
    assert _make(folder, out, resume=True)["n_blocks_done_before"] == 3
    np.testing.assert_array_equal(open_volume(str(out), argument="--texture").read(), wanted)
    assert os.listdir(tmp_path) == ["masks.zarr"]


@pytest.mark.usefixtures("here")
def test_any_integers_in_any_format_give_the_same(
    folder: Path, wanted: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "choose_block", lambda shape: (64, 128, 128))
    out = f"{tmp_path}/m.h5:masks"
    assert make_masks(f"{folder}/v.h5:signed", out, radius_nm=80.0)["n_blocks"] == 2
    np.testing.assert_array_equal(open_volume(out, argument="--texture").read(), wanted)


@pytest.mark.usefixtures("here")
def test_a_voxel_size_is_needed(folder: Path, tmp_path: Path):
    objects, out = f"{folder}/bare.h5:superpixels", str(tmp_path / "m.zarr")
    with pytest.raises(InputError, match="states no voxel size, which --radius-nm needs; give it"):
        make_masks(objects, out)
    assert os.listdir(tmp_path) == []
    made = make_masks(objects, out, voxel_size_nm=(30.0, 6.0, 6.0))
    assert made["made_by"] == "masks 160 nm in 3 shells, voxels of 30 6 6 nm"
    assert open_volume(out, argument="--texture").voxel_size_nm == (30.0, 6.0, 6.0)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("floats", {}, "--objects: .* has values of type float32, where labels are integers"),
        ("negative", {}, "--objects: .*has negative values down to -1, where labels begin at 0"),
        ("channels", {}, r"--objects: .* has shape \(2, 16, 70, 130\), where the axes z, y, x"),
        ("empty", {}, r"--objects: .* is empty: its shape is \(0, 70, 130\)"),
        ("gone", {}, "--objects: .*gone"),
        ("signed", {"radius_nm": 0.0}, "--radius-nm: the radius must be positive and finite, got"),
        ("signed", {"radius_nm": 12.0}, "--radius-nm: the radius of 12 nm is too small for voxels"),
        ("signed", {"voxel_size_nm": (9.0, 9.0, 9.0)}, "voxel"),
    ],
)
def test_bad_input_leaves_nothing(
    folder: Path, tmp_path: Path, name: str, options: dict[str, Any], sentence: str
):
    with pytest.raises(InputError, match=sentence):
        _make(folder, tmp_path / "m.zarr", name, **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("here")
def test_what_exists_is_replaced_only_if_asked_for(folder: Path, tmp_path: Path):
    out = tmp_path / "m.zarr"
    _make(folder, out)
    before = tree_of(tmp_path)
    with pytest.raises(InputError, match="exists already; --overwrite replaces it"):
        _make(folder, out, radius_nm=90.0)
    assert tree_of(tmp_path) == before
    _make(folder, out, radius_nm=90.0, overwrite=True)
    made_by = open_volume(str(out), argument="--texture").attributes[CHANNELS_OF]
    assert made_by.startswith("masks 90 nm")
