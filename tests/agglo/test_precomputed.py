"""Precomputed volumes: read back with TensorStore, and by hand as the format says."""

from __future__ import annotations

import importlib.util
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr

from agglo import precomputed
from agglo.precomputed import export_precomputed
from agglo.volumes import ArrayLayout, BlockWriter, write_volume
from analysis.input_error import InputError
from envs.halved_labels import halve_labels
from tests.agglo.small_volumes import agglo, tree_of
from tests.agglo.web_server import serve

tensorstore = pytest.importorskip("tensorstore")

SHAPE = (70, 40, 130)
"""No multiple of the chunk along any axis, and no two axes alike."""

SIZE = (40.0, 4.5, 4.0)
IMAGE = np.random.default_rng(7).integers(0, 255, SHAPE).astype(np.uint8)
LABELS = np.random.default_rng(8).integers(0, 2**62, SHAPE, dtype=np.uint64)
LABELS[:20, :10] = 0


def read_scale(folder: Path, index: int = 0) -> npt.NDArray[Any]:
    """Return a resolution as c, z, y, x, by a description that is not the exporter's."""
    kvstore = {"driver": "file", "path": f"{folder}/"}
    spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore, "scale_index": index}
    return np.asarray(tensorstore.open(spec, open=True).result().read().result()).T


def info_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "info").read_text())


def write_pyramid(
    path: Path, voxel_size_nm: tuple[float, float, float] | None
) -> list[npt.NDArray[np.uint64]]:
    """Write labels at three resolutions; return them."""
    levels = [LABELS]
    for _ in range(2):
        levels.append(halve_labels(levels[-1]))
    layout = ArrayLayout(SHAPE, np.uint64)
    with BlockWriter(str(path), layout, voxel_size_nm=voxel_size_nm, n_levels=3) as writer:
        for level, array in enumerate(levels):
            writer.handle.write((0, 0, 0), array, level=level)
    return levels


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.zarr"
    write_volume(str(path), IMAGE, voxel_size_nm=SIZE)
    return path


def test_a_segmentation_at_all_its_resolutions(tmp_path: Path):
    levels = write_pyramid(tmp_path / "s.zarr", SIZE)
    out = tmp_path / "s"
    results = export_precomputed(str(tmp_path / "s.zarr"), str(out))
    info = info_of(out)
    assert (info["type"], info["data_type"], info["num_channels"]) == ("segmentation", "uint64", 1)
    assert [scale["encoding"] for scale in info["scales"]] == 3 * ["compressed_segmentation"]
    assert [scale["size"] for scale in info["scales"]] == [
        [130, 40, 70],
        [65, 20, 35],
        [33, 10, 18],
    ]
    assert [scale["resolution"] for scale in info["scales"]] == [
        [4.0, 4.5, 40.0],
        [8.0, 9.0, 80.0],
        [16.0, 18.0, 160.0],
    ]
    assert [scale["voxel_offset"] for scale in info["scales"]] == 3 * [[0, 0, 0]]
    for index, expected in enumerate(levels):
        np.testing.assert_array_equal(read_scale(out, index), expected[None])
    assert results["content"] == "segmentation"
    assert results["data_type"] == "uint64"
    assert results["scales"][1] == {"size": [65, 20, 35], "resolution": [8.0, 9.0, 80.0]}


def test_a_voxel_size_that_is_given_holds_for_all_resolutions(tmp_path: Path):
    write_pyramid(tmp_path / "s.zarr", None)
    address, out = str(tmp_path / "s.zarr"), tmp_path / "s"
    with pytest.raises(InputError, match=r"^--voxel-size-nm: the voxel size of .* is not known"):
        export_precomputed(address, str(out))
    export_precomputed(address, str(out), voxel_size_nm=(30, 5, 5))
    resolutions = [scale["resolution"] for scale in info_of(out)["scales"]]
    assert resolutions == [[5.0, 5.0, 30.0], [10.0, 10.0, 60.0], [20.0, 20.0, 120.0]]


