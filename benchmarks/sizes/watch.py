"""A command in a process of its own, and what it and all processes under it take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agglo.actor_host import ActorHost
from analysis.input_error import InputError

ROOT = Path(__file__).parents[2]
INTERVAL_S = 0.5

_PROC = Path("/proc")

_ACTOR = f"ray::{ActorHost.__name__}".encode()
"""How the name of a process with an actor of `agglo.pool` begins; Ray's own agents are `ray::` too,
and a node dies with one of them."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a command took.

    Attributes:
        seconds: by the clock.
        peak_mb: most resident memory of a process, by its kind: `driver`, `actor` or `ray`; empty
            where the system does not tell.
        status: its exit status, less than 0 for a signal.
    """

    seconds: float
    peak_mb: dict[str, float]
    status: int


def watch(
    command: Sequence[object],
    log: Path,
    *,
    on_look: Callable[[int, dict[int, str]], None] = lambda pid, below: None,
) -> Watched:
    """Run a command to its end.

    Args:
        command: words after the Python interpreter.
        log: file for what it says.
        on_look: told now and then its process, and all processes under it by kind.
    """
    started = time.perf_counter()
    peaks: dict[str, float] = {}
    known: dict[int, str] = {}
    with log.open("ab") as stream:
        child = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            while child.poll() is None:
                known = {pid: _kind(pid) for pid in _below(child.pid)}
                for pid, kind in {child.pid: "driver", **known}.items():
                    peaks[kind] = max(peaks.get(kind, 0.0), _peak_mb(pid))
                on_look(child.pid, known)
                time.sleep(INTERVAL_S)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    _wait_for_end(known)
    return Watched(time.perf_counter() - started, peaks, child.returncode)


def run_command(command: Sequence[object], log: Path) -> Watched:
    """Run a command that must end well.

    Raises:
        InputError: it did not; what it said is in the log.
    """
    watched = watch(command, log)
    if watched.status:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise InputError(
            f"--out: {' '.join(map(str, command[:4]))} … ended with status {watched.status}: "
            f"{lines[-1] if lines else 'it said nothing'} ({log})"
        )
    return watched


def _wait_for_end(known: dict[int, str], patience_s: float = 20.0) -> None:
    """Wait until what was under a command is gone, which Ray sees to; end what stays."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if not any(_kind(pid) == kind for pid, kind in known.items()):
            return
        time.sleep(0.1)
    for pid, kind in known.items():
        if _kind(pid) == kind:
            os.kill(pid, signal.SIGKILL)


def _below(root: int) -> list[int]:
    """Return the processes under one."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found: list[int] = []
    ahead = [root]
    while ahead:
        more = children.get(ahead.pop(), [])
        found += more
        ahead += more
    return found


def _kind(pid: int) -> str:
    """Return what a process is; nothing if it is gone."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    if not words:  # gone, but not yet waited for
        return ""
    return "actor" if words.startswith(_ACTOR) else "ray"


def _peak_mb(pid: int) -> float:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM")), 0.0)
