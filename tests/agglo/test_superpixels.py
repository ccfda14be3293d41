from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agglo.volumes import open_volume, write_volume
from predict.watershed import WatershedConfig, watershed_superpixels
from tests.agglo.small_volumes import agglo, make_tissue, tree_of, volume_options, write_tissue

TISSUE = make_tissue(1)


def sections_per_superpixel(superpixels: np.ndarray) -> np.ndarray:
    """Return in how many sections each superpixel lies."""
    return np.array(
        [np.count_nonzero((superpixels == i).any((1, 2))) for i in np.unique(superpixels)]
    )


def test_superpixels_are_those_of_the_watershed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_tissue(tmp_path / "tissue.h5", TISSUE)
    out = tmp_path / "s.zarr"
    options = {"threshold": 0.4, "sigma_vox": 0.8, "distance_weight": 0.3, "min_size_vox": 20}
    words = [w for n, v in options.items() for w in ("--" + n.replace("_", "-"), v)]
    said = agglo(
        capsys,
        *("superpixels", *volume_options(path, "boundaries"), "--out", out, *words),
        *("--json", tmp_path / "r.json"),
    )
    assert said.status == 0
    assert said.err == ""
    config = WatershedConfig(**options)  # pyright: ignore[reportArgumentType]
    expected = watershed_superpixels(TISSUE.boundaries, (8.0, 8.0, 8.0), config)
    volume = open_volume(str(out), argument="--out")
    assert volume.dtype == np.uint64
    assert volume.voxel_size_nm == (8.0, 8.0, 8.0)
    np.testing.assert_array_equal(volume.read(), expected)
    assert json.loads(volume.attributes["watershed"])["sigma_vox"] == 0.8
    assert volume.attributes["boundaries"] == f"{path}:boundaries"
    _, sizes = np.unique(expected, return_counts=True)
    results = json.loads((tmp_path / "r.json").read_text())
    assert results == {
        "n_superpixels": len(sizes),
        "median_size_vox": float(np.median(sizes)),
        "two_dimensional": False,
    }
    assert len(sizes) > 10
    assert sections_per_superpixel(expected).max() > 1
    median = f"median {np.median(sizes):.0f} voxels"
    assert said.out == f"{len(sizes)} superpixels, {median}, in {out}\n"


@pytest.mark.parametrize(
    ("stated", "given", "is_flat"),
    [
        ((40.0, 8.0, 8.0), [], True),
        ((24.0, 8.0, 8.0), [], True),
        ((16.0, 8.0, 8.0), [], False),
        (None, ["--voxel-size-nm", "40", "8", "8"], True),
        (None, [], False),
        ((8.0, 8.0, 8.0), ["--two-dimensional"], True),
    ],
)
def test_thick_sections_are_flooded_one_by_one(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    stated: tuple[float, float, float] | None,
    given: list[str],
    is_flat: bool,
) -> None:
    path = write_tissue(tmp_path / "tissue.h5", TISSUE, voxel_size_nm=stated)
    said = agglo(
        capsys,
        *("superpixels", *volume_options(path, "boundaries"), "--out", tmp_path / "s.zarr"),
        *("--json", tmp_path / "r.json", *given),
    )
    assert said.status == 0
    volume = open_volume(str(tmp_path / "s.zarr"), argument="--out")
    assert (sections_per_superpixel(volume.read()).max() == 1) == is_flat
    assert json.loads((tmp_path / "r.json").read_text())["two_dimensional"] == is_flat
    assert json.loads(volume.attributes["watershed"])["two_dimensional"] == is_flat
    size = (40.0, 8.0, 8.0) if given[:1] == ["--voxel-size-nm"] else stated
    assert volume.voxel_size_nm == size


def test_a_map_of_bytes_is_a_map(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    as_bytes = np.rint(255 * TISSUE.boundaries).astype(np.uint8)
    for name, array in (("a", as_bytes), ("b", as_bytes.astype(np.float32) / np.float32(255))):
        write_volume(str(tmp_path / f"{name}.zarr"), array, voxel_size_nm=None)
        words = ("superpixels", "--boundaries", tmp_path / f"{name}.zarr", "--out")
        assert agglo(capsys, *words, f"{tmp_path}/s.h5:{name}").status == 0
    ours, expected = (open_volume(f"{tmp_path}/s.h5:{name}", argument="").read() for name in "ab")
    np.testing.assert_array_equal(ours, expected)


def test_an_output_that_exists_is_replaced_only_when_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_tissue(tmp_path / "tissue.h5", TISSUE)
    words = ["superpixels", *volume_options(path, "boundaries"), "--out", tmp_path / "s.zarr"]
    assert agglo(capsys, *words).status == 0
    before = tree_of(tmp_path)
    said = agglo(capsys, *words, "--sigma-vox", 3)
    assert said.status == 2
    assert "s.zarr is refused: it exists already; --overwrite replaces it" in said.err
    assert tree_of(tmp_path) == before
    assert agglo(capsys, *words, "--sigma-vox", 3, "--overwrite").status == 0
    attributes = open_volume(str(tmp_path / "s.zarr"), argument="").attributes
    assert json.loads(attributes["watershed"])["sigma_vox"] == 3.0
