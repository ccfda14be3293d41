from __future__ import annotations

import json
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from agglo.volumes import check_output, open_volume, write_volume
from analysis.input_error import InputError

SAMPLE = np.random.default_rng(5).random((5, 12, 10)).astype(np.float32)
AFFINITIES = np.stack([SAMPLE, 1 - SAMPLE, SAMPLE / 2])
SIZE = (30.0, 6.0, 4.5)


def read(text: object) -> npt.NDArray:
    with open_volume(str(text), argument="--image") as volume:
        return volume.read()


class Breaking:
    """An array whose reading ends in an error after the first slab, as a full memory would."""

    shape = (200, 12, 10)
    dtype = np.dtype(np.float32)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray:
        if key[0].start:
            raise KeyboardInterrupt
        return np.ones([part.stop - part.start for part in key], np.float32)


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond this size: writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_an_ome_zarr_group_is_as_specified(tmp_path: Path):
    write_volume(str(tmp_path / "v.zarr"), SAMPLE, voxel_size_nm=SIZE, attributes={"theta": 0.5})
    metadata = json.loads((tmp_path / "v.zarr" / "zarr.json").read_text())
    assert metadata["zarr_format"] == 3
    assert metadata["attributes"] == {
        "theta": 0.5,
        "ome": {
            "version": "0.5",
            "multiscales": [
                {
                    "name": "v",
                    "axes": [
                        {"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"
                    ],
                    "datasets": [
                        {
                            "path": "0",
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [30.0, 6.0, 4.5]}
                            ],
                        }
                    ],
                }
            ],
        },
    }
    array = json.loads((tmp_path / "v.zarr" / "0" / "zarr.json").read_text())
    assert array["dimension_names"] == ["z", "y", "x"]
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [5, 12, 10]
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "v.zarr" / "0", mode="r")[:], SAMPLE)
    assert names(tmp_path) == ["v.zarr"]


def test_chunks_have_64_voxels_a_side(tmp_path: Path):
    array = np.zeros((70, 65, 130), np.uint64)
    array[69, 64, 129] = 2**63
    write_volume(str(tmp_path / "v.zarr"), array, voxel_size_nm=None)
    stored = zarr.open_array(tmp_path / "v.zarr" / "0", mode="r")
    assert stored.chunks == (64, 64, 64)
    np.testing.assert_array_equal(stored[:], array)


def test_nested_volumes_come_in_the_same_step(tmp_path: Path):
    text = str(tmp_path / "V.zarr")
    write_volume(text, SAMPLE, voxel_size_nm=SIZE, nested={"affinities": AFFINITIES})
    np.testing.assert_array_equal(read(text), SAMPLE)
    np.testing.assert_array_equal(read(f"{text}:affinities"), AFFINITIES)
    with open_volume(f"{text}:affinities", argument="--affinities") as volume:
        assert volume.voxel_size_nm == SIZE
    axes = json.loads((tmp_path / "V.zarr" / "affinities" / "zarr.json").read_text())
    assert axes["attributes"]["ome"]["multiscales"][0]["axes"][0] == {
        "name": "c",
        "type": "channel",
    }


def test_nested_volumes_of_an_hdf5_file_lie_beside(tmp_path: Path):
    text = f"{tmp_path / 'V.h5'}:maps/boundaries"
    write_volume(text, SAMPLE, voxel_size_nm=SIZE, nested={"affinities": AFFINITIES})
    np.testing.assert_array_equal(read(f"{tmp_path / 'V.h5'}:maps/affinities"), AFFINITIES)
    with pytest.raises(InputError, match="the dataset maps/boundaries exists already"):
        check_output(text, overwrite=False, nested=("affinities",))
    with pytest.raises(InputError, match=r"the dataset affinities exists|maps/affinities exists"):
        check_output(f"{tmp_path / 'V.h5'}:maps/new", overwrite=False, nested=("affinities",))
    with pytest.raises(InputError, match="is the place of another volume written with it"):
        check_output(f"{tmp_path / 'new.h5'}:affinities", overwrite=False, nested=("affinities",))


