"""Files that are cut off, mislabelled or not what their address says."""

from __future__ import annotations

import contextlib
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agglo.volumes import open_volume
from analysis.input_error import InputError

SAMPLE = np.random.default_rng(5).integers(0, 250, (6, 30, 20)).astype(np.uint8)


def read(text: object) -> npt.NDArray:
    with open_volume(str(text), argument="--image") as volume:
        return volume.read()


def refused(text: object, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as caught:
        read(text)
    assert str(caught.value).startswith("--image: ")
    assert "\n" not in str(caught.value)


def write_hdf5(path: Path, **options) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=SAMPLE, **options)
        file.create_dataset("labels/gt", data=SAMPLE.astype(np.int32))
        file["text"] = "not numbers"
        file["nothing"] = h5py.Empty("f4")
        file["scalar"] = 3.0
    return path


def test_a_missing_dataset_is_answered_with_those_that_are_there(tmp_path: Path):
    path = write_hdf5(tmp_path / "a.h5")
    there = (
        r"it holds labels/gt \(6, 30, 20\) int32, nothing \(\) float32, raw \(6, 30, 20\) uint8, "
    )
    refused(path, rf"a\.h5 needs the name of a dataset, as in .*a\.h5:NAME; {there}")
    refused(f"{path}:rwa", rf"a\.h5 has no dataset rwa; {there}")
    refused(f"{path}:labels", r"a\.h5:labels is a group; the file holds labels/gt")
    refused(f"{path}:raw/deeper", r"has no dataset raw/deeper|cannot be read")
    refused(f"{path}:text", "has values of type object, no numbers")
    refused(f"{path}:nothing", "is a dataset without data")
    refused(f"{path}:scalar[0:1]", r"crops 1 axes of an array of shape \(\)")


