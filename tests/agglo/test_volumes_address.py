from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agglo.volumes import Address
from agglo.volumes.crop import CropRange, crop_text, parse_crop, resolve_crop
from analysis.input_error import InputError


def make_npy(path: Path) -> Path:
    np.save(path, np.zeros((2, 2, 2)))
    return path.with_name(path.name if path.suffix == ".npy" else path.name + ".npy")


def make_hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["raw"] = np.zeros((2, 2, 2))
    return path


def parse(text: object) -> Address:
    return Address.parse(str(text), argument="--image")


def test_the_format_follows_the_suffix(tmp_path: Path):
    assert parse(f"{make_hdf5(tmp_path / 'a.h5')}:raw").format == "hdf5"
    assert parse(make_npy(tmp_path / "a.npy")).format == "npy"
    (tmp_path / "a.TIF").touch()
    assert parse(tmp_path / "a.TIF").format == "tiff"


def test_the_format_of_a_folder_follows_what_is_in_it(tmp_path: Path):
    for name, file in [("v2", ".zgroup"), ("v3", "zarr.json"), ("slices", "s1.PNG")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert parse(tmp_path / "v2").format == "zarr"
    assert parse(f"{tmp_path / 'v3'}:affinities").dataset == "affinities"
    assert parse(tmp_path / "slices").format == "slices"


def test_a_colon_may_be_part_of_the_path(tmp_path: Path):
    (tmp_path / "run:1").mkdir()
    path = make_hdf5(tmp_path / "run:1" / "a.h5")
    assert parse(f"{path}:raw") == Address(path, "raw", "hdf5")
    assert parse(f"{path}:a:b/c") == Address(path, "a:b/c", "hdf5")
    odd = make_npy(tmp_path / "a.h5:raw.npy")
    assert parse(odd) == Address(odd, None, "npy")


def test_a_bracket_may_be_part_of_the_path(tmp_path: Path):
    path = make_npy(tmp_path / "a[0:1].npy")
    assert parse(path).crop == ()
    assert parse(f"{path}[1:2]").crop == (CropRange(1, 2),)


def test_a_crop_ends_the_address(tmp_path: Path):
    path = make_hdf5(tmp_path / "a.h5")
    assert parse(f"{path}:raw[0:80]") == Address(path, "raw", "hdf5", (CropRange(0, 80),))
    assert parse(f"{path}:raw[:, 3:,:7]").crop == (
        CropRange(0, None),
        CropRange(3, None),
        CropRange(0, 7),
    )


@given(
    st.sampled_from([None, "raw", "volumes/raw", "a:b"]),
    st.lists(
        st.tuples(st.integers(0, 99), st.none() | st.integers(0, 99)).map(lambda t: CropRange(*t)),
        max_size=4,
    ),
)
def test_the_text_of_an_address_reads_back(tmp_path_factory, dataset, crop):
    path = tmp_path_factory.getbasetemp() / "again.h5"
    path.touch()
    address = Address(path, dataset, "hdf5", tuple(crop))
    assert parse(address) == address


def test_absolute_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch):
    make_hdf5(tmp_path / "a.h5")
    monkeypatch.chdir(tmp_path)
    assert parse("a.h5:raw").absolute().path == tmp_path / "a.h5"
    assert str(parse("a.h5:raw[1:]")) == "a.h5:raw[1:]"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "the address is empty"),
        ("missing.h5:raw", r"there is no file or folder missing\.h5$"),
        ("missing.h5:raw[0:8]", r"there is no file or folder missing\.h5$"),
        ("missing:raw", "there is no file or folder missing:raw$"),
        ("x" * 5000, "there is no file or folder x"),
        ("nul\0.npy", "there is no file or folder"),
        ("a.h5:", "names no dataset after the colon"),
        ("a.npy:raw", "names a dataset, but a.npy is a NumPy file, which has none"),
        ("a.mrc", r"a\.mrc ends in \.mrc, which is none of \.h5, "),
        ("bare", "bare ends in no suffix"),
        ("file.zarr", r"file\.zarr is a file where a Zarr is a folder"),
        ("empty", "empty is a folder that is neither .* it holds nothing"),
        ("other", r"other is a folder that is neither a Zarr nor .* it holds notes\.txt"),
        ("a.npy[0:1:2]", r"the crop \[0:1:2\] of a.npy has the part '0:1:2'"),
        ("a.npy[-3:]", "has the part '-3:', but each part must be begin:end"),
        ("a.npy[]", "has the part ''"),
        ("a.npy[5]", "has the part '5'"),
    ],
)
def test_a_wrong_address_is_refused_in_one_sentence(tmp_path: Path, monkeypatch, text, seen):
    monkeypatch.chdir(tmp_path)
    make_hdf5(tmp_path / "a.h5")
    make_npy(tmp_path / "a.npy")
    for name in ("a.mrc", "bare", "file.zarr"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(InputError, match=seen) as caught:
        parse(text)
    assert str(caught.value).startswith("--image: ")
    assert "\n" not in str(caught.value)


def test_output_addresses():
    def parse_output(text: str) -> Address:
        return Address.parse_output(text, argument="--out")

    assert parse_output("out/S.zarr") == Address(Path("out/S.zarr"), None, "zarr")
    assert parse_output("seg") == Address(Path("seg"), None, "zarr")
    assert parse_output("a.h5:x/y") == Address(Path("a.h5"), "x/y", "hdf5")
    for text, seen in [
        ("", "empty"),
        ("a.h5", r"write a\.h5:NAME"),
        ("a.h5:/", "names no dataset"),
        ("a.npy", r"ends in \.npy, but volumes are written as OME-Zarr"),
        ("a.tif", r"ends in \.tif"),
        ("a.zarr[0:3]", "ends in a crop"),
        ("a.zarr:labels", r"whole OME-Zarr group, such as a\.zarr$"),
    ]:
        with pytest.raises(InputError, match=seen):
            parse_output(text)


def test_only_formats_with_datasets_have_one():
    with pytest.raises(ValueError, match="'npy' has no datasets"):
        Address(Path("a.npy"), "raw", "npy")


@pytest.mark.parametrize(
    ("crop", "seen"),
    [
        ("0:5", r"the crop 0:5 of v along axis 0 leaves it: the array has shape \(4, 6\)"),
        ("2:2", "the crop 2:2 of v along axis 0 is empty"),
        ("3:1", "is empty"),
        ("9:", "the crop 9:4 of v along axis 0 is empty"),
        (":,0:7", "along axis 1 leaves it"),
        (":,:,:", r"v crops 3 axes of an array of shape \(4, 6\)"),
    ],
)
def test_a_crop_that_does_not_fit_is_refused(crop: str, seen: str):
    ranges = parse_crop(crop, argument="--image", address="v")
    with pytest.raises(InputError, match=seen):
        resolve_crop(ranges, (4, 6), argument="--image", address="v")


@given(st.data())
def test_a_crop_means_what_numpy_means(data: st.DataObject):
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    crop, key = [], []
    for size in array.shape[: data.draw(st.integers(1, 3))]:
        begin = data.draw(st.integers(0, size - 1))
        end = data.draw(st.none() | st.integers(begin + 1, size))
        crop.append(CropRange(begin, end))
        key.append(slice(begin, end))
    text = crop_text(tuple(crop))[1:-1]
    window = resolve_crop(
        parse_crop(text, argument="a", address="v"), array.shape, argument="a", address="v"
    )
    np.testing.assert_array_equal(array[window], array[tuple(key)])
