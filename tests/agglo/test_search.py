from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agglo.policy_file import load_policy
from agglo.search import validation
from agglo.search.grid import Grid
from agglo.search.search import Listeners, SearchConfig, search_policies
from agglo.training.shard import Shard, cut_shards, divide_shards
from agglo.training.volume_set import load_instance
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.segmentation_scores import score_segmentation
from envs.merge_network import mean_boundary_network
from envs.merge_tree import MergeTree, relabel
from envs.rollout import play_episode
from tests.agglo.small_volumes import NAMES, agglo, make_tissue, tree_of, volume_options
from tests.agglo.training_runs import (
    assert_same_run,
    opened,
    records,
    train_on,
    without_ray,
    write_tissues,
)

SHARD = (16, 20, 20)
GRID = Grid(
    learners=("aggregation", "flat"), rounds=(1, 2), hidden_1=(8,), hidden_2=(4,), batch=(64,)
)
SEARCH = SearchConfig(GRID, seeds=(0, 3), shard_vox=SHARD)


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train and score without Ray."""
    without_ray(monkeypatch)
    monkeypatch.setattr(validation, "ray", SimpleNamespace(put=lambda value: value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tissues(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def searched(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search on two volumes, without Ray."""
    out = tmp_path_factory.mktemp("searched") / "search"
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        patch.setattr(validation, "ray", SimpleNamespace(put=lambda value: value))
        search_on(folder, out)
    return out


def search_on(folder: Path, out: Path, search: SearchConfig = SEARCH, **how: Any) -> Any:
    volumes, shapes = opened(folder / "1.h5", folder / "2.h5")
    return search_policies(volumes, shapes, search, out, n_actors=1, **how)


def without_time(results: Any) -> Any:
    """Return JSON without the seconds that anything took."""
    if isinstance(results, dict):
        return {name: without_time(v) for name, v in results.items() if name != "seconds"}
    return [without_time(v) for v in results] if isinstance(results, list) else results


def results_in(out: Path) -> Any:
    return json.loads((out / "search.json").read_text())


def assert_same_search(ours: Path, expected: Path) -> None:
    assert without_time(results_in(ours)) == without_time(results_in(expected))
    assert records(ours) == records(expected)
    assert sorted(tree_of(ours)) == sorted(tree_of(expected))
    for policy in expected.rglob("policy.npz"):
        assert_same_run(ours / policy.parent.relative_to(expected), policy.parent)


def test_a_search_folder_tells_what_was_tried(searched: Path) -> None:
    assert sorted(path.name for path in searched.iterdir()) == [
        *("best_seed0", "best_seed3", "checkpoints", "config.json", "lock", "metrics.jsonl"),
        *("search.json", "search.png", "trials"),
    ]
    names = ["aggregation, rounds 1", "aggregation, rounds 2", "flat"]
    trials = records(searched)
    expected = [(i, name, seed) for i, name in enumerate(names) for seed in (0, 3)]
    assert [(t["configuration"], t["name"], t["seed"]) for t in trials] == expected
    assert (searched / "search.png").read_bytes().startswith(b"\x89PNG")
    assert not list((searched / "trials").rglob("checkpoints"))
    found = results_in(searched)
    ranked = found["configurations"]
    assert sorted(one["name"] for one in ranked) == names
    means = [one["vi"]["mean"] for one in ranked]
    assert means == sorted(means)
    assert found["best"] == ranked[0]["name"]
    for one in ranked:
        own = [trial for trial in trials if trial["name"] == one["name"]]
        for score in ("vi", "oracle_vi", "adapted_rand_error"):
            values = [trial[score] for trial in own]
            assert one[score]["mean"] == pytest.approx(np.mean(values))
            assert one[score]["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert one["config"]["rounds"] == (2 if "rounds 2" in one["name"] else 1) or (
            one["name"] == "flat"
        )


def test_no_trial_sees_a_validation_shard(searched: Path, folder: Path) -> None:
    _, shapes = opened(folder / "1.h5", folder / "2.h5")
    training, kept = divide_shards(cut_shards(shapes, SHARD), 0.3, 0)
    assert {shard.volume for shard in kept} == {0, 1}
    assert not set(training) & set(kept)

    def listed(shards: list[Shard]) -> Any:
        return json.loads(json.dumps(shards))

    found = results_in(searched)
    assert found["training_shards"] == listed(training)
    assert found["validation_shards"] == listed(kept)
    trials = list((searched / "trials").iterdir())
    assert len(trials) == 6
    for trial in trials:
        stated = json.loads((trial / "config.json").read_text())["config"]
        assert stated["shards"] == listed(training)
        assert stated["train"]["validation_shards"] == 0


