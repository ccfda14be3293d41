from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.policy_file import load_policy
from agglo.pool import ActorPool
from agglo.training import train
from agglo.training.exploration import Exploration
from agglo.training.rollouts import EpisodePlan
from agglo.training.shard import cut_shards
from agglo.training.train_config import TrainConfig
from analysis.input_error import InputError
from tests.agglo.small_volumes import agglo, quick_config, quick_options, volume_options
from tests.agglo.training_runs import (
    assert_same_run,
    assert_volumes_remembered,
    records,
    train_on,
    write_light_and_dark,
    write_tissues,
)

ROUNDS, EPISODES, SHARDS = 4, 3, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tissues(tmp_path_factory.mktemp("training"))


def config_of(name: str = "aggregation") -> TrainConfig:
    strict = {"strict_episodes": 1} if name == "aggregation" else {}
    config = quick_config(rounds=ROUNDS, **strict)
    return dataclasses.replace(config, learner=dataclasses.replace(config.learner, name=name))


class WatchedPool(ActorPool):
    """Notes every episode that is handed out and every one that comes back."""

    drawn: list[tuple[int, str, int]] = []  # noqa: RUF012
    arrived: list[int] = []  # noqa: RUF012

    def flow(self, draw: Callable[[], Any]) -> Generator[Any, None, None]:
        """Watch the tasks and their results; a network is known by its weights."""

        def watched() -> Any:
            task = draw()
            if task is not None and task[1] == "explore":
                key, _, (_, network, _, seed) = task
                WatchedPool.drawn.append((key[1], network.hex(), seed))
            return task

        for result in super().flow(watched):
            if result is not None and result[0][0] == "explore":
                WatchedPool.arrived.append(result[0][1])
                self.on_arrival()
            yield result

    def on_arrival(self) -> None:
        """Do nothing."""


class KillingPool(WatchedPool):
    """Kills all its actors, busy and idle, when the fifth episode is in."""

    killed: list[int] = []  # noqa: RUF012

    def on_arrival(self) -> None:
        """Kill them once."""
        if len(WatchedPool.arrived) == 5 and not KillingPool.killed:
            KillingPool.killed += self.pids()
            for pid in KillingPool.killed:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[WatchedPool]:
    monkeypatch.setattr(WatchedPool, "drawn", [])
    monkeypatch.setattr(WatchedPool, "arrived", [])
    monkeypatch.setattr(KillingPool, "killed", [])
    monkeypatch.setattr(train, "ActorPool", WatchedPool)
    return WatchedPool


