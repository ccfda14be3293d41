"""Tables: the stages of a size, how they grow, what actors and seams do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agglo.progress import console, show_table
from benchmarks.kernels.growth import exponent

NONE = "–"
WHOLE = "in total"

Runs = Mapping[int, dict[str, Any]]


def show_size(side: int, n_actors: int, found: dict[str, Any]) -> None:
    """Print what the stages of a size took."""
    run, scores = found["run"], found["evaluation"]["scores"]
    n_voxels = side**3
    rows: list[tuple[object, ...]] = [
        _simple_row("phantom", found["phantom"], n_voxels),
        *(
            (
                *(name, took["tasks"], took["seconds"], took["cpu_seconds"]),
                *(n_voxels / max(took["seconds"], 1e-9) / 1e6,),
                *(n_voxels / max(took["cpu_seconds"], 1e-9) / 1e6, took["peak_mb"]),
            )
            for name, took in run["stages"].items()
        ),
        ("start and end", NONE, _overhead(run), NONE, NONE, NONE, run["process_peak_mb"]["driver"]),
        _simple_row("evaluation", found["evaluation"], n_voxels),
    ]
    show_table(
        f"{side}³, {n_actors} actors: {run['n_blocks']} blocks, {run['n_superpixels']} "
        f"superpixels, {run['n_segments']} segments; VI {scores['vi']:.3f} (superpixels "
        f"{scores['superpixel_vi']:.3f}, floor {scores['floor_vi']:.3f})",
        ("stage", "tasks", "seconds", "CPU s", "Mvoxel/s", "Mvoxel/CPU s", "peak MB"),
        rows,
    )
    clusters = zip(run["clusters"], run["largest_graphs"], run["levels"], strict=True)
    show_table(
        "nodes of the tree, from blocks to root",
        ("level", "nodes", "clusters", "largest", "of all superpixels", "CPU s", "peak MB"),
        [
            (
                *(level, work["tasks"], total, largest, largest / run["n_superpixels"]),
                *(work["cpu_seconds"], work["peak_mb"]),
            )
            for level, (total, largest, work) in enumerate(clusters)
        ],
    )


def growth_of(runs: Runs) -> list[dict[str, Any]]:
    """Fit time and memory of each stage as a power of the number of voxels; none for one size."""
    if len(runs) < 2:
        return []
    rows = []
    names = next(iter(runs.values()))["run"]["stages"]
    for name in names:
        took = {side**3: found["run"]["stages"][name] for side, found in runs.items()}
        rows.append({"stage": name, **_exponents(took, ("seconds", "cpu_seconds", "peak_mb"))})
    whole = {side**3: _whole(found["run"]) for side, found in runs.items()}
    rows.append({"stage": WHOLE, **_exponents(whole, ("seconds", "cpu_seconds", "peak_mb"))})
    measured = {
        side**3: {
            "seconds": found["evaluation"]["seconds"],
            "peak_mb": max(found["evaluation"]["process_peak_mb"].values(), default=0.0),
        }
        for side, found in runs.items()
    }
    rows.append({"stage": "evaluation", **_exponents(measured, ("seconds", "peak_mb"))})
    largest = {side**3: {"clusters": max(f["run"]["largest_graphs"])} for side, f in runs.items()}
    rows.append({"stage": "largest graph", **_exponents(largest, ("clusters",))})
    return rows


def show_growth(rows: list[dict[str, Any]]) -> None:
    """Print the exponents."""
    if rows:
        keys = ("seconds", "cpu_seconds", "peak_mb", "clusters")
        show_table(
            "exponents: each as a power of the number of voxels",
            ("stage", "seconds", "CPU s", "peak MB", "clusters"),
            [
                (row["stage"], *(NONE if row.get(key) is None else row[key] for key in keys))
                for row in rows
            ],
        )


def show_speedups(runs: Mapping[tuple[int, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Print and return how much faster more actors are, stage by stage."""
    counts = sorted({n for _, n in runs})
    rows = []
    for side in sorted({side for side, _ in runs}):
        for n in counts[1:]:
            few, many = (runs[side, count]["run"]["stages"] for count in (counts[0], n))
            for name in few:
                faster = few[name]["seconds"] / max(many[name]["seconds"], 1e-9)
                rows.append({"size": side, "actors": n, "stage": name, "times as fast": faster})
    if rows:
        show_table(
            f"more actors, against {counts[0]}",
            tuple(rows[0]),
            [tuple(row.values()) for row in rows],
        )
    return rows


def show_seams(whole: dict[str, Any], blocked: dict[str, Any], side: int) -> dict[str, Any]:
    """Print and return VI with superpixels of the whole volume and of blocks."""
    keys = ("superpixel_vi", "floor_vi", "vi", "vi_split", "vi_merge")
    scores = {"whole": whole["scores"], "blocks": blocked["scores"]}
    show_table(
        f"seams at {side}³: superpixels of the whole volume, and ended at the faces of blocks",
        ("superpixels of", *keys),
        [(name, *(float(one[key]) for key in keys)) for name, one in scores.items()],
    )
    cost = scores["blocks"]["vi"] - scores["whole"]["vi"]
    console.out(f"the seams cost {cost:+.4f} bits of VI")
    return {name: {key: one[key] for key in keys} for name, one in scores.items()} | {"cost": cost}


def _simple_row(name: str, took: dict[str, Any], n_voxels: int) -> tuple[object, ...]:
    """Return the row of a command without stages, of whose processes the largest counts."""
    peak = max(took["process_peak_mb"].values(), default=0.0)
    return name, NONE, took["seconds"], NONE, n_voxels / took["seconds"] / 1e6, NONE, peak


def _overhead(run: dict[str, Any]) -> float:
    """Return the seconds of a run in no stage: Ray's start, and the merge tree at the end."""
    return run["whole_seconds"] - sum(took["seconds"] for took in run["stages"].values())


def _whole(run: dict[str, Any]) -> dict[str, float]:
    """Return what a run took in total, and the most memory of any of its processes."""
    stages = run["stages"].values()
    peaks = [*run["process_peak_mb"].values(), *(took["peak_mb"] for took in stages)]
    return {
        "seconds": run["whole_seconds"],
        "cpu_seconds": sum(took["cpu_seconds"] for took in stages),
        "peak_mb": max(peaks),
    }


def _exponents(
    took: Mapping[int, Mapping[str, float]], keys: tuple[str, ...]
) -> dict[str, float | None]:
    """Fit each key; None where a value is missing."""
    fits: dict[str, float | None] = {}
    for key in keys:
        points = [(n, one[key]) for n, one in took.items()]
        fits[key] = exponent(points) if all(value > 0 for _, value in points) else None
    return fits
