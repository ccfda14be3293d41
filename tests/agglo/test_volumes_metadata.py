"""What files say of their arrays: voxel sizes, OME-Zarr metadata, the axes of a TIFF."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from PIL import Image

from agglo.volumes import Volume, open_volume
from analysis.input_error import InputError

SAMPLE = np.random.default_rng(5).integers(0, 60000, (7, 12, 10)).astype(np.uint16)


def open_(text: object, **more) -> Volume:
    return open_volume(str(text), argument="--image", **more)


def test_hdf5_states_its_voxel_size_in_three_ways(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["voxel_size_nm"] = [10.0, 10.0, 10.0]
        for name in ("of_file", "g/resolution", "um", "odd", "wrong"):
            file[name] = np.zeros((1, 2, 2))
        file["g"].attrs["resolution"] = [50, 4, 4]
        file["um"].attrs["element_size_um"] = [0.05, 0.008, 0.008]
        file["odd"].attrs["resolution"] = "high"
        file["wrong"].attrs["voxel_size_nm"] = [10.0, 0.0, 10.0]

    def size(name: str, **more):
        return open_(f"{tmp_path / 'a.h5'}:{name}", **more).voxel_size_nm

    assert size("of_file") == (10, 10, 10)
    assert size("g/resolution") == (50, 4, 4)
    assert size("um") == pytest.approx((50, 8, 8))
    assert size("odd") == (10, 10, 10)
    with pytest.raises(InputError, match=r"voxel_size_nm = .* which is not three positive numbers"):
        size("wrong")
    assert size("um", voxel_size_nm=(50, 8, 8)) == pytest.approx((50, 8, 8))
    with pytest.raises(
        InputError, match=r"^--voxel-size-nm: 8 8 8 contradicts 10 10 10, which .*of_file \(--image"
    ):
        size("of_file", voxel_size_nm=(8, 8, 8))


def test_the_user_states_the_voxel_size_where_the_file_does_not(tmp_path: Path):
    np.save(tmp_path / "a.npy", SAMPLE)
    text = tmp_path / "a.npy"
    assert open_(text, voxel_size_nm=(40, 4, 4)).voxel_size_nm == (40, 4, 4)
    for wrong in [(0, 4, 4), (4, 4), (np.nan, 4, 4)]:
        with pytest.raises(InputError, match=r"--voxel-size-nm: .* is not three positive numbers"):
            open_(text, voxel_size_nm=wrong)


def write_ome(path: Path, array: npt.NDArray, version: str, axes: str, unit: str, scale) -> None:
    """Make an OME-Zarr image of two resolutions, as the specification shows it."""
    image = {
        "axes": [
            {"name": a, "type": "space", "unit": unit}
            if a in "zyx"
            else {"name": a, "type": {"t": "time", "c": "channel"}[a]}
            for a in axes
        ],
        "datasets": [
            {
                "path": f"s{level}",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [s * 2**level for s in scale]},
                    {"type": "translation", "translation": [0.5] * len(axes)},
                ],
            }
            for level in range(2)
        ],
    }
    if version == "0.4":
        group = zarr.create_group(path, zarr_format=2)
        group.attrs["multiscales"] = [{**image, "version": "0.4"}]
    else:
        group = zarr.create_group(path)
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    group.attrs["threshold"] = 0.5
    for level in range(2):
        group.create_array(f"s{level}", data=array[..., :: 2**level])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_images(tmp_path: Path, version: str):
    path = tmp_path / "v.zarr"
    write_ome(path, SAMPLE, version, "zyx", "micrometer", (0.03, 0.006, 0.006))
    volume = open_(path)
    np.testing.assert_array_equal(volume.read(), SAMPLE)
    assert volume.voxel_size_nm == pytest.approx((30, 6, 6))
    assert volume.attributes == {"threshold": 0.5}
    assert open_(f"{path}:s1").voxel_size_nm == pytest.approx((60, 12, 12))
    assert open_(path / "s0").voxel_size_nm == pytest.approx((30, 6, 6))
    np.testing.assert_array_equal(open_(f"{path}:s1[2:]"), SAMPLE[2:, :, ::2])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_with_time_and_channels(tmp_path: Path, version: str):
    scale = (1, 1, 30.0, 6.0, 6.0)
    write_ome(tmp_path / "a.zarr", SAMPLE[None, None], version, "tczyx", "nanometer", scale)
    volume = open_(tmp_path / "a.zarr")
    assert volume.shape == SAMPLE.shape
    np.testing.assert_array_equal(volume[2:4, 0], SAMPLE[2:4, 0])
    assert volume.voxel_size_nm == (30, 6, 6)
    channels = np.stack([SAMPLE, SAMPLE + 1, SAMPLE + 2])
    write_ome(tmp_path / "b.zarr", channels, version, "czyx", "nanometer", scale[1:])
    np.testing.assert_array_equal(open_(f"{tmp_path / 'b.zarr'}[:,2:3]"), channels[:, 2:3])


def test_ome_zarr_nested_in_another(tmp_path: Path):
    write_ome(tmp_path / "v.zarr", SAMPLE, "0.5", "zyx", "nanometer", (30, 6, 6))
    channels = np.stack([SAMPLE] * 3)
    write_ome(tmp_path / "v.zarr" / "affinities", channels, "0.5", "czyx", "nm", (1, 30, 6, 6))
    assert open_(f"{tmp_path / 'v.zarr'}:affinities").shape == (3, *SAMPLE.shape)


def test_units_that_are_no_lengths_state_nothing(tmp_path: Path):
    write_ome(tmp_path / "v.zarr", SAMPLE, "0.4", "zyx", "pixel", (1, 1, 1))
    assert open_(tmp_path / "v.zarr", voxel_size_nm=(8, 8, 8)).voxel_size_nm == (8, 8, 8)


def test_wrong_ome_metadata_is_refused(tmp_path: Path):
    write_ome(tmp_path / "order.zarr", SAMPLE, "0.5", "xyz", "nm", (6, 6, 30))
    with pytest.raises(InputError, match="axes x, y, z, where z, y, x come last"):
        open_(tmp_path / "order.zarr")
    group = zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.3", "axes": ["z", "y", "x"], "datasets": []}]
    with pytest.raises(InputError, match=r"not of OME-Zarr 0\.4 or 0\.5"):
        open_(tmp_path / "old.zarr")
    write_ome(tmp_path / "gone.zarr", SAMPLE, "0.5", "zyx", "nm", (30, 6, 6))
    (tmp_path / "gone.zarr" / "s0" / "zarr.json").unlink()
    with pytest.raises(InputError, match="lacks the array s0 that its multiscales metadata names"):
        open_(tmp_path / "gone.zarr")


def test_tiff_states_its_voxel_size(tmp_path: Path):
    tifffile.imwrite(
        tmp_path / "ij.tif",
        SAMPLE,
        imagej=True,
        resolution=(1 / 0.004, 1 / 0.008),
        metadata={"axes": "ZYX", "spacing": 0.05, "unit": "um"},
    )
    assert open_(tmp_path / "ij.tif").voxel_size_nm == pytest.approx((50, 8, 4))
    tifffile.imwrite(
        tmp_path / "o.ome.tif",
        SAMPLE,
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 4.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.008,
            "PhysicalSizeZ": 0.05,
        },
    )
    assert open_(tmp_path / "o.ome.tif").voxel_size_nm == pytest.approx((50, 8, 4))
    tifffile.imwrite(tmp_path / "px.tif", SAMPLE, imagej=True, metadata={"axes": "ZYX"})
    assert open_(tmp_path / "px.tif").voxel_size_nm is None


@pytest.mark.parametrize(
    ("kind", "axes", "shape", "expected"),
    [
        ("imagej", "TYX", (7, 12, 10), (7, 12, 10)),
        ("imagej", "YX", (12, 10), (1, 12, 10)),
        ("plain", None, (12, 10), (1, 12, 10)),
        ("plain", None, (3, 1, 12, 10), (3, 1, 12, 10)),
        ("plain", None, (1, 12, 10), (1, 12, 10)),
        ("ome", "CZYX", (3, 7, 12, 10), (3, 7, 12, 10)),
        ("ome", "CYX", (3, 12, 10), (3, 1, 12, 10)),
        ("ome", "ZYX", (1, 12, 10), (1, 12, 10)),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_axes(tmp_path: Path, kind: str, axes, shape, expected, compression):
    if kind == "imagej" and compression:
        compression = None  # ImageJ files are stored plain
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    metadata = {"axes": axes} if axes else {}
    tifffile.imwrite(
        path,
        array,
        imagej=kind == "imagej",
        ome=kind == "ome",
        metadata=metadata,
        compression=compression,
        photometric="minisblack",
    )
    volume = open_(path)
    assert volume.shape == expected
    np.testing.assert_array_equal(volume, array.reshape(expected))
    np.testing.assert_array_equal(volume[..., 3:5, 1:], array.reshape(expected)[..., 3:5, 1:])


def test_tiff_of_truth_values(tmp_path: Path):
    first, *others = [Image.fromarray(section > 30000) for section in SAMPLE]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    volume = open_(tmp_path / "a.tif")
    assert volume.dtype == bool
    np.testing.assert_array_equal(volume[2:], SAMPLE[2:] > 30000)


def test_an_imagej_stack_that_describes_only_its_first_page(tmp_path: Path):
    """ImageJ writes stacks of more than 4 GiB so: the other sections follow the first."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SAMPLE, imagej=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        first, end = file.pages.first, file.pages[1].offset
        order = "big" if file.byteorder == ">" else "little"
    content = bytearray(path.read_bytes()[:end])
    n_tags = int.from_bytes(content[first.offset : first.offset + 2], order)
    next_page = first.offset + 2 + 12 * n_tags
    content[next_page : next_page + 4] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(open_(path)[1:], SAMPLE[1:])
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match="cannot be read"):
        open_(path)
