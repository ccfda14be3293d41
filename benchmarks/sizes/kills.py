"""A run whose worker and then driver are killed, resumed and compared with an undisturbed one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from agglo.block_ledger import DONE_FILE
from agglo.progress import console
from analysis.input_error import InputError
from benchmarks.sizes.runs import Place, Row, kept
from benchmarks.sizes.sameness import sameness
from benchmarks.sizes.watch import watch

WORKER_AT, DRIVER_AT = 0.2, 0.6
"""Shares of the tasks after which each is killed."""

MAX_STARTS = 6
"""A machine that is too busy may lose Ray's node too; more starts than these are no accident."""


class Killer:
    """Kills a worker and later the driver of a run, by what its ledger lists."""

    def __init__(self, ledger: Path, n_tasks: int) -> None:
        self._ledger, self._n_tasks = ledger, n_tasks
        self.killed: list[tuple[str, int]] = []
        """What was killed, and how many tasks were done then."""

    @property
    def n_done(self) -> int:
        """Return how many tasks the ledger lists."""
        done = self._ledger / DONE_FILE
        return done.read_bytes().count(b"\n") if done.exists() else 0

    def look(self, driver: int, below: dict[int, str]) -> None:
        """Kill what it is time for."""
        n_done = self.n_done
        actors = sorted(pid for pid, kind in below.items() if kind == "actor")
        if not self.killed and actors and n_done >= WORKER_AT * self._n_tasks:
            os.kill(actors[0], signal.SIGKILL)
            self.killed.append(("worker", n_done))
        elif len(self.killed) == 1 and n_done >= DRIVER_AT * self._n_tasks:
            os.kill(driver, signal.SIGKILL)
            self.killed.append(("driver", n_done))


def survive(place: Place, side: int, n_actors: int, undisturbed: Row) -> Row:
    """Do the run again with kills, and say whether it ends the same."""

    def make() -> Row:
        name = f"{side}_killed"
        out = place.segmentation(name)
        n_tasks = sum(stage["tasks"] for stage in undisturbed["stages"].values())
        killer = Killer(ledger_of(out), n_tasks)
        words = place.segment_words(side, name, n_actors)
        seconds, n_starts = run_through_kills(words, place.log(name), killer)
        return {
            "killed": killer.killed,
            "n_starts": n_starts,
            "n_tasks": n_tasks,
            "seconds": seconds,
            "undisturbed_seconds": undisturbed["whole_seconds"],
            **sameness(place.segmentation(f"{side}_{n_actors}"), out),
        }

    row = kept(place, f"{side}_killed", make)
    events = " and ".join(f"the {who} killed after {n} tasks" for who, n in row["killed"])
    segmentation, tree = (
        "equal" if row[key] else "NOT EQUAL" for key in ("is_same_segmentation", "is_same_tree")
    )
    console.out(
        f"{side}³, {events or 'nothing killed'}, {row['n_starts']} starts: segmentation "
        f"{segmentation}, merge tree {tree} to those of the undisturbed run"
    )
    return row


def ledger_of(out: Path) -> Path:
    """Return the folder that lists the tasks done of a run that writes a segmentation."""
    return out.with_name(f".{out.name}.segmentation")


def run_through_kills(words: list[str], log: Path, killer: Killer) -> tuple[float, int]:
    """Segment, and resume after every death; return the seconds and how many starts it took."""
    seconds, n_starts, status = 0.0, 0, 1
    while status:
        if n_starts == MAX_STARTS:
            raise InputError(f"--out: a run did not end after {n_starts} starts ({log}).")
        how = ["--overwrite", *["--resume"] * (killer.n_done > 0)]
        watched = watch([*words, *how], log, on_look=killer.look)
        seconds, n_starts, status = seconds + watched.seconds, n_starts + 1, watched.status
    return seconds, n_starts
