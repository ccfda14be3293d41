"""`agglo evaluate`: what is warped as a whole, how far, and the clusters that are left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from agglo.evaluation_result import WarpingOptions, cluster_scores
from analysis.border_zone import border_zone
from analysis.connectivity import Connectivity
from analysis.input_error import InputError
from analysis.label_borders import interior_mask, membrane_mask
from analysis.warping_clusters import mismatch_clusters
from analysis.warping_error import segmentation_warping_error, warping_error, warping_sweep
from analysis.warping_types import Mismatch
from tests.agglo.small_volumes import agglo, make_tissue, volume_options, write_tissue

TISSUE = make_tissue(1)


def walled(z: int) -> npt.NDArray[np.uint8]:
    """Label both sides of a wall that is a whole section."""
    labels = np.ones((7, 5, 5), np.uint8)
    labels[z] = 0
    labels[z + 1 :] = 2
    return labels


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tissue and segmentations of it."""
    folder = tmp_path_factory.mktemp("warping")
    merged = np.where(TISSUE.labels == 3, 4, TISSUE.labels)
    return write_tissue(folder / "t.h5", TISSUE, voxel_size_nm=(8.0, 8.0, 8.0), merged=merged)


def measure(
    capsys: pytest.CaptureFixture[str], folder: Path, *words: object
) -> tuple[dict[str, Any], str]:
    """Run `agglo evaluate` and return its numbers and what it printed, on one line."""
    said = agglo(capsys, "evaluate", *words, "--json", folder / "numbers.json")
    assert (said.status, said.err) == (0, "")
    return json.loads((folder / "numbers.json").read_text()), " ".join(said.out.split())


def clusters_of(numbers: dict[str, Any]) -> dict[str, int]:
    """Return the clusters that there are, by type."""
    counts = {
        kind.name.lower(): numbers[f"warping_{kind.name.lower()}_clusters"]
        for kind in Mismatch
        if kind
    }
    return {name: n for name, n in counts.items() if n}


@pytest.mark.parametrize("argument", ["--segmentation", "--boundaries"])
@pytest.mark.parametrize(
    ("proposal", "unit", "error", "clusters"),
    [
        # All of section 3 is interior too many, all of section 4 is missing: one pixel of it stays.
        (walled(4), "sections", 26 / 175, {"object_addition": 1, "object_deletion": 1}),
        (walled(4), "volume", 0, {}),
        (np.ones_like(walled(3)), "sections", 25 / 175, {"object_addition": 1}),
        (np.ones_like(walled(3)), "volume", 25 / 175, {"merge": 1}),
    ],
)
def test_a_wall_across_the_sections(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    argument: str,
    proposal: npt.NDArray,
    unit: str,
    error: float,
    clusters: dict[str, int],
) -> None:
    """A wall in one section is no border to the sections, and the only one of the volume."""
    words: tuple[object, ...] = ()
    if argument == "--boundaries":
        proposal = (proposal == 0).astype(np.float32)
        proposal[0, 0, 0] = 0.125  # a map of one value has no curve
        words = ("--threshold", 0.5)
    np.save(tmp_path / "proposal.npy", proposal)
    np.save(tmp_path / "labels.npy", walled(3))
    numbers, _ = measure(
        capsys,
        tmp_path,
        *(argument, tmp_path / "proposal.npy", "--labels", tmp_path / "labels.npy"),
        *("--warping", unit, *words),
    )
    assert numbers["warping_error"] == pytest.approx(error, abs=1e-15)
    assert clusters_of(numbers) == clusters


@pytest.mark.parametrize("unit", ["sections", "volume"])
@pytest.mark.parametrize(("reach", "n_left"), [(None, 2), (2, 2 * 7 * 9), (1.5, 2 * 8 * 9)])
def test_membrane_all_over_is_seen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, unit: str, reach: float, n_left: int
) -> None:
    """It costs a pixel an object, or what lies deeper than the reach; both objects are missed."""
    labels = np.ones((1, 9, 19), np.uint16)
    labels[..., 9] = 0
    labels[..., 10:] = 2
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "nothing.npy", np.zeros_like(labels))
    words = () if reach is None else ("--warping-reach", reach)
    numbers, said = measure(
        capsys,
        tmp_path,
        *("--segmentation", tmp_path / "nothing.npy", "--labels", tmp_path / "labels.npy"),
        *("--warping", unit, *words),
    )
    assert numbers["warping_error"] == pytest.approx(n_left / labels.size)
    assert clusters_of(numbers) == {"object_deletion": 2}
    assert ("voxels of a true border only" in said) == (reach is not None)
    assert "that leave an object out" in said