@pytest.mark.parametrize("name", ["v.zarr", "v.h5:some/name"])
@settings(deadline=None, max_examples=25)
@given(
    array=npst.arrays(
        st.sampled_from(["bool", "uint8", "int16", ">i4", "uint64", "float16", "float32", ">f8"]),
        st.tuples(st.integers(2, 3), *[st.integers(1, 7)] * 3)
        | st.tuples(*[st.integers(1, 7)] * 3),
        elements={"allow_nan": False},
    ),
    voxel_size_nm=st.none() | st.tuples(*[st.floats(0.01, 1e4)] * 3),
    attributes=st.dictionaries(
        st.text("abc", min_size=1),
        st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False)
        | st.booleans()
        | st.text("xyzé")
        | st.lists(st.text("xyzé"), min_size=1)
        | st.lists(st.floats(allow_nan=False), min_size=1),
        max_size=3,
    ),
)
def test_what_is_written_reads_back(name, array, voxel_size_nm, attributes):
    with tempfile.TemporaryDirectory() as folder:
        text = f"{folder}/{name}"
        write_volume(text, array, voxel_size_nm=voxel_size_nm, attributes=attributes)
        with open_volume(text, argument="--image") as volume:
            assert volume.dtype == array.dtype.newbyteorder("=")
            np.testing.assert_array_equal(volume.read(), array)
            assert volume.voxel_size_nm == voxel_size_nm
            seen = {k: v for k, v in volume.attributes.items() if k != "voxel_size_nm"}
            assert seen == attributes


def test_a_volume_is_copied_slab_by_slab(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.arange(130 * 4 * 3).reshape(130, 4, 3))
    for target in (tmp_path / "v.zarr", f"{tmp_path / 'v.h5'}:x"):
        with open_volume(f"{tmp_path / 'a.npy'}[1:]", argument="--image") as volume:
            write_volume(str(target), volume, voxel_size_nm=None)
        assert read(target)[:, 0, 0].tolist() == list(range(12, 130 * 12, 12))


def test_wrong_calls_are_errors_of_the_program(tmp_path: Path):
    text = str(tmp_path / "v.zarr")
    for array in (np.zeros((3, 3)), np.zeros((0, 3, 3)), np.zeros((3, 3, 3), complex)):
        with pytest.raises(ValueError, match=r"is not a non-empty|is no type of numbers"):
            write_volume(text, array, voxel_size_nm=None)
    with pytest.raises(ValueError, match=r"voxel_size_nm .* is not three positive numbers"):
        write_volume(text, SAMPLE, voxel_size_nm=(1, 2))
    for attributes in ({"a": None}, {"a": [1, "x"]}, {"a": [[1]]}, {"ome": 1}, {"resolution": 1}):
        with pytest.raises(ValueError, match=r"attribute .* is no number|meaning of its own"):
            write_volume(text, SAMPLE, voxel_size_nm=None, attributes=attributes)
    assert names(tmp_path) == []


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("target", ["v.zarr", "v.h5:x/labels"])
def test_an_output_that_exists_is_refused_and_replaced_on_demand(tmp_path: Path, target: str):
    text = str(tmp_path / target)
    check_output(text, overwrite=False)
    write_volume(text, SAMPLE, voxel_size_nm=None)
    for act in (
        lambda: check_output(text, argument="--out", overwrite=False),
        lambda: write_volume(text, AFFINITIES, voxel_size_nm=None),
    ):
        with pytest.raises(InputError, match=r"^--out: .* exists already; --overwrite replaces it"):
            act()
    np.testing.assert_array_equal(read(text), SAMPLE)
    write_volume(text, AFFINITIES, voxel_size_nm=None, overwrite=True)
    np.testing.assert_array_equal(read(text), AFFINITIES)
    assert len(names(tmp_path)) == 1


