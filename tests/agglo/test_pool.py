from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from agglo.pool import MAX_DEATHS, ActorPool
from analysis.input_error import InputError

pytestmark = pytest.mark.usefixtures("ray_local")


class Worker:
    def __init__(self, offset: int = 0, folder: Path | None = None) -> None:
        if offset < 0:
            raise InputError(f"offset: {offset} is negative.")
        self._offset = offset
        self._folder = folder

    def add(self, value: int, seconds: float = 0.0) -> int:
        time.sleep(seconds)
        return self._offset + value

    def total(self, array: np.ndarray) -> tuple[float, bool, np.ndarray]:
        return float(array.sum()), array.flags.writeable, array + 1

    def refuse(self, value: int) -> int:
        if value == 2:
            raise InputError("--labels: seen in an actor.")
        time.sleep(600)
        return value

    def die(self, value: int, n_deaths: int) -> int:
        """Die in the first `n_deaths` calls with this value, counted on disk."""
        assert self._folder is not None
        n_before = len(list(self._folder.glob(f"{value}_*")))
        if n_before < n_deaths:
            (self._folder / f"{value}_{n_before}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return value * value


class Unreadable:
    """Like a volume on a node that does not see its file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise InputError("--image: there is no such file.")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"still running: {pids}"
        time.sleep(0.05)


def test_results_come_sorted_by_key_whatever_the_order_of_work() -> None:
    order = [3, 0, 5, 1, 4, 2]
    arrived = []
    with ActorPool(Worker, (100,), n_actors=2) as pool:
        results = pool.run(
            "add",
            (((key, "x"), (key, 0.05 * key)) for key in order),
            on_result=lambda key, value: arrived.append((key, value)),
        )
        assert results == [((key, "x"), 100 + key) for key in range(6)]
        assert sorted(arrived) == results
        assert arrived != results
        assert len(set(pool.pids())) == 2
        # A second run on the same pool, and one without work.
        assert pool.run("add", [(1, (1,)), (0, (2,))]) == [(0, 102), (1, 101)]
        assert pool.run("add", []) == []


def test_tasks_are_drawn_only_when_an_actor_is_free() -> None:
    n_drawn = n_done = most = 0

    def tasks() -> Iterator[tuple[int, tuple[int, float]]]:
        nonlocal n_drawn, most
        for key in range(12):
            n_drawn += 1
            most = max(most, n_drawn - n_done)
            yield key, (key, 0.01)

    def count(key: int, value: int) -> None:
        nonlocal n_done
        n_done += 1

    with ActorPool(Worker, n_actors=2) as pool:
        results = pool.run("add", tasks(), on_result=count)
    assert [key for key, _ in results] == list(range(12))
    assert most <= 2


def test_a_killed_actor_loses_nothing() -> None:
    with ActorPool(Worker, (7,), n_actors=2) as pool:
        before = pool.pids()

        def kill_one(key: int, value: int) -> None:
            if not killed:
                killed.append(before[0])
                os.kill(before[0], signal.SIGKILL)

        killed: list[int] = []
        tasks = [(key, (key, 0.1)) for key in range(10)]
        results = pool.run("add", tasks, on_result=kill_one)
        assert results == [(key, 7 + key) for key in range(10)]
        assert killed
        assert killed[0] not in pool.pids()
        assert len(pool.pids()) == 2


def test_tasks_that_kill_their_actor_now_and_then_are_done_in_the_end(tmp_path: Path) -> None:
    plan = {0: 0, 1: MAX_DEATHS - 1, 2: 0, 3: 1}
    with ActorPool(Worker, (0, tmp_path), n_actors=2) as pool:
        results = pool.run("die", ((key, (key, n)) for key, n in plan.items()))
    assert results == [(key, key * key) for key in plan]
    assert len(list(tmp_path.iterdir())) == sum(plan.values())


def test_a_task_that_always_kills_its_actor_is_given_up(tmp_path: Path) -> None:
    start = time.monotonic()
    with ActorPool(Worker, (0, tmp_path), n_actors=2) as pool:
        tasks = [((0, key), (key, 10**6 if key == 1 else 0)) for key in range(3)]
        with pytest.raises(RuntimeError, match=r"task \(0, 1\) of Worker.die ended its actor 3"):
            pool.run("die", tasks)
        assert pool.run("add", [(0, (1,))]) == [(0, 1)]
    assert len(list(tmp_path.iterdir())) == MAX_DEATHS
    assert time.monotonic() - start < 120


def test_an_exception_of_a_task_comes_at_once_as_it_was_raised() -> None:
    start = time.monotonic()
    with ActorPool(Worker, n_actors=2) as pool:
        before = pool.pids()
        with pytest.raises(InputError, match=r"^--labels: seen in an actor\.$") as caught:
            pool.run("refuse", [(1, (1,)), (2, (2,))])
        assert type(caught.value) is InputError
        assert time.monotonic() - start < 120
        # The task that was still running has been ended, and the pool can be used again.
        wait_until_gone(before)
        assert pool.run("add", [(0, (1,))]) == [(0, 1)]


def test_an_exception_of_the_constructor_comes_as_it_was_raised() -> None:
    with (
        ActorPool(Worker, (-1,), n_actors=2) as pool,
        pytest.raises(InputError, match=r"^offset: -1 is negative\.$") as caught,
    ):
        pool.run("add", [(0, (1,))])
    assert type(caught.value) is InputError


def test_an_exception_of_unpacking_an_argument_comes_as_it_was_raised() -> None:
    with (
        ActorPool(Worker, (0, Unreadable()), n_actors=1) as pool,
        pytest.raises(InputError, match=r"^--image: there is no such file\.$"),
    ):
        pool.run("add", [(0, (1,))])


def test_an_interrupt_leaves_nothing_running() -> None:
    # A shell starts its background jobs deaf to the signal, and Python leaves it so.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    with ActorPool(Worker, n_actors=2) as pool:
        pids = pool.pids()
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            pool.run("add", [(key, (key, 600.0)) for key in range(4)])
        wait_until_gone(pids)
    interrupt.join()
    signal.signal(signal.SIGINT, heard)


def test_close_ends_the_actors() -> None:
    pool = ActorPool(Worker, n_actors=1)
    pids = pool.pids()
    assert all(map(is_running, pids))
    pool.close()
    wait_until_gone(pids)
    with pytest.raises(RuntimeError, match="closed"):
        pool.run("add", [(0, (1,))])


def test_large_arrays_are_shared_and_read_only() -> None:
    array = np.arange(500_000, dtype=np.float64)
    with ActorPool(Worker, n_actors=1) as pool:
        [(_, (total, is_writeable, result))] = pool.run("total", [(0, (ray.put(array),))])
    assert total == array.sum()
    assert not is_writeable
    # The result outlives its actor.
    np.testing.assert_array_equal(result, array + 1)
    assert not result.flags.writeable


def test_a_key_that_comes_twice_is_refused() -> None:
    with (
        ActorPool(Worker, n_actors=1) as pool,
        pytest.raises(ValueError, match="the key 3 came twice"),
    ):
        pool.run("add", [(3, (1,)), (3, (2,))])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"n_actors": 1, "num_gpus": 1}, "1 GPU each were asked for, but the cluster has 2 CPUs"),
        ({"n_actors": 3}, "--actors: 3 of 1 CPU .* room for 2"),
        ({"n_actors": 1, "num_cpus": 3}, "1 of 3 CPU .* room for 0"),
        ({"n_actors": 0}, "at least one actor is needed, 0 asked for"),
    ],
)
def test_what_the_cluster_has_not_is_said_at_once(wanted: dict, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=message):
        ActorPool(Worker, **wanted)
    assert time.monotonic() - start < 20


@pytest.mark.slow
def test_a_node_that_dies_loses_nothing_and_another_takes_its_place() -> None:
    # Two nodes need a cluster of their own, and a process of their own to join it.
    script = """
import logging, ray, time
from ray.cluster_utils import Cluster
from agglo import pool as module
logging.basicConfig(format="%(message)s")
module.PATIENCE_S = 1.0
checks = {"health_check_period_ms": 300, "health_check_timeout_ms": 300,
          "health_check_failure_threshold": 2, "health_check_initial_delay_ms": 0}
head = {"num_cpus": 1, "include_dashboard": False, "_system_config": checks}
cluster = Cluster(initialize_head=True, head_node_args=head)
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
class Worker:
    def square(self, value):
        time.sleep(0.3)
        return value * value
n_done = 0
def kill_node(key, result):
    global n_done
    n_done += 1
    if n_done == 2:
        cluster.remove_node(second, allow_graceful=False)
with module.ActorPool(Worker, n_actors=2) as pool:
    assert len(pool.pids()) == 2
    results = pool.run("square", [(i, (i,)) for i in range(10)], on_result=kill_node)
    assert results == [(i, i * i) for i in range(10)], results
    assert len(pool.pids()) == 1
    assert pool.run("square", [(7, (7,))]) == [(7, 49)]
    cluster.add_node(num_cpus=1)
    assert pool.run("square", [(7, (7,))]) == [(7, 49)]
    assert len(pool.pids()) == 2
ray.shutdown()
cluster.shutdown()
"""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "RAY_"}
    environment["RAY_worker_niceness"] = "0"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    assert "an actor Worker died, its task" in result.stderr
    assert "the cluster has room for 1 of 2 actors Worker now, going on with 1" in result.stderr
    assert "the cluster has room for 2 of 2 actors Worker now, going on with 2" in result.stderr


def test_a_stream_is_in_the_order_of_its_tasks_whatever_ends_first(ray_local: None) -> None:
    with ActorPool(Worker, (100,), n_actors=2) as pool:
        tasks = ((key, (key, 0.3 if key % 2 == 0 else 0.0)) for key in (3, 0, 5, 4, 1))
        found = [(key, ray.get(sum_)) for key, sum_ in pool.stream("add", tasks, ahead=4)]
    assert found == [(3, 103), (0, 100), (5, 105), (4, 104), (1, 101)]


def test_a_stream_draws_no_more_than_it_may_and_ends_when_it_is_left(ray_local: None) -> None:
    drawn = []

    def endless() -> Iterator[tuple[int, tuple[int]]]:
        for key in range(10**9):
            drawn.append(key)
            yield key, (key,)

    with ActorPool(Worker, n_actors=2) as pool:
        stream = pool.stream("add", endless(), ahead=3)
        for key in range(5):
            assert next(stream)[0] == key
        assert len(drawn) <= 5 + 3
        pids = pool.pids()
        stream.close()
        assert pool.pids() == pids, "the actors live on"
        assert pool.run("add", [(0, (7,))]) == [(0, 7)]


def test_a_stream_loses_nothing_to_deaths(ray_local: None, tmp_path: Path) -> None:
    with ActorPool(Worker, (0, tmp_path), n_actors=2) as pool:
        tasks = [(key, (key, 1 if key in (1, 2, 5) else 0)) for key in range(8)]
        found = [(key, ray.get(square)) for key, square in pool.stream("die", tasks, ahead=4)]
    assert found == [(key, key * key) for key in range(8)]


def test_a_refusal_ends_a_stream(ray_local: None) -> None:
    with ActorPool(Worker, n_actors=1) as pool, pytest.raises(InputError, match="--labels"):
        list(pool.stream("refuse", [(2, (2,))], ahead=1))


def test_a_flow_takes_up_tasks_as_they_come_and_gives_results_as_they_arrive() -> None:
    """The slow task arrives last; a task that comes up while one is running needs no other end."""
    tasks = [("slow", "add", (1, 2.0)), ("quick", "add", (2, 0.0)), ("sum", "total", (np.ones(3),))]
    arrived: list[Any] = []
    with ActorPool(Worker, (10,), n_actors=2) as pool:
        pool.pids()
        flow = pool.flow(lambda: tasks.pop(0) if tasks else None)
        while len(arrived) < 3:
            if (found := next(flow)) is not None:
                arrived.append(found)
        assert [key for key, _ in arrived] == ["quick", "sum", "slow"]
        assert dict(arrived)["slow"] == 11
        assert next(flow) is None, "nothing is under way"
        tasks.append(("late", "add", (5, 0.5)))
        assert next(flow) is None
        tasks.append(("later", "add", (6, 0.0)))
        found = [next(flow) for _ in range(12)]
        assert ("later", 16) in found
        while ("late", 15) not in found:
            found.append(next(flow))
        tasks.append(("unwanted", "add", (7, 0.3)))
        next(flow)
        flow.close()
        assert pool.run("add", [(1, (1,))]) == [(1, 11)], "the pool can be used again"
        assert 2.5 < pool.busy_seconds < 10


def test_a_flow_loses_no_task_of_a_dead_actor(tmp_path: Path) -> None:
    tasks = [(value, "die", (value, int(value == 3))) for value in range(6)]
    with ActorPool(Worker, (0, tmp_path), n_actors=2) as pool:
        flow = pool.flow(lambda: tasks.pop(0) if tasks else None)
        found: dict[Any, Any] = {}
        while len(found) < 6:
            if (arrived := next(flow)) is not None:
                assert arrived[0] not in found
                found[arrived[0]] = arrived[1]
    assert found == {value: value * value for value in range(6)}


def test_a_flow_refuses_a_key_that_comes_twice_and_hands_on_what_a_task_raised() -> None:
    with ActorPool(Worker, n_actors=1) as pool:
        with pytest.raises(ValueError, match="the key 1 came twice"):
            for _ in pool.flow(lambda: (1, "add", (1, 0.1))):
                pass
        with pytest.raises(InputError, match="seen in an actor"):
            for _ in pool.flow(lambda: (2, "refuse", (2,))):
                pass