@pytest.mark.parametrize("reach", [None, 3])
def test_a_segmentation_is_warped_in_3d(
    capsys: pytest.CaptureFixture[str], path: Path, reach: float | None
) -> None:
    words = () if reach is None else ("--warping-reach", reach)
    given = ("--segmentation", f"{path}:merged", *volume_options(path, "labels"), *words)
    merged = np.where(TISSUE.labels == 3, 4, TISSUE.labels)
    in_sections, said = measure(capsys, path.parent, *given)
    explicit, _ = measure(capsys, path.parent, *given, "--warping", "sections")
    assert in_sections == explicit
    assert "simple points (4/8), mean of sections" in said
    assert "both borders widened by one pixel" in said
    in_volume, said = measure(capsys, path.parent, *given, "--warping", "volume")
    assert "in 3D by simple points (6/26), membrane on both sides where labels touch" in said
    assert "widened" not in said
    ways: list[tuple[dict[str, Any], Connectivity, npt.NDArray[np.bool_]]] = [
        (in_sections, 4, interior_mask(TISSUE.labels, widen_vox=1)),
        (in_volume, 6, ~membrane_mask(TISSUE.labels)),
    ]
    for numbers, foreground, interior in ways:
        result = segmentation_warping_error(
            merged,
            TISSUE.labels,
            widen_vox=1 if foreground == 4 else 0,
            foreground=foreground,
            mask=None if reach is None else border_zone(interior, reach, foreground),
        )
        assert numbers["warping_error"] == result.error > 0
        expected = cluster_scores(mismatch_clusters(result).counts)
        assert expected["warping_merge_clusters"] > 0
        assert {name: numbers[name] for name in expected} == expected
    is_warping = [name for name in in_volume if name.startswith("warping")]
    assert len(is_warping) == 8
    same = set(in_volume) - set(is_warping)
    assert {name: in_volume[name] for name in same} == {name: in_sections[name] for name in same}


@pytest.mark.parametrize("words", [(), ("--threshold", 0.4)])
@pytest.mark.parametrize("reach", [None, 2])
def test_a_map_is_warped_in_3d(
    capsys: pytest.CaptureFixture[str], path: Path, words: tuple[object, ...], reach: float | None
) -> None:
    given = (*volume_options(path, "boundaries", "labels"), *words)
    if reach is not None:
        given += ("--warping-reach", reach)
    in_sections, _ = measure(capsys, path.parent, *given)
    in_volume, said = measure(capsys, path.parent, *given, "--warping", "volume")
    kind = "threshold 0.4" if words else "oracle threshold"
    within = "" if reach is None else ", flips within 2 voxels of a true border only"
    assert f"membrane on both sides where labels touch{within} ({kind})" in said
    assert f"share of voxels in clusters typed split or merge after warping ({kind})" in said
    ways: list[tuple[dict[str, Any], Connectivity, npt.NDArray[np.bool_]]] = [
        (in_sections, 4, interior_mask(TISSUE.labels)),
        (in_volume, 6, ~membrane_mask(TISSUE.labels)),
    ]
    for numbers, foreground, interior in ways:
        mask = None if reach is None else border_zone(interior, reach, foreground)
        options: dict[str, Any] = {"foreground": foreground, "mask": mask}
        if words:
            best = warping_error(TISSUE.boundaries, interior, 0.4, **options)
            assert numbers["split_merge_error"] == best.split_merge_error
        else:
            sweep = warping_sweep(TISSUE.boundaries, interior, **options)
            best = sweep.best
            assert numbers["split_merge_error"] == sweep.minimum_split_merge_error
        assert numbers["warping_error"] == best.error > 0
        expected = cluster_scores(mismatch_clusters(best).counts)
        assert {name: numbers[name] for name in expected} == expected
    of_error = "threshold 0.4" if words else "oracle threshold of warping_error"
    assert f"connected differences left that join objects, number in volume ({of_error})" in said
    for name in ("auc", "pixel_error", "v_rand_thinned", "v_info", "threshold"):
        assert in_volume[name] == in_sections[name]


