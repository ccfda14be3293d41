from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agglo.checkpoint_file import SpoiltCheckpointError, load_checkpoint, save_checkpoint

DTYPES = st.sampled_from([np.float32, np.float64, np.int64, np.uint64, np.uint8, np.bool_, "<U3"])
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
STATES = st.dictionaries(
    st.text("abc_/.", min_size=1, max_size=5), ARRAYS | SCALARS | st.lists(SCALARS), max_size=4
)


def assert_same(state: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(state) == set(expected)
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert state[name].dtype == value.dtype
            np.testing.assert_array_equal(state[name], value)
        else:
            assert state[name] == value


@settings(deadline=None, max_examples=50)
@given(state=STATES)
def test_a_state_comes_back_as_it_was(state: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        save_checkpoint(path, state)
        assert_same(load_checkpoint(path), state)
        assert [file.name for file in Path(folder).iterdir()] == ["x.npz"]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damage_is_seen_or_does_no_harm(data: st.DataObject) -> None:
    state = {
        "weights": np.arange(12.0).reshape(3, 4),
        "n": np.array([7], np.uint8),
        "name": "x",
        "loss": 0.5,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        save_checkpoint(path, state)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            damaged = whole[:at]
        else:
            flip = data.draw(st.integers(1, 255))
            damaged = whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
        path.write_bytes(damaged)
        try:
            found = load_checkpoint(path)
        except SpoiltCheckpointError:
            return
        # Bytes that carry nothing, such as a time stamp.
        assert len(damaged) == len(whole)
        assert_same(found, state)


def test_changed_values_with_a_valid_archive_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    save_checkpoint(path, {"weights": np.zeros(3)})
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, allow_pickle=False, **{**arrays, "weights": np.ones(3)})
    with pytest.raises(SpoiltCheckpointError, match="its checksum does not fit"):
        load_checkpoint(path)


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="state: a has dtype object"):
        save_checkpoint(tmp_path / "x.npz", {"a": np.array([None])})
    with pytest.raises(TypeError, match="set is no JSON value"):
        save_checkpoint(tmp_path / "x.npz", {"a": {1}})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SpoiltCheckpointError, match="FileNotFoundError"):
        load_checkpoint(tmp_path / "x.npz")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.npz"
    save_checkpoint(path, {"n": 1})

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"n": 2})
    assert load_checkpoint(path) == {"n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]