def slow_fit(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the learner take some time, in which actors may play on."""
    make = TrainConfig.make_learner

    def slow(config: TrainConfig) -> Any:
        learner = make(config)
        learn = learner.learn

        def learn_slowly(*arguments: Any) -> Any:
            time.sleep(seconds)
            return learn(*arguments)

        learner.learn = learn_slowly  # type: ignore[method-assign]
        return learner

    monkeypatch.setattr(TrainConfig, "make_learner", slow)


def assert_bounded(run: Path, staleness: int, n_episodes: int = EPISODES) -> list[int]:
    """Check the log of a run, and return how old each of its episodes was."""
    log = records(run)
    assert [record["round"] for record in log] == list(range(ROUNDS + 1))
    assert log[0]["staleness"] == []
    for record in log[1:]:
        assert len(record["staleness"]) == n_episodes * SHARDS
        assert all(0 <= age <= min(staleness, record["round"] - 1) for age in record["staleness"])
    assert all(0 <= record["idle_share"] <= 1 for record in log)
    return [age for record in log for age in record["staleness"]]


@pytest.mark.parametrize("staleness", [1, 2])
def test_no_episode_is_older_than_the_bound(
    folder: Path,
    tmp_path: Path,
    ray_local: None,
    monkeypatch: pytest.MonkeyPatch,
    watched: type[WatchedPool],
    staleness: int,
) -> None:
    """By the networks that the actors were given, too; while the learner fits they play on."""
    slow_fit(monkeypatch, 0.5)
    config = config_of()
    policy = train_on([folder / "1.h5"], tmp_path / "run", config, n_actors=2, staleness=staleness)
    ages = assert_bounded(tmp_path / "run", staleness)
    assert max(ages) == staleness, "the learner was waited for"
    n = ROUNDS * EPISODES * SHARDS
    assert [number for number, _, _ in watched.drawn] == list(range(n))
    assert sorted(watched.arrived) == list(range(n)), "each learned from once"
    versions = list(dict.fromkeys(network for _, network, _ in watched.drawn))
    first = [n for n, network, _ in watched.drawn if network == versions[0]]
    assert len(first) == (staleness + 1) * EPISODES * SHARDS
    plan = EpisodePlan(
        cut_shards([(16, 40, 40)], config.shard_vox),
        (*2 * (Exploration("policy", "vi", 0.5, -1.0),), Exploration("truth", "vi", 0.5, -np.inf)),
        config.seed,
    )
    kinds = [plan.arguments(number, None)[2].execution for number in range(EPISODES)]
    assert kinds == ["policy", "policy", "truth"]
    for number, network, seed in watched.drawn:
        assert plan.arguments(number, network)[3] == seed
    assert len({seed for _, _, seed in watched.drawn}) == n
    last = records(tmp_path / "run")[-1]
    assert last["train_vi"] < 0.4 * last["train_start_vi"]
    stated = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert stated["staleness"] == staleness
    assert policy.provenance["staleness"] == staleness


def test_killed_actors_cost_no_episode(
    folder: Path,
    tmp_path: Path,
    ray_local: None,
    monkeypatch: pytest.MonkeyPatch,
    watched: type[WatchedPool],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(train, "ActorPool", KillingPool)
    with caplog.at_level(logging.WARNING, "agglo"):
        train_on([folder / "1.h5"], tmp_path / "run", config_of(), n_actors=2, staleness=1)
    assert len(KillingPool.killed) == 2
    assert [text for text in caplog.messages if "an actor RolloutActor died" in text]
    assert_bounded(tmp_path / "run", 1)
    assert sorted(watched.arrived) == list(range(ROUNDS * EPISODES * SHARDS))


class Stop(Exception):
    """What ends a run from outside."""


@pytest.mark.parametrize("name", ["gala", "fitted-q"])
def test_an_interrupted_run_goes_on_within_the_bound(
    folder: Path,
    tmp_path: Path,
    ray_local: None,
    watched: type[WatchedPool],
    name: str,
) -> None:
    paths, config = [folder / "1.h5"], config_of(name)

    def stop(record: dict[str, Any]) -> None:
        if record["round"] == 2:
            raise Stop

    with pytest.raises(Stop):
        train_on(paths, tmp_path / "run", config, n_actors=2, staleness=1, on_round=stop)
    with pytest.raises(InputError, match="staleness was 1 and is now not set"):
        train_on(paths, tmp_path / "run", config, resume=True)
    train_on(paths, tmp_path / "run", config, n_actors=2, staleness=1, resume=True)
    n_episodes = EPISODES if name == "aggregation" else config.episodes
    assert_bounded(tmp_path / "run", 1, n_episodes)
    assert load_policy(str(tmp_path / "run")).network.w1.shape[0] == ROUNDS + 1


def test_episodes_that_arrive_in_any_order_know_their_volume(
    tmp_path: Path, ray_local: None
) -> None:
    config = quick_config(rounds=1)
    learner = dataclasses.replace(config.learner, balance_volumes=True)
    config = dataclasses.replace(config, learner=learner)
    paths = write_light_and_dark(tmp_path)
    train_on(paths, tmp_path / "run", config, n_actors=2, staleness=1)
    assert_volumes_remembered(tmp_path / "run")


def test_a_bound_of_zero_is_the_training_as_it_was(
    folder: Path, tmp_path: Path, ray_local: None
) -> None:
    """With the bits of before there were bounds, and in neither log nor policy a word of them."""
    config = quick_config()
    train_on([folder / "1.h5"], tmp_path / "run", config, n_actors=2, staleness=0)
    train_on([folder / "1.h5"], tmp_path / "plain", config, n_actors=1)
    assert_same_run(tmp_path / "run", tmp_path / "plain")
    assert "staleness" not in load_policy(str(tmp_path / "run")).provenance
    assert not any("idle_share" in record for record in records(tmp_path / "run"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--staleness -1", "--staleness must not be negative, but is -1."),
        (
            "--staleness 1 --learner flat",
            "--staleness does not belong to --learner flat, which plays no episodes.",
        ),
        (
            "--staleness 1 --learner policy-gradient",
            "--staleness does not belong to --learner policy-gradient, which can learn only from "
            "episodes of the very network it changes.",
        ),
    ],
)
def test_a_bound_that_means_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    volumes = "--image a --boundaries b --superpixels c --labels d --out run"
    said = agglo(capsys, "train", *volumes.split(), *words.split())
    assert said == (2, "", f"agglo: {sentence}\n")


def test_the_command_says_how_old_episodes_were_and_how_idle_the_actors(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, ray_local: None
) -> None:
    options = [*quick_options(rounds=ROUNDS, strict_episodes=1), "--staleness", 1, "--actors", 2]
    words = [*volume_options(folder / "1.h5"), *options, "--json", tmp_path / "t.json"]
    said = agglo(capsys, "train", *words, "--out", tmp_path / "run")
    assert said.status == 0, said.err
    rounds = json.loads((tmp_path / "t.json").read_text())["rounds"]
    assert rounds == records(tmp_path / "run", without_time=False)
    ages = assert_bounded(tmp_path / "run", 1)
    assert (
        f"{ages.count(0)} of {len(ages)} episodes were played with the latest network" in said.out
    )
    lines = [line for line in said.err.splitlines() if line.startswith("round ")]
    assert len(lines) == ROUNDS + 1
    for line, record in zip(lines, rounds, strict=True):
        assert f", actors idle {record['idle_share']:.0%}, " in line
        assert (" versions old, " in line) == (record["round"] > 0)
