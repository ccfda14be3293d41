"""The table of a case: every method, mean and deviation over seeds, and ours beside the peers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agglo.progress import show_table
from benchmarks.accuracy.methods import METHODS, Method
from benchmarks.accuracy.rows import Row
from benchmarks.accuracy.scene import BORDER_TOLERANCE_VOX
from benchmarks.boundaries.data_sets import Number

NONE = "–"

ERRORS: tuple[Number, ...] = (
    Number("vi_split", "split", is_cost=True, digits=3),
    Number("vi_merge", "merge", is_cost=True, digits=3),
    Number("vi", "VI", is_cost=True, digits=3),
    Number("vi_tolerant", f"VI, {BORDER_TOLERANCE_VOX} vox", is_cost=True, digits=3),
    Number("adapted_rand_error", "ARAND", is_cost=True, digits=3),
    Number("oracle_vi", "VI, oracle threshold", is_cost=True, digits=3),
)
"""Columns of the table of errors."""

COSTS: tuple[Number, ...] = (
    Number("cpu_s", "CPU s", is_cost=True, digits=4),
    Number("n_merges", "merges", digits=0),
    Number("merges_per_s", "merges/s", digits=0),
    Number("n_segments", "segments", digits=0),
    Number("threshold", "threshold", digits=3),
    Number("oracle_threshold", "oracle threshold", digits=3),
    Number("train_s", "train s", is_cost=True, digits=1),
)
"""Columns of the table of costs."""

WITH_DEVIATION = ("vi", "vi_tolerant", "adapted_rand_error")

COMPARED = ("vi", "vi_tolerant", "adapted_rand_error")


@dataclass(frozen=True, slots=True)
class Group:
    """All seeds of a method on a case, one or more.

    Attributes:
        name: of the method.
        rows: by seed.
    """

    name: str
    rows: tuple[Row, ...]

    @property
    def method(self) -> Method:
        """The method."""
        return METHODS[self.name]

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
            "method": self.name,
            "title": self.method.title,
            "kind": self.method.kind,
            "n_seeds": sum(bool(row.numbers) for row in self.rows),
            "mean": {name: self.mean(name) for name in names},
            "sd": {name: self.deviation(name) for name in names},
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of ours beside the peer with the least mean.

    Attributes:
        method: ours.
        number: what is compared; lower is better.
        ours: mean over seeds.
        peer: name of the best peer.
        best: its mean.
        gain: by how much ours is lower.
        deviation: the larger of the two deviations over seeds, None where neither has one.
    """

    method: str
    number: str
    ours: float
    peer: str
    best: float
    gain: float
    deviation: float | None

    @property
    def is_clear(self) -> bool:
        """Tell whether ours is lower by more than one deviation."""
        return self.gain > (self.deviation or 0.0)


def group_rows(rows: Iterable[Row]) -> list[Group]:
    """Gather the seeds of every method that has numbers, in the order of the list of methods."""
    found: dict[str, list[Row]] = {name: [] for name in METHODS}
    for row in rows:
        if row.numbers:
            found[row.method].append(row)
    return [Group(name, tuple(some)) for name, some in found.items() if some]


def judge(groups: Sequence[Group]) -> list[Verdict]:
    """Hold each of ours against the best peer in every number that is compared."""
    peers = [group for group in groups if group.method.kind == "peer"]
    verdicts = []
    for group in groups:
        if group.method.kind != "ours" or not peers:
            continue
        for number in COMPARED:
            best = min(peers, key=lambda peer: _known(peer, number))
            deviations = [one.deviation(number) for one in (group, best)]
            known = [value for value in deviations if value is not None]
            ours, least = _known(group, number), _known(best, number)
            verdicts.append(
                Verdict(
                    *(group.name, number, ours, best.name, least, least - ours),
                    max(known) if known else None,
                )
            )
    return verdicts


def _known(group: Group, number: str) -> float:
    mean = group.mean(number)
    assert mean is not None
    return mean


def cell(group: Group, number: Number) -> str:
    """Write a number of a group, with its deviation where the table has room for it."""
    mean, deviation = group.mean(number.name), group.deviation(number.name)
    if mean is None:
        return NONE
    text = f"{mean:.{number.digits}f}"
    if deviation is None or number.name not in WITH_DEVIATION:
        return text
    return f"{text} ± {deviation:.{number.digits}f}"


def show_overview(groups_of_cases: Mapping[str, Sequence[Sequence[Row]]]) -> None:
    """Print the mean VI of every method over the cases of each group of cases, and its seeds.

    Args:
        groups_of_cases: rows of the cases of each group.
    """
    found = {name: overview(cases) for name, cases in groups_of_cases.items()}
    if len(found) > 1:
        found["all cases"] = overview(
            [rows for cases in groups_of_cases.values() for rows in cases]
        )
    if not any(found.values()):
        return
    show_table(
        "mean VI",
        ("method", *found),
        [
            (method.title, *(f"{one[name]:.3f}" if name in one else NONE for one in found.values()))
            for name, method in METHODS.items()
            if any(name in one for one in found.values())
        ],
    )


def overview(cases: Sequence[Sequence[Row]]) -> dict[str, float]:
    """Return the mean VI over cases of the methods that have numbers in every one."""
    grouped = [{group.name: _known(group, "vi") for group in group_rows(rows)} for rows in cases]
    return {
        name: statistics.fmean(one[name] for one in grouped)
        for name in METHODS
        if all(name in one for one in grouped)
    }


def show_case(title: str, rows: Sequence[Row]) -> None:
    """Print the tables of a case, ours beside the best peers, and what has no numbers."""
    groups = group_rows(rows)
    about = "".join(
        f" (map AUC {group.mean('map_auc'):.3f}, AP {group.mean('map_average_precision'):.3f}; "
        f"{group.mean('n_segments'):.0f} superpixels)"
        for group in groups
        if group.values("map_auc")
    )
    for name, columns in ((f"{title}: errors{about}", ERRORS), (f"{title}: costs", COSTS)):
        show_table(
            name,
            ("method", "seeds", *(column.header for column in columns)),
            [
                (group.method.title, str(len(group.rows)), *(cell(group, one) for one in columns))
                for group in groups
                if any(group.values(one.name) for one in columns)
            ],
        )
    verdicts = judge(groups)
    if verdicts:
        show_table(
            f"{title}: beside the best peer",
            ("ours", "number", "mean", "best peer", "its mean", "lower by", "sd", "clearly"),
            [
                (
                    *(METHODS[one.method].title, one.number, one.ours),
                    *(METHODS[one.peer].title, one.best, one.gain),
                    *(NONE if one.deviation is None else one.deviation, one.is_clear),
                )
                for one in verdicts
            ],
        )
    failed = [(METHODS[row.method].title, row.seed, row.failure) for row in rows if row.failure]
    if failed:
        show_table("without numbers", ("method", "seed", "why"), failed)


def results_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what goes to JSON of a case."""
    groups = group_rows(rows)
    return {
        "summary": [group.results for group in groups],
        "verdicts": [{**asdict(one), "is_clear": one.is_clear} for one in judge(groups)],
        "rows": [asdict(row) for row in rows],
    }
