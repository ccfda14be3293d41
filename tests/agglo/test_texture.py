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
from agglo import texture as module
from agglo.eight_bits import EightBits
from agglo.texture import make_texture
from agglo.texture_file import load_texture, save_texture
from agglo.volumes import Kind, open_volume
from agglo.volumes.attributes import CHANNELS_OF
from analysis.input_error import InputError
from envs.quantise import quantise_boundaries
from tests.agglo.here_pool import CutPool, HerePool
from tests.agglo.small_volumes import Said, agglo, make_tissue, tree_of, write_tissue

SHAPE = (16, 70, 130)
N_BLOCKS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tissue, some volumes that are wrong, and one of flat voxels."""
    folder = tmp_path_factory.mktemp("texture")
    tissue = make_tissue(3, SHAPE, n_superpixels=30)
    holes, beyond = tissue.boundaries.copy(), tissue.boundaries.copy()
    holes[9, 69, 129], beyond[3, 4, 5] = np.nan, 1.5
    more = {
        "narrow": tissue.boundaries[..., 1:],
        "holes": holes,
        "beyond": beyond,
        "constant": np.full(SHAPE, 0.5, np.float32),
        "affinities": np.stack([tissue.boundaries] * 3),
        "grey_float": tissue.image.astype(np.float32),
        "edges_uint8": quantise_boundaries(tissue.boundaries),
        "mask": tissue.boundaries > 0.5,
    }
    write_tissue(folder / "v.h5", tissue, **more)
    flat = make_tissue(4, (8, 30, 30))
    write_tissue(folder / "flat.h5", flat, voxel_size_nm=(40.0, 4.0, 4.0))
    write_tissue(folder / "bare.h5", flat, voxel_size_nm=None)
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_VOX", (64, 64, 64))


@pytest.fixture(scope="module")
def learned(folder: Path, ray_local: None) -> np.ndarray:
    """Channels of a whole run with two actors, and `dictionary.npz` in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_VOX", (64, 64, 64))
        dictionary, out = folder / "dictionary.npz", str(folder / "whole.zarr")
        result = _make(folder, dictionary, out, learn=True)
    assert result["n_blocks"] == N_BLOCKS
    channels = open_volume(out, argument="--image")
    assert channels.attributes[CHANNELS_OF] == load_texture(dictionary).digest()
    assert channels.attributes[CHANNELS_OF] == result["dictionary"]
    assert channels.voxel_size_nm == (8.0, 8.0, 8.0)
    assert sorted(path.name for path in folder.glob(".*")) == []
    return channels.read()


def _make(folder: Path, dictionary: Path, out: str, **options: Any) -> dict[str, Any]:
    options = {"image": "image", "boundaries": "boundaries", "n_atoms": 2, **options}
    image, boundaries = (f"{folder}/v.h5:{options.pop(n)}" for n in ("image", "boundaries"))
    return make_texture(image, boundaries, dictionary, out, **options)


