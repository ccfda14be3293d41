from __future__ import annotations

import pickle
from collections.abc import Callable
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

from agglo.volumes import Volume, open_volume
from analysis.input_error import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SAMPLE = np.random.default_rng(5).integers(0, 60000, (7, 12, 10)).astype(np.uint16)


def open_(text: object, **more) -> Volume:
    return open_volume(str(text), argument="--image", **more)


def write_hdf5(folder: Path, array: npt.NDArray) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("volumes/raw", data=array, chunks=True, compression="gzip")
    return f"{folder / 'a.h5'}:volumes/raw"


def write_zarr2(folder: Path, array: npt.NDArray) -> str:
    zarr.create_array(
        folder / "v2.zarr", data=array, chunks=(3,) * array.ndim, zarr_format=2
    ).attrs["resolution"] = [40, 4, 4]
    return str(folder / "v2.zarr")


def write_zarr3(folder: Path, array: npt.NDArray) -> str:
    group = zarr.create_group(folder / "v3.zarr")
    group.create_array("x/raw", data=array, chunks=(3,) * array.ndim)
    return f"{folder / 'v3.zarr'}:x/raw"


def write_npy(folder: Path, array: npt.NDArray) -> str:
    np.save(folder / "a.npy", np.asfortranarray(array))
    return str(folder / "a.npy")


def write_tiff(folder: Path, array: npt.NDArray) -> str:
    tifffile.imwrite(folder / "a.tif", array, byteorder=">")
    return str(folder / "a.tif")


def write_packed_tiff(folder: Path, array: npt.NDArray) -> str:
    tifffile.imwrite(folder / "packed.tiff", array, compression="zlib")
    return str(folder / "packed.tiff")


def write_paged_tiff(folder: Path, array: npt.NDArray) -> str:
    with tifffile.TiffWriter(folder / "pages.tif") as writer:
        for section in array:
            writer.write(section, contiguous=False)
    return str(folder / "pages.tif")


def write_png_slices(folder: Path, array: npt.NDArray) -> str:
    (folder / "png").mkdir()
    for z, section in enumerate(array):
        Image.fromarray(section).save(folder / "png" / f"s{z + 5}.png")
    (folder / "png" / "notes.txt").touch()
    return str(folder / "png")


def write_tiff_slices(folder: Path, array: npt.NDArray) -> str:
    (folder / "tif").mkdir()
    for z, section in enumerate(array):
        tifffile.imwrite(folder / "tif" / f"s{z + 5}.tif", section, byteorder=">")
    return str(folder / "tif")


WRITERS = [
    write_hdf5,
    write_zarr2,
    write_zarr3,
    write_npy,
    write_tiff,
    write_packed_tiff,
    write_paged_tiff,
    write_png_slices,
    write_tiff_slices,
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("samples")
    return {write.__name__: write(folder, SAMPLE) for write in WRITERS}


@pytest.mark.parametrize("write", [w.__name__ for w in WRITERS])
def test_every_format_reads_back(samples: dict[str, str], write: str):
    with open_(samples[write]) as volume:
        assert volume.shape == SAMPLE.shape
        assert volume.dtype == np.uint16
        assert volume.ndim == 3
        assert len(volume) == 7
        np.testing.assert_array_equal(volume.read(), SAMPLE)
        np.testing.assert_array_equal(np.asarray(volume, dtype=np.float32), SAMPLE)
        assert volume.read().flags.writeable
        assert volume.read().flags.c_contiguous
        assert volume.voxel_size_nm == ((40, 4, 4) if write == "write_zarr2" else None)


@pytest.mark.parametrize("write", [w.__name__ for w in WRITERS])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_slicing_means_what_numpy_means(samples: dict[str, str], write: str, data):
    index = st.one_of(
        st.integers(-7, 6),
        st.builds(
            slice,
            st.none() | st.integers(-9, 12),
            st.none() | st.integers(-9, 12),
            st.none() | st.integers(1, 3),
        ),
    )
    key: tuple = tuple(data.draw(st.lists(index, max_size=3)))
    if len(key) < 3 and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(key)))
        key = (*key[:place], Ellipsis, *key[place:])
    crop = data.draw(st.sampled_from(["", "[2:6]", "[:,1:11,3:]"]))
    expected = {"": SAMPLE, "[2:6]": SAMPLE[2:6], "[:,1:11,3:]": SAMPLE[:, 1:11, 3:]}[crop]
    with open_(samples[write] + crop) as volume:
        assert volume.shape == expected.shape
        try:
            part = expected[key]
        except IndexError:
            with pytest.raises(IndexError):
                volume[key]
        else:
            np.testing.assert_array_equal(volume[key], part)
            assert volume[key].shape == part.shape


def test_indices_that_numpy_lacks_are_refused(samples: dict[str, str]):
    volume = open_(samples["write_npy"])
    for key in [(0, 0, 0, 0), (Ellipsis, Ellipsis), slice(None, None, -1)]:
        with pytest.raises(IndexError):
            volume[key]
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(volume, copy=False)