def test_the_files_of_an_image_are_as_the_format_says(image: Path, tmp_path: Path):
    """Raw chunks x, y, z in Fortran order, with their ranges as names."""
    export_precomputed(str(image), str(tmp_path / "i"))
    info = info_of(tmp_path / "i")
    assert (info["type"], info["data_type"]) == ("image", "uint8")
    (scale,) = info["scales"]
    assert (scale["encoding"], scale["chunk_sizes"]) == ("raw", [[64, 64, 64]])
    seen = np.zeros(SHAPE, np.uint8)
    for file in (tmp_path / "i" / scale["key"]).iterdir():
        ranges = [slice(*map(int, part.split("-"))) for part in file.name.split("_")]
        shape = [part.stop - part.start for part in ranges]
        chunk = np.frombuffer(file.read_bytes(), "<u1").reshape(shape, order="F")
        seen[tuple(ranges[::-1])] = chunk.transpose()
    np.testing.assert_array_equal(seen, IMAGE)


@pytest.mark.parametrize(
    ("dtype", "content", "stored"),
    [
        (np.uint16, None, "uint16"),
        (np.float32, None, "float32"),
        (np.float64, None, "float32"),
        (np.bool_, None, "uint8"),
        (np.int16, None, "int16"),
        (np.uint16, "segmentation", "uint64"),
        (np.int64, None, "uint64"),
        (np.uint32, "image", "uint32"),
    ],
)
def test_types_and_contents(tmp_path: Path, dtype: type, content: Any, stored: str):
    array = (IMAGE[:5, :6, :7] / 2).astype(dtype)
    write_volume(f"{tmp_path}/a.h5:x", array, voxel_size_nm=SIZE)
    results = export_precomputed(f"{tmp_path}/a.h5:x", str(tmp_path / "a"), content=content)
    assert results["data_type"] == info_of(tmp_path / "a")["data_type"] == stored
    assert (results["content"] == "segmentation") == (stored == "uint64")
    np.testing.assert_array_equal(read_scale(tmp_path / "a"), array[None].astype(stored))


def test_affinities_are_channels(tmp_path: Path):
    array = np.random.default_rng(1).uniform(0, 1, (3, 5, 70, 8)).astype(np.float32)
    write_volume(str(tmp_path / "a.zarr"), array, voxel_size_nm=SIZE)
    export_precomputed(str(tmp_path / "a.zarr"), str(tmp_path / "a"))
    assert info_of(tmp_path / "a")["num_channels"] == 3
    np.testing.assert_array_equal(read_scale(tmp_path / "a"), array)
    with pytest.raises(InputError, match=r"^--volume: .* has shape \(3, 5, 70, 8\), where z, y, x"):
        export_precomputed(str(tmp_path / "a.zarr"), str(tmp_path / "b"), content="segmentation")


def test_a_part_has_one_resolution_and_a_url_will_do(tmp_path: Path):
    levels = write_pyramid(tmp_path / "s.zarr", SIZE)
    export_precomputed(f"{tmp_path}/s.zarr[3:69,:,7:]", str(tmp_path / "part"))
    np.testing.assert_array_equal(read_scale(tmp_path / "part")[0], LABELS[3:69, :, 7:])
    assert len(info_of(tmp_path / "part")["scales"]) == 1
    with serve(tmp_path) as served:
        export_precomputed(f"{served.url}/s.zarr", f"file://{tmp_path}/there")
    np.testing.assert_array_equal(read_scale(tmp_path / "there", 2)[0], levels[2])


