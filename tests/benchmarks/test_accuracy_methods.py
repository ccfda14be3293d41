from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agglo.cluster import ray_session
from agglo.training.volume_set import VolumeSet
from agglo.volumes import write_volume
from analysis.contingency import contingency_table
from analysis.segmentation_scores import floor_scores, score_segmentation
from benchmarks.accuracy.committee import Committee
from benchmarks.accuracy.evidence import forest, mean_boundary
from benchmarks.accuracy.learned import Trained
from benchmarks.accuracy.methods import METHODS
from benchmarks.accuracy.peer_methods import Linkage, Partition
from benchmarks.accuracy.references import greedy_oracle, majority, nothing
from benchmarks.accuracy.scene import Scene, merged_table
from benchmarks.accuracy.signed_graphs import Setting
from benchmarks.accuracy.small_by_truth import SmallByTruth
from benchmarks.accuracy.trees import replayed
from benchmarks.accuracy.trial import Trial, best_setting, tree_numbers, tree_threshold
from envs.merge_network import mean_boundary_network
from envs.merge_tree import MergeTree, relabel
from envs.rollout import play_episode
from envs.scorers import MeanBoundary


def made_scene(folder: Path, name: str, seed: int) -> Scene:
    """Write and read neurons of 8 voxels along x, each of two superpixels along z."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((8, 12, 24))
    labels = (1 + y // 4 + 3 * (x // 8)).astype(np.uint64)
    superpixels = labels * 2 + z // 4
    boundaries = 60 + rng.integers(0, 40, labels.shape)
    for axis in (1, 2):
        borders = np.diff(labels.astype(int), axis=axis) != 0
        np.moveaxis(boundaries, axis, 0)[:-1][np.moveaxis(borders, axis, 0)] = 200
    parts = {
        "image": (255 - boundaries).astype(np.uint8),
        "boundaries": (boundaries / 255).astype(np.float32),
        "superpixels": superpixels.astype(np.uint64),
        "labels": labels,
    }
    texts = {part: f"{folder}/{name}_{part}.zarr" for part in parts}
    for part, array in parts.items():
        write_volume(texts[part], array, voxel_size_nm=(10.0, 10.0, 10.0))
    return Scene.read(VolumeSet(**texts, voxel_size_nm=(10.0, 10.0, 10.0)))


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    folder = tmp_path_factory.mktemp("scenes")
    scenes = [made_scene(folder, name, k) for k, name in enumerate(("first", "second", "test"))]
    return Trial(scenes[:2], scenes[2], 0, folder)


def test_a_scene_scores_clusters_as_the_volume_would(trial: Trial) -> None:
    scene = trial.test
    assert scene.graph.n_regions == 18
    clusters = scene.graph.ids // 4 + 1
    volume = relabel(scene.superpixels, scene.graph.ids, clusters)
    labels = np.repeat(scene.superpixels[:1] // 2, 8, axis=0)
    expected = score_segmentation(contingency_table(volume, labels))
    numbers = scene.numbers(clusters)
    assert numbers["vi_split"] == pytest.approx(expected.vi_split, abs=1e-12)
    assert numbers["vi_merge"] == pytest.approx(expected.vi_merge, abs=1e-12)
    assert numbers["vi"] > 0
    assert numbers["adapted_rand_error"] == pytest.approx(expected.adapted_rand_error, abs=1e-12)


def test_superpixel_zero_stays_a_segment() -> None:
    table = contingency_table(np.array([0, 5, 6, 6]), np.array([1, 1, 2, 2]))
    merged = merged_table(table, np.array([5, 6], np.uint64), np.array([5, 5], np.uint64))
    assert merged.segments.tolist() == [0, 5]
    assert merged.counts.tolist() == [1, 1, 2]


def test_references(trial: Trial) -> None:
    scene = trial.test
    assert nothing(trial)["vi"] == pytest.approx(1.0)
    assert majority(trial)["vi"] == pytest.approx(floor_scores(scene.table).vi) == 0
    greedy = greedy_oracle(trial)
    assert greedy["vi"] == pytest.approx(0.0, abs=1e-12)
    assert greedy["n_merges"] == 9


def test_a_replay_gains_what_the_episode_did(trial: Trial) -> None:
    scene = trial.test
    played = play_episode(scene.graph, MeanBoundary(0.0), truth=scene.truth, threshold=-np.inf)
    again = replayed((played.merges, played.heights), scene.truth, scene.graph.n_regions)
    np.testing.assert_allclose(again.gains_vi, played.gains_vi, atol=1e-12)
    np.testing.assert_allclose(again.gains_rand, played.gains_rand, atol=1e-12)
    np.testing.assert_allclose(again.vi, played.vi, atol=1e-12)


def test_mean_boundary_chooses_its_threshold_on_the_training_parts(trial: Trial) -> None:
    numbers = Linkage(mean_boundary)(trial)
    assert numbers["vi"] == pytest.approx(0.0, abs=1e-12)
    assert numbers["oracle_vi"] == pytest.approx(0.0, abs=1e-12)
    assert numbers["n_merges"] == 9
    scene = trial.test
    ours = play_episode(scene.graph, mean_boundary_network(0.0), threshold=-np.inf)
    chosen = tree_threshold(
        [
            (played.merges, played.heights)
            for played in (
                play_episode(one.graph, mean_boundary_network(0.0), threshold=-np.inf)
                for one in trial.train
            )
        ],
        trial.train,
    )
    assert numbers["threshold"] == pytest.approx(1 + chosen, abs=1e-5)
    assert len(ours.merges) == scene.graph.n_regions - 1


def test_a_bad_threshold_shows_beside_the_oracle(trial: Trial) -> None:
    scene = trial.test
    played = play_episode(scene.graph, MeanBoundary(0.0), threshold=-np.inf)
    whole = (played.merges, played.heights)
    numbers = tree_numbers(scene, whole, -np.inf, 2.0)
    assert numbers["n_segments"] == 1
    assert numbers["oracle_vi"] == pytest.approx(0.0, abs=1e-12)
    assert numbers["merges_per_s"] == pytest.approx(17 / 2)
    clusters = MergeTree(np.array(scene.graph.ids), *whole).cut(-np.inf)
    assert numbers["vi"] == pytest.approx(scene.numbers(clusters)["vi"])


def test_a_partition_chooses_the_setting_with_the_least_vi(trial: Trial) -> None:
    def partition(edges, boundary, areas, n_regions, setting: Setting) -> np.ndarray:
        clusters = np.arange(n_regions, dtype=np.uint64)
        if setting.bias == 0.5:  # regions lie in pairs
            clusters //= np.uint64(2)
        return clusters * np.uint64(setting.bias < 0.9)

    settings = tuple(Setting(bias, False) for bias in (0.1, 0.5, 0.95))
    numbers = Partition(mean_boundary, partition, settings)(trial)
    assert numbers["threshold"] == 0.5
    assert numbers["vi"] == pytest.approx(0.0, abs=1e-12)
    assert numbers["n_merges"] == 9
    first = best_setting([lambda _: np.arange(18, dtype=np.uint64)], [trial.test], settings)
    assert first == settings[0]


def test_a_forest_learns_to_part_what_it_has_not_seen(trial: Trial) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (extra baselines) is not installed")
    evidence = forest(trial)
    assert [len(part) for part in evidence.train] == [one.graph.n_edges for one in trial.train]
    is_boundary = trial.test.decisions[1][:, 0] < 0
    assert ((evidence.test() > 0.5) == is_boundary).all()
    assert trial.forest is trial.forest
    assert Linkage(forest)(trial)["vi"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, method in METHODS.items()
        if not isinstance(method.work, (Trained, SmallByTruth, Committee))
        and name not in ("floor", "superpixels")
    ],
)
def test_every_method_that_needs_no_ray_merges_what_belongs_together(
    trial: Trial, name: str
) -> None:
    method = METHODS[name]
    if method.missing:
        pytest.skip(method.missing)
    numbers = method.work(trial)
    assert numbers["oracle_vi" if "oracle_vi" in numbers else "vi"] == pytest.approx(0, abs=0.3)
    assert numbers["cpu_s"] is not None
    assert numbers["cpu_s"] > 0


@pytest.mark.slow
def test_a_policy_is_trained_once(trial: Trial, tmp_path: Path, monkeypatch) -> None:
    work = Trained("short", ("--rounds", "1", "--episodes", "1"))
    again = replace(trial, folder=tmp_path)
    with ray_session(n_cpus=2):
        first = work(again)
    assert first["vi"] is not None
    assert first["train_s"] is not None
    assert first["train_s"] > 0
    monkeypatch.setattr("benchmarks.accuracy.learned.agglo", None)
    assert work(again)["vi"] == first["vi"]
    joined = Committee("joined", (work, work))(again)
    assert joined["vi"] == pytest.approx(first["vi"], abs=1e-9)
    assert joined["train_s"] == pytest.approx(2 * first["train_s"])
    assert SmallByTruth(work, 0.0)(again)["vi"] == first["vi"]
    assert SmallByTruth(work, 1.0)(again)["vi"] == pytest.approx(0, abs=1e-9)
