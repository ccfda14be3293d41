"""Agreement with scikit-image, speed and memory of the segmentation metrics.

Run from the root: python -m benchmarks.metrics --json FILE
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from agglo.json_file import check_json, write_json
from agglo.progress import show_table
from benchmarks.metrics.agreement import agreement
from benchmarks.metrics.label_volumes import DATA
from benchmarks.metrics.memory import memory
from benchmarks.metrics.speed import speed

Part = Literal["agreement", "speed", "memory"]


@dataclass(frozen=True)
class Arguments:
    """Measure the segmentation metrics."""

    json: Path | None = None
    """write the numbers here"""
    data: Path = DATA
    """folder of the data sets"""
    parts: tuple[Part, ...] = ("agreement", "speed", "memory")
    """what to measure"""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.metrics")
    if arguments.json:
        check_json(arguments.json)
    results: dict[str, Any] = {}
    if "agreement" in arguments.parts:
        results["agreement"] = rows = agreement(arguments.data)
        show_table(
            "largest differences: VI from sums in 40 digits, Rand from scikit-image",
            ("volumes", "VI, ours", "VI, scikit-image", "Rand, ours"),
            [
                (
                    row["volumes"],
                    row["vi_ours_to_exact"],
                    row["vi_scikit_image_to_exact"],
                    row["rand_ours_to_scikit_image"],
                )
                for row in rows
            ],
        )
    if "speed" in arguments.parts:
        results["speed"] = found = speed(arguments.data)
        show("speed against scikit-image, CPU seconds", found["compared"])
        print(f"grows with the voxels to the power {found['exponent']:.3f}\n")
    if "memory" in arguments.parts:
        results["memory"] = rows = memory()
        show("peak memory of agglo evaluate from Zarr", rows)
    if arguments.json:
        write_json(arguments.json, results)


def show(title: str, rows: list[dict[str, Any]]) -> None:
    header = list(dict.fromkeys(name for row in rows for name in row))
    show_table(title, header, [[row.get(name, "") for name in header] for row in rows])


if __name__ == "__main__":
    main()
