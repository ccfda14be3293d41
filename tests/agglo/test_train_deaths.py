from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.pool import ActorPool
from agglo.training import train
from agglo.training.exploration import Execution, Exploration
from agglo.training.rollout_actor import RolloutActor
from agglo.training.shard import cut_shards
from envs.merge_network import mean_boundary_network
from tests.agglo.small_volumes import (
    agglo,
    quick_config,
    quick_options,
    volume_options,
)
from tests.agglo.training_runs import (
    assert_same_run,
    opened,
    train_on,
    without_ray,
    write_tissues,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without Ray."""
    without_ray(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tissues(tmp_path_factory.mktemp("training"))


class KillingPool(ActorPool):
    """Kills all its actors, busy and idle, when the first episode of the second round is in."""

    killed: list[int] = []  # noqa: RUF012
    n_explored = 0

    def run(self, method: str, tasks: Iterable[tuple[Any, tuple]], **how: Any) -> Any:
        """Run the tasks, with a death on the way."""
        KillingPool.n_explored += method == "explore"
        if method != "explore" or KillingPool.n_explored != 2:
            return super().run(method, tasks, **how)
        pids = self.pids()

        def kill(key: Any, result: Any) -> None:
            if not KillingPool.killed:
                KillingPool.killed += pids
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)

        return super().run(method, tasks, on_result=kill)


@pytest.fixture(scope="module")
def reference(folder: Path, ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one actor."""
    run = tmp_path_factory.mktemp("reference") / "run"
    train_on([folder / "1.h5", folder / "2.h5"], run, quick_config(), n_actors=1)
    return run


def test_two_actors_learn_the_same_bits(
    folder: Path, tmp_path: Path, reference: Path, ray_local: None
) -> None:
    paths = [folder / "1.h5", folder / "2.h5"]
    train_on(paths, tmp_path / "run", quick_config(), n_actors=2)
    assert_same_run(tmp_path / "run", reference)


@pytest.mark.usefixtures("serial")
def test_no_actor_learns_the_same_bits(folder: Path, tmp_path: Path, reference: Path) -> None:
    """Played in this process in the reverse order of tasks."""
    train_on([folder / "1.h5", folder / "2.h5"], tmp_path / "run", quick_config())
    assert_same_run(tmp_path / "run", reference)


def test_killed_actors_change_nothing(
    folder: Path,
    tmp_path: Path,
    reference: Path,
    ray_local: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(train, "ActorPool", KillingPool)
    paths = [folder / "1.h5", folder / "2.h5"]
    with caplog.at_level(logging.WARNING, "agglo"):
        train_on(paths, tmp_path / "run", quick_config(), n_actors=2)
    assert len(KillingPool.killed) == 2
    deaths = [text for text in caplog.messages if "an actor RolloutActor died" in text]
    assert deaths
    assert_same_run(tmp_path / "run", reference)


@pytest.mark.parametrize("execution", ["policy", "truth", "chance"])
def test_an_actor_is_a_function_of_its_arguments(folder: Path, execution: Execution) -> None:
    """With a cold cache, a warm one, and arrays that are read-only as Ray hands them out."""
    volumes, shapes = opened(folder / "1.h5", folder / "2.h5")
    shards = cut_shards(shapes, (16, 20, 20))
    network = mean_boundary_network(0.4)
    for array in network:
        array.flags.writeable = False
    warm = RolloutActor(tuple(volumes))
    for shard in shards:
        warm.play(shard, network, 0.0)
    how = Exploration(execution, "vi", 0.5, -1.0)
    for shard in (shards[0], shards[-1]):
        cold = RolloutActor(tuple(volumes))
        expected = warm.explore(shard, network, how, 3)
        for one, other in zip(cold.explore(shard, network, how, 3), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        by_other_seed = warm.explore(shard, network, how, 4)
        assert not np.array_equal(by_other_seed.features, expected.features)
        np.testing.assert_array_equal(
            cold.initial(shard, network, "vi").features, warm.initial(shard, network, "vi").features
        )


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, and theirs."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield child
        yield from descendants(child)


def end(pids: list[int]) -> None:
    """End processes that were started here, and wait until they are gone."""
    deadline = time.monotonic() + 30
    while left := [pid for pid in pids if is_running(pid)]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.usefixtures("serial")
def test_a_killed_driver_goes_on_to_the_same_end(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    """The driver of `agglo train`, with its own Ray, is killed in mid-run and resumed."""
    options = quick_options(rounds=12, episodes=8, n_average=2)
    words = ["train", *volume_options(folder / "1.h5"), *options, "--actors", "2"]
    assert agglo(capsys, *words, "--out", tmp_path / "whole").status == 0
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_ADDRESS": "local", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "agglo.cli", *words, "--out", str(tmp_path / "torn")]
    log = tmp_path / "torn" / "metrics.jsonl"
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        started: list[int] = []
        try:
            deadline = time.monotonic() + 200
            while not log.exists() or log.read_bytes().count(b"\n") < 2:
                assert process.poll() is None, (tmp_path / "said").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            started = list(descendants(process.pid))
        finally:
            process.kill()
            process.wait()
            end(started)
    assert started
    n_finished = log.read_bytes().count(b"\n")
    assert 2 <= n_finished < 13, "killed in mid-run"
    assert not (tmp_path / "torn" / "policy.npz").exists()
    result = subprocess.run(
        [*command, "--resume"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert_same_run(tmp_path / "torn", tmp_path / "whole")
