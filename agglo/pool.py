"""A pool of equal actors that loses no task when an actor or its node dies."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from typing import Any, TypeVar

import ray
from ray import exceptions as ray_exceptions

from agglo.actor_host import ActorHost, packed
from agglo.actor_room import actor_room, check_actor_room
from agglo.actor_task import Actor, Drawn, Task, next_task
from agglo.cluster import describe_resources

MAX_DEATHS = 3
"""An actor's death is taken for the task's own doing when it has happened this often."""

PATIENCE_S = 30.0
"""While actors are missing, the pool looks so often whether they can still, or again, be placed."""

POLL_S = 0.05
"""A flow that has no task for a free actor looks so often whether there is one."""

_LOST = (
    ray_exceptions.RayActorError,
    ray_exceptions.ObjectLostError,
    ray_exceptions.NodeDiedError,
    ray_exceptions.OutOfMemoryError,
    ray_exceptions.WorkerCrashedError,
)

Key = TypeVar("Key", bound=Hashable)

logger = logging.getLogger(__name__)


class ActorPool:
    """Run tasks on equal actors and give back their results in the order of their keys.

    An actor may die at any time (killed, out of memory, its node gone): a new one is started and
    the task it held is given out again. A task must therefore be a function of its arguments and
    of the constructor's arguments alone; what an actor keeps between tasks is a cache. One task
    at a time is given to an actor, so that a death is charged to the task that was running.
    Actors are spread over the nodes; when one is lost the pool goes on with as many actors as the
    others have room for, and takes the rest back when there is room again.

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
        check_actor_room(n_actors, num_cpus, num_gpus)
        self._name = actor_class.__name__
        self._arguments = tuple(map(packed, (actor_class, *arguments)))
        self._host = ray.remote(
            num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )(ActorHost)
        self._n_actors, self._num_cpus, self._num_gpus = n_actors, num_cpus, num_gpus
        self._n_placeable = n_actors  # of these, as of the last look
        self._next_look = 0.0
        self._starting: dict[Any, Any] = {}  # reference to the pid -> actor handle
        self._idle: list[Actor] = []
        self._busy: dict[Any, Task] = {}  # by the reference that tells of its end
        self._n_failed_starts = 0
        self._is_closed = False
        self.busy_seconds = 0.0
        """For how long the actors' methods have run, all together."""
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
        self._open()
        results: dict[Any, Any] = {}
        source = iter(tasks)
        try:
            for key, result in self._arrivals(lambda: next_task(source, method)):
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
        self._open()
        order: deque[Any] = deque()
        arrived: dict[Any, Any] = {}
        source = iter(tasks)

        def draw() -> Drawn | None:
            task = next_task(source, method) if len(order) < max(1, ahead) else None
            if task is not None:
                order.append(task[0])
            return task

        try:
            for key, payload in self._arrivals(draw, apart=True):
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

    def flow(
        self, draw: Callable[[], tuple[Key, str, tuple[Any, ...]] | None]
    ) -> Generator[tuple[Key, Any] | None, None, None]:
        """Work for ever on tasks that come up on the way, and yield (key, result) as they arrive.

        None is yielded where no result arrived for `POLL_S` while an actor was free, so that the
        caller sees to what else there is, which may make a task of it. A caller that has enough
        closes the generator, which waits for the tasks under way.

        Args:
            draw: asked whenever an actor is free; returns key, method and arguments of the next
                task, or None where there is none at the moment. Keys are unique.

        Raises:
            ValueError, RuntimeError, Exception: as `run`.
        """
        self._open()
        try:
            while True:
                yield from self._arrivals(draw, polls=True)
                time.sleep(POLL_S)
                yield None
        except GeneratorExit:
            self._finish_busy()
            raise
        except BaseException:
            self._drop_busy()
            raise

    @property
    def n_actors(self) -> int:
        """Return how many actors there are to be, while the cluster has room for them."""
        return self._n_actors

    def pids(self) -> list[int]:
        """Wait for the actors that are starting and return the process id of every actor."""
        while self._starting:
            self._wait(())
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

    def _open(self) -> None:
        """Begin to work."""
        if self._is_closed:
            raise RuntimeError("the pool is closed")
        self._fill()

    def _arrivals(
        self, draw: Callable[[], Drawn | None], *, apart: bool = False, polls: bool = False
    ) -> Iterator[Any]:
        """Yield (key, result) as tasks end, until nothing is under way and nothing is drawn.

        With `apart` references are yielded in place of results. With `polls` None is yielded too,
        see `flow`.
        """
        drawn: set[Any] = set()
        deaths: Counter[Any] = Counter()
        again: deque[Drawn] = deque()
        while True:
            while self._idle:
                if again:
                    given = again.popleft()
                elif (given := draw()) is None:
                    break
                elif given[0] in drawn:
                    raise ValueError(f"tasks: the key {given[0]!r} came twice")
                drawn.add(given[0])
                self._give(self._idle.pop(), *given, apart)
            if self._idle and not self._busy:
                return
            reference = self._wait(self._busy, POLL_S if polls and self._idle else PATIENCE_S)
            if reference is None:
                if polls:
                    yield None
                continue
            task = self._busy[reference]
            try:
                told: Any = ray.get(reference)
            except ray_exceptions.RayTaskError as error:
                raise error.cause from error
            except _LOST as error:
                deaths[task.key] += 1
                logger.warning(
                    "an actor %s died, its task %r is given out again", self._name, task.key
                )
                if deaths[task.key] >= MAX_DEATHS:
                    raise RuntimeError(
                        f"task {task.key!r} of {self._name}.{task.method} ended its actor "
                        f"{MAX_DEATHS} times, the last time so: {_in_one_line(error)}"
                    ) from error
                del self._busy[reference]
                ray.kill(task.actor.handle)
                again.append((task.key, task.method, task.arguments))
                self._fill()
                continue
            del self._busy[reference]
            self._idle.append(task.actor)
            seconds, result = (told, task.payload) if apart else told
            self.busy_seconds += seconds
            yield task.key, result

    def _give(
        self, actor: Actor, key: Any, method: str, arguments: tuple[Any, ...], apart: bool
    ) -> None:
        """Give a task to an actor."""
        if apart:
            call = actor.handle.run.options(num_returns=2)
            receipt, payload = call.remote(method, *arguments)
            self._busy[receipt] = Task(actor, key, method, arguments, payload)
        else:
            reference = actor.handle.run.remote(method, *arguments)
            self._busy[reference] = Task(actor, key, method, arguments, None)

    def _finish_busy(self) -> None:
        """Wait for the tasks under way, whose results nobody wants any more."""
        while self._busy:
            reference = self._wait(self._busy)
            if reference is None:
                continue
            task = self._busy.pop(reference)
            try:
                ray.get(reference)
                self._idle.append(task.actor)
            except (ray_exceptions.RayTaskError, *_LOST):
                ray.kill(task.actor.handle)
                self._fill()

    def _wait(self, busy: Iterable[Any], patience_s: float = PATIENCE_S) -> Any | None:
        """Return the reference of a task that ended, or None when an actor came or went."""
        self._look_for_room()
        references = [*self._starting, *busy]
        ready, _ = ray.wait(references, timeout=patience_s) if references else ([], [])
        if not ready:
            return None
        if ready[0] not in self._starting:
            return ready[0]
        handle = self._starting.pop(ready[0])
        try:
            self._idle.append(Actor(handle, ray.get(ready[0])))
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
        """Start the actors that are missing and give up those that no node has room for any more.

        Raises:
            RuntimeError: no node has room for any.
        """
        room = int(min(self._n_actors, actor_room(self._num_cpus, self._num_gpus)))
        while self._starting and self._n_alive() > room:
            ray.kill(self._starting.popitem()[1])
        for _ in range(room - self._n_alive()):
            handle = self._host.remote(self._name)
            self._starting[handle.start.remote(*self._arguments)] = handle
        self._next_look = time.monotonic() + PATIENCE_S
        if not self._n_alive():
            raise RuntimeError(
                f"no node is left for an actor {self._name} of {self._num_cpus:g} CPU and "
                f"{self._num_gpus:g} GPU; the cluster has {describe_resources()}"
            )
        if room != self._n_placeable:
            logger.warning(
                "the cluster has room for %d of %d actors %s now, going on with %d",
                *(room, self._n_actors, self._name, self._n_alive()),
            )
            self._n_placeable = room

    def _n_alive(self) -> int:
        return len(self._starting) + len(self._idle) + len(self._busy)

    def _look_for_room(self) -> None:
        """Now and then, see to actors that are missing."""
        n_starting = len(self._starting)
        if time.monotonic() < self._next_look or self._n_alive() - n_starting >= self._n_actors:
            return
        self._fill()
        if n_starting and self._starting:
            free = ray.available_resources()
            logger.warning(
                "%d actors %s are not ready yet, each takes %g CPU and %g GPU; free now: %g and %g",
                *(len(self._starting), self._name, self._num_cpus, self._num_gpus),
                *(free.get("CPU", 0), free.get("GPU", 0)),
            )

    def _drop_busy(self) -> None:
        for task in self._busy.values():
            ray.kill(task.actor.handle)
        self._busy = {}


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
