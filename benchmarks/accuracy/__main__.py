"""Merge policies and published agglomeration methods on the same superpixels and boundary maps.

Run from the root: python -m benchmarks.accuracy --out FOLDER --minutes 20

Cases are pairs of a training side and a test part (see `cases.py`), each with its swap; what has a
threshold chooses it on the training side. Every row, a method on a case with a seed, has a file of
its own in --out and is not made again, so the command can be stopped and given again. Beside them
lie `accuracy.json` and `accuracy.png`. The extra `baselines` has the peers.

CPU seconds are those from the region graph, which all share, to the clusters of superpixels (waterz
relabels the voxels too); merges per second are of the same. VI in bits, truth 0 dropped, two voxels
from a true border in the tolerant one; ARAND with N² pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import tyro

from agglo.cluster import ray_session
from agglo.evaluation_result import save_figures
from agglo.json_file import write_json
from agglo.progress import console, messages, show_messages
from analysis.input_error import InputError
from analysis.segmentation_scores import CONVENTIONS
from benchmarks.accuracy.cases import ABOUT, GROUPS, Case
from benchmarks.accuracy.figure import tradeoff_figure
from benchmarks.accuracy.maps import Maps, training_words
from benchmarks.accuracy.methods import METHODS
from benchmarks.accuracy.rows import Row, read_row, require_same, seed_folder, write_row
from benchmarks.accuracy.scene import BORDER_TOLERANCE_VOX, Scene
from benchmarks.accuracy.table import overview, results_of, show_case, show_overview
from benchmarks.accuracy.trial import Trial
from benchmarks.kernels.peers import find_peers
from benchmarks.metrics.label_volumes import DATA

MINUTES = 20.0
"""Training of a boundary model, unless said otherwise."""

TOLERANT = f"vi without truth within {BORDER_TOLERANCE_VOX} voxels of a true border"
CPU = (
    "from the region graph, which all share, to the clusters of superpixels; least of several runs"
)
THRESHOLD = (
    "chosen on the training side: height of a merge tree (1 less the evidence of a boundary; a "
    "logit for networks) or bias of signed costs; oracle_threshold: best on the test part itself"
)

GroupName = Literal[
    "fib25", "fib25-halves", "fib25-published", "gala", "gala-given", "snemi", "transfer"
]


@dataclass(frozen=True)
class Arguments:
    """Compare merge policies and published agglomeration methods."""

    out: Path
    """folder for maps, rows, table and figure; rows that it holds are not made again"""
    data: tuple[GroupName, ...] = ("fib25", "fib25-published", "gala", "gala-given", "snemi")
    """groups of cases; transfer trains on other data sets than it tests on"""
    methods: tuple[str, ...] = tuple(METHODS)
    """rows of the table"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """for methods in which there is chance"""
    minutes: float | None = None
    """training of a boundary model, all folds together; 20 unless --steps is given"""
    steps: int | None = None
    """training steps of each fold instead"""
    model: Literal["unet", "convnet", "dawmr"] = "unet"
    """kind of boundary model"""
    folds: int | None = None
    """folds of a boundary model, as many as `agglo boundaries train` takes if not given"""
    widths: tuple[int, ...] = ()
    """channels of each level of a boundary model, its own if not given"""
    views: int = 1
    """mirror images and turns whose predictions are averaged in a map"""
    summary: bool = False
    """make no row, show those that are there"""
    data_folder: Path = DATA
    """folder of the data sets"""

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise InputError(f"--methods: {unknown[0]!r} is none of {', '.join(METHODS)}.")
        if self.minutes is not None and self.steps is not None:
            raise InputError("give either --minutes or --steps.")
        if self.views < 1:
            raise InputError(f"--views must be at least 1, not {self.views}.")
        if not self.seeds:
            raise InputError("--seeds must name one or more.")

    @property
    def training_words(self) -> tuple[str, ...]:
        """Arguments of `agglo boundaries train`."""
        budget = ("--steps", str(self.steps))
        if self.steps is None:
            budget = ("--minutes", str(MINUTES if self.minutes is None else self.minutes))
        return training_words(*budget, model=self.model, folds=self.folds, widths=self.widths)

    @property
    def prediction_words(self) -> tuple[str, ...]:
        """Arguments of `agglo boundaries predict`."""
        return () if self.views == 1 else ("--views", str(self.views))

    def cases(self) -> list[Case]:
        """Return the cases."""
        return [case for name in dict.fromkeys(self.data) for case in GROUPS[name]]

    def tasks(self) -> list[tuple[int, str]]:
        """Return seed and method of every row of a case, seed by seed."""
        seeded = [name for name in METHODS if name in self.methods and METHODS[name].has_seeds]
        others = [name for name in METHODS if name in self.methods and name not in seeded]
        return [(0, name) for name in others] + list(product(dict.fromkeys(self.seeds), seeded))


def main() -> None:
    try:
        arguments = tyro.cli(Arguments, prog="python -m benchmarks.accuracy")
        compare(arguments)
    except InputError as error:
        messages.print(str(error), markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        messages.print("interrupted; rows that were finished are kept", markup=False)
        sys.exit(1)


def compare(arguments: Arguments) -> None:
    """Make the rows that are missing, then show all of them."""
    out = arguments.out.absolute()
    if arguments.summary and not out.is_dir():
        raise InputError(f"--out: there is no folder {out} to make a summary of.")
    out.mkdir(parents=True, exist_ok=True)
    rows = {
        case.name: [
            read_row(out, case, name, seed)
            or Row(case.name, name, seed, failure="It has not been run.")
            for seed, name in arguments.tasks()
        ]
        for case in arguments.cases()
    }
    if not arguments.summary:
        words = (*arguments.training_words, *arguments.prediction_words)
        require_same(out, {"boundary model": " ".join(words)})
        if any(row.failure for some in rows.values() for row in some):
            show_messages()
            with ray_session():
                for case in arguments.cases():
                    rows[case.name] = list(make_rows(arguments, out, case))
    show(arguments, out, rows)


def show(arguments: Arguments, out: Path, rows: dict[str, list[Row]]) -> None:
    """Print, draw and write what rows show.

    Args:
        arguments: the cases that are shown.
        out: where JSON and figure go.
        rows: of each case, by its name.
    """
    for group in dict.fromkeys(arguments.data):
        console.print(ABOUT[group], markup=False)
        for case in GROUPS[group]:
            show_case(case.title, rows[case.name])
    by_group = {
        group: [rows[case.name] for case in GROUPS[group]]
        for group in dict.fromkeys(arguments.data)
    }
    show_overview(by_group)
    results = {
        "conventions": CONVENTIONS
        | {"vi_tolerant": TOLERANT, "cpu_s": CPU, "threshold": THRESHOLD},
        "peers": find_peers().versions,
        "overview": {group: overview(some) for group, some in by_group.items()},
        "cases": {name: results_of(some) for name, some in rows.items()},
    }
    write_json(out / "accuracy.json", results, argument="--out")
    if any(row.numbers for some in rows.values() for row in some):
        shown = {case.title: rows[case.name] for case in arguments.cases()}
        save_figures(out, {"accuracy": tradeoff_figure(shown)})
    messages.print(f"numbers in {out / 'accuracy.json'}, figure beside", markup=False)


def make_rows(arguments: Arguments, out: Path, case: Case) -> Iterator[Row]:
    """Yield the rows of a case, making those that are missing."""
    found = {task: read_row(out, case, task[1], task[0]) for task in arguments.tasks()}
    train: list[Scene] = []
    test: Scene | None = None
    trials: dict[int, Trial] = {}
    for (seed, name), row in found.items():
        if row is not None:
            yield row
            continue
        if METHODS[name].missing:
            yield Row(case.name, name, seed, failure=METHODS[name].missing)
            continue
        if test is None:
            maps = Maps(
                arguments.data_folder.absolute(),
                out,
                arguments.training_words,
                arguments.prediction_words,
            )
            volumes, tested = maps.prepare(case)
            train, test = [Scene.read(one) for one in volumes], Scene.read(tested)
        trial = trials.get(seed) or Trial(train, test, seed, seed_folder(out, case, seed))
        trials = {seed: trial}
        yield make_row(out, case, name, trial)


def make_row(out: Path, case: Case, name: str, trial: Trial) -> Row:
    """Let a method do its task, and keep what came of it."""
    try:
        numbers = METHODS[name].work(trial)
    except InputError as error:
        row = Row(case.name, name, trial.seed, failure=str(error))
    except SystemExit as end:  # a command refused its input, and said why
        if end.code != 2:
            raise
        row = Row(case.name, name, trial.seed, failure="A command failed; see what it said.")
    else:
        row = Row(case.name, name, trial.seed, numbers)
        write_row(out, case, row)
    said = f"VI {row.numbers['vi']:.3f}" if row.numbers else row.failure
    messages.print(f"{case.name}, {METHODS[name].title}, seed {trial.seed}: {said}", markup=False)
    return row


if __name__ == "__main__":
    main()
