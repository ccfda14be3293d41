from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.texture_file import load_texture, require_free_texture, save_texture
from analysis.input_error import InputError
from predict.texture_dictionary import TextureDictionary
from predict.texture_patch import TexturePatch

POSITIVE = st.floats(1e-6, 1e6)


def _texture(seed: int = 0, n_atoms: int = 2, **numbers: float) -> TextureDictionary:
    rng = np.random.default_rng(seed)
    patch = TexturePatch((3, 5, 5), (1, 2, 2))
    shape = (n_atoms, *patch.extent)
    grey, boundary = (rng.integers(-32767, 32768, shape).astype(np.int16) for _ in range(2))
    known = {"step": 1e-6, "contrast_floor": 50.0, "boundary_deviation": 60.0, "scale": 90.0}
    size = (30.0, 6.0, 6.0) if seed % 2 else None
    return TextureDictionary(
        patch, grey, boundary, voxel_size_nm=size, **{"threshold": 0.5, **known, **numbers}
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.integers(1, 5), POSITIVE, POSITIVE, POSITIVE)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    n_atoms: int,
    step: float,
    threshold: float,
    scale: float,
):
    texture = _texture(seed, n_atoms, step=step, threshold=threshold, scale=scale)
    path = tmp_path_factory.mktemp("texture") / "dictionary.npz"
    save_texture(path, texture)
    again = load_texture(path)
    assert again.digest() == texture.digest()
    assert again.voxel_size_nm == texture.voxel_size_nm
    assert again.patch == texture.patch
    first = path.read_bytes()
    save_texture(path, again)
    assert path.read_bytes() == first
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def _changed(path: Path, **changes: object) -> None:
    """Write the file anew with changed entries: arrays, or what is said about them."""
    with np.load(path) as stored:
        entries = dict(stored)
    arrays = {name: value for name, value in changes.items() if name in entries}
    about = json.loads(str(entries["about"]))
    about |= {name: value for name, value in changes.items() if name not in entries}
    np.savez(path, **{**entries, "about": np.array(json.dumps(about)), **arrays})  # type: ignore


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "recipe"}, "it holds something else"),
        ({"version": 99}, "it has version 99, this agglo reads 1"),
        ({"step": float("nan")}, "step must be positive and finite, got nan"),
        ({"scale": "wide"}, "could not convert string to float: 'wide'"),
        ({"dilation": [1, 2]}, "not enough values to unpack"),
        ({"voxel_size_nm": [1, 2]}, "voxel_size_nm must be three positive numbers"),
        ({"grey": np.zeros((2, 3, 5, 5))}, "grey must be int16 filters"),
        ({"grey": np.zeros((2, 5), np.int16)}, "extent must be odd along z, y and x"),
        ({"boundary": np.zeros((1, 3, 5, 5), np.int16)}, "boundary must be int16 filters"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(tmp_path: Path, changes: dict, reason: str):
    path = tmp_path / "dictionary.npz"
    save_texture(path, _texture())
    _changed(path, **changes)
    with pytest.raises(
        InputError, match=r"--dictionary: .* no whole texture dictionary: " + reason
    ):
        load_texture(path)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path):
    path = tmp_path / "dictionary.npz"
    save_texture(path, _texture())
    data = path.read_bytes()
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, network=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for torn in (data[: len(data) // 2], b"", b"nothing of the kind", foreign.read_bytes()):
        path.write_bytes(torn)
        with pytest.raises(InputError, match=r"--dictionary: .* is no whole texture dictionary: ."):
            load_texture(path)
    with pytest.raises(InputError, match=r"--given: .*array\.npy is no whole texture dictionary"):
        load_texture(tmp_path / "array.npy", argument="--given")
    with pytest.raises(InputError, match="--dictionary: there is no file"):
        load_texture(tmp_path)


def test_a_dictionary_is_not_written_over_anything_else(tmp_path: Path):
    path, out = tmp_path / "dictionary.npz", tmp_path / "texture.zarr"
    require_free_texture(path, out, overwrite=False)
    save_texture(path, _texture())
    with pytest.raises(InputError, match="exists already; --overwrite replaces it"):
        require_free_texture(path, out, overwrite=False)
    require_free_texture(path, out, overwrite=True)
    path.write_bytes(b"a thesis")
    with pytest.raises(InputError, match=r"no whole texture dictionary: .* It is not replaced"):
        require_free_texture(path, out, overwrite=True)
    with pytest.raises(InputError, match="is also --out, or lies in it"):
        require_free_texture(path, path, overwrite=True)


def test_a_folder_that_takes_nothing_is_one_sentence(tmp_path: Path):
    with pytest.raises(InputError, match=r"--dictionary: .* cannot be written: No such file"):
        save_texture(tmp_path / "no" / "dictionary.npz", _texture())