def test_the_scores_are_those_of_the_trials_policies(searched: Path, folder: Path) -> None:
    """Segmented anew, voxel by voxel, and at every threshold there is."""
    volumes, shapes = opened(folder / "1.h5", folder / "2.h5")
    _, kept = divide_shards(cut_shards(shapes, SHARD), 0.3, 0)
    tissues = [make_tissue(1), make_tissue(2, (12, 36, 44), n_superpixels=80)]
    first = records(searched)[1]
    policy = load_policy(str(searched / "trials" / "000_seed3"))
    assert first["threshold"] == policy.threshold
    instances = [load_instance(volumes[shard.volume], shard) for shard in kept]
    whole = [play_episode(g, policy.network, truth=t, threshold=-np.inf) for g, t, *_ in instances]
    trees = [MergeTree.of_episode(g.ids, e) for (g, *_), e in zip(instances, whole, strict=True)]

    def scores_at(threshold: float) -> list[Any]:
        scores = []
        for shard, tree in zip(kept, trees, strict=True):
            tissue = tissues[shard.volume].cut(*shard.box)
            segments = relabel(tissue.superpixels, tree.ids, tree.cut(threshold))
            scores.append(score_segmentation(contingency_table(segments, tissue.labels)))
        return scores

    own = scores_at(policy.threshold)
    assert first["vi"] == pytest.approx(np.mean([score.vi for score in own]), abs=1e-9)
    arand = np.mean([score.adapted_rand_error for score in own])
    assert first["adapted_rand_error"] == pytest.approx(arand, abs=1e-12)
    heights = np.unique(np.concatenate([tree.heights for tree in trees]))
    vis = [np.mean([score.vi for score in scores_at(cut)]) for cut in [*heights, np.inf]]
    assert first["oracle_vi"] == pytest.approx(min(vis), abs=1e-9)
    at_oracle = np.mean([score.vi for score in scores_at(first["oracle_threshold"])])
    assert at_oracle == pytest.approx(min(vis), abs=1e-9)
    references = results_in(searched)["references"]
    plain = mean_boundary_network(policy.mean_boundary_threshold)
    played = [play_episode(g, plain, truth=t) for g, t, *_ in instances]
    assert references == pytest.approx(
        {
            "superpixels": np.mean([episode.vi[0] for episode in played]),
            "mean boundary": np.mean([episode.vi[1] for episode in played]),
        }
    )
    assert first["vi"] < 0.5 * references["superpixels"]


@pytest.mark.usefixtures("serial")
def test_the_best_is_trained_as_the_command_would(
    searched: Path, folder: Path, tmp_path: Path
) -> None:
    """On all shards, byte for byte."""
    best = results_in(searched)["configurations"][0]["config"]
    (candidate,) = [c for c in SEARCH.candidates() if c.name == results_in(searched)["best"]]
    assert json.loads(json.dumps(dataclasses.asdict(candidate.config))) == {**best, "seed": 0}
    for seed in SEARCH.seeds:
        run = tmp_path / f"run{seed}"
        train_on([folder / "1.h5", folder / "2.h5"], run, candidate.with_seed(seed))
        assert_same_run(searched / f"best_seed{seed}", run)


class Stop(Exception):
    """What ends a search from outside."""


@pytest.mark.usefixtures("serial")
def test_an_interrupted_search_repeats_nothing(
    searched: Path, folder: Path, tmp_path: Path
) -> None:
    """Stopped within a trial, between trials, and within the training of the best."""
    out = tmp_path / "torn"
    rounds: list[int] = []
    trials: list[int] = []

    def until(n_rounds: int) -> Listeners:
        def on_round(record: dict[str, Any]) -> None:
            rounds.append(record["round"])
            if len(rounds) == n_rounds:
                raise Stop

        return Listeners(on_round, lambda record: trials.append(record["configuration"]))

    # Two trials of two rounds each, two of three, two of one: the eighth ends within a trial.
    with pytest.raises(Stop):
        search_on(folder, out, listeners=until(8))
    assert trials == [0, 0, 1]
    assert not (out / "search.json").exists()
    with pytest.raises(Stop):
        search_on(folder, out, resume=True, listeners=until(11))
    assert trials == [0, 0, 1, 0, 0, 1, 1]
    with pytest.raises(Stop):
        search_on(folder, out, resume=True, listeners=until(13))
    assert (out / "search.json").exists()
    assert not (out / "best_seed3").exists()
    search_on(folder, out, resume=True, listeners=until(-1))
    n_best = 2 * len(records(searched / "best_seed0"))
    assert len(rounds) == 2 * 2 + 2 * 3 + 2 + n_best, "no round was trained twice"
    assert_same_search(out, searched)
    n_rounds = len(rounds)
    search_on(folder, out, resume=True, listeners=until(-1))
    assert len(rounds) == n_rounds
    assert_same_search(out, searched)