def test_only_a_zarr_is_replaced_by_a_zarr(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for name in ("home", "file"):
        with pytest.raises(InputError, match="what exists there is no Zarr"):
            write_volume(str(tmp_path / name), SAMPLE, voxel_size_nm=None, overwrite=True)
    assert names(tmp_path) == ["file", "home"]
    assert names(tmp_path / "home") == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="exists already"):
        check_output(str(tmp_path / "empty"), overwrite=False)
    write_volume(str(tmp_path / "empty"), SAMPLE, voxel_size_nm=None, overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "empty"), SAMPLE)


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch):
    with pytest.raises(InputError, match=r"there is no folder .*gone to write it to"):
        check_output(str(tmp_path / "gone" / "v.zarr"), overwrite=True)
    (tmp_path / "fake.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="exists and is no HDF5 file"):
        check_output(f"{tmp_path / 'fake.h5'}:x", overwrite=True)
    write_volume(f"{tmp_path / 'a.h5'}:group/labels", SAMPLE, voxel_size_nm=None)
    with pytest.raises(InputError, match="group/labels is a dataset, which cannot hold others"):
        check_output(f"{tmp_path / 'a.h5'}:group/labels/more", overwrite=True)
    with pytest.raises(InputError, match="group is a group, and is not replaced by a dataset"):
        check_output(f"{tmp_path / 'a.h5'}:group", overwrite=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).suffix != ".h5")
    with pytest.raises(InputError, match=r"the file .*a\.h5 does not permit writing"):
        check_output(f"{tmp_path / 'a.h5'}:y", overwrite=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"the folder .* does not permit writing"):
        check_output(str(tmp_path / "v.zarr"), overwrite=True)


# -------------------------------------------------------------------------------- whole or nothing


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", ["v.zarr", "v.h5:x"])
def test_an_exception_leaves_what_was_there(tmp_path: Path, target: str, overwrite: bool):
    text = str(tmp_path / target)
    if overwrite:
        write_volume(text, SAMPLE, voxel_size_nm=SIZE)
    before = names(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_volume(text, Breaking(), voxel_size_nm=None, overwrite=overwrite)  # type: ignore[arg-type]
    assert names(tmp_path) == before
    if overwrite:
        np.testing.assert_array_equal(read(text), SAMPLE)


@pytest.mark.parametrize("target", ["v.zarr", "v.h5:x"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, target: str):
    text = str(tmp_path / target)
    write_volume(text, SAMPLE, voxel_size_nm=SIZE)
    noise = np.random.default_rng(1).integers(0, 2**60, (70, 60, 60))
    with full_disk(500_000), pytest.raises(InputError) as caught:
        write_volume(text, noise, voxel_size_nm=None, overwrite=True)
    assert str(caught.value) == f"--out: {text} cannot be written: File too large"
    np.testing.assert_array_equal(read(text), SAMPLE)
    assert len(names(tmp_path)) == 1
    write_volume(text, noise, voxel_size_nm=None, overwrite=True)
    np.testing.assert_array_equal(read(text), noise)


def test_the_old_zarr_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch
):
    text = str(tmp_path / "v.zarr")
    write_volume(text, SAMPLE, voxel_size_nm=SIZE)
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if Path(source).suffix == ".tmp":
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(InputError, match=r"^--out: .*v\.zarr cannot be written: Permission denied"):
        write_volume(text, AFFINITIES, voxel_size_nm=None, overwrite=True)
    np.testing.assert_array_equal(read(text), SAMPLE)
    assert names(tmp_path) == ["v.zarr"]


@pytest.mark.parametrize("target", ["v.zarr", "v.h5:x"])
def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch, target: str):
    events: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def spied_fsync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    for name, act in [("rename", rename), ("replace", replace)]:
        monkeypatch.setattr(
            os, name, lambda a, b, act=act: (events.append(f"to {Path(b).name}"), act(a, b))
        )
    write_volume(str(tmp_path / target), SAMPLE, voxel_size_nm=None)
    final = target.partition(":")[0]
    place = events.index(f"to {final}")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = set(events[:place])
    if target == "v.zarr":
        assert {path.name for path in written} <= before
    assert any(name.startswith(f".{final}.") for name in before)
    assert tmp_path.name in events[place:]


