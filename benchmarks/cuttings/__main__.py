"""The same segmentation however a volume is cut: compare runs over blocks with the run in memory.

Run from the root: python -m benchmarks.cuttings --policy RUN --image V --boundaries V
--superpixels V --out FOLDER
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from agglo.json_file import write_json
from agglo.progress import messages, show_table
from agglo.volumes import open_volume
from analysis.input_error import InputError
from benchmarks.cuttings.cut import blocks_of, parse_cutting, random_blocks
from benchmarks.sizes.kills import Killer, ledger_of, run_through_kills
from benchmarks.sizes.sameness import sameness
from benchmarks.sizes.watch import run_command
from predict.box import Triple

Row = dict[str, Any]


@dataclass(frozen=True)
class Arguments:
    """Segment a volume in memory and in blocks, and say whether the results are equal."""

    policy: Path
    """run folder of a policy"""
    image: str
    boundaries: str
    superpixels: str
    out: Path
    """folder for segmentations and numbers"""
    cuttings: tuple[str, ...] = ("2x2x2", "3x1x5", "4x4x4")
    """parts along z, y and x"""
    random: int = 2
    """blocks of random size besides"""
    actors: tuple[int, ...] = (1, 2)
    """how many actors work"""
    kill: bool = True
    """once more with the last blocks, an actor and then the driver killed"""
    seed: int = 0
    """of the random blocks"""


def main() -> None:
    try:
        arguments = tyro.cli(Arguments, prog="python -m benchmarks.cuttings")
        cuttings = [parse_cutting(text) for text in arguments.cuttings]
        z, y, x = shape_of(arguments.superpixels)
        rng = np.random.default_rng(arguments.seed)
        blocks = [blocks_of((z, y, x), parts) for parts in cuttings]
        blocks += [random_blocks((z, y, x), rng) for _ in range(arguments.random)]
        rows = compare(arguments, blocks)
        write_json(arguments.out / "cuttings.json", {"shape": [z, y, x], "rows": rows})
    except InputError as error:
        messages.print(str(error), markup=False)
        sys.exit(2)
    show_table(
        f"{z} × {y} × {x} voxels, against the run in memory",
        ("blocks", "voxels", "actors", "killed", "seconds", "segmentation", "merge tree"),
        [_told(row) for row in rows],
    )
    if not all(row["is_same_segmentation"] and row["is_same_tree"] for row in rows):
        sys.exit(1)


def shape_of(superpixels: str) -> Triple:
    """Return the shape of a volume, from its header.

    Raises:
        InputError: it has other axes than z, y, x, or is empty.
    """
    with open_volume(superpixels, argument="--superpixels") as volume:
        shape = volume.shape
    if len(shape) != 3 or 0 in shape:
        raise InputError(
            f"--superpixels: {superpixels} has shape {shape}, where three axes z, y, x that are "
            f"not empty are expected."
        )
    return shape[0], shape[1], shape[2]


def compare(arguments: Arguments, blocks: list[Triple]) -> list[Row]:
    """Segment with all blocks and numbers of actors, and at the end through kills."""
    out, log = arguments.out.absolute(), arguments.out / "log.txt"
    out.mkdir(parents=True, exist_ok=True)
    in_memory, in_blocks, results = out / "memory.zarr", out / "blocks.zarr", out / "results.json"
    words = [
        *("-m", "agglo.cli", "segment", "--policy", str(arguments.policy)),
        *("--image", arguments.image, "--boundaries", arguments.boundaries),
        *("--superpixels", arguments.superpixels),
    ]
    run_command([*words, "--out", in_memory, "--overwrite"], log)
    rows: list[Row] = []
    for block in blocks:
        for n_actors in arguments.actors:
            how = ["--out", in_blocks, "--blocks", *block, "--actors", n_actors]
            watched = run_command([*words, *how, "--overwrite", "--json", results], log)
            made = json.loads(results.read_text())
            rows.append(
                {
                    "blocks": made["n_blocks"],
                    "block_vox": [*block],
                    "actors": n_actors,
                    "killed": [],
                    "seconds": watched.seconds,
                    "tasks": sum(stage["tasks"] for stage in made["stages"].values()),
                    **sameness(in_memory, in_blocks),
                }
            )
            messages.print(" ".join(map(str, _told(rows[-1]))), markup=False)
    if arguments.kill:
        last = rows[-1]
        killed = out / "killed.zarr"
        how = ["--out", killed, "--blocks", *last["block_vox"], "--actors", last["actors"]]
        killer = Killer(ledger_of(killed), last["tasks"])
        seconds, _ = run_through_kills([*map(str, [*words, *how])], log, killer)
        if len(killer.killed) < 2:
            raise InputError(f"--kill: the run ended before both were killed ({killer.killed}).")
        rows.append(
            last | {"killed": killer.killed, "seconds": seconds} | sameness(in_memory, killed)
        )
    return rows


def _told(row: Row) -> tuple[object, ...]:
    return (
        row["blocks"],
        " × ".join(map(str, row["block_vox"])),
        row["actors"],
        ", ".join(f"{who} after {n}" for who, n in row["killed"]) or "–",
        row["seconds"],
        *("equal" if row[key] else "NOT EQUAL" for key in ("is_same_segmentation", "is_same_tree")),
    )


if __name__ == "__main__":
    main()
