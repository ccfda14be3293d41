from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage, stats
from skimage import metrics

from analysis.label_borders import interior_mask, membrane_mask
from analysis.warping_error import THRESHOLDS, warping_error
from analysis.warping_types import Mismatch
from tests.agglo.small_volumes import Said, agglo, make_tissue, volume_options, write_tissue

TISSUE = make_tissue(1)
CLUSTER_KEYS = {f"warping_{kind.name.lower()}_clusters" for kind in Mismatch if kind}
SEGMENTATION_KEYS = CLUSTER_KEYS | {
    *("vi_split", "vi_merge", "vi", "adapted_rand_error", "rand_index", "n_segments", "n_labels"),
    *("warping_error", "rand_precision", "rand_recall", "v_rand", "v_info"),
    *("worst_splits", "worst_mergers"),
}
BOUNDARY_KEYS = CLUSTER_KEYS | {
    *("auc", "average_precision", "best_f", "warping_error", "v_rand_thinned", "v_info_thinned"),
    *("threshold", "split_merge_error", "best_f_tolerant", "pixel_error", "v_rand", "v_info"),
    "precision_recall",
}


def make_proposal() -> npt.NDArray[np.uint64]:
    """Return a segmentation of the tissue: one neuron split, two joined, a slab left 0."""
    proposal = TISSUE.labels.copy()
    proposal[proposal == 0] = 1
    proposal[(proposal == 2) & (np.arange(40) > 22)] = 900
    proposal[proposal == 3] = 4
    proposal[12:14, :, 5:30] = 0
    return proposal


PROPOSAL = make_proposal()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    return write_tissue(folder / "tissue.h5", TISSUE, proposal=PROPOSAL)


def evaluate(
    capsys: pytest.CaptureFixture[str], path: Path, *words: object
) -> tuple[dict[str, Any], Said]:
    file = path.with_name("scores.json")
    file.unlink(missing_ok=True)
    said = agglo(capsys, "evaluate", *words, "--json", file)
    assert said.status == 0, said.err
    assert said.err == ""
    return json.loads(file.read_text()), said


def expected_scores(proposal: npt.NDArray, truth: npt.NDArray) -> dict[str, float]:
    """Score by scikit-image, and by pairs of voxels."""
    counted = truth != 0
    one, other = truth[counted].astype(np.int64), proposal[counted].astype(np.int64)
    split, merge = metrics.variation_of_information(one, other)
    table = metrics.contingency_table(one, other).toarray()
    n = len(one)
    joint, true, found = ((a.astype(float) ** 2).sum() for a in (table, table.sum(1), table.sum(0)))
    return {
        "vi_split": split,
        "vi_merge": merge,
        "vi": split + merge,
        "adapted_rand_error": 1 - 2 * joint / (true + found),
        "rand_index": 1 - (true + found - 2 * joint) / (n * (n - 1)),
        "n_segments": len(np.unique(other)),
        "n_labels": len(np.unique(one)),
    }


def test_the_scores_of_a_segmentation(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    scores, said = evaluate(
        capsys, path, "--segmentation", f"{path}:proposal", *volume_options(path, "labels")
    )
    assert set(scores) == SEGMENTATION_KEYS
    expected = expected_scores(PROPOSAL, TISSUE.labels)
    assert expected["vi_split"] > 0.1
    assert expected["vi_merge"] > 0.1
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, rel=1e-9), name
    counted = TISSUE.labels != 0
    of_skimage, _, _ = metrics.adapted_rand_error(
        TISSUE.labels[counted].astype(np.int64), PROPOSAL[counted].astype(np.int64)
    )
    assert scores["adapted_rand_error"] == pytest.approx(of_skimage, abs=2e-3)
    assert 0 < scores["warping_error"] < 0.1
    for name in set(scores) - {"worst_splits", "worst_mergers"}:
        assert any(line.startswith(f" {name} ") for line in said.out.splitlines())
    assert "H(segmentation | truth) in bits, voxels with truth 0 dropped" in said.out


