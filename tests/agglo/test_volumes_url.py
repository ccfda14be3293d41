"""Zarr volumes at URLs: a web server of this process, memory, and URLs that are paths."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import ray
import zarr

from agglo.volumes import Address, Volume, open_volume, write_volume
from agglo.volumes.crop import CropRange
from agglo.volumes.url import Url
from analysis.input_error import InputError
from tests.agglo.small_volumes import agglo
from tests.agglo.web_server import Served, serve

SAMPLE = np.random.default_rng(5).integers(0, 250, (70, 80, 90)).astype(np.uint8)
SIZE = (10.0, 8.0, 4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OME-Zarr, a Zarr of version 2 with nested arrays, and an array alone."""
    folder = tmp_path_factory.mktemp("served")
    write_volume(str(folder / "em.zarr"), SAMPLE, voxel_size_nm=SIZE, nested={"half": SAMPLE / 2})
    group = zarr.create_group(folder / "old.zarr", zarr_format=2)
    group.create_array("volumes/raw", data=SAMPLE).attrs["resolution"] = SIZE
    zarr.create_array(folder / "array.zarr", data=SAMPLE)
    zarr.create_array(folder / "unnamed", data=SAMPLE)
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    with serve(folder) as served:
        yield served


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    """The same in fsspec's memory, as at an object store whose keys are no files."""
    files = fsspec.filesystem("memory")
    files.put(str(folder), "/bucket", recursive=True)
    yield "memory://bucket"
    files.rm("/bucket", recursive=True)


def open_image(text: str) -> Volume:
    return open_volume(text, argument="--image")


def refused(text: str, seen: str) -> None:
    with pytest.raises(InputError, match=seen) as caught, open_image(text) as volume:
        volume.read()
    assert str(caught.value).startswith("--image: ")
    assert "\n" not in str(caught.value)


def parse(text: str) -> Address:
    return Address.parse(text, argument="--image")


def test_the_parts_of_a_url():
    assert parse("s3://b/em.zarr") == Address(Url("s3://b/em.zarr"), None, "zarr")
    assert parse("https://h:80/a:b/em.zarr/") == Address(
        Url("https://h:80/a:b/em.zarr"), None, "zarr"
    )
    crop = (CropRange(0, 80), CropRange(3, None))
    for text in ("gs://b/em.zarr:volumes/raw[0:80,3:]", "gs://b/em.zarr:/volumes/raw/[0:80, 3:]"):
        assert parse(text) == Address(Url("gs://b/em.zarr"), "volumes/raw", "zarr", crop)
    assert parse("https://h:80/em[0:80,3:]") == Address(Url("https://h:80/em"), None, "zarr", crop)


@pytest.mark.parametrize(
    "text", ["s3://b/em.zarr:raw[1:2,:]", "https://h:80/em", "memory://x.zarr[:,:,4:]"]
)
def test_the_text_of_a_url_reads_back_and_is_absolute(text: str):
    address = parse(text)
    assert str(address) == text
    assert address.absolute() == address
    assert parse(str(address)) == address


def test_places_above_a_url():
    assert Url("s3://b/em.zarr/0").parent == Url("s3://b/em.zarr")
    assert Url("s3://b/em.zarr").parent.parent == Url("s3://b")
    assert Url("https://h:80").parent == Url("https://h:80")
    assert Url("memory://em.zarr").parent == Url("memory://em.zarr")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("https://h/train.h5:raw", r"train\.h5:raw ends in \.h5, but at a URL only a Zarr is read"),
        ("s3://b/em.tif[0:2]", r"s3://b/em\.tif ends in \.tif, but"),
        ("s3://b/em.npy", r"ends in \.npy"),
        ("s3://b/em.n5/s0.n5", r"ends in \.n5"),
        ("s3://b/em.zarr:", "names no dataset after the colon"),
        ("s3://b/em.zarr:[0:3]", "names no dataset after the colon"),
        ("s3://b/em.zarr[5]", r"the crop \[5\] of s3://b/em\.zarr has the part '5'"),
    ],
)
def test_a_wrong_url_is_refused_before_it_is_asked(text: str, seen: str):
    refused(text, seen)


@pytest.mark.parametrize("text", ["s3://b/s.zarr", "https://h/s.h5:labels", "memory://s.zarr"])
def test_a_url_is_no_output(text: str):
    seen = r"^--out: .* is a URL, but an output is written to a disk; write it to a folder and copy"
    with pytest.raises(InputError, match=seen):
        Address.parse_output(text, argument="--out")
    with pytest.raises(InputError, match=seen):
        write_volume(text, SAMPLE, voxel_size_nm=None)


def test_a_url_of_a_file_is_its_path(tmp_path: Path):
    np.save(tmp_path / "a.npy", SAMPLE)
    assert parse(f"file://{tmp_path}/a.npy[0:3]").path == tmp_path / "a.npy"
    write_volume(f"file://{tmp_path}/b.zarr", SAMPLE, voxel_size_nm=SIZE)
    np.testing.assert_array_equal(open_image(f"file://{tmp_path}/b.zarr[2:4]"), SAMPLE[2:4])


