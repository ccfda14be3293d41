"""Boundary models and losses in one table per data set.

Run from the root: python -m benchmarks.boundaries --out FOLDER

Models train on one part of a data set, thresholds are chosen on a second and scores are of a third
(see `data_sets.py`). Every run has a folder of its own in --out and is not repeated once it has a
row there, so the command can be stopped and given again; what failed is tried again. Structured
losses are those of `runs.STRUCTURED`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from agglo.evaluation_result import save_figures
from agglo.json_file import write_json
from agglo.progress import messages
from analysis.input_error import InputError
from benchmarks.boundaries.data_sets import DATA_SETS, DataSet
from benchmarks.boundaries.pictures import maps_figure, points_figure
from benchmarks.boundaries.run_folders import do_run, read_row, require_same
from benchmarks.boundaries.runs import STEPS, DataName, LossKind, ModelName, Row, Run
from benchmarks.boundaries.table import group_rows, show_failures, show_groups
from benchmarks.boundaries.verdicts import compare_rows, judge_target, show_verdicts
from benchmarks.metrics.label_volumes import DATA


@dataclass(frozen=True)
class Arguments:
    """Compare boundary models and losses."""

    out: Path
    """folder for runs, tables and pictures; runs that it holds are not repeated"""
    data: tuple[DataName, ...] = ("isbi", "fib25")
    """data sets"""
    models: tuple[ModelName, ...] = ("convnet", "unet", "dawmr1", "dawmr3")
    losses: tuple[LossKind, ...] = ("bce", "structured")
    """cross-entropy alone, and the structured loss of each model"""
    seeds: tuple[int, ...] = (0, 1, 2)
    minutes: float | None = None
    """training time of a network, or of each iteration of one, instead of steps"""
    steps: int | None = None
    """training steps of a network, or of each iteration of one; by default those of runs.STEPS"""
    cpus: int | None = None
    """CPUs of a run; two runs of one CPU beside each other are faster than one after the other"""
    summary: bool = False
    """run nothing, make the tables of the runs that are there"""
    data_folder: Path = DATA
    """folder of the data sets"""

    def runs(self) -> list[Run]:
        """Return the runs, seed by seed, so that a stopped benchmark has whole seeds."""
        if self.minutes is not None and self.steps is not None:
            raise InputError("give either --minutes or --steps.")
        asked = product(self.seeds, self.data, self.models, self.losses)
        return [
            Run(data, model, kind, seed, self.minutes, self._steps(model))
            for seed, data, model, kind in dict.fromkeys(asked)
        ]

    def _steps(self, model: ModelName) -> int | None:
        """Return the steps of a model, None where the clock decides."""
        return STEPS[model] if self.steps is None and self.minutes is None else self.steps


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.boundaries")
    try:
        compare(arguments)
    except InputError as error:
        messages.print(str(error), markup=False)
        sys.exit(2)


def compare(arguments: Arguments) -> None:
    """Do the runs that are missing, then print and write what all of them show."""
    out, runs = arguments.out, arguments.runs()
    if arguments.summary and not out.is_dir():
        raise InputError(f"--out: there is no folder {out} to make a summary of.")
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    if not arguments.summary:
        for run in runs:  # what does not fit is said before anything is started
            require_same(out, run)
    for i, run in enumerate(runs):
        if arguments.summary:
            rows.append(read_row(out, run))
            continue
        messages.print(f"{i + 1} of {len(runs)}: {run.name}, {run.budget}", markup=False)
        rows.append(do_run(out, run, arguments.data_folder, arguments.cpus))
        if rows[-1].failure:
            messages.print(f"  failed: {rows[-1].failure}", markup=False)
    results = {
        name: summarise(DATA_SETS[name], [row for row in rows if row.run.data == name], arguments)
        for name in dict.fromkeys(arguments.data)
    }
    write_json(out / "boundaries.json", results, argument="--out")
    messages.print(f"numbers in {out / 'boundaries.json'}, pictures beside", markup=False)


def summarise(data_set: DataSet, rows: list[Row], arguments: Arguments) -> dict[str, Any]:
    """Print the tables of a data set, write its pictures, and return everything for JSON."""
    groups = group_rows(rows)
    verdicts = compare_rows(data_set, rows)
    target = judge_target(data_set, groups)
    show_groups(data_set, groups)
    show_verdicts(data_set, verdicts, target)
    show_failures(data_set, rows)
    if any(row.numbers for row in rows):
        figures = {
            f"{data_set.name}_scores": points_figure(data_set, rows),
            f"{data_set.name}_maps": maps_figure(
                data_set, rows, arguments.out, arguments.data_folder
            ),
        }
        save_figures(arguments.out, figures)
    return {
        "rows": [row.results for row in rows],
        "summary": [group.results for group in groups],
        "verdicts": [verdict.results for verdict in verdicts],
        "target": asdict(target),
    }


if __name__ == "__main__":
    main()
