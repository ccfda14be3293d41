"""Several proposals in one call, skeletons, affinities, zeros of a segmentation, other crops."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from agglo.comparison import short_names
from agglo.skeleton_file import read_skeleton
from agglo.volumes import write_volume
from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation, segment_costs
from predict.boundary_targets import boundary_targets
from tests.agglo.small_volumes import agglo, make_tissue, tree_of, volume_options, write_tissue

TISSUE = make_tissue(1)
OTHER = make_tissue(3)


def proposals() -> dict[str, npt.NDArray]:
    """Return two segmentations of the tissue."""
    merged, split = TISSUE.labels.copy(), TISSUE.labels.copy()
    merged[merged == 3] = 4
    merged[:2] = 0
    split[(split == 2) & (np.arange(40) > 20)] = 900
    return {"merged": merged, "split": split}


PROPOSALS = proposals()
NODES = np.array([[z, 20, x] for z in (2, 8, 14) for x in range(0, 40, 4)])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    affinities = boundary_targets(
        TISSUE.labels.astype(np.int64), zero_is_membrane=False, in_section=False
    ).target[1:]
    noise = 0.3 * np.random.default_rng(0).random(affinities.shape)
    more: dict[str, npt.NDArray] = {
        "other": OTHER.labels,
        "mask": (TISSUE.boundaries > 0.5).astype(np.float32),
        "aff": (0.3 + 0.4 * affinities + noise).astype(np.float32),
        "merged": PROPOSALS["merged"],
        "split": PROPOSALS["split"],
    }
    return write_tissue(folder / "t.h5", TISSUE, voxel_size_nm=(8.0, 8.0, 8.0), **more)


def results_of(capsys: pytest.CaptureFixture[str], path: Path, *words: object) -> tuple[Any, str]:
    file = path.with_name("results.json")
    file.unlink(missing_ok=True)
    said = agglo(capsys, "evaluate", *words, "--json", file)
    assert (said.status, said.err) == (0, "")
    return json.loads(file.read_text()), said.out


def vi(proposal: npt.NDArray, truth: npt.NDArray) -> float:
    return score_segmentation(contingency_table(proposal, truth)).vi


def test_several_against_one_truth(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    texts = [f"{path}:merged", f"{path}:split"]
    results, out = results_of(
        capsys,
        path,
        *("--segmentation", *texts, *volume_options(path, "labels", "image", "superpixels")),
        *("--pictures", tmp_path / "pictures"),
    )
    assert list(results) == texts
    for text, proposal in zip(texts, PROPOSALS.values(), strict=True):
        assert results[text]["vi"] == vi(proposal, TISSUE.labels) > 0
        assert {"floor_vi", "warping_error", "worst_mergers"} <= set(results[text])
        alone, _ = results_of(
            capsys, path, "--segmentation", text, *volume_options(path, "labels", "superpixels")
        )
        assert alone == results[text]
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["comparison.png"]
    assert out.count("t.h5:merged") == out.count("t.h5:split") == 1
    row = next(line for line in out.splitlines() if line.startswith(" vi "))
    assert [f"{results[text]['vi']:.4g}" for text in texts] == row.split()[1:3]


def test_as_many_truths_belong_together(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    texts = [f"{path}:merged", f"{path}:superpixels"]
    results, _ = results_of(
        capsys, path, "--segmentation", *texts, "--labels", f"{path}:labels", f"{path}:other"
    )
    assert results[texts[0]]["vi"] == vi(PROPOSALS["merged"], TISSUE.labels)
    assert results[texts[1]]["vi"] == vi(TISSUE.superpixels, OTHER.labels)


def test_maps_are_compared_with_a_threshold_each(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    texts = [f"{path}:boundaries", f"{path}:mask"]
    results, out = results_of(
        capsys,
        path,
        *("--boundaries", *texts, *volume_options(path, "labels"), "--threshold", 0.4, 0.5),
        *("--pictures", tmp_path / "pictures"),
    )
    assert [results[text]["threshold"] for text in texts] == [0.4, 0.5]
    assert "mean of sections (threshold 0.4 / threshold 0.5)" in " ".join(out.split())
    alone, _ = results_of(
        capsys,
        path,
        *("--boundaries", texts[1], *volume_options(path, "labels"), "--threshold", 0.5),
    )
    assert alone == results[texts[1]]
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["comparison.png"]
    curve = results[texts[0]]["precision_recall"]
    assert [point["threshold"] for point in curve] == [round(0.1 * i, 1) for i in range(1, 11)]
    assert all(a["recall"] >= b["recall"] for a, b in pairwise(curve))


def test_affinities_are_scored_by_channel(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    results, out = results_of(
        capsys, path, "--affinities", f"{path}:aff", *volume_options(path, "labels")
    )
    for axis in "zyx":
        assert results[f"auc_{axis}"] == results[f"average_precision_{axis}"] == 1.0
    assert 0.99 < results["auc"] < 1  # membrane counts the corner without labels, edges do not
    assert "cuts between neighbours along y" in " ".join(out.split())


@pytest.mark.parametrize("zeros", ["one-segment", "singletons", "ignore"])
def test_zeros_of_a_segmentation(
    capsys: pytest.CaptureFixture[str], path: Path, zeros: str
) -> None:
    results, out = results_of(
        capsys,
        path,
        *("--segmentation", f"{path}:merged", *volume_options(path, "labels"), "--warping", "none"),
        *("--segmentation-zeros", zeros),
    )
    proposal, truth = PROPOSALS["merged"].copy(), TISSUE.labels.copy()
    if zeros == "ignore":
        truth[proposal == 0] = 0
    if zeros == "singletons":
        proposal[proposal == 0] = 10_000 + np.arange((proposal == 0).sum())
    assert results["vi"] == pytest.approx(vi(proposal, truth), rel=1e-12)
    assert "warping_error" not in results
    told = {"one-segment": "", "singletons": "a segment by itself", "ignore": "0 dropped"}
    assert told[zeros] in " ".join(out.split())


def test_the_worst_are_listed(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    words = [
        "--segmentation",
        f"{path}:split",
        *volume_options(path, "labels"),
        "--warping",
        "none",
    ]
    results, _ = results_of(capsys, path, *words, "--worst", 2)
    costs = segment_costs(contingency_table(PROPOSALS["split"], TISSUE.labels))
    place = int(costs.split_bits.argmax())
    assert results["worst_splits"] == [
        {"label": 2, "bits": pytest.approx(costs.split_bits[place]), "segments": 2}
    ]
    assert results["worst_mergers"] == []
    many, _ = results_of(
        capsys,
        path,
        *("--segmentation", f"{path}:superpixels", *volume_options(path, "labels")),
        *("--warping", "none", "--worst", 2),
    )
    assert len(many["worst_splits"]) == 2
    assert many["worst_splits"][0]["bits"] >= many["worst_splits"][1]["bits"] > 0


def write_skeleton(file: Path, nodes_nm: npt.NDArray) -> Path:
    """Write a chain of nodes, z, y, x, as SWC."""
    lines = [
        f"{i} 0 {x} {y} {z} 1.0 {i - 1 or -1}" for i, (z, y, x) in enumerate(nodes_nm.tolist(), 1)
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_skeletons_add_the_expected_run_length(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    """Chains inside one label each are whole in the truth, and cut where a proposal cuts them."""
    files, inside = [], []
    for label in (2, 5):
        voxels = np.argwhere(TISSUE.labels == label)
        chain = voxels[np.linspace(0, len(voxels) - 1, 9).astype(int)]
        inside.append(chain)
        files.append(write_skeleton(tmp_path / f"{label}.swc", 8.0 * chain))
    words = [*volume_options(path, "labels"), "--warping", "none", "--skeletons", *files]
    results, out = results_of(capsys, path, "--segmentation", f"{path}:labels", *words)
    assert results["vi"] == 0
    assert results["expected_run_length_nm"] == pytest.approx(results["largest_run_length_nm"])
    assert [run["name"] for run in results["skeletons"]] == ["2", "5"]
    assert "tolerance 0 nm of path" in " ".join(out.split())
    assert "along skeletons" in out
    results, _ = results_of(capsys, path, "--segmentation", f"{path}:split", *words)
    first, second = results["skeletons"]
    own = PROPOSALS["split"][tuple(inside[0].T)]
    assert set(own) == {2, 900}
    steps = 8.0 * np.linalg.norm(np.diff(inside[0], axis=0), axis=1)
    same = own[1:] == own[:-1]
    runs = [steps[same & (own[1:] == segment)].sum() for segment in (2, 900)]
    assert first["expected_run_length_nm"] == pytest.approx(sum(r**2 for r in runs) / steps.sum())
    assert second["split_nm"] == second["merged_nm"] == 0


def test_skeletons_without_labels_in_a_cropped_volume(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    """Coordinates stay those of the whole array, in any unit; nodes outside are left out."""
    chain = write_skeleton(tmp_path / "c.swc", NODES.astype(float))
    words = ("--skeletons", chain, "--skeleton-unit-nm", 8)
    results, out = results_of(
        capsys, path, "--segmentation", f"{path}:superpixels[6:16,:,8:]", *words
    )
    kept = (NODES[:, 0] >= 6) & (NODES[:, 2] >= 8)
    assert "12 nodes outside" not in out
    assert f"{(~kept).sum()} nodes outside the volume left out" in " ".join(out.split())
    own = TISSUE.superpixels[tuple(NODES.T)]
    lengths = 8.0 * np.linalg.norm(np.diff(NODES, axis=0), axis=1)
    both = kept[1:] & kept[:-1]
    assert results["skeletons"][0]["length_nm"] == pytest.approx(lengths[both].sum())
    assert results["skeletons"][0]["n_splits"] == (both & (own[1:] != own[:-1])).sum()
    assert "vi" not in results
    np.savez(tmp_path / "d.npz", nodes=NODES, edges=np.array([[0, 1], [1, 2]]))
    more, _ = results_of(
        capsys,
        path,
        *("--segmentation", f"{path}:superpixels", "--skeleton-unit-nm", 8, "--skeletons"),
        *(chain, tmp_path / "d.npz", "--merge-tolerance-nm", 1e6),
    )
    assert more["n_skeletons"] == 2
    assert more["n_merged_segments"] == 0
    assert more["merge_tolerance_nm"] == 1e6


NEURON = Path(__file__).parents[2].parent / "shared/data/hemibrain_da1_neurons/754534424.swc"


def test_a_real_neuron_in_a_painted_piece_of_space(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Paint a piece of a neuron, cut in two by a plane, and walk along it."""
    if not NEURON.exists():
        pytest.skip(f"no {NEURON}")
    neuron = read_skeleton(NEURON, argument="--skeletons", unit_nm=8.0)
    origin = neuron.nodes_nm[700] - 1600.0
    steps = np.rint((neuron.nodes_nm - origin) / 32.0).astype(int)
    is_inside = ((steps >= 0) & (steps < 100)).all(axis=1)
    labels = np.zeros((100, 100, 100), np.uint8)
    labels[tuple(steps[is_inside].T)] = 1
    labels[:, :, 50:] *= 2
    write_volume(f"{tmp_path}/s.zarr", labels, voxel_size_nm=(32.0, 32.0, 32.0))
    results, _ = results_of(
        capsys,
        tmp_path / "any",
        *("--segmentation", f"{tmp_path}/s.zarr", "--skeletons", NEURON),
        *("--skeleton-unit-nm", 8, "--skeleton-origin-nm", *origin),
    )
    piece = neuron.inside(is_inside)
    assert piece.length_nm > 3000
    ends = (steps[is_inside][piece.edges, 2] >= 50).T
    lengths = piece.edge_lengths_nm
    halves = [lengths[(ends == side).all(axis=0)].sum() for side in (False, True)]
    assert min(halves) > 500
    (run,) = results["skeletons"]
    assert run["omitted_nm"] == 0
    assert run["n_splits"] == (ends[0] != ends[1]).sum() > 0
    expected = sum(half**2 for half in halves) / piece.length_nm
    assert results["expected_run_length_nm"] == pytest.approx(expected, rel=1e-9)