def test_no_more_than_a_block_is_in_memory(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shapes = []
    write = precomputed._write

    def record(store: Any, box: Any, block: npt.NDArray, out: str) -> None:
        shapes.append(block.shape)
        write(store, box, block, out)

    monkeypatch.setattr(precomputed, "_write", record)
    monkeypatch.setattr(precomputed, "BLOCK_VOX", (64, 64, 64))
    export_precomputed(str(image), str(tmp_path / "i"))
    assert len(shapes) == 6
    assert max(shapes) == (64, 40, 64)
    np.testing.assert_array_equal(read_scale(tmp_path / "i")[0], IMAGE)


def test_an_export_that_fails_leaves_nothing(image: Path, tmp_path: Path):
    before = tree_of(tmp_path)
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, whole[1]))
    try:
        with pytest.raises(InputError, match=r"^--out: .*/i cannot be written: File too large$"):
            export_precomputed(str(image), str(tmp_path / "i"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
    assert tree_of(tmp_path) == before
    (image / "0" / "c" / "1" / "0" / "2").write_bytes(b"torn")
    before = tree_of(tmp_path)
    with pytest.raises(InputError, match=r"^--volume: .*image\.zarr cannot be read"):
        export_precomputed(str(image), str(tmp_path / "i"))
    assert tree_of(tmp_path) == before


def test_only_a_precomputed_volume_is_replaced(image: Path, tmp_path: Path):
    out = tmp_path / "i"
    export_precomputed(str(image), str(out))
    before = tree_of(tmp_path)
    with pytest.raises(InputError, match=r"^--out: .*/i exists already; --overwrite replaces it"):
        export_precomputed(str(image), str(out))
    with pytest.raises(InputError, match=r"image\.zarr exists and is no precomputed volume"):
        export_precomputed(str(image), str(image), overwrite=True)
    with pytest.raises(InputError, match=r"^--out: the folder .*/no does not exist"):
        export_precomputed(str(image), str(tmp_path / "no" / "i"))
    with pytest.raises(InputError, match=r"^--out: s3://b/i is a URL, but"):
        export_precomputed(str(image), "s3://b/i")
    assert tree_of(tmp_path) == before
    export_precomputed(f"{image}[:9]", str(out), overwrite=True)
    np.testing.assert_array_equal(read_scale(out)[0], IMAGE[:9])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i", "image.zarr"]


def test_wrong_volumes_are_refused(tmp_path: Path):
    wrong: list[tuple[npt.NDArray, Any, str]] = [
        (IMAGE / 2, "segmentation", "values of type float64, where labels are integers"),
        (IMAGE.astype(np.int32) - 9, None, "has negative values down to -9, where labels begin"),
        (IMAGE.astype(np.int64), "image", "values of type int64, which no image"),
    ]
    for array, content, seen in wrong:
        write_volume(str(tmp_path / "a.zarr"), array, voxel_size_nm=SIZE, overwrite=True)
        with pytest.raises(InputError, match=f"^--volume: .*{seen}"):
            export_precomputed(str(tmp_path / "a.zarr"), str(tmp_path / "b"), content=content)
    write_pyramid(tmp_path / "s.zarr", SIZE)
    group = zarr.open_group(tmp_path / "s.zarr", mode="r+")
    del group["2"]
    with pytest.raises(InputError, match=r"^--volume: .*s\.zarr has no array or group 2; it holds"):
        export_precomputed(str(tmp_path / "s.zarr"), str(tmp_path / "b"))


def test_the_command(
    capsys: pytest.CaptureFixture[str],
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    words = ["export", "--volume", image, "--out", tmp_path / "i", "--json", tmp_path / "i.json"]
    said = agglo(capsys, *words)
    assert said == (0, f"image (uint8) in {tmp_path / 'i'}; resolutions: 1\n", "")
    assert json.loads((tmp_path / "i.json").read_text()) == {
        "content": "image",
        "data_type": "uint8",
        "scales": [{"size": [130, 40, 70], "resolution": [4.0, 4.5, 40.0]}],
    }
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = agglo(capsys, *words, "--overwrite")
    sentence = "agglo: agglo export needs a package that is not installed; pip install "
    assert said == (2, "", sentence + "'agglo[precomputed]' installs it.\n")