def test_everything_else_in_an_hdf5_file_is_kept(tmp_path: Path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["voxel_size_nm"] = [10.0, 10.0, 10.0]
        file.create_dataset("raw", data=SAMPLE, compression="gzip", chunks=(1, 4, 5))
        file["group/gt"] = np.arange(7)
        file["group/gt"].attrs["note"] = "kept"
        file["soft"] = h5py.SoftLink("/raw")
        file["ref"] = file["raw"].ref
    path.chmod(0o640)
    write_volume(f"{path}:group/new", AFFINITIES, voxel_size_nm=None, attributes={"a": ["x", "y"]})
    write_volume(f"{path}:group/new", SAMPLE, voxel_size_nm=SIZE, overwrite=True)
    with h5py.File(path) as file:
        assert sorted(file) == ["group", "raw", "ref", "soft"]
        assert sorted(file["group"]) == ["gt", "new"]  # type: ignore[arg-type]
        np.testing.assert_array_equal(file["raw"], SAMPLE)  # type: ignore[arg-type]
        np.testing.assert_array_equal(file[file["ref"][()]], SAMPLE)  # type: ignore[index]
        assert file["raw"].chunks == (1, 4, 5)  # type: ignore[union-attr]
        assert file["group/gt"].attrs["note"] == "kept"
        np.testing.assert_array_equal(file["group/new"], SAMPLE)  # type: ignore[arg-type]
        assert list(file["group/new"].attrs) == ["voxel_size_nm"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_hdf5_file_is_written_while_it_is_read(tmp_path: Path):
    path = tmp_path / "a.h5"
    write_volume(f"{path}:raw", SAMPLE, voxel_size_nm=SIZE)
    with open_volume(f"{path}:raw", argument="--image") as volume:
        write_volume(f"{path}:copy", volume, voxel_size_nm=volume.voxel_size_nm)
        np.testing.assert_array_equal(volume.read(), SAMPLE)
    np.testing.assert_array_equal(read(f"{path}:copy"), SAMPLE)


def test_an_hdf5_file_that_changes_in_the_meantime_is_left_alone(tmp_path: Path):
    path = tmp_path / "a.h5"
    write_volume(f"{path}:raw", SAMPLE, voxel_size_nm=SIZE)

    class Meddling:
        shape, dtype = SAMPLE.shape, SAMPLE.dtype

        def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray:
            write_volume(f"{path}:other", SAMPLE, voxel_size_nm=SIZE)
            return SAMPLE[key]

    with pytest.raises(InputError, match=r"another program changed .*a\.h5 in the meantime"):
        write_volume(f"{path}:new", Meddling(), voxel_size_nm=None)  # type: ignore[arg-type]
    with h5py.File(path) as file:
        assert sorted(file) == ["other", "raw"]
    assert names(tmp_path) == ["a.h5"]


def test_a_link_is_followed(tmp_path: Path):
    (tmp_path / "big").mkdir()
    (tmp_path / "here").mkdir()
    for name, target in [("v.zarr", "v.zarr"), ("a.h5", "a.h5:x")]:
        (tmp_path / "here" / name).symlink_to(tmp_path / "big" / name)
        for array in (SAMPLE, AFFINITIES):
            write_volume(str(tmp_path / "here" / target), array, voxel_size_nm=None, overwrite=True)
            np.testing.assert_array_equal(read(tmp_path / "big" / target), array)
        assert (tmp_path / "here" / name).is_symlink()
    assert names(tmp_path / "here") == names(tmp_path / "big") == ["a.h5", "v.zarr"]