def check_volumes(place: str) -> None:
    volume = open_image(f"{place}/em.zarr")
    assert (volume.shape, volume.dtype, volume.voxel_size_nm) == (SAMPLE.shape, np.uint8, SIZE)
    np.testing.assert_array_equal(volume.read(), SAMPLE)
    part = open_image(f"{place}/em.zarr[3:70,:,60:]")
    np.testing.assert_array_equal(part[5:, 2, :-1], SAMPLE[3:, :, 60:][5:, 2, :-1])
    np.testing.assert_array_equal(open_image(f"{place}/em.zarr:half"), SAMPLE / 2)
    assert open_image(f"{place}/em.zarr:0").voxel_size_nm == SIZE
    assert open_image(f"{place}/em.zarr/0").voxel_size_nm == SIZE
    old = open_image(f"{place}/old.zarr:volumes/raw[4:5]")
    assert old.voxel_size_nm == SIZE
    np.testing.assert_array_equal(old, SAMPLE[4:5])
    np.testing.assert_array_equal(open_image(f"{place}/array.zarr"), SAMPLE)
    np.testing.assert_array_equal(open_image(f"{place}/unnamed/[60:]"), SAMPLE[60:])


def test_a_volume_of_a_web_server(served: Served):
    check_volumes(served.url)


def test_a_volume_of_a_web_server_that_lists_nothing(folder: Path):
    with serve(folder, lists=False) as served:
        check_volumes(served.url)
        refused(f"{served.url}/em.zarr:raw", "has no array or group raw; it holds nothing that it")


def test_a_volume_of_an_object_store(memory: str):
    check_volumes(memory)


def test_only_the_chunks_that_are_needed_are_read(served: Served):
    volume = open_image(f"{served.url}/em.zarr")
    served.asked.clear()
    volume[64:70, :30, 10:20]
    assert served.asked == ["/em.zarr/0/c/1/0/0"]


def test_a_volume_is_opened_again_elsewhere(served: Served, ray_local: None):
    volume = open_volume(
        f"{served.url}/old.zarr:volumes/raw[4:20]", argument="--image", voxel_size_nm=SIZE
    )
    again = pickle.loads(pickle.dumps(volume))
    assert again.address == volume.address

    def read(volume: Volume) -> np.ndarray:
        return volume[1:3]

    there = ray.get(ray.remote(num_cpus=1)(read).remote(volume))
    np.testing.assert_array_equal(there, SAMPLE[5:7])


def test_a_missing_volume_is_answered_with_what_is_there(served: Served, memory: str):
    for place in (served.url, memory):
        refused(f"{place}/none.zarr", rf"there is no Zarr array or group at {place}/none\.zarr$")
        refused(f"{place}/none.zarr:raw", "has no array or group raw; it holds nothing that it")
        refused(f"{place}/em.zarr:raw", r"em\.zarr has no array or group raw; it holds 0, half$")
        refused(f"{place}/old.zarr", r"without multiscales metadata; .* it holds volumes$")


def test_a_server_that_refuses_or_fails_is_named(served: Served):
    refused("http://127.0.0.1:9/em.zarr", r"127\.0\.0\.1:9/em\.zarr cannot be read: Cannot connect")
    refused("nonsense://b/em.zarr", r"nonsense://b/em\.zarr cannot be read: Protocol not known")
    volume = open_image(f"{served.url}/em.zarr")
    served.statuses["/em.zarr/0/c/1/"] = 503
    np.testing.assert_array_equal(volume[:64], SAMPLE[:64])
    with pytest.raises(InputError, match=r"^--image: .*em\.zarr cannot be read: .*503"):
        volume.read()
    served.statuses["/em.zarr/zarr.json"] = 403
    refused(f"{served.url}/em.zarr", r"em\.zarr cannot be read: ClientResponseError: 403")
    refused(f"{served.url}/em.zarr:0", r"em\.zarr cannot be read: ClientResponseError: 403")
    refused(f"{served.url}/em.zarr:none", "has no array or group none; it holds nothing that it")


def test_a_scheme_whose_package_is_missing_names_the_extra(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    out = str(tmp_path / "s.zarr")
    said = agglo(capsys, "superpixels", "--boundaries", "s3://b/em.zarr:map", "--out", out)
    assert said == (
        2,
        "",
        "agglo: --boundaries: s3://b/em.zarr/map needs a package that is not installed; "
        "pip install 'agglo[remote]' installs it.\n",
    )


def test_a_command_reads_from_a_url_and_refuses_to_write_to_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, served: Served
):
    address = f"{served.url}/em.zarr[:4,:40,:40]"
    out = str(tmp_path / "s.zarr")
    said = agglo(capsys, "superpixels", "--boundaries", address, "--out", out)
    assert (said.status, said.err) == (0, "")
    assert open_image(out).attributes["boundaries"] == address
    said = agglo(capsys, "superpixels", "--boundaries", address, "--out", f"{served.url}/s.zarr")
    assert said.status == 2
    assert said.err.startswith(f"agglo: --out: {served.url}/s.zarr is a URL, but ")
