from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from agglo.doubt_file import COLUMNS
from agglo.policy_file import Policy, load_policy, save_policy
from agglo.segmentation import load_tree, save_tree, tree_path_of
from agglo.volumes import open_volume
from analysis.input_error import InputError
from envs import statistics as st
from envs.error_calibration import ErrorCalibration
from envs.expected_error import expected_error
from envs.merge_network import mean_boundary_network
from envs.merge_tree import MergeTree, relabel
from envs.region_graph import RegionGraph
from envs.rollout import play_episode
from tests.agglo.small_volumes import (
    Tissue,
    agglo,
    make_tissue,
    save_quick_policy,
    tree_of,
    volume_options,
    write_tissue,
)

MAPS = ("image", "boundaries", "superpixels")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Policy]:
    """A policy of tissue 1."""
    folder = tmp_path_factory.mktemp("policies") / "run"
    return folder, save_quick_policy(folder, make_tissue(1), threshold=0.25)


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    """Tissue 2, where some voxels are in no superpixel."""
    tissue = make_tissue(2)
    superpixels = tissue.superpixels.copy()
    superpixels[:3, 10:14] = 0
    return tissue._replace(superpixels=superpixels)


@pytest.fixture
def path(tmp_path: Path, tissue: Tissue) -> Path:
    return write_tissue(tmp_path / "tissue.h5", tissue)


def joined(tissue: Tissue, graph: RegionGraph, merges: npt.NDArray) -> npt.NDArray[np.uint64]:
    """Join regions merge by merge, voxel by voxel, naming each by its smallest superpixel."""
    segmentation = tissue.superpixels.copy()
    for u, v in merges:
        segmentation[segmentation == graph.ids[v]] = graph.ids[u]
    return segmentation


def test_a_segmentation_is_what_the_policy_merges(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], path: Path, tissue: Tissue
) -> None:
    folder, learned = policy
    out = path.with_name("segmentation.zarr")
    said = agglo(
        capsys,
        *("segment", "--policy", folder, *volume_options(path, *MAPS), "--out", out),
        *("--json", path.with_name("results.json")),
    )
    assert said.status == 0
    assert said.err == ""
    graph = tissue.instance().graph
    episode = play_episode(graph, learned.network, threshold=0.25)
    assert 3 < graph.n_regions - len(episode.merges) < 30
    segmentation = open_volume(str(out), argument="--segmentation")
    assert segmentation.dtype == np.uint64
    assert segmentation.voxel_size_nm == (8.0, 8.0, 8.0)
    assert segmentation.attributes["threshold"] == 0.25
    assert json.loads(segmentation.attributes["policy"]) == {"config": "quick"}
    np.testing.assert_array_equal(
        segmentation.read(), joined(tissue, graph, episode.merges[episode.heights >= 0.25])
    )
    results = json.loads(path.with_name("results.json").read_text())
    n_segments = len(np.unique(segmentation.read())) - 1
    assert results == {
        "n_superpixels": graph.n_regions,
        "n_segments": n_segments,
        "threshold": 0.25,
        "merge_tree": str(path.with_name("segmentation.merge_tree.npz")),
    }
    assert said.out == (
        f"{graph.n_regions} superpixels became {n_segments} segments in {out}; "
        f"merge tree in {results['merge_tree']}\n"
    )