def _command(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> Said:
    volumes = ["--image", f"{folder}/v.h5:image", "--boundaries", f"{folder}/v.h5:boundaries"]
    return agglo(capsys, "texture", *volumes, *words)


def test_channels_are_those_of_the_whole_volume_at_once(folder: Path, learned: np.ndarray):
    with h5py.File(folder / "v.h5") as file:
        image, boundaries = (np.array(file[name]) for name in ("image", "boundaries"))
    texture = load_texture(folder / "dictionary.npz")
    wanted = texture.channels(image, quantise_boundaries(boundaries))
    np.testing.assert_array_equal(learned, wanted)
    assert learned.shape == (4, *SHAPE)
    assert learned.any(axis=(1, 2, 3)).all()


def test_one_actor_and_the_dictionary_of_before_give_the_same_bytes(
    folder: Path,
    learned: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(channel_blocks, "actor_room", lambda cpus, gpus: 1.0)
    out, words = f"{tmp_path}/textures.h5:texture", ["--dictionary", folder / "dictionary.npz"]
    said = _command(capsys, folder, *words, "--out", out, "--json", tmp_path / "results.json")
    assert said.status == 0
    assert "4 channels of" in said.out
    result = json.loads((tmp_path / "results.json").read_text())
    assert (result["n_blocks"], result["n_blocks_done_before"]) == (N_BLOCKS, 0)
    channels = open_volume(out, argument="--image")
    np.testing.assert_array_equal(channels.read(), learned)
    digest = load_texture(folder / "dictionary.npz").digest()
    assert channels.attributes[CHANNELS_OF] == digest == result["dictionary"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_blocks, "ActorPool", HerePool)
    monkeypatch.setattr(channel_blocks, "actor_room", lambda cpus, gpus: 1.0)


@pytest.mark.usefixtures("here")
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    folder: Path,
    learned: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    dictionary, out = tmp_path / "dictionary.npz", str(tmp_path / "texture.zarr")
    with pytest.raises(InputError, match="--resume: there is no unfinished texture of"):
        _make(folder, dictionary, out, learn=True, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(channel_blocks, "ActorPool", CutPool)
        with caplog.at_level(logging.WARNING, "agglo"), pytest.raises(KeyboardInterrupt):
            _make(folder, dictionary, out, learn=True)
    assert f"3 of {N_BLOCKS} blocks of {out} are kept; --resume goes on" in caplog.text
    assert not dictionary.exists()
    with pytest.raises(InputError, match=r"--resume: .* another one, its learned was \[2, 0\] and"):
        _make(folder, dictionary, out, learn=True, resume=True, seed=1)
    result = _make(folder, dictionary, out, learn=True, resume=True)
    assert result["n_blocks_done_before"] == 3
    np.testing.assert_array_equal(open_volume(out, argument="--image").read(), learned)
    assert dictionary.read_bytes() == (folder / "dictionary.npz").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["dictionary.npz", "texture.zarr"]


@pytest.mark.usefixtures("learned", "here")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"boundaries": "narrow"}, r"--boundaries has shape \(16, 70, 129\) and --image has"),
        ({"boundaries": "holes"}, r"--boundaries: .*holes: array has 1 of .* values that are NaN"),
        ({"boundaries": "affinities"}, r"--boundaries: .* which is that of affinities"),
        ({"image": "grey_float"}, r"image must be integer, or float in \[0, 1\]; seen float32"),
        ({"learn": True, "boundaries": "constant"}, "boundaries is constant: every .* is 128"),
        ({"learn": True, "n_atoms": 0}, "--atoms must be at least 1, not 0"),
        ({"learn": True, "voxel_size_nm": (9.0, 9.0, 9.0)}, "voxel"),
        ({"dictionary": "gone.npz"}, r"--dictionary: there is no file .*gone\.npz; --learn makes"),
        ({"dictionary": "no/gone.npz", "learn": True}, "--dictionary: there is no folder"),
        ({"dictionary": "t.zarr/d.npz", "learn": True}, r"d\.npz is also --out, or lies in it"),
    ],
)
def test_bad_input_leaves_nothing(
    folder: Path, tmp_path: Path, options: dict[str, Any], sentence: str
):
    options = dict(options)
    name = options.pop("dictionary", "new.npz" if options.get("learn") else None)
    dictionary = folder / "dictionary.npz" if name is None else tmp_path / name
    with pytest.raises(InputError, match=sentence):
        _make(folder, dictionary, str(tmp_path / "t.zarr"), **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("learned", "here")
def test_what_exists_is_replaced_only_if_asked_for_and_only_by_its_like(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dictionary, out = tmp_path / "dictionary.npz", tmp_path / "t.zarr"
    save_texture(dictionary, load_texture(folder / "dictionary.npz"))
    words = ["--dictionary", dictionary, "--out", out, "--learn", "--atoms", 1]
    before = tree_of(tmp_path)
    said = _command(capsys, folder, *words)
    assert said.status == 2
    assert f"--dictionary: {dictionary} exists already; --overwrite replaces it." in said.err
    assert tree_of(tmp_path) == before
    assert _command(capsys, folder, *words, "--overwrite").status == 0
    assert open_volume(str(out), argument="--image").shape == (2, *SHAPE)
    assert len(load_texture(dictionary).grey) == 1

    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["precious"] = np.arange(5)
    before = tree_of(tmp_path)
    said = _command(capsys, folder, "--dictionary", other, *words[2:], "--overwrite")
    assert said.status == 2
    assert "other.h5 is no whole texture dictionary" in said.err
    assert "It is not replaced by one." in said.err
    assert tree_of(tmp_path) == before


@pytest.mark.usefixtures("learned", "here")
def test_a_dictionary_is_for_voxels_of_its_size(folder: Path, tmp_path: Path):
    def refused(volume: str, dictionary: Path, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            make_texture(
                f"{folder}/{volume}.h5:image",
                f"{folder}/{volume}.h5:boundaries",
                dictionary,
                str(tmp_path / "t.zarr"),
                **options,
            )
        return str(caught.value)

    cubes = folder / "dictionary.npz"
    assert "--image has voxels of 40 4 4 nm (z y x), but" in refused("flat", cubes)
    assert "was learned on voxels of 8 8 8 nm" in refused("flat", cubes)
    assert "learned on voxels of 8 8 8" in refused("bare", cubes, voxel_size_nm=(16.0, 16.0, 16.0))
    flat = tmp_path / "flat.npz"
    image, boundaries = (f"{folder}/flat.h5:{name}" for name in ("image", "boundaries"))
    result = make_texture(image, boundaries, flat, str(tmp_path / "flat.zarr"), learn=True)
    assert result["n_channels"] == 8
    assert load_texture(flat).voxel_size_nm == (40.0, 4.0, 4.0)
    said = refused("bare", flat)
    assert "--image states no voxel size, but the patches of" in said
    assert "have (1, 5, 5) voxels at distances of (1, 2, 2) (z y x)" in said
    assert sorted(os.listdir(tmp_path)) == ["flat.npz", "flat.zarr"]


@pytest.mark.usefixtures("here")
def test_volumes_of_no_voxel_size_are_taken_for_cubes(folder: Path, tmp_path: Path):
    image, boundaries = (f"{folder}/bare.h5:{name}" for name in ("image", "boundaries"))
    dictionary = tmp_path / "d.npz"
    make_texture(image, boundaries, dictionary, str(tmp_path / "t.zarr"), learn=True, n_atoms=1)
    texture = load_texture(dictionary)
    assert texture.voxel_size_nm is None
    assert texture.patch.extent == (5, 5, 5)
    assert open_volume(str(tmp_path / "t.zarr"), argument="--image").voxel_size_nm is None


def test_volumes_are_read_as_eight_bits(folder: Path):
    def read(name: str, kind: Kind) -> np.ndarray:
        seen = EightBits(open_volume(f"{folder}/v.h5:{name}", argument=f"--{kind}"), kind)
        assert (seen.shape, seen.dtype) == (SHAPE, np.uint8)
        return seen[2:6, :, 3:]

    with h5py.File(folder / "v.h5") as file:
        arrays = {name: np.array(data)[2:6, :, 3:] for name, data in file.items() if data.ndim == 3}
    np.testing.assert_array_equal(read("image", "image"), arrays["image"])
    rounded = np.rint(arrays["boundaries"] * 255)
    np.testing.assert_array_equal(read("boundaries", "boundaries"), rounded)
    np.testing.assert_array_equal(read("edges_uint8", "boundaries"), rounded)
    np.testing.assert_array_equal(read("mask", "boundaries"), 255 * arrays["mask"])
    with pytest.raises(InputError, match=r"--boundaries: .*beyond: array has values .* to 1\.5"):
        read("beyond", "boundaries")