def test_many_datasets_are_not_all_listed(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(40):
            file[f"d{number:02}"] = [1]
    refused(tmp_path / "a.h5", r"d11 \(1,\) int64 and 28 more$")


def test_a_missing_zarr_node_is_answered_with_those_that_are_there(tmp_path: Path):
    path = tmp_path / "v.zarr"
    group = zarr.create_group(path)
    group.create_array("raw", data=SAMPLE)
    group.create_array("more/gt", data=SAMPLE)
    there = r"it holds more/gt \(6, 30, 20\) uint8, raw \(6, 30, 20\) uint8$"
    refused(f"{path}:gt", rf"v\.zarr has no array or group gt; {there}")
    refused(path, rf"is a Zarr group without multiscales metadata; .* {there}")
    zarr.create_group(tmp_path / "empty.zarr")
    refused(tmp_path / "empty.zarr", "it holds no arrays$")
    zarr.create_array(tmp_path / "array.zarr", data=SAMPLE)
    refused(f"{tmp_path / 'array.zarr'}:raw", r"it holds / \(6, 30, 20\) uint8$")


def test_chunks_that_were_never_written_are_the_fill_value(tmp_path: Path):
    zarr.create_array(
        tmp_path / "v.zarr", shape=(4, 5, 6), chunks=(2, 2, 2), dtype="int32", fill_value=7
    )
    np.testing.assert_array_equal(read(tmp_path / "v.zarr"), np.full((4, 5, 6), 7))


def test_zarr_metadata_that_is_cut_off(tmp_path: Path):
    zarr.create_array(tmp_path / "v2.zarr", data=SAMPLE, zarr_format=2)
    zarr.create_array(tmp_path / "v3.zarr", data=SAMPLE, zarr_format=3)
    # Zarr takes empty metadata of version 3 for a group.
    for path in (tmp_path / "v2.zarr" / ".zarray", tmp_path / "v3.zarr" / "zarr.json"):
        whole = path.read_text()
        for content in (
            "",
            whole[: len(whole) // 2],
            "[]",
            "{}",
            whole.replace('"shape"', '"sharp"'),
        ):
            path.write_text(content)
            refused(
                path.parent, r"v\d\.zarr (cannot be read: .|is a Zarr group without .* no arrays$)"
            )


def test_files_that_are_not_what_their_name_says(tmp_path: Path):
    for name in ("a.h5", "a.tif", "a.npy"):
        for content in (b"", b"something else entirely" * 9):
            (tmp_path / name).write_bytes(content)
            refused(f"{tmp_path / name}{':raw' if name == 'a.h5' else ''}", "cannot be read: .")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1.png").write_bytes(b"GIF89a")
    refused(tmp_path / "s", r"1\.png cannot be read: .")


def test_types_that_are_no_numbers(tmp_path: Path):
    np.save(tmp_path / "c.npy", np.zeros((2, 2, 2), complex))
    refused(tmp_path / "c.npy", "has values of type complex128, no numbers")
    np.save(tmp_path / "o.npy", np.array([[[None]]]), allow_pickle=True)
    refused(tmp_path / "o.npy", r"o\.npy cannot be read: .*objects")


def make(kind: str, folder: Path) -> tuple[Path, str]:
    """Return the file and its address."""
    path = folder / f"a.{kind.rpartition('-')[2]}"
    if kind == "npy":
        np.save(path, SAMPLE)
    elif kind == "plain-h5":
        write_hdf5(path)
    elif kind == "packed-h5":
        write_hdf5(path, chunks=(2, 10, 10), compression="gzip")
    elif kind == "plain-tif":
        tifffile.imwrite(path, SAMPLE)
    elif kind == "packed-tif":
        tifffile.imwrite(path, SAMPLE, compression="zlib", metadata=None)
    elif kind == "imagej-tif":
        tifffile.imwrite(path, SAMPLE, imagej=True, metadata={"axes": "ZYX"})
    elif kind == "ome-tif":
        tifffile.imwrite(path, SAMPLE, ome=True, metadata={"axes": "ZYX"}, compression="zlib")
    elif kind == "pillow-tif":
        first, *others = [Image.fromarray(section) for section in SAMPLE]
        first.save(path, save_all=True, append_images=others)
    return path, f"{path}:raw" if kind.endswith("h5") else str(path)


KINDS = ("npy", "plain-h5", "packed-h5", "plain-tif", "packed-tif", "imagej-tif", "ome-tif")


@pytest.mark.parametrize("kind", [*KINDS, "pillow-tif"])
@settings(deadline=None, max_examples=20)
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_off_is_refused_or_complete(tmp_path_factory, kind: str, part: float):
    """Tables may follow the values, so a file can lose its end and nothing else; never a value."""
    path, text = make(kind, tmp_path_factory.mktemp("cut"))
    np.testing.assert_array_equal(read(text), SAMPLE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with contextlib.suppress(InputError):
        np.testing.assert_array_equal(read(text), SAMPLE)


@pytest.mark.parametrize("kind", [*KINDS, "pillow-tif"])
def test_half_a_file_is_refused(tmp_path: Path, kind: str):
    path, text = make(kind, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(text, r"a\.\w+(:raw)? (cannot be read: .|is cut off at byte \d)")


def test_a_tiff_without_its_end_is_refused_before_it_is_read(tmp_path: Path):
    path, text = make("packed-tif", tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"a\.tif is cut off at byte \d+, within page 5"):
        open_volume(text, argument="--image")


def test_tiff_images_that_are_no_stacks(tmp_path: Path):
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((2, 8, 9, 3), np.uint8), photometric="rgb")
    refused(tmp_path / "rgb.tif", r"has the axes QYXS with shape \(2, 8, 9, 3\)")
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        for size in (8, 8, 9):
            writer.write(np.zeros((size, 5), np.uint8), contiguous=False)
    refused(tmp_path / "mixed.tif", r"pages of different kinds: \(8, 5\) uint8, \(9, 5\) uint8")
    tifffile.imwrite(
        tmp_path / "tz.tif",
        np.zeros((2, 3, 8, 9), np.uint8),
        imagej=True,
        metadata={"axes": "TZYX"},
    )
    refused(tmp_path / "tz.tif", r"axes TZCYXS with shape \(2, 3, 1, 8, 9, 1\)")
    tifffile.imwrite(
        tmp_path / "zc.tif",
        np.zeros((2, 3, 8, 9), np.uint8),
        imagej=True,
        metadata={"axes": "ZCYX"},
    )
    refused(tmp_path / "zc.tif", "axes TZCYXS")


def test_slices_that_do_not_fit_together(tmp_path: Path):
    def folder(name: str, **sections: npt.NDArray) -> Path:
        (tmp_path / name).mkdir()
        for z, section in sections.items():
            Image.fromarray(section).save(tmp_path / name / f"{z}.png")
        return tmp_path / name

    plain = SAMPLE[0]
    refused(
        folder("sizes", a1=plain, a2=plain[:9], a3=plain),
        r"the slices of .*sizes differ: a1\.png is \(30, 20\) uint8 and a2\.png is \(9, 20\) uint8",
    )
    refused(folder("types", a1=plain, a2=plain.astype(np.uint16)), "a2.png is .* uint16")
    refused(folder("colour", a1=np.stack([plain] * 3, -1)), r"a1\.png is a colour image \(RGB\)")
    both = folder("both", a1=plain)
    tifffile.imwrite(both / "a2.tif", plain)
    refused(both, "both has both PNG and TIFF slices")
    hidden = folder("hidden")
    Image.fromarray(plain).save(hidden / ".a1.png")
    refused(hidden, "has no slices but hidden ones")
    (tmp_path / "stacks").mkdir()
    tifffile.imwrite(tmp_path / "stacks" / "a.tif", SAMPLE)
    refused(tmp_path / "stacks", r"the slice .*a\.tif has 6 pages of shape \(30, 20\)")
    cut = folder("cut", a1=plain)
    content = (cut / "a1.png").read_bytes()
    (cut / "a1.png").write_bytes(content[: len(content) // 2])
    refused(cut, r"a1\.png cannot be read: image file is truncated")


def test_sections_of_any_size_are_read(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Image.open takes up to twice as many
    Image.fromarray(SAMPLE[0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path), SAMPLE[:1])
