"""A run whose worker and then driver are killed, resumed and compared with an undisturbed one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from agglo.blocks.ledger import DONE_FILE
from agglo.progress import console
from agglo.segmentation import load_tree, tree_path_of
from agglo.volumes import open_volume
from analysis.input_error import InputError
from benchmarks.sizes.runs import Place, Row, kept
from benchmarks.sizes.watch import watch

WORKER_AT, DRIVER_AT = 0.2, 0.6
"""Shares of the tasks after which each is killed."""

MAX_STARTS = 6
"""A machine that is too busy may lose Ray's node too; more starts than these are no accident."""

SLAB = 64


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
        out, log = place.segmentation(name), place.log(name)
        words = place.segment_words(side, name, n_actors)
        n_tasks = sum(stage["tasks"] for stage in undisturbed["stages"].values())
        killer = Killer(out.with_name(f".{out.name}.segmentation"), n_tasks)
        seconds, n_starts, status = 0.0, 0, 1
        while status:
            if n_starts == MAX_STARTS:
                raise InputError(f"--out: {name} did not end after {n_starts} starts ({log}).")
            how = ["--overwrite", *["--resume"] * (killer.n_done > 0)]
            watched = watch([*words, *how], log, on_look=killer.look)
            seconds, n_starts, status = seconds + watched.seconds, n_starts + 1, watched.status
        return {
            "killed": killer.killed,
            "n_starts": n_starts,
            "n_tasks": n_tasks,
            "seconds": seconds,
            "undisturbed_seconds": undisturbed["whole_seconds"],
            **_same(place, side, n_actors),
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


def _same(place: Place, side: int, n_actors: int) -> dict[str, Any]:
    """Compare both outputs, a slab at a time."""
    paths = [place.segmentation(name) for name in (f"{side}_{n_actors}", f"{side}_killed")]
    first, second = (open_volume(str(path), argument="--out") for path in paths)
    is_same = first.shape == second.shape and all(
        np.array_equal(first[z : z + SLAB], second[z : z + SLAB])
        for z in range(0, first.shape[0], SLAB)
    )
    trees = [load_tree(tree_path_of(str(path)), argument="--out") for path in paths]
    is_same_tree = all(
        np.array_equal(*(getattr(tree, name) for tree in trees))
        for name in ("ids", "merges", "heights")
    )
    return {"is_same_segmentation": is_same, "is_same_tree": is_same_tree}