def test_a_policy_that_knows_its_error_says_what_is_doubtful(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], path: Path, tissue: Tissue
) -> None:
    folder, learned = policy
    sure = replace(learned, error=ErrorCalibration(2.0, 0.5, 0.1, 8, 3.0))
    run = path.with_name("run")
    run.mkdir()
    save_policy(run, sure)
    assert load_policy(str(run)).error == sure.error
    out = path.with_name("segmentation.zarr")
    words = ("segment", *volume_options(path, *MAPS), "--out", out, "--overwrite")
    said = agglo(capsys, *words, "--policy", run, "--json", path.with_name("results.json"))
    assert said.status == 0
    results = json.loads(path.with_name("results.json").read_text())
    assert f"expected VI {results['expected_vi']:.2f} bits" in said.out
    tree = load_tree(Path(results["merge_tree"]), argument="--tree")
    graph = tissue.instance().graph
    expected = expected_error(tree, graph.regions[:, st.SIZE], 0.25).vi
    membrane = graph.regions[:, st.BOUNDARY].sum() / graph.regions[:, st.SIZE].sum() / 255
    assert results["expected_vi"] == pytest.approx(0.5 + 2 * expected + 3 * membrane)
    with Path(results["doubts"]).open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(tree.merges)
    losses = [float(row["loss_bits"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    for row in rows:
        is_merged = int(row["is_merged"])
        p_same, stakes = float(row["p_same"]), float(row["stakes_bits"])
        assert float(row["loss_bits"]) == pytest.approx(
            stakes * (1 - p_same if is_merged else p_same), rel=1e-3, abs=1e-6
        )
        names = {int(row["superpixel_a"]), int(row["superpixel_b"])}
        assert len(names) == 2
        assert names <= set(tree.ids.tolist())
        place = [float(row[f"{axis}_vox"]) for axis in "zyx"]
        assert all(0 <= x < n for x, n in zip(place, tissue.superpixels.shape, strict=True))
    # a policy that does not know its error leaves no table of another one
    assert agglo(capsys, *words, "--policy", folder).status == 0
    assert not Path(results["doubts"]).exists()


def test_the_tree_holds_every_threshold(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], path: Path, tissue: Tissue
) -> None:
    folder, learned = policy
    words = ["segment", "--policy", folder, *volume_options(path, *MAPS)]
    assert agglo(capsys, *words, "--out", path.with_name("a.zarr")).status == 0
    tree = load_tree(path.with_name("a.merge_tree.npz"), argument="--tree")
    graph = tissue.instance().graph
    whole = play_episode(graph, learned.network, threshold=-np.inf)
    np.testing.assert_array_equal(tree.ids, graph.ids)
    np.testing.assert_array_equal(tree.merges, whole.merges)
    np.testing.assert_array_equal(tree.heights, whole.heights)
    for name, threshold in (("b", "2.5"), ("c", "-0.5"), ("d", "1e9"), ("e", "-1e9")):
        out = path.with_name(f"{name}.zarr")
        assert agglo(capsys, *words, "--out", out, "--threshold", threshold).status == 0
        expected = relabel(tissue.superpixels, tree.ids, tree.cut(float(threshold)))
        np.testing.assert_array_equal(open_volume(str(out), argument="--out").read(), expected)
        again = load_tree(path.with_name(f"{name}.merge_tree.npz"), argument="--tree")
        np.testing.assert_array_equal(again.heights, tree.heights)
        if name == "d":
            np.testing.assert_array_equal(expected, tissue.superpixels)
        if name == "e":
            np.testing.assert_array_equal(expected != 0, tissue.superpixels != 0)
            assert len(np.unique(expected)) == 2


def test_the_baseline_is_mean_boundary_agglomeration(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], path: Path, tissue: Tissue
) -> None:
    folder, learned = policy
    words = ["segment", "--policy", folder / "policy.npz", *volume_options(path, *MAPS)]
    assert agglo(capsys, *words, "--out", path.with_name("policy.zarr")).status == 0
    out = path.with_name("baseline.zarr")
    assert agglo(capsys, *words, "--out", out, "--baseline").status == 0
    graph = tissue.instance().graph
    network = mean_boundary_network(learned.mean_boundary_threshold)
    expected = joined(tissue, graph, play_episode(graph, network).merges)
    baseline = open_volume(str(out), argument="--out")
    np.testing.assert_array_equal(baseline.read(), expected)
    assert "mean boundary" in baseline.attributes["policy"]
    by_policy = open_volume(str(path.with_name("policy.zarr")), argument="--out").read()
    assert (by_policy != expected).any()


def test_an_output_in_an_hdf5_file(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], path: Path, tissue: Tissue
) -> None:
    folder, _ = policy
    words = ["segment", "--policy", folder, *volume_options(path, *MAPS)]
    assert agglo(capsys, *words, "--out", path.with_name("x.zarr")).status == 0
    assert agglo(capsys, *words, "--out", f"{path}:out/segments").status == 0
    with h5py.File(path, "r") as file:
        written = file["out/segments"][()]  # pyright: ignore[reportIndexIssue]
        np.testing.assert_array_equal(file["labels"][()], tissue.labels)  # pyright: ignore[reportIndexIssue]
    np.testing.assert_array_equal(
        written, open_volume(str(path.with_name("x.zarr")), argument="--out").read()
    )
    tree = path.with_name("tissue.out.segments.merge_tree.npz")
    assert tree.read_bytes() == path.with_name("x.merge_tree.npz").read_bytes()


