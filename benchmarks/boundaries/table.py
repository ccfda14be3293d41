"""The table of a data set: mean and deviation over seeds of every model and loss."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agglo.progress import show_table
from benchmarks.boundaries.data_sets import DataSet, Number
from benchmarks.boundaries.runs import LossKind, ModelName, Row

NONE = "–"
"""What stands for a number that there is not."""


@dataclass(frozen=True, slots=True)
class Group:
    """All seeds of one model and loss.

    Attributes:
        model: name of the model.
        kind: plain cross-entropy or a structured loss.
        loss: the loss itself.
        rows: one or more, in the order of the runs.
    """

    model: ModelName
    kind: LossKind
    loss: str
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Model and loss."""
        return f"{self.model} {self.loss}"

    @property
    def n_done(self) -> int:
        """Seeds with numbers."""
        return sum(bool(row.numbers) for row in self.rows)

    @property
    def budgets(self) -> list[str]:
        """How long the runs train."""
        return list(dict.fromkeys(row.run.budget for row in self.rows))

    def values(self, number: str) -> list[float]:
        """Return a number of every seed that has it."""
        found = [row.numbers.get(number) for row in self.rows]
        return [value for value in found if value is not None]

    def mean(self, number: str) -> float | None:
        """Return the mean over seeds, None without any."""
        values = self.values(number)
        return statistics.fmean(values) if values else None

    def deviation(self, number: str) -> float | None:
        """Return the standard deviation over seeds (n − 1), None of fewer than two."""
        values = self.values(number)
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def results(self) -> dict[str, Any]:
        """What goes to JSON."""
        names = dict.fromkeys(name for row in self.rows for name in row.numbers)
        return {
            "model": self.model,
            "loss": self.loss,
            "n_seeds": self.n_done,
            "n_failed": len(self.rows) - self.n_done,
            "budgets": self.budgets,
            "mean": {name: self.mean(name) for name in names},
            "sd": {name: self.deviation(name) for name in names},
        }


def group_rows(rows: Iterable[Row]) -> list[Group]:
    """Gather the seeds of every model and loss, in the order in which they first come."""
    found: dict[tuple[ModelName, LossKind], list[Row]] = {}
    for row in rows:
        found.setdefault((row.run.model, row.run.kind), []).append(row)
    return [Group(*key, some[0].run.loss, tuple(some)) for key, some in found.items()]


def cell(group: Group, number: Number) -> str:
    """Write a number of a group as mean ± deviation over seeds."""
    mean, deviation = group.mean(number.name), group.deviation(number.name)
    if mean is None:
        return NONE
    text = f"{mean:.{number.digits}f}"
    return text if deviation is None else f"{text} ± {deviation:.{number.digits}f}"


def show_groups(data_set: DataSet, groups: Sequence[Group]) -> None:
    """Print the table of scores, and one of what stands beside them."""
    show_table(
        f"{data_set.name}, mean ± sd over seeds",
        ("model", "loss", "seeds", *(number.header for number in data_set.scores)),
        [
            (
                *(group.model, group.loss, f"{group.n_done}/{len(group.rows)}"),
                *(cell(group, number) for number in data_set.scores),
            )
            for group in groups
        ],
    )
    show_table(
        f"{data_set.name}, details and costs of a run",
        ("model", "loss", "budget", *(number.header for number in data_set.details)),
        [
            (
                *(group.model, group.loss, ", ".join(group.budgets)),
                *(cell(group, number) for number in data_set.details),
            )
            for group in groups
        ],
    )


def show_failures(data_set: DataSet, rows: Iterable[Row]) -> None:
    """Print the runs that have no numbers, and why."""
    failed = [(row.run.name, row.failure) for row in rows if row.failure]
    if failed:
        show_table(f"{data_set.name}, runs without numbers", ("run", "why"), failed)