@pytest.mark.usefixtures("serial")
def test_another_search_is_refused_and_nothing_changes(searched: Path, folder: Path) -> None:
    before = tree_of(searched)
    other = dataclasses.replace(SEARCH, seeds=(0, 4))
    with pytest.raises(InputError, match=r"is of another configuration, search\.seeds was \[0, 3"):
        search_on(folder, searched, other, resume=True)
    with pytest.raises(InputError, match=r"exists; --resume goes on, --overwrite starts anew"):
        search_on(folder, searched)
    assert tree_of(searched) == before


@pytest.mark.usefixtures("serial")
def test_a_search_of_a_sample_tries_the_sample(folder: Path, tmp_path: Path) -> None:
    search = SearchConfig(
        dataclasses.replace(GRID, rounds=(1,), batch=(32, 64, 128)),
        seeds=(1,),
        samples=2,
        seed=5,
        shard_vox=SHARD,
    )
    ranking = search_on(folder, tmp_path / "search", search)
    assert {one.candidate for one in ranking.ranked} == set(search.candidates())
    assert len(ranking.ranked) == 2
    assert ranking.best.sd("vi") is None
    assert next(row[1] for row in ranking.rows) == f"{ranking.best.mean('vi'):.3f}"


@pytest.mark.usefixtures("serial")
def test_a_round_is_chosen_on_shards_of_the_training(folder: Path, tmp_path: Path) -> None:
    """Which are none of those that the search keeps out."""
    grid = dataclasses.replace(
        GRID,
        learners=("aggregation",),
        rounds=(2,),
        validation_shards=(2,),
        choose_round=(False, True),
    )
    search = SearchConfig(grid, seeds=(1,), shard_vox=SHARD)
    search_on(folder, tmp_path / "search", search)
    plain, chosen = records(tmp_path / "search")
    assert [plain["name"], chosen["name"]] == [
        f"aggregation, choose round {is_chosen}" for is_chosen in (False, True)
    ]
    run = tmp_path / "search" / "trials" / "001_seed1"
    policy, log = load_policy(str(run)), records(run)
    vis = [record["validation_vi"] for record in log]
    assert policy.provenance["round"] == int(np.argmin(vis))
    assert chosen["train_vi"] == log[policy.provenance["round"]]["train_vi"]
    assert policy.provenance["threshold_from"] == "2 validation shards"
    before = tree_of(tmp_path)
    grid = dataclasses.replace(grid, validation_shards=(9,))
    with pytest.raises(InputError, match="--validation-shards must leave a shard to train on: 9 o"):
        search_on(folder, tmp_path / "other", dataclasses.replace(search, grid=grid))
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": ()}, r"--seeds must be different numbers from 0 on, not \(\)"),
        ({"seeds": (1, 1)}, "--seeds must be different"),
        ({"seeds": (0, -1)}, "--seeds must be different"),
        ({"validation_share": 1.0}, "--validation-share must lie between 0 and 1, not 1.0"),
        ({"seed": -1}, "--seed must not be negative, but is -1"),
    ],
)
def test_settings_are_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(SEARCH, **changes)


def test_the_command_searches_on_two_actors_to_the_same_bits(
    searched: Path,
    folder: Path,
    tmp_path: Path,
    ray_local: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And `agglo segment` takes what it trained."""
    out = tmp_path / "search"
    words = [
        word
        for name in NAMES
        for word in (f"--{name}", f"{folder}/1.h5:{name}", f"{folder}/2.h5:{name}")
    ]
    options = (
        "--learners aggregation flat --rounds 1 2 --hidden-1 8 --hidden-2 4 --batch 64 "
        "--seeds 0 3 --shard-vox 16 20 20"
    ).split()
    command = ("search", *words, *options, "--actors", 2, "--out", out)
    said = agglo(capsys, *command, "--json", tmp_path / "s.json")
    assert said.status == 0, said.err
    assert_same_search(out, searched)
    assert json.loads((tmp_path / "s.json").read_text()) == results_in(out)
    best = results_in(out)["configurations"][0]
    assert f"best: {best['name']}; trained on all shards in {out}/best_seed0 " in said.out
    row = next(line for line in said.out.splitlines() if line.strip().startswith(best["name"]))
    assert f"{best['vi']['mean']:.3f} ± {best['vi']['sd']:.3f}" in row
    assert sum(line.startswith("trial ") for line in said.err.splitlines()) == 6

    maps = volume_options(folder / "3.h5", "image", "boundaries", "superpixels")
    said = agglo(
        capsys, "segment", "--policy", out / "best_seed3", *maps, "--out", tmp_path / "s.zarr"
    )
    assert said.status == 0, said.err

    said = agglo(capsys, *command, "--resume", "--noise", 0.1)
    assert said.status == 2
    assert "search.grid.noise was [] and is now [0.1]" in said.err