def test_outputs_are_replaced_only_when_told(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], path: Path
) -> None:
    folder, _ = policy
    out = path.with_name("s.zarr")
    words = ["segment", "--policy", folder, *volume_options(path, *MAPS), "--out", out]
    assert agglo(capsys, *words).status == 0
    before = tree_of(path.parent)
    again = agglo(capsys, *words, "--threshold", 3)
    assert again.status == 2
    assert "s.zarr is refused: it exists already; --overwrite replaces it" in again.err
    assert tree_of(path.parent) == before
    out.rename(path.with_name("kept"))
    again = agglo(capsys, *words, "--threshold", 3)
    assert again.status == 2
    tree = out.with_name("s.merge_tree.npz")
    assert f"--out: the merge tree {tree} exists; --overwrite replaces it." in again.err
    tree.with_suffix("").mkdir()  # one in shards, as of a larger volume
    tree.rename(tree.with_name("kept.npz"))
    again = agglo(capsys, *words)
    assert again.status == 2
    assert f"the merge tree {tree.with_suffix('')} exists; --overwrite replaces it." in again.err
    assert tree.with_suffix("").is_dir()
    tree.with_suffix("").rmdir()
    tree.with_name("kept.npz").rename(tree)
    path.with_name("kept").rename(out)
    assert tree_of(path.parent) == before
    assert agglo(capsys, *words, "--threshold", 3, "--overwrite").status == 0
    assert open_volume(str(out), argument="--out").attributes["threshold"] == 3.0


def test_a_volume_without_a_voxel_size_has_the_policy_s(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], tmp_path: Path, tissue: Tissue
) -> None:
    path = write_tissue(tmp_path / "tissue.h5", tissue, voxel_size_nm=None)
    words = ["segment", "--policy", policy[0], *volume_options(path, *MAPS), "--out"]
    assert agglo(capsys, *words, tmp_path / "a.zarr").status == 0
    assert open_volume(str(tmp_path / "a.zarr"), argument="").voxel_size_nm == (8.0, 8.0, 8.0)
    given = ("--voxel-size-nm", "30", "4", "4")
    assert agglo(capsys, *words, tmp_path / "b.zarr", *given).status == 0
    assert open_volume(str(tmp_path / "b.zarr"), argument="").voxel_size_nm == (30.0, 4.0, 4.0)


@pytest.mark.parametrize(
    ("out", "tree"),
    [
        ("a/s.zarr", "a/s.merge_tree.npz"),
        ("s", "s.merge_tree.npz"),
        ("s.0.5", "s.0.5.merge_tree.npz"),
        ("s.0.5.zarr", "s.0.5.merge_tree.npz"),
        ("a/x.h5:s", "a/x.s.merge_tree.npz"),
        ("a/x.y.hdf5:g/s", "a/x.y.g.s.merge_tree.npz"),
    ],
)
def test_where_the_tree_of_a_segmentation_lies(out: str, tree: str) -> None:
    assert tree_path_of(out) == Path(tree)


def test_what_is_no_tree_is_refused(tmp_path: Path) -> None:
    tree = MergeTree(np.array([3, 5, 9], np.uint64), np.array([[1, 2]], np.int32), np.array([0.5]))
    path = tmp_path / "x.merge_tree.npz"
    save_tree(path, tree)
    assert load_tree(path, argument="--tree").cut(0.5).tolist() == [3, 5, 5]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"--tree: .*nothing.npz holds no merge tree"):
        load_tree(tmp_path / "nothing.npz", argument="--tree")
    for n_kept in (0, 1, 30, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n_kept])
        with pytest.raises(InputError, match=r"--tree: .* holds no merge tree"):
            load_tree(path, argument="--tree")
    for place in range(0, len(whole), 2):
        data = bytearray(whole)
        data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            loaded = load_tree(path, argument="--tree")
        except InputError:
            continue
        np.testing.assert_array_equal(loaded.heights, tree.heights)
        np.testing.assert_array_equal(loaded.merges, tree.merges)
        np.testing.assert_array_equal(loaded.ids, tree.ids)
    np.savez(path, ids=tree.ids, merges=tree.merges, heights=np.array([0.5, 0.7]))
    with pytest.raises(InputError, match="1 merges with 2 heights"):
        load_tree(path, argument="--tree")
    with pytest.raises(InputError, match=r"--out: .*x.npz cannot be written"):
        save_tree(tmp_path / "nowhere" / "x.npz", tree)