SEGMENTATION = ("--segmentation", "FILE:split", "--labels", "FILE:labels")
MAP = ("--boundaries", "FILE:boundaries", "--labels", "FILE:labels")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--segmentation", "FILE:split"), "give --labels, what the proposal is measured against"),
        (
            ("--boundaries", "FILE:boundaries", "--skeletons", "a.swc"),
            "as are --segmentation-zeros",
        ),
        ((*SEGMENTATION, "FILE:other"), "--labels must be given once, or once for each of the 1"),
        ((*MAP, "--threshold", "0.1", "0.2"), "--threshold must be given once, or once for each"),
        (
            ("--segmentation", "FILE:split", "FILE:split", "--labels", "FILE:labels"),
            "--segmentation names a volume twice",
        ),
        (
            ("--segmentation", "FILE:split[0:8]", "--labels", "FILE:labels[8:16]"),
            "different parts of two arrays of the same shape (16, 40, 40)",
        ),
        (
            ("--boundaries", "FILE:boundaries[:,0:20]", "--labels", "FILE:labels[:,20:40]"),
            "different parts of two arrays of the same shape (16, 40, 40)",
        ),
        (
            ("--segmentation", "FILE:split[0:8]", "--labels", "FILE:labels"),
            "has shape (16, 40, 40)",
        ),
        (("--boundaries", "FILE:mask", "--labels", "FILE:labels"), "holds only the values 0 and 1"),
        (
            ("--affinities", "FILE:boundaries", "--labels", "FILE:labels"),
            "which is that of a bound",
        ),
        ((*MAP, "--localisation-tolerance", "-1"), "--localisation-tolerance must not be negative"),
        ((*SEGMENTATION, "--worst", "-1"), "--worst must not be negative"),
        (
            (*SEGMENTATION, "--ignore-segmentation-zero", "--segmentation-zeros", "singletons"),
            "--ignore-segmentation-zero contradicts --segmentation-zeros singletons",
        ),
        ((*SEGMENTATION, "--skeletons", "no.swc"), "--skeletons: no.swc cannot be read"),
        ((*SEGMENTATION, "--skeletons", "DIR/far.swc"), "no skeleton has an edge inside"),
        ((*SEGMENTATION, "--skeletons", "DIR/far.swc", "DIR/far.swc"), "must have different names"),
        (
            (*SEGMENTATION, "--skeletons", "DIR/far.swc", "--merge-tolerance-nm", "-1"),
            "--merge-tolerance-nm must not be negative",
        ),
        (
            (*SEGMENTATION, "--skeletons", "DIR/far.swc", "--skeleton-unit-nm", "0"),
            "--skeletons: the unit must be a positive number",
        ),
        (
            ("--segmentation", "FILE:split", "--superpixels", "FILE:split", "--skeletons", "a.swc"),
            "--superpixels are measured against --labels",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path, words: tuple[str], message: str
) -> None:
    write_skeleton(tmp_path / "far.swc", 1e6 + NODES)
    before = tree_of(path.parent)
    filled = [word.replace("FILE", str(path)).replace("DIR", str(tmp_path)) for word in words]
    said = agglo(capsys, "evaluate", *filled)
    assert said.status == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert tree_of(path.parent) == before


def test_skeletons_need_a_voxel_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", TISSUE.labels)
    file = write_skeleton(tmp_path / "c.swc", NODES)
    words = ("evaluate", "--segmentation", tmp_path / "s.npy", "--skeletons", file)
    said = agglo(capsys, *words)
    assert said.status == 2
    assert "is not known, so say --voxel-size-nm" in said.err
    assert agglo(capsys, *words, "--voxel-size-nm", 1, 1, 1).status == 0


def test_names_lose_the_folders_they_share():
    assert short_names(["/a/b/c.zarr"]) == ["/a/b/c.zarr"]
    assert short_names(["/a/b/c.zarr", "/a/d/c.zarr"]) == ["b/c.zarr", "d/c.zarr"]
    assert short_names(["/a/t.h5:one/x", "/a/t.h5:one/y"]) == ["x", "y"]
    assert short_names(["c.zarr", "a/c.zarr"]) == ["c.zarr", "a/c.zarr"]
