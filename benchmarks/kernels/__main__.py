"""Speed of the kernels beside other systems: one thread, same volume, same run.

Run from the root: python -m benchmarks.kernels --json FILE
"""

from __future__ import annotations

import os
import platform

os.environ["OMP_NUM_THREADS"] = "1"  # before anything that reads it is imported

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from agglo.json_file import check_json, write_json
from agglo.progress import messages, show_table
from benchmarks.kernels.compile_time import compile_kernels
from benchmarks.kernels.environment_steps import race_environments
from benchmarks.kernels.flooding import race_flooding
from benchmarks.kernels.growth import exponent, exponents_of_time
from benchmarks.kernels.learned import race_learned
from benchmarks.kernels.merging import race_merging
from benchmarks.kernels.peers import Peers, find_peers
from benchmarks.kernels.race import OURS, Row, peak_memory
from benchmarks.kernels.region_graphs import race_region_graphs
from benchmarks.kernels.volumes import BenchmarkVolume, labelled_volume, phantom_volume
from benchmarks.kernels.whole import race_whole, segment

PINKY = Path("../shared/data/pinky40_labels/labels_train.h5")


@dataclass(frozen=True)
class Arguments:
    """Measure the kernels."""

    json: Path | None = None
    """write the numbers here"""
    sizes: tuple[int, ...] = (64, 128, 256, 512)
    """sides of the phantoms"""
    labels: Path = PINKY
    """HDF5 file with a dataset of dense labels, left out where it is not there"""
    runs: int = 5
    """times everything is measured; the least CPU time counts"""
    seed: int = 0


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.kernels")
    if arguments.json:
        check_json(arguments.json)
    peers = find_peers()
    for name in peers.missing:
        messages.print(f"{name} is not installed, its rows are left out: pip install .[baselines]")
    results: dict[str, Any] = {"machine": describe_machine(), "peers": peers.versions}
    results["compile_s"] = compile_kernels()
    show_table(
        "kernels compiled or loaded",
        ("kernel", "CPU s"),
        list(results["compile_s"].items()),
    )
    rows: list[Row] = []
    results["volumes"] = volumes = []
    for side in arguments.sizes:
        volume = phantom_volume(side, arguments.seed)
        rows += measure(volume, peers, arguments.runs, arguments.seed, volumes)
    growth = exponents_of_time(rows)
    if len(volumes) > 1 and volumes[-1]["peak_bytes"]:
        memory = exponent((v["n_voxels"], v["peak_bytes"]) for v in volumes)
        growth.append({"task": "memory of the whole", "who": OURS, "exponent": memory})
    if arguments.labels.exists():
        volume = labelled_volume(arguments.labels, arguments.seed)
        rows += measure(volume, peers, arguments.runs, arguments.seed, volumes)
    else:
        messages.print(f"{arguments.labels} is not there, its rows are left out")
    results["rows"] = [asdict(row) | {"per_s": row.per_second} for row in rows]
    results["growth"] = growth
    if growth:
        show_table(
            "exponents over the phantoms: CPU time and memory as a power of the number of voxels",
            ("task", "who", "exponent"),
            [tuple(line.values()) for line in growth],
        )
    results["environments"] = speeds = [asdict(speed) for speed in race_environments()]
    show_table(
        "environments: random allowed actions",
        ("environment", "steps", "steps per CPU s", "reset, CPU ms"),
        [tuple(speed.values()) for speed in speeds],
    )
    if arguments.json:
        write_json(arguments.json, results)


def measure(
    volume: BenchmarkVolume,
    peers: Peers,
    n_runs: int,
    seed: int,
    out_volumes: list[dict[str, Any]],
) -> list[Row]:
    """Measure everything on a volume and show it."""
    n_runs = max(1, n_runs if volume.n_voxels < 2**26 else n_runs // 2)
    peak = peak_memory(lambda: segment(volume))
    rows = race_flooding(volume, peers, n_runs) + race_region_graphs(volume, peers, n_runs)
    merging, n_regions, n_edges = race_merging(volume, peers, n_runs)
    whole, vi = race_whole(volume, peers, n_runs)
    rows += merging + whole + race_learned(volume, whole, n_runs, seed)
    show_table(
        f"{volume.name} ({volume.note}): {n_regions} regions, {n_edges} contacts"
        + ("" if vi is None else f"; VI to the segmentation of waterz {vi:.3g} bits"),
        ("task", "who", "CPU s", "per CPU s", "", f"time / {OURS}"),
        with_ratios(rows),
    )
    out_volumes.append(
        {
            "name": volume.name,
            "note": volume.note,
            "n_voxels": volume.n_voxels,
            "n_regions": n_regions,
            "n_edges": n_edges,
            "n_runs": n_runs,
            "vi_to_waterz": vi,
            "peak_bytes": peak,
        }
    )
    return rows


def with_ratios(rows: list[Row]) -> list[tuple[str, str, float, float, str, float]]:
    """Set the time of each row against ours for the same task."""
    ours = {row.task: row.cpu_s for row in rows if row.who == OURS}
    return [
        (row.task, row.who, row.cpu_s, row.per_second, row.unit, row.cpu_s / ours[row.task])
        for row in rows
    ]


def describe_machine() -> dict[str, str | int | None]:
    """Say where this was run."""
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
