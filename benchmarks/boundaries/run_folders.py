"""Folders of runs: what they hold, and doing what is missing in a process apart."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from agglo.json_file import write_json
from analysis.input_error import InputError
from benchmarks.boundaries.runs import FAILURE_FILE, LOG_FILE, ROW_FILE, RUN_FILE, Row, Run

ROOT = Path(__file__).parents[2]

_BOXED = re.compile(r"^\s*│(.*)│\s*$", re.MULTILINE)
"""A line of the box in which wrong arguments are reported."""


def do_run(out: Path, run: Run, data_folder: Path, n_cpus: int | None = None) -> Row:
    """Return the row of a run, doing the run where there is none.

    Args:
        out: folder of all runs.
        run: which.
        data_folder: of the data sets.
        n_cpus: that it computes on; all if None.

    Raises:
        InputError: its folder holds a run of the same name with other arguments.
    """
    folder = out / run.name
    require_same(out, run)
    if (folder / ROW_FILE).exists():
        return read_row(out, run)
    folder.mkdir(exist_ok=True)
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    write_json(folder / RUN_FILE, run.described(), argument="--out")
    status = _in_child(folder.absolute(), data_folder.absolute(), n_cpus)
    if status:
        log = (folder / LOG_FILE).read_text(errors="replace")
        write_json(folder / FAILURE_FILE, {"failure": sentence_of(log, status)}, argument="--out")
    return read_row(out, run)


def require_same(out: Path, run: Run) -> None:
    """Refuse a folder that holds a run of the same name with other arguments.

    Raises:
        InputError: it does.
    """
    folder = out / run.name
    if not (folder / RUN_FILE).exists():
        return
    found = json.loads((folder / RUN_FILE).read_text())
    wanted = run.described()
    if found != wanted:
        differing = [name for name in wanted if found.get(name) != wanted[name]]
        seen = ", ".join(f"{name} {found.get(name)}, not {wanted[name]}" for name in differing)
        raise InputError(f"--out: {folder} holds a run with {seen}; choose another folder.")


def read_row(out: Path, run: Run) -> Row:
    """Return the row of a run as its folder has it, with the budget found there."""
    folder = out / run.name
    if not (folder / RUN_FILE).exists():
        return Row(run, failure="It has not been run.")
    found = Run.read(folder / RUN_FILE)
    if (folder / ROW_FILE).exists():
        return Row(found, json.loads((folder / ROW_FILE).read_text())["numbers"])
    if (folder / FAILURE_FILE).exists():
        return Row(found, failure=json.loads((folder / FAILURE_FILE).read_text())["failure"])
    return Row(found, failure="It has not been finished.")


def sentence_of(log: str, status: int) -> str:
    """Return the sentence with which a run failed.

    Args:
        log: what it printed.
        status: its exit status, less than 0 for a signal.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("agglo: ")]
    if status < 0:
        return f"It was ended by signal {signal.Signals(-status).name}."
    if said:
        return said[-1].removeprefix("agglo: ")
    boxed = [line.strip() for line in _BOXED.findall(log)]
    if boxed:
        return " ".join(line for line in boxed if line.strip("─ "))
    return lines[-1] if lines else f"It ended with status {status} and said nothing."


def _in_child(folder: Path, data_folder: Path, n_cpus: int | None) -> int:
    """Do a run in a process apart, which ends with this one; return its exit status."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    module = "benchmarks.boundaries.run"
    command = [sys.executable, "-m", module, "--folder", folder, "--data-folder", data_folder]
    command += [] if n_cpus is None else ["--cpus", str(n_cpus)]
    previous = signal.signal(signal.SIGTERM, end)
    try:
        with (folder / LOG_FILE).open("wb") as log:
            child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            try:
                return child.wait()
            except BaseException:
                child.terminate()
                child.wait()
                raise
    finally:
        signal.signal(signal.SIGTERM, previous)