def test_slices_sort_naturally(tmp_path: Path):
    for z in (1, 2, 10):
        Image.fromarray(np.full((2, 3), z, np.uint8)).save(tmp_path / f"s{z}.png")
    assert open_(tmp_path)[:, 0, 0].tolist() == [1, 2, 10]


def test_a_volume_opens_again_from_its_pickle(samples: dict[str, str], tmp_path: Path, monkeypatch):
    path = Path(samples["write_npy"])
    monkeypatch.chdir(path.parent)
    volume = open_(f"{path.name}[1:3]", voxel_size_nm=(30, 6, 6))
    data = pickle.dumps(volume)
    assert len(data) < 1000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.read(), SAMPLE[1:3])
    assert again.voxel_size_nm == (30, 6, 6)
    assert again.argument == "--image"
    path.unlink()
    with pytest.raises(InputError, match=f"--image: there is no file or folder {path}"):
        pickle.loads(data)


# ------------------------------------------------------------------------------ reads only its part


def damage_hdf5_chunk(text: str, z: int) -> None:
    path, _, name = text.rpartition(":")
    with h5py.File(path) as file:
        chunks = [file[name].id.get_chunk_info(i) for i in range(file[name].id.get_num_chunks())]  # type: ignore[union-attr]
    overwrite(path, [(c.byte_offset, c.size) for c in chunks if c.chunk_offset[0] == z])


def damage_zarr_chunk(text: str, z: int) -> None:
    for chunk in (Path(text) / "c" / str(z)).rglob("*"):
        if chunk.is_file():
            overwrite(chunk, [(0, chunk.stat().st_size)])


def damage_tiff_page(text: str, z: int) -> None:
    with tifffile.TiffFile(text) as file:
        page = file.pages[z]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    overwrite(text, places)


def damage_slice(text: str, z: int) -> None:
    overwrite(Path(text) / f"s{z + 5}.png", [(60, 40)])


def overwrite(path: str | Path, places: list[tuple[int, int]]) -> None:
    assert places
    with open(path, "r+b") as file:
        for offset, size in places:
            file.seek(offset)
            file.write(b"\xaa" * size)


def write_chunked_hdf5(folder: Path) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", data=SAMPLE, chunks=(1, 12, 10), compression="gzip")
    return f"{folder / 'a.h5'}:raw"


def write_chunked_zarr(folder: Path) -> str:
    zarr.create_array(folder / "a.zarr", data=SAMPLE, chunks=(1, 12, 10))
    return str(folder / "a.zarr")


@pytest.mark.parametrize(
    ("write", "damage"),
    [
        (write_chunked_hdf5, damage_hdf5_chunk),
        (write_chunked_zarr, damage_zarr_chunk),
        (lambda folder: write_packed_tiff(folder, SAMPLE), damage_tiff_page),
        (lambda folder: write_png_slices(folder, SAMPLE), damage_slice),
    ],
    ids=["hdf5", "zarr", "tiff", "slices"],
)
def test_only_the_part_asked_for_is_read(
    tmp_path: Path, write: Callable[[Path], str], damage: Callable[[str, int], None]
):
    text = write(tmp_path)
    damage(text, 4)
    volume = open_(text)
    np.testing.assert_array_equal(volume[:4], SAMPLE[:4])
    np.testing.assert_array_equal(open_(f"{text}[5:]").read(), SAMPLE[5:])
    with pytest.raises(InputError, match=r"--image: .* cannot be read: .") as caught:
        volume[3:5]
    assert "\n" not in str(caught.value)


def test_a_file_larger_than_memory_is_opened(tmp_path: Path):
    shape = (4096, 8192, 8192)  # 256 GiB, of which the disk holds one page
    array = np.lib.format.open_memmap(tmp_path / "big.npy", mode="w+", dtype=np.uint8, shape=shape)
    array[4000, 5, 6] = 9
    del array
    volume = open_(f"{tmp_path / 'big.npy'}[4000:]")
    assert volume[0, 4:7, 6].tolist() == [0, 9, 0]
    assert volume.shape == (96, 8192, 8192)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not on this machine")
def test_real_volumes():
    paths = sorted(SHARED.glob("*/*.h5"))
    assert len(paths) > 5
    for path in paths:
        with h5py.File(path) as file:
            names = [name for name in file if isinstance(file[name], h5py.Dataset)]
            for name in names:
                array = file[name]
                assert isinstance(array, h5py.Dataset)
                with open_(f"{path}:{name}") as volume:
                    assert volume.shape == array.shape
                    np.testing.assert_array_equal(volume[2:4], array[2:4])
                    stated = file.attrs.get("voxel_size_nm")
                    assert volume.voxel_size_nm == (None if stated is None else tuple(stated))
