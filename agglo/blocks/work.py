"""What tasks take: seconds, memory, and bytes read and written."""

from __future__ import annotations

import ctypes
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_PROC = Path("/proc/self")


class TaskWork(NamedTuple):
    """What a task took.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all threads.
        idle_mb: resident memory of its process before the task; 0 where the system does not tell.
        peak_mb: most resident memory during the task, or of the process so far where the system
            does not tell it apart.
        read_bytes: from files and sockets, whether or not they came from the disk; 0 where the
            system does not tell.
        written_bytes: likewise.
        is_first: whether the process had done none of this stage before, and loaded its kernels.
    """

    seconds: float
    cpu_seconds: float
    idle_mb: float
    peak_mb: float
    read_bytes: int
    written_bytes: int
    is_first: bool


class WorkMeter:
    """Measures the tasks of a process, one at a time."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def begin(self, stage: str) -> None:
        """Begin a task of a stage."""
        self._is_first = stage not in self._seen
        self._seen.add(stage)
        _give_back_memory()
        _forget_peak()
        self._idle_mb = _memory_mb("VmRSS")
        self._read, self._written = _bytes_moved()
        self._cpu, self._clock = time.process_time(), time.perf_counter()

    def end(self) -> TaskWork:
        """End the task and return what it took."""
        read, written = _bytes_moved()
        return TaskWork(
            time.perf_counter() - self._clock,
            time.process_time() - self._cpu,
            self._idle_mb,
            _memory_mb("VmHWM") or _peak_so_far_mb(),
            read - self._read,
            written - self._written,
            self._is_first,
        )


@dataclass(frozen=True, slots=True)
class StageWork:
    """What the tasks of a stage took together.

    Attributes:
        tasks: how many were done.
        seconds: of the stage, by the clock.
        busy_seconds: of its tasks, by the clock.
        cpu_seconds: of its tasks.
        idle_mb: least memory of a process before a task.
        peak_mb: most memory of a process during one.
        read_bytes: see `TaskWork`.
        written_bytes: see `TaskWork`.
        voxels: of the blocks among the tasks.
        first_tasks: tasks that were the first of their process.
        first_seconds: of these, by the clock.
        first_cpu_seconds: of these.
        first_voxels: of these.
    """

    tasks: int
    seconds: float
    busy_seconds: float
    cpu_seconds: float
    idle_mb: float
    peak_mb: float
    read_bytes: int
    written_bytes: int
    voxels: int
    first_tasks: int
    first_seconds: float
    first_cpu_seconds: float
    first_voxels: int


def stage_work(seconds: float, tasks: Iterable[tuple[int, TaskWork]]) -> StageWork:
    """Add up the tasks of a stage.

    Args:
        seconds: of the stage, by the clock.
        tasks: voxels of each, 0 where it is no block, and what it took.
    """
    done = list(tasks)
    first = [(voxels, one) for voxels, one in done if one.is_first]
    return StageWork(
        len(done),
        seconds,
        sum(one.seconds for _, one in done),
        sum(one.cpu_seconds for _, one in done),
        min((one.idle_mb for _, one in done), default=0.0),
        max((one.peak_mb for _, one in done), default=0.0),
        sum(one.read_bytes for _, one in done),
        sum(one.written_bytes for _, one in done),
        sum(voxels for voxels, _ in done),
        len(first),
        sum(one.seconds for _, one in first),
        sum(one.cpu_seconds for _, one in first),
        sum(voxels for voxels, _ in first),
    )


def summed(rounds: Sequence[StageWork]) -> StageWork:
    """Add up the rounds of a stage, one at least."""
    totals: dict[str, Any] = {
        name: sum(getattr(one, name) for one in rounds) for name in StageWork.__slots__
    }
    totals["idle_mb"] = min((one.idle_mb for one in rounds if one.tasks), default=0.0)
    totals["peak_mb"] = max(one.peak_mb for one in rounds)
    return StageWork(**totals)


def _give_back_memory() -> None:
    """Return freed memory to the system, so that it counts for no later task; glibc alone can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _forget_peak() -> None:
    """Let the system's record of this process's peak memory begin anew, on Linux."""
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return


def _memory_mb(name: str) -> float:
    """Return a line of this process's status in MB, 0 where there is none."""
    try:
        lines = (_PROC / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith(name)), 0.0)


def _peak_so_far_mb() -> float:
    """Return the most memory that this process ever had."""
    per_mb = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb


def _bytes_moved() -> tuple[int, int]:
    """Return the bytes that this process has read and written, 0 where the system does not tell."""
    try:
        lines = (_PROC / "io").read_text().split()
    except OSError:
        return 0, 0
    return int(lines[lines.index("rchar:") + 1]), int(lines[lines.index("wchar:") + 1])