def test_one_section_is_the_same_in_3d(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where label 0 parts the labels, that is."""
    rng = np.random.default_rng(4)
    labels = np.zeros((1, 40, 40), np.int32)
    ndimage.label(ndimage.gaussian_filter(rng.random(labels.shape), 1.2) < 0.51, output=labels)
    assert labels.max() > 5
    np.save(tmp_path / "labels.npy", labels)
    noisy = ndimage.gaussian_filter((labels == 0) + 0.9 * rng.standard_normal(labels.shape), 0.7)
    np.save(tmp_path / "map.npy", np.clip(noisy, 0, 1).astype(np.float32))
    given = ("--boundaries", tmp_path / "map.npy", "--labels", tmp_path / "labels.npy")
    in_section, _ = measure(capsys, tmp_path, *given)
    in_volume, _ = measure(capsys, tmp_path, *given, "--warping", "volume")
    assert in_volume["warping_error"] == in_section["warping_error"] > 0
    assert clusters_of(in_volume) == clusters_of(in_section)
    assert len(clusters_of(in_volume)) > 2


@pytest.mark.parametrize("argument", ["--segmentation", "--boundaries"])
def test_the_pictures_of_a_warp_in_3d(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path, argument: str
) -> None:
    names = ("merged", "superpixels") if argument == "--segmentation" else ("boundaries", "image")
    words = ("--warping", "volume", "--warping-reach", 4, "--pictures", tmp_path)
    given = (*volume_options(path, "labels"), *words)
    measure(capsys, path.parent, argument, f"{path}:{names[0]}", *given)
    assert (tmp_path / "warping_errors.png").stat().st_size > 5000
    both, _ = measure(capsys, path.parent, argument, *(f"{path}:{name}" for name in names), *given)
    assert (tmp_path / "comparison.png").stat().st_size > 5000
    assert all(sum(clusters_of(numbers).values()) > 0 for numbers in both.values())


MAP = ("--boundaries", "FILE:boundaries", "--labels", "FILE:labels")
SEGMENTATION = ("--segmentation", "FILE:merged", "--labels", "FILE:labels")
TOO_LARGE = ("--segmentation", "FILE:huge", "--labels", "FILE:huge", "--warping", "volume")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(
            (
                (*given, f"--warping-reach={reach}"),
                f"--warping-reach must be at least 1 voxel and finite, but is {reach}.",
            )
            for given in (MAP, SEGMENTATION)
            for reach in ("0.5", "-3", "nan", "inf")
        ),
        (
            (*SEGMENTATION, "--warping", "none", "--warping-reach", "3"),
            "--warping-reach limits a warp, which --warping none leaves out.",
        ),
        ((*MAP, "--warping", "none"), "--warping none is for --segmentation, the warping error"),
        (
            ("--segmentation", "FILE:merged", "--skeletons", "a.swc", "--warping", "volume"),
            "--warping is towards --labels, which are not given.",
        ),
        (
            ("--segmentation", "FILE:merged", "--skeletons", "a.swc", "--warping-reach", "2"),
            "--warping is towards --labels, which are not given.",
        ),
        (TOO_LARGE, "2³¹ voxels, but --labels has shape (2048, 1024, 1024)."),
        (("--boundaries", "FILE:huge_map", *TOO_LARGE[2:]), "but --labels has shape (2048, 10"),
    ],
)
def test_what_cannot_be_warped_is_refused(
    capsys: pytest.CaptureFixture[str], path: Path, words: tuple[str, ...], message: str
) -> None:
    with h5py.File(path, "a") as file:
        for name, dtype in (("huge", np.uint16), ("huge_map", np.float32)):
            if name not in file:  # chunks that were never written take no room
                file.create_dataset(name, (2048, 1024, 1024), dtype, chunks=(64, 64, 64))
    said = agglo(capsys, "evaluate", *(word.replace("FILE", str(path)) for word in words))
    assert (said.status, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert message in said.err


def test_a_unit_that_there_is_not(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    words = (word.replace("FILE", str(path)) for word in SEGMENTATION)
    said = agglo(capsys, "evaluate", *words, "--warping", "3d")
    assert (said.status, said.out) == (2, "")
    assert "invalid choice '3d' for argument '--warping'" in said.err


def test_help_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    said = agglo(capsys, "evaluate", "--help")
    assert said.status == 0
    help_text = " ".join(said.out.split())
    assert "--threshold 0.5 --warping volume --warping-reach 4" in help_text


def test_options_say_what_they_do():
    assert (WarpingOptions().foreground, WarpingOptions("volume").foreground) == (4, 6)
    interior = np.ones((1, 1, 9), bool)
    interior[..., 4] = False
    assert WarpingOptions().mask(interior) is None
    mask = WarpingOptions("volume", 2).mask(interior)
    assert mask is not None
    assert mask[0, 0].tolist() == [False, False, True, True, True, True, True, False, False]
    assert WarpingOptions("sections", 2.5).convention.endswith(
        "mean of sections, flips within 2.5 voxels of a true border only"
    )
    of_sections, of_volume = (
        WarpingOptions(unit).cluster_conventions for unit in ("sections", "volume")
    )
    counts = {kind.name.lower(): int(kind) for kind in Mismatch if kind}
    assert list(of_sections) == list(of_volume) == list(cluster_scores(counts))
    assert of_sections["warping_split_clusters"].endswith(
        "cut an object apart, number in all sections"
    )
    assert of_volume["warping_split_clusters"].endswith("cut an object apart, number in volume")
    assert cluster_scores(counts)["warping_shift_clusters"] == Mismatch.SHIFT
    with pytest.raises(InputError, match="must be at least 1 voxel and finite, but is 0"):
        WarpingOptions(reach_vox=0)