def test_the_truth_scores_perfectly(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    scores, _ = evaluate(
        capsys, path, "--segmentation", f"{path}:labels", *volume_options(path, "labels")
    )
    assert scores["vi"] == scores["adapted_rand_error"] == scores["warping_error"] == 0
    assert scores["rand_index"] == 1


def test_superpixels_add_their_vi_and_the_floor(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    scores, _ = evaluate(
        capsys,
        path,
        *("--segmentation", f"{path}:proposal"),
        *volume_options(path, "labels", "superpixels"),
    )
    assert set(scores) == {*SEGMENTATION_KEYS, "superpixel_vi", "floor_vi"}
    given = TISSUE.superpixels.copy()
    for superpixel in np.unique(given):
        inside = TISSUE.labels[TISSUE.superpixels == superpixel]
        seen = np.bincount(inside[inside != 0].astype(np.int64), minlength=2)
        given[TISSUE.superpixels == superpixel] = seen.argmax()
    floor = expected_scores(given, TISSUE.labels)["vi"]
    assert floor > 0.01
    assert scores["floor_vi"] == pytest.approx(floor, rel=1e-9)
    assert scores["superpixel_vi"] == pytest.approx(
        expected_scores(TISSUE.superpixels, TISSUE.labels)["vi"], rel=1e-9
    )


@pytest.mark.parametrize(("tolerance", "is_thick"), [(1, False), (2, False), (2, True)])
def test_voxels_near_a_true_border_can_be_left_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tolerance: int, is_thick: bool
) -> None:
    """Near in the section alone where sections are thick."""
    size = (40.0, 8.0, 8.0) if is_thick else (8.0, 8.0, 8.0)
    path = write_tissue(tmp_path / "t.h5", TISSUE, voxel_size_nm=size, proposal=PROPOSAL)
    scores, said = evaluate(
        capsys,
        path,
        *("--segmentation", f"{path}:proposal", *volume_options(path, "labels", "superpixels")),
        *("--border-tolerance", tolerance),
    )
    truth = TISSUE.labels.copy()
    for label in np.unique(truth):
        sampling = (1e9, 1, 1) if is_thick else (1, 1, 1)
        mask = TISSUE.labels == label
        distance = np.asarray(ndimage.distance_transform_edt(mask, sampling))
        truth[mask & (distance <= tolerance)] = 0
    assert 0 < truth.astype(bool).sum() < TISSUE.labels.astype(bool).sum()
    for name, value in expected_scores(PROPOSAL, truth).items():
        assert scores[name] == pytest.approx(value, rel=1e-9), name
    of_superpixels = expected_scores(TISSUE.superpixels, truth)
    assert scores["superpixel_vi"] == pytest.approx(of_superpixels["vi"], rel=1e-9)
    assert f"truth within {tolerance} voxels of a border dropped" in " ".join(said.out.split())


def test_segment_zero_is_one_segment_unless_ignored(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    words = ["--segmentation", f"{path}:proposal", *volume_options(path, "labels")]
    with_zero, _ = evaluate(capsys, path, *words)
    without, _ = evaluate(capsys, path, *words, "--ignore-segmentation-zero")
    truth = np.where(PROPOSAL == 0, 0, TISSUE.labels)
    for name, value in expected_scores(PROPOSAL, truth).items():
        assert without[name] == pytest.approx(value, rel=1e-9), name
    assert with_zero["n_segments"] == without["n_segments"] + 1


def png_size(file: Path) -> tuple[int, int]:
    """Read width and height from the head of a PNG file."""
    head = file.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


@pytest.mark.parametrize("with_image", [True, False])
def test_the_pictures_of_a_segmentation(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path, with_image: bool
) -> None:
    names = ("labels", "image") if with_image else ("labels",)
    folder = tmp_path / "deep" / "pictures"
    _, said = evaluate(
        capsys,
        path,
        *("--segmentation", f"{path}:proposal", *volume_options(path, *names)),
        *("--pictures", folder),
    )
    assert f"pictures in {folder}\n" in said.out
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        *("overlay.png", "splits_and_mergers.png", "vi_per_segment.png", "warping_errors.png"),
        *("worst_mergers.png", "worst_splits.png"),
    ]
    assert all(min(png_size(file)) > 300 for file in files)


def test_the_scores_of_a_boundary_map(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    words = volume_options(path, "boundaries", "labels")
    scores, said = evaluate(capsys, path, *words)
    assert set(scores) == BOUNDARY_KEYS
    membrane = membrane_mask(TISSUE.labels)
    values = TISSUE.boundaries.astype(np.float64)
    on, off = values[membrane], values[~membrane]
    auc = stats.mannwhitneyu(on, off).statistic / (len(on) * len(off))
    assert scores["auc"] == pytest.approx(auc, abs=1e-9)
    cuts = np.unique(TISSUE.boundaries)[:: len(np.unique(TISSUE.boundaries)) // 200]
    f = [2 * (on >= c).sum() / ((on >= c).sum() + (off >= c).sum() + len(on)) for c in cuts]
    assert max(f) <= scores["best_f"] < max(f) + 0.01
    interior = interior_mask(TISSUE.labels)
    warped = [warping_error(TISSUE.boundaries, interior, value) for value in THRESHOLDS]
    assert scores["warping_error"] == min(result.error for result in warped)
    assert scores["split_merge_error"] == min(result.split_merge_error for result in warped)
    assert scores["threshold"] in THRESHOLDS
    assert "(oracle threshold)" in " ".join(said.out.split())


def test_a_threshold_from_training_is_no_oracle(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    words = [*volume_options(path, "boundaries", "labels"), "--threshold"]
    at_best, _ = evaluate(capsys, path, *words[:-1])
    for threshold in (0.35, 0.75):
        scores, said = evaluate(capsys, path, *words, threshold)
        assert set(scores) == BOUNDARY_KEYS
        assert scores["threshold"] == threshold
        result = warping_error(TISSUE.boundaries, interior_mask(TISSUE.labels), threshold)
        assert scores["warping_error"] == result.error
        assert scores["v_rand_thinned"] != at_best["v_rand_thinned"]
        said_so = " ".join(said.out.split())
        assert f"(threshold {threshold:g})" in said_so
        # best_f and best_f_tolerant are over all thresholds in any case, and say so
        assert said_so.count("oracle threshold") == 2


def test_the_pictures_of_a_boundary_map(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    for names in (("boundaries", "labels"), ("boundaries", "labels", "image")):
        folder = tmp_path / str(len(names))
        evaluate(capsys, path, *volume_options(path, *names), "--pictures", folder)
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == ["precision_recall.png", "warping_errors.png"]
        assert all(min(png_size(file)) > 300 for file in files)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --segmentation or --boundaries or --affinities"),
        (["--segmentation", "FILE:proposal", "--boundaries", "FILE:boundaries"], "give either"),
        (["--segmentation", "FILE:proposal", "--threshold", "0.5"], "--threshold is for --bound"),
        (["--boundaries", "FILE:boundaries", "--border-tolerance", "1"], "--border-tolerance and"),
        (["--boundaries", "FILE:boundaries", "--superpixels", "FILE:labels"], "--superpixels, "),
        (["--boundaries", "FILE:boundaries", "--threshold", "1.5"], "--threshold must lie in"),
        (["--segmentation", "FILE:proposal", "--border-tolerance", "-1"], "--border-tolerance mu"),
        (["--segmentation", "FILE:proposal", "--border-tolerance", "15"], "--border-tolerance: w"),
        (["--segmentation", "FILE:proposal", "--pictures", "FILE"], "--pictures: "),
        (["--segmentation", "FILE:proposal", "--json", "/no/where.json"], "--json: there is no f"),
        (["--segmentation", "FILE:proposal", "--json", "."], "--json: . is a folder"),
    ],
)
def test_what_does_not_go_together_is_refused(
    capsys: pytest.CaptureFixture[str], path: Path, words: list[str], message: str
) -> None:
    before = {file.name for file in path.parent.iterdir()}
    filled = [word.replace("FILE", str(path)) for word in words]
    said = agglo(capsys, "evaluate", *volume_options(path, "labels"), *filled)
    assert said.status == 2
    assert said.err.startswith("agglo: ")
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert {file.name for file in path.parent.iterdir()} == before


def test_voxel_sizes_that_contradict_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_tissue(tmp_path / "tissue.h5", TISSUE)
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["voxel_size_nm"] = (40.0, 8.0, 8.0)
    for words in (["--segmentation", f"{path}:superpixels"], volume_options(path, "boundaries")):
        said = agglo(capsys, "evaluate", *words, *volume_options(path, "labels"))
        assert said.status == 2
        assert "--labels has voxels of (40.0, 8.0, 8.0) nm but --" in said.err
