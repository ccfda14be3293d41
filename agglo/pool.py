"""A pool of equal actors that loses no task when an actor or its node dies."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray import exceptions as ray_exceptions

from agglo.cluster import describe_resources
from analysis.input_error import InputError

MAX_DEATHS = 3
"""An actor's death is taken for the task's own doing when it has happened this often."""

PATIENCE_S = 30.0
"""Without any event for so long, the pool looks whether its actors can still be placed."""

_LOST = (
    ray_exceptions.RayActorError,
    ray_exceptions.ObjectLostError,
    ray_exceptions.NodeDiedError,
    ray_exceptions.OutOfMemoryError,
    ray_exceptions.WorkerCrashedError,
)

Key = TypeVar("Key", bound=Hashable)

logger = logging.getLogger(__name__)


class _Host:
    """Hold one instance of the pool's class in an actor process.

    The instance is made by a method and not by the actor's constructor, because Ray reports an
    exception in a constructor as the actor's death and drops its type.
    """

    def __init__(self, actor_class: type, *arguments: Any) -> None:
        self._actor_class = actor_class
        self._arguments = arguments
        self._instance: Any = None

    def __repr__(self) -> str:
        return self._actor_class.__name__

    def start(self) -> int:
        self._instance = self._actor_class(*self._arguments)
        return os.getpid()

    def run(self, method: str, *arguments: Any) -> Any:
        return getattr(self._instance, method)(*arguments)

    def run_apart(self, method: str, *arguments: Any) -> tuple[None, Any]:
        """Return a receipt, which tells that all went well, apart from the result."""
        return None, self.run(method, *arguments)


@dataclass(frozen=True, slots=True)
class _Actor:
    handle: Any
    pid: int


@dataclass(frozen=True, slots=True)
class _Task:
    """A task in the hands of an actor; `payload` refers to a result that stays where it is."""

    actor: _Actor
    key: Any
    arguments: tuple[Any, ...]
    payload: Any


class ActorPool:
    """Run tasks on equal actors and give back their results in the order of their keys.

    An actor may die at any time (killed, out of memory, its node gone): a new one is started and
    the task it held is given out again. A task must therefore be a function of its arguments and
    of the constructor's arguments alone; what an actor keeps between tasks is a cache. One task
    at a time is given to an actor, so that a death is charged to the task that was running.

    Large arrays that every actor or many tasks need are passed as `ray.put` references; actors
    see them, and the caller sees large results, as read-only arrays without a copy.
    """

    def __init__(
        self,
        actor_class: type,
        arguments: tuple[Any, ...] = (),
        *,
        n_actors: int,
        num_cpus: float = 1,
        num_gpus: float = 0,
    ) -> None:
        """Start the actors; the session must have been joined (`agglo.cluster.ray_session`).

        Args:
            actor_class: a plain class; made remote here.
            arguments: of its constructor; references at the top level are resolved by Ray.
            n_actors: number of actors.
            num_cpus: CPUs reserved for each actor.
            num_gpus: GPUs reserved for each actor.

        Raises:
            InputError: the cluster can never place so many actors of this size.
        """
        if n_actors < 1:
            raise InputError(f"n_actors: at least one actor is needed, {n_actors} asked for.")
        _check_room(n_actors, num_cpus, num_gpus)
        self._name = actor_class.__name__
        self._arguments = (actor_class, *arguments)
        self._host = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=0)(_Host)
        self._n_actors, self._num_cpus, self._num_gpus = n_actors, num_cpus, num_gpus
        self._starting: dict[Any, Any] = {}  # reference to the pid -> actor handle
        self._idle: list[_Actor] = []
        self._busy: dict[Any, _Task] = {}  # by the reference that tells of its end
        self._n_failed_starts = 0
        self._is_closed = False
        self._fill()

    def __enter__(self) -> ActorPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        method: str,
        tasks: Iterable[tuple[Key, tuple[Any, ...]]],
        *,
        on_result: Callable[[Key, Any], None] | None = None,
    ) -> list[tuple[Key, Any]]:
        """Call a method once for every task and return (key, result) sorted by key.

        Args:
            method: name of the method of the pool's class.
            tasks: (key, arguments); drawn only when an actor is free, so a generator may make
                them as they are needed. Keys are unique and of one sortable type.
            on_result: called with each result as it arrives, in no particular order.

        Raises:
            ValueError: a key came twice.
            RuntimeError: a task killed its actor `MAX_DEATHS` times, or no actor can be placed.
            Exception: whatever a task raised, as it raised it; tasks still running are ended.
        """
        if self._is_closed:
            raise RuntimeError("the pool is closed")
        self._fill()
        results: dict[Any, Any] = {}
        try:
            for key, result in self._arrivals(method, iter(tasks)):
                results[key] = result
                if on_result is not None:
                    on_result(key, result)
        except BaseException:
            self._drop_busy()
            raise
        ordered: Any = sorted(results)
        return [(key, results[key]) for key in ordered]

    def stream(
        self, method: str, tasks: Iterable[tuple[Key, tuple[Any, ...]]], *, ahead: int
    ) -> Generator[tuple[Key, Any], None, None]:
        """Call a method once for every task and yield (key, reference to its result) in order.

        The results stay where they were made until whoever is given the reference fetches them, and
        no more than `ahead` of them are kept waiting, so the tasks may be endless. A caller that
        has enough closes the generator, which waits for the tasks under way.

        Args:
            method: name of the method of the pool's class.
            tasks: (key, arguments), drawn when they are given to an actor; keys are unique.
            ahead: results and tasks under way that the caller has not been given yet.

        Raises:
            ValueError, RuntimeError, Exception: as `run`.
        """
        if self._is_closed:
            raise RuntimeError("the pool is closed")
        self._fill()
        order: deque[Any] = deque()
        arrived: dict[Any, Any] = {}

        def drawn() -> Iterator[tuple[Any, tuple[Any, ...]]]:
            for task in tasks:
                order.append(task[0])
                yield task

        try:
            has_room = lambda: len(order) < max(1, ahead)  # noqa: E731
            for key, payload in self._arrivals(method, drawn(), apart=True, may_draw=has_room):
                arrived[key] = payload
                while order and order[0] in arrived:
                    first = order.popleft()
                    yield first, arrived.pop(first)
        except GeneratorExit:
            self._finish_busy()
            raise
        except BaseException:
            self._drop_busy()
            raise

    @property
    def n_actors(self) -> int:
        """Return how many actors there are to be."""
        return self._n_actors

    def pids(self) -> list[int]:
        """Wait for the actors that are starting and return the process id of every actor."""
        while self._starting:
            self._wait(list(self._starting))
        return sorted(
            actor.pid for actor in (*self._idle, *(task.actor for task in self._busy.values()))
        )

    def close(self) -> None:
        """Kill every actor; the pool cannot be used afterwards."""
        self._is_closed = True
        if ray.is_initialized():
            for handle in (*self._starting.values(), *(actor.handle for actor in self._idle)):
                ray.kill(handle)
            self._drop_busy()
        self._starting, self._idle, self._busy = {}, [], {}

    def _arrivals(
        self,
        method: str,
        source: Iterator[tuple[Any, tuple[Any, ...]]],
        *,
        apart: bool = False,
        may_draw: Callable[[], bool] = lambda: True,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (key, result) as tasks end; `apart` yields references in place of results."""
        drawn: set[Any] = set()
        deaths: Counter[Any] = Counter()
        again: deque[tuple[Any, tuple[Any, ...]]] = deque()
        is_drained = False
        while True:
            while self._idle and (again or (not is_drained and may_draw())):
                if again:
                    key, arguments = again.popleft()
                elif (task := next(source, None)) is not None:
                    key, arguments = task
                    if key in drawn:
                        raise ValueError(f"tasks: the key {key!r} came twice")
                    drawn.add(key)
                else:
                    is_drained = True
                    break
                self._give(self._idle.pop(), method, key, arguments, apart)
            if is_drained and not again and not self._busy:
                return
            reference = self._wait([*self._starting, *self._busy])
            if reference is None:
                continue
            task = self._busy[reference]
            try:
                result = ray.get(reference)
            except ray_exceptions.RayTaskError as error:
                raise error.cause from error
            except _LOST as error:
                deaths[task.key] += 1
                logger.warning(
                    "an actor %s died, its task %r is given out again", self._name, task.key
                )
                if deaths[task.key] >= MAX_DEATHS:
                    raise RuntimeError(
                        f"task {task.key!r} of {self._name}.{method} ended its actor "
                        f"{MAX_DEATHS} times, the last time so: {_in_one_line(error)}"
                    ) from error
                del self._busy[reference]
                ray.kill(task.actor.handle)
                again.append((task.key, task.arguments))
                self._fill()
                continue
            del self._busy[reference]
            self._idle.append(task.actor)
            yield task.key, task.payload if apart else result

    def _give(
        self, actor: _Actor, method: str, key: Any, arguments: tuple[Any, ...], apart: bool
    ) -> None:
        """Give a task to an actor."""
        if apart:
            call = actor.handle.run_apart.options(num_returns=2)
            receipt, payload = call.remote(method, *arguments)
            self._busy[receipt] = _Task(actor, key, arguments, payload)
        else:
            reference = actor.handle.run.remote(method, *arguments)
            self._busy[reference] = _Task(actor, key, arguments, None)

    def _finish_busy(self) -> None:
        """Wait for the tasks under way, whose results nobody wants any more."""
        while self._busy:
            reference = self._wait([*self._starting, *self._busy])
            if reference is None:
                continue
            task = self._busy.pop(reference)
            try:
                ray.get(reference)
                self._idle.append(task.actor)
            except (ray_exceptions.RayTaskError, *_LOST):
                ray.kill(task.actor.handle)
                self._fill()

    def _wait(self, references: list[Any]) -> Any | None:
        """Return the reference of a task that ended, or None when an actor came or went."""
        ready, _ = ray.wait(references, num_returns=1, timeout=PATIENCE_S)
        if not ready:
            self._look_for_room()
            return None
        if ready[0] not in self._starting:
            return ready[0]
        handle = self._starting.pop(ready[0])
        try:
            self._idle.append(_Actor(handle, ray.get(ready[0])))
            self._n_failed_starts = 0
        except ray_exceptions.RayTaskError as error:
            ray.kill(handle)
            raise error.cause from error
        except _LOST as error:
            ray.kill(handle)
            self._n_failed_starts += 1
            if self._n_failed_starts >= MAX_DEATHS:
                raise RuntimeError(
                    f"{MAX_DEATHS} actors {self._name} died while starting, the last one so: "
                    f"{_in_one_line(error)}"
                ) from error
            self._fill()
        return None

    def _fill(self) -> None:
        for _ in range(self._n_actors - self._n_alive()):
            handle = self._host.remote(*self._arguments)
            self._starting[handle.start.remote()] = handle

    def _n_alive(self) -> int:
        return len(self._starting) + len(self._idle) + len(self._busy)

    def _look_for_room(self) -> None:
        """Give up actors that the cluster can no longer place, as after the loss of a node."""
        if not self._starting:
            return
        room = _room(self._num_cpus, self._num_gpus)
        if room >= self._n_actors:
            free = ray.available_resources()
            logger.warning(
                "%d actors %s are not ready yet, each takes %g CPU and %g GPU; free now: %g and %g",
                *(len(self._starting), self._name, self._num_cpus, self._num_gpus),
                *(free.get("CPU", 0), free.get("GPU", 0)),
            )
            return
        while self._starting and self._n_alive() > room:
            ray.kill(self._starting.popitem()[1])
        self._n_actors = self._n_alive()
        if not self._n_actors:
            raise RuntimeError(
                f"no node is left for an actor {self._name} of {self._num_cpus:g} CPU and "
                f"{self._num_gpus:g} GPU; the cluster has {describe_resources()}"
            )
        logger.warning("the cluster shrank: going on with %d actors", self._n_actors)

    def _drop_busy(self) -> None:
        for task in self._busy.values():
            ray.kill(task.actor.handle)
        self._busy = {}


def _room(num_cpus: float, num_gpus: float) -> float:
    """Return how many actors of this size all living nodes together could hold."""
    room = 0.0
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            room += min(
                math.floor(resources.get(name, 0.0) / wanted + 1e-9) if wanted else math.inf
                for name, wanted in (("CPU", num_cpus), ("GPU", num_gpus))
            )
    return room


def _check_room(n_actors: int, num_cpus: float, num_gpus: float) -> None:
    room = _room(num_cpus, num_gpus)
    if room < n_actors:
        raise InputError(
            f"--actors: {n_actors} of {num_cpus:g} CPU and {num_gpus:g} GPU each were asked for, "
            f"but the cluster has {describe_resources()}, room for {room:g}."
        )


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
