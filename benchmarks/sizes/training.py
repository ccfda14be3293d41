"""Training on all shards of a size, by growing numbers of actors: speed and memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from agglo.progress import show_table
from agglo.run_folder import RunFolder
from benchmarks.sizes.runs import Place, Row, kept
from benchmarks.sizes.watch import run_command


def train(place: Place, side: int, n_actors: int) -> Row:
    """Train a round on a size, a shard for every block, on the superpixels of its segmentation."""
    name = f"{side}_{n_actors}_training"

    def make() -> Row:
        scene, run = place.scene(side), place.out / name
        superpixels = f"{place.segmentation(f'{side}_{n_actors}')}:superpixels"
        words = [
            *("-m", "agglo.cli", "train", *place.maps(side), "--superpixels", superpixels),
            *("--labels", scene / "labels.zarr", "--shard-vox", *[place.block] * 3),
            *("--rounds", 1, "--scales", 1, "--seed", place.seed),
            *("--actors", n_actors, "--out", run, "--overwrite"),
        ]
        watched = run_command(words, place.log(name))
        records = RunFolder.read(run).records()
        shutil.rmtree(run)
        return {
            "n_shards": round(side / place.block) ** 3,
            "rounds": [
                {key: record[key] for key in ("decisions", "rollout_seconds", "seconds")}
                for record in records
            ],
            "seconds": watched.seconds,
            "process_peak_mb": watched.peak_mb,
        }

    return kept(place, name, make)


def show_training(side: int, rows: dict[int, Row]) -> list[dict[str, Any]]:
    """Print and return what was read and played in a second, and the memory that took.

    Args:
        side: the size.
        rows: what `train` returns, by the number of actors.
    """
    lines: list[dict[str, Any]] = []
    for n_actors, row in rows.items():
        first, second = row["rounds"][:2]
        lines.append(
            {
                "actors": n_actors,
                "shards": row["n_shards"],
                "read, Mvoxel/s": side**3 / first["rollout_seconds"] / 1e6,
                "played, decisions/s": second["decisions"] / second["rollout_seconds"],
                "learner, s": _learning_seconds(row["rounds"]),
                "actor, MB": row["process_peak_mb"].get("actor", 0.0),
                "driver, MB": row["process_peak_mb"].get("driver", 0.0),
            }
        )
    show_table(
        f"training on {side}³: reading all shards, a round of episodes",
        tuple(lines[0]),
        [tuple(line.values()) for line in lines],
    )
    return lines


def _learning_seconds(rounds: Sequence[dict[str, float]]) -> float:
    return sum(one["seconds"] - one["rollout_seconds"] for one in rounds)
