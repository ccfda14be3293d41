"""CPU time of contenders that do the same work."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "agglo"


@dataclass(frozen=True, slots=True)
class Row:
    """What one contender took for one task on one volume.

    Attributes:
        volume: its name.
        n_voxels: of the volume.
        task: what was done.
        who: the contender.
        cpu_s: CPU seconds, least of several runs.
        amount: how much was done.
        unit: of what.
    """

    volume: str
    n_voxels: int
    task: str
    who: str
    cpu_s: float
    amount: float
    unit: str

    @property
    def per_second(self) -> float:
        """Return the amount done in a CPU second."""
        return self.amount / self.cpu_s


def race(
    contenders: Mapping[str, Callable[[], Any]], n_runs: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Run all in turn, several times; return the least CPU seconds and the last result of each."""
    seconds = dict.fromkeys(contenders, float("inf"))
    results: dict[str, Any] = {}
    for _ in range(n_runs):
        for who, work in contenders.items():
            results.pop(who, None)
            start = time.process_time()
            results[who] = work()
            seconds[who] = min(seconds[who], time.process_time() - start)
    return seconds, results


def peak_memory(work: Callable[[], Any]) -> int | None:
    """Return by how many bytes the resident memory rose at most; None but on Linux with glibc."""
    if platform.libc_ver()[0] != "glibc":
        return None
    ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would be used again unseen
    peak, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    peak.write_text("5")  # forget the highest mark so far
    before = _kilobytes(status, "VmRSS")
    work()
    return 1024 * (_kilobytes(status, "VmHWM") - before)


def _kilobytes(status: Path, name: str) -> int:
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])
