from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.commands.train import line_of
from agglo.policy_file import load_policy
from agglo.training import train
from agglo.training.shard import cut_shards, split_shards
from agglo.training.threshold import best_threshold
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import load_instance
from analysis.input_error import InputError
from envs.feature_groups import GROUP_NAMES, group_of
from envs.features import FEATURE_NAMES, N_SHAPE_FEATURES
from envs.merge_network import mean_boundary_network
from envs.rollout import play_episode
from tests.agglo.small_volumes import (
    NAMES,
    SHAPE,
    agglo,
    make_tissue,
    quick_config,
    quick_options,
    volume_options,
    write_tissue,
)
from tests.agglo.training_runs import (
    assert_same_run,
    opened,
    records,
    train_on,
    without_ray,
    write_tissues,
)


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without Ray."""
    without_ray(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tissues(tmp_path_factory.mktemp("training"))


@pytest.mark.usefixtures("serial")
def test_a_run_folder_tells_what_was_done(folder: Path, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    config = quick_config(rounds=3, n_average=3)
    policy = train_on([folder / "1.h5"], tmp_path / "run", config, on_round=seen.append)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        *("checkpoints", "config.json", "lock", "metrics.jsonl", "policy.npz"),
    ]
    assert records(tmp_path / "run", without_time=False) == seen
    assert [record["round"] for record in seen] == [0, 1, 2, 3]
    decisions = [record["decisions"] for record in seen]
    assert decisions == sorted(set(decisions)), "every round adds to what was met before"
    assert all(record["train_start_vi"] == seen[0]["train_start_vi"] for record in seen)
    assert seen[-1]["train_vi"] < 0.3 * seen[-1]["train_start_vi"]
    stated = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert stated["train"] == json.loads(json.dumps(dataclasses.asdict(config)))
    assert stated["volumes"] == [[f"{folder}/1.h5:{name}" for name in NAMES] + [[8.0, 8.0, 8.0]]]
    loaded = load_policy(str(tmp_path / "run"))
    for one, other in zip(loaded.network, policy.network, strict=True):
        assert one.tobytes() == other.tobytes()
    assert loaded.network.w1.shape[0] == 3, "the mean of the last three networks"
    assert loaded.error == policy.error
    assert loaded.error is not None
    assert loaded.error.n_shards == 8 * 4, "four shards, each halved along three axes"
    assert loaded.threshold == 0.0
    assert loaded.voxel_size_nm == (8.0, 8.0, 8.0)
    assert loaded.provenance["threshold_from"] == "logit 0"
    assert loaded.provenance["config"]["rounds"] == 3


@pytest.mark.usefixtures("serial")
def test_the_scores_in_the_log_are_those_of_the_policy(folder: Path, tmp_path: Path) -> None:
    """Played anew, shard by shard, from the volumes on disk."""
    config = quick_config(validation_shards=1, rounds=1)
    paths = [folder / "1.h5", folder / "2.h5"]
    policy = train_on(paths, tmp_path / "run", config)
    volumes, shapes = opened(*paths)
    training, validation = split_shards(cut_shards(shapes, config.shard_vox), 1, config.seed)
    assert (len(training), len(validation)) == (7, 1)
    last = records(tmp_path / "run")[-1]

    def play(network: Any, shards: list, threshold: float) -> list:
        instances = [load_instance(volumes[shard.volume], shard) for shard in shards]
        return [
            play_episode(graph, network, truth=truth, threshold=threshold)
            for graph, truth, *_ in instances
        ]

    for name, shards in (("train", training), ("validation", validation)):
        vi = np.array([episode.vi for episode in play(policy.network, shards, 0.0)])
        assert last[f"{name}_start_vi"] == pytest.approx(vi[:, 0].mean(), rel=1e-12)
        assert last[f"{name}_vi"] == pytest.approx(vi[:, 1].mean(), rel=1e-12)
    threshold, vi = best_threshold(play(policy.network, validation, -np.inf))
    assert policy.threshold == threshold
    assert policy.provenance["threshold_from"] == "1 validation shards"
    played = [episode.vi[1] for episode in play(policy.network, validation, threshold)]
    assert np.mean(played) == pytest.approx(vi, rel=1e-9)
    start, _ = best_threshold(play(mean_boundary_network(0.0), training, -np.inf))
    assert policy.mean_boundary_threshold == -start
    baseline = policy.baseline().network
    played = np.mean([e.vi[1] for e in play(baseline, training, 0.0)])
    assert played < 0.8 * last["train_start_vi"]
    for other in np.linspace(0.1, 0.9, 17):
        by_other = [e.vi[1] for e in play(mean_boundary_network(other), training, 0.0)]
        assert played <= np.mean(by_other) + 1e-9


def looking_at(config: TrainConfig, groups: tuple[str, ...]) -> TrainConfig:
    learner = dataclasses.replace(config.learner, features=groups)
    return dataclasses.replace(config, learner=learner)


@pytest.mark.usefixtures("serial")
def test_a_policy_does_not_look_at_other_groups(folder: Path, tmp_path: Path) -> None:
    config = looking_at(quick_config(rounds=1), ("boundary",))
    network = train_on([folder / "1.h5"], tmp_path / "run", config).network
    for name, scale in zip(FEATURE_NAMES, network.scale.tolist(), strict=True):
        assert scale == 0 or group_of(name) == "boundary", name
    assert (network.scale != 0).sum() > 5


@pytest.mark.usefixtures("serial")
def test_every_setting_matters_that_should(folder: Path, tmp_path: Path) -> None:
    base = quick_config(rounds=1)
    changed = {
        "base": base,
        "seed": dataclasses.replace(base, seed=1),
        "episodes": dataclasses.replace(base, episodes=1),
        "strict": dataclasses.replace(base, strict_episodes=1),
        "noise": dataclasses.replace(base, noise=2.0),
        "copies": dataclasses.replace(base, degraded_copies=1),
        "scales": dataclasses.replace(base, scales=(1.0, 0.5)),
        "floor": dataclasses.replace(base, record_floor=-3.0),
        "average": dataclasses.replace(base, n_average=1),
        "shape": looking_at(base, GROUP_NAMES[:4]),
        "grey": looking_at(base, ("grey",)),
        "shards": dataclasses.replace(base, shard_vox=(16, 40, 40)),
        "epochs": dataclasses.replace(base, learner=dataclasses.replace(base.learner, epochs=5)),
    }
    bits = {}
    for name, config in changed.items():
        policy = train_on([folder / "1.h5"], tmp_path / name, config)
        bits[name] = b"".join(array.tobytes() for array in policy.network)
        assert policy.network.n_features == (N_SHAPE_FEATURES if name == "shape" else 41)
    assert len(set(bits.values())) == len(bits)
    again = train_on([folder / "1.h5"], tmp_path / "again", base)
    assert b"".join(array.tobytes() for array in again.network) == bits["base"]


class Stop(Exception):
    """What ends a run from outside."""


def stop_after(round_index: int) -> Callable[[dict[str, Any]], None]:
    def on_round(record: dict[str, Any]) -> None:
        if record["round"] == round_index:
            raise Stop

    return on_round


@pytest.mark.usefixtures("serial")
def test_an_interrupted_run_goes_on_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    config = quick_config(rounds=4, validation_shards=1)
    paths = [folder / "1.h5", folder / "2.h5"]
    train_on(paths, tmp_path / "whole", config)
    with pytest.raises(Stop):
        train_on(paths, tmp_path / "torn", config, on_round=stop_after(0))
    for last in (2, 3):
        with pytest.raises(Stop):
            train_on(paths, tmp_path / "torn", config, resume=True, on_round=stop_after(last))
        assert len(records(tmp_path / "torn")) == last + 1
    assert not (tmp_path / "torn" / "policy.npz").exists()
    seen: list[dict[str, Any]] = []
    train_on(paths, tmp_path / "torn", config, resume=True, on_round=seen.append)
    assert [record["round"] for record in seen] == [4]
    assert_same_run(tmp_path / "torn", tmp_path / "whole")
    # A run that is finished is finished again.
    (tmp_path / "torn" / "policy.npz").unlink()
    train_on(paths, tmp_path / "torn", config, resume=True)
    assert_same_run(tmp_path / "torn", tmp_path / "whole")


MEASURED = train._measured


def let_validation_be(monkeypatch: pytest.MonkeyPatch, *vis: float) -> None:
    """Say what VI the validation shards have, round by round."""
    left = iter(vis)

    def scripted(episodes: list, name: str) -> dict[str, float]:
        known = MEASURED(episodes, name)
        return {**known, "validation_vi": next(left)} if name == "validation" else known

    monkeypatch.setattr(train, "_measured", scripted)


def choosing(**changes: Any) -> TrainConfig:
    known = {"episodes": 1, "n_average": 2, "validation_shards": 2, "choose_round": True}
    return quick_config(**{**known, **changes})


@pytest.mark.usefixtures("serial")
def test_the_policy_is_that_of_the_round_that_validated_best(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a training of so many rounds would have ended with; of two equally good, the first.

    Patience ends the run, and ends it there too if it is torn in between.
    """
    paths = [folder / "1.h5"]
    expected = train_on(paths, tmp_path / "two", choosing(rounds=2, choose_round=False))
    config, vis = choosing(rounds=9, patience=2), (3.0, 2.0, 1.0, 1.5, 1.0, 0.5)
    let_validation_be(monkeypatch, *vis)
    policy = train_on(paths, tmp_path / "run", config)
    assert [record["chosen_round"] for record in records(tmp_path / "run")] == [0, 1, 2, 2, 2]
    for one, other in zip(policy.network, expected.network, strict=True):
        assert one.tobytes() == other.tobytes()
    assert policy.threshold == expected.threshold
    assert policy.error == expected.error
    assert (policy.provenance["round"], policy.provenance["validation_vi"]) == (2, 1.0)
    assert "round" not in expected.provenance
    let_validation_be(monkeypatch, *vis)
    for last in (1, 3, 4):
        with pytest.raises(Stop):
            train_on(paths, tmp_path / "torn", config, resume=last > 1, on_round=stop_after(last))
    train_on(paths, tmp_path / "torn", config, resume=True)
    assert_same_run(tmp_path / "torn", tmp_path / "run")


