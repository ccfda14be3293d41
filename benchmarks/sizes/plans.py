"""What `agglo plan` says of a size from a smaller one, beside what it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agglo.blocks.measured_run import MeasuredRun
from agglo.blocks.plan import WHOLE, PlannedStage, plan_run
from agglo.progress import show_table

QUANTITIES = (
    ("CPU s", "cpu_seconds"),
    ("seconds", "seconds"),
    ("peak MB", "peak_mb"),
    ("MB written", "written_mb"),
)

Taken = dict[str, float]


def show_plans(runs: Mapping[int, dict[str, Any]], n_actors: int) -> list[dict[str, Any]]:
    """Plan every size from every smaller one of several blocks, print and return the deviations.

    Args:
        runs: results of `agglo segment --blocks --json` by size.
        n_actors: that worked.
    """
    rows = []
    for small in sorted(runs):
        if runs[small]["n_blocks"] == 1:
            continue
        measured = MeasuredRun.of_results(runs[small], source=f"{small}³")
        for large in sorted(size for size in runs if size > small):
            stages = plan_run(measured, (large, large, large), n_actors)
            found = _compared(stages, runs[large])
            rows += [{"from": small, "to": large, **row} for row in found]
            _show(small, large, found)
    return rows


def _compared(stages: list[PlannedStage], run: dict[str, Any]) -> list[dict[str, Any]]:
    """Set planned stages beside what they took."""
    taken = _taken(run)
    rows: list[dict[str, Any]] = []
    for stage in stages:
        if stage.stage not in taken:
            continue
        planned = {
            "cpu_seconds": 3600 * stage.core_hours,
            "seconds": stage.wall_seconds,
            "peak_mb": stage.peak_mb,
            "written_mb": stage.written_bytes / 1e6,
        }
        rows.append({"stage": stage.stage, "planned": planned, "taken": taken[stage.stage]})
    return rows


def _taken(run: dict[str, Any]) -> dict[str, Taken]:
    """Return what stages took, by the names that a plan gives them."""
    taken = {name: _of(took) for name, took in run["stages"].items() if name != "agglomeration"}
    for level, took in enumerate(run["levels"]):
        is_root = level == len(run["levels"]) - 1
        name = "blocks" if level == 0 else "root" if is_root else f"level {level}"
        taken[f"agglomeration, {name}"] = _of(took)
    taken[WHOLE] = {
        "cpu_seconds": sum(one["cpu_seconds"] for one in taken.values()) + run["end_seconds"],
        "seconds": run["seconds"],
        "peak_mb": max(one["peak_mb"] for one in taken.values()),
        "written_mb": sum(one["written_mb"] for one in taken.values()),
    }
    return taken


def _of(took: dict[str, Any]) -> Taken:
    names = ("cpu_seconds", "seconds", "peak_mb")
    return {name: took[name] for name in names} | {"written_mb": took["written_bytes"] / 1e6}


def _show(small: int, large: int, rows: list[dict[str, Any]]) -> None:
    """Print planned and taken values with the deviation in per cent."""
    show_table(
        f"{large}³ planned from {small}³ → what it took",
        ("stage", *(name for name, _ in QUANTITIES)),
        [
            (
                row["stage"],
                *(_cell(row["planned"][key], row["taken"][key]) for _, key in QUANTITIES),
            )
            for row in rows
        ],
    )


def _cell(planned: float, taken: float) -> str:
    deviation = f" ({100 * (planned / taken - 1):+.0f} %)" if taken > 0 else ""
    return f"{planned:.3g} → {taken:.3g}{deviation}"
