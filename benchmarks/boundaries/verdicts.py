"""Paired comparisons seed by seed, and whether the target of a data set is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agglo.progress import show_table
from benchmarks.boundaries.data_sets import DataSet, Number
from benchmarks.boundaries.runs import Row
from benchmarks.boundaries.table import Group


@dataclass(frozen=True, slots=True)
class Verdict:
    """One number of two kinds of runs, paired by seed.

    Attributes:
        first: what should be better.
        second: than what.
        number: in which number.
        gains: by seed, how much better the first is; less than 0 is worse.
        without_pair: seeds of which one of the two has no such number.
    """

    first: str
    second: str
    number: Number
    gains: dict[int, float]
    without_pair: tuple[int, ...]

    @property
    def n_better(self) -> int:
        """Seeds in which the first is better."""
        return sum(gain > 0 for gain in self.gains.values())

    @property
    def is_better_in_all(self) -> bool:
        """Whether every seed has a pair, and the first is better in it."""
        return bool(self.gains) and not self.without_pair and self.n_better == len(self.gains)

    @property
    def words(self) -> str:
        """Say what was found."""
        missing = ", ".join(map(str, self.without_pair))
        without = f"no pair for seed {missing}" if self.without_pair else ""
        if not self.gains:
            return without
        found = f"better in {self.n_better} of {len(self.gains)} seeds"
        return f"{found}, {without}" if without else found

    @property
    def results(self) -> dict[str, Any]:
        """What goes to JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "number": self.number.name,
            "gain_by_seed": {str(seed): gain for seed, gain in self.gains.items()},
            "seeds_without_pair": list(self.without_pair),
            "is_better_in_all": self.is_better_in_all,
        }


@dataclass(frozen=True, slots=True)
class TargetVerdict:
    """Whether the mean over seeds of any model reaches a target.

    Attributes:
        number: of which number.
        at_least: the target.
        best: model and loss with the highest mean, None where nothing has the number.
        best_mean: its mean.
        reached_by: models and losses that reach it.
    """

    number: str
    at_least: float
    best: str | None
    best_mean: float | None
    reached_by: tuple[str, ...]


def compare_rows(data_set: DataSet, rows: Sequence[Row]) -> list[Verdict]:
    """Compare DAWMR of three iterations with one, and structured losses with cross-entropy.

    Args:
        data_set: says which numbers are compared.
        rows: of this data set; a comparison of which either side was not asked for is left out.
    """
    models = dict.fromkeys(row.run.model for row in rows)
    kinds = dict.fromkeys(row.run.kind for row in rows)
    sides = [(("dawmr3", kind), ("dawmr1", kind)) for kind in kinds]
    sides += [((model, "structured"), (model, "bce")) for model in models]
    by_side: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        by_side.setdefault((row.run.model, row.run.kind), {})[row.run.seed] = row
    return [
        _pair(by_side[first], by_side[second], data_set.number(name))
        for first, second in sides
        if first in by_side and second in by_side
        for name in data_set.compared
    ]


def _pair(first: dict[int, Row], second: dict[int, Row], number: Number) -> Verdict:
    """Pair two kinds of runs by seed."""
    gains: dict[int, float] = {}
    without_pair: list[int] = []
    for seed in sorted(first.keys() | second.keys()):
        values = [side[seed].numbers.get(number.name) for side in (first, second) if seed in side]
        found = [value for value in values if value is not None]
        if len(found) < 2:
            without_pair.append(seed)
        else:
            gains[seed] = found[1] - found[0] if number.is_cost else found[0] - found[1]
    names = [_name_of(side) for side in (first, second)]
    return Verdict(names[0], names[1], number, gains, tuple(without_pair))


def _name_of(side: dict[int, Row]) -> str:
    """Name model and loss of some runs."""
    run = next(iter(side.values())).run
    return f"{run.model} {run.loss}"


def judge_target(data_set: DataSet, groups: Sequence[Group]) -> TargetVerdict:
    """Say which models and losses reach the target of a data set in the mean over seeds."""
    target = data_set.target
    means = {group.name: group.mean(target.number) for group in groups}
    known = {name: mean for name, mean in means.items() if mean is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return TargetVerdict(
        number=target.number,
        at_least=target.at_least,
        best=best,
        best_mean=None if best is None else known[best],
        reached_by=tuple(name for name, mean in known.items() if mean >= target.at_least),
    )


def show_verdicts(data_set: DataSet, verdicts: Sequence[Verdict], target: TargetVerdict) -> None:
    """Print the comparisons and the target."""
    if verdicts:
        show_table(
            f"{data_set.name}, paired by seed: gain of the first, more is better",
            ("first", "second", "in", "gain by seed", "verdict"),
            [
                (
                    *(verdict.first, verdict.second, verdict.number.header),
                    "  ".join(f"{seed}: {gain:+.4f}" for seed, gain in verdict.gains.items()),
                    verdict.words,
                )
                for verdict in verdicts
            ],
        )
    header = data_set.number(target.number).header
    best = "nothing" if target.best is None else f"{target.best} {target.best_mean:.4f}"
    show_table(
        f"{data_set.name}, target",
        ("target", "best mean", "reached by"),
        [(f"{header} ≥ {target.at_least:g}", best, ", ".join(target.reached_by) or "none")],
    )