@pytest.mark.usefixtures("serial")
def test_choosing_changes_nothing_of_the_training(folder: Path, tmp_path: Path) -> None:
    """And what is chosen is the least of what was measured."""
    paths = [folder / "1.h5"]
    train_on(paths, tmp_path / "all", choosing(rounds=3, choose_round=False))
    policy = train_on(paths, tmp_path / "run", choosing(rounds=3))
    log = records(tmp_path / "run")
    vis = [record["validation_vi"] for record in log]
    assert [record.pop("chosen_round") for record in log] == [
        int(np.argmin(vis[: n + 1])) for n in range(4)
    ]
    assert log == records(tmp_path / "all")
    assert policy.provenance["validation_vi"] == min(vis)


def test_patience_ends_an_asynchronous_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_local: None
) -> None:
    let_validation_be(monkeypatch, 1.0, 2.0, 0.5)
    policy = train_on([folder / "1.h5"], tmp_path / "run", choosing(patience=1), staleness=1)
    assert len(records(tmp_path / "run")) == 2
    assert policy.provenance["round"] == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"validation_shards": 1},
            "--choose-round needs --validation-shards of at least 2, not 1",
        ),
        ({"choose_round": False, "patience": 3}, "--patience needs --choose-round"),
        ({"patience": 0}, "--patience must be at least 1, not 0"),
    ],
)
def test_a_round_is_chosen_by_several_shards(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choosing(**settings)


@pytest.mark.usefixtures("serial")
def test_a_round_cannot_be_chosen_without_truth(folder: Path, tmp_path: Path) -> None:
    """The two shards that are drawn have no labels."""
    tissue = make_tissue(1)
    config = choosing()
    _, validation = split_shards(cut_shards([SHAPE], config.shard_vox), 2, config.seed)
    labels = tissue.labels.copy()
    for shard in validation:
        labels[shard.box] = 0
    write_tissue(tmp_path / "blank.h5", tissue._replace(labels=labels))
    sentence = "--choose-round: none of the 2 validation shards has superpixels with labels"
    with pytest.raises(InputError, match=sentence):
        train_on([tmp_path / "blank.h5"], tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("serial")
def test_shards_outside_the_tissue_teach_nothing(folder: Path, tmp_path: Path) -> None:
    """One shard has no superpixels and one no labels; the others are those of a smaller volume."""
    tissue = make_tissue(1)
    superpixels, labels = tissue.superpixels.copy(), tissue.labels.copy()
    superpixels[:, :20, :20] = 0
    labels[:, 20:, :20] = 0
    masked = tissue._replace(superpixels=superpixels, labels=labels)
    write_tissue(tmp_path / "masked.h5", masked)
    write_tissue(tmp_path / "half.h5", masked.cut(slice(None), slice(None), slice(20, None)))
    config = quick_config(rounds=1)
    train_on([tmp_path / "masked.h5"], tmp_path / "masked", config)
    train_on([tmp_path / "half.h5"], tmp_path / "half", config)
    first, expected = (records(tmp_path / name)[0] for name in ("masked", "half"))
    assert first["decisions"] == expected["decisions"] > 50


def test_a_line_says_which_round_is_chosen_so_far() -> None:
    record = {"round": 3, "decisions": 7, "loss": 0.5, "train_start_vi": 2.0, "train_vi": 1.0}
    assert line_of(record | {"seconds": 0.25}) == (
        "round 3, 7 decisions, loss 0.5000, training VI 2.000 -> 1.000, 0.2 s"
    )
    chosen = line_of(record | {"seconds": 0.25, "chosen_round": 1})
    assert chosen.endswith("1.000, round 1 is the best so far, 0.2 s")


def test_the_command_trains_what_beats_its_superpixels(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, ray_local: None
) -> None:
    """From the command line, on two volumes, measured on a third that was not trained on."""
    run = tmp_path / "run"
    words = [
        word
        for name in NAMES
        for word in (f"--{name}", f"{folder}/1.h5:{name}", f"{folder}/2.h5:{name}")
    ]
    said = agglo(
        capsys, *("train", *words, "--out", run, *quick_options(), "--json", tmp_path / "t.json")
    )
    assert said.status == 0, said.err
    policy = load_policy(str(run))
    assert said.out == (
        f"policy in {run}: merges from 0.000 on (logit 0); "
        f"mean-boundary baseline up to {policy.mean_boundary_threshold:.3f}\n"
    )
    results = json.loads((tmp_path / "t.json").read_text())
    assert results["mean_boundary_threshold"] == policy.mean_boundary_threshold
    assert results["rounds"] == records(run, without_time=False)
    first = results["rounds"][0]
    assert (
        f"round 0, {first['decisions']} decisions, loss {first['loss']:.4f}, training VI "
        f"{first['train_start_vi']:.3f} -> {first['train_vi']:.3f}, {first['seconds']:.1f} s"
    ) in said.err.splitlines()
    assert sum(line.startswith("round ") for line in said.err.splitlines()) == 3

    again = [*("train", *words, "--out", run, *quick_options(), "--resume")]
    said = agglo(capsys, *again, "--json", tmp_path / "again.json")
    assert said.status == 0
    assert json.loads((tmp_path / "again.json").read_text()) == results

    held_out = folder / "3.h5"
    names = ("image", "boundaries", "superpixels")
    maps = volume_options(held_out, *names)
    out = tmp_path / "s.zarr"
    assert agglo(capsys, "segment", "--policy", run, *maps, "--out", out).status == 0
    truth = volume_options(held_out, "labels", "superpixels")
    words = ("evaluate", "--segmentation", out, *truth, "--json", tmp_path / "e.json")
    assert agglo(capsys, *words).status == 0
    scores = json.loads((tmp_path / "e.json").read_text())
    assert scores["superpixel_vi"] > 2
    gap = scores["superpixel_vi"] - scores["floor_vi"]
    assert scores["superpixel_vi"] - scores["vi"] > 0.7 * gap
