"""From boundary map to evaluated segmentation at growing sizes: time, memory, and what kills cost.

Run from the root: python -m benchmarks.sizes --out FOLDER --sizes 128 256 512

A phantom of each size is written block by block, segmented by `agglo segment --blocks` and measured
by `agglo evaluate`, each command in processes of its own, whose memory is watched. What is done has
a file in --out/rows and is not done again, so the command can be stopped and given again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from agglo.json_file import check_json, write_json
from agglo.progress import messages
from analysis.input_error import InputError
from benchmarks.accuracy.rows import require_same
from benchmarks.sizes.kills import survive
from benchmarks.sizes.plans import show_plans
from benchmarks.sizes.runs import Place, evaluate, paint, prepare, seams, segment
from benchmarks.sizes.table import growth_of, show_growth, show_seams, show_size, show_speedups
from benchmarks.sizes.training import show_training, train


@dataclass(frozen=True)
class Arguments:
    """Segment phantoms of growing size in blocks."""

    out: Path
    """folder for volumes, policy and numbers; what it holds is not made again"""
    sizes: tuple[int, ...] = (128, 256, 512)
    """edges of the phantoms in voxels"""
    blocks: int = 128
    """edge of a block in voxels"""
    actors: tuple[int, ...] = (2,)
    """how many actors work; with several numbers the stages are compared"""
    policy: Path | None = None
    """run folder of a policy; without it one is trained on a small phantom"""
    kill: bool = False
    """segment the largest size once more, kill a worker and then the driver, resume and compare"""
    seams: int | None = None
    """of this size, compare with superpixels of the whole volume"""
    train: int | None = None
    """train on all shards of this size, with each number of actors"""
    seed: int = 0
    """seed of phantom and training"""
    json: Path | None = None
    """write the numbers here too"""

    def __post_init__(self) -> None:
        for name in ("sizes", "actors"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise InputError(f"--{name}: numbers from 1 on are expected.")
        for name in ("seams", "train"):
            side = getattr(self, name)
            if side is not None and side not in self.sizes:
                raise InputError(f"--{name}: {side} is none of the --sizes.")


def main() -> None:
    try:
        arguments = tyro.cli(Arguments, prog="python -m benchmarks.sizes")
        if arguments.json:
            check_json(arguments.json)
        results = measure(arguments)
        for path in {arguments.out / "sizes.json", arguments.json or arguments.out / "sizes.json"}:
            write_json(path, results)
    except InputError as error:
        messages.print(str(error), markup=False)
        sys.exit(2)


def measure(arguments: Arguments) -> dict[str, Any]:
    """Do what is missing, print the tables, and return everything for JSON."""
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    policy = arguments.policy.absolute() if arguments.policy else out / "policy"
    if arguments.policy and not policy.exists():
        raise InputError(f"--policy: there is no {arguments.policy}.")
    settings = {"blocks": arguments.blocks, "policy": str(policy), "seed": arguments.seed}
    require_same(out, settings)
    place = Place(out, policy, arguments.blocks, arguments.seed, max(arguments.actors))
    prepare(place)
    results: dict[str, Any] = {"settings": settings, "sizes": {}}
    runs: dict[tuple[int, int], dict[str, Any]] = {}
    for side in sorted(arguments.sizes):
        painted = paint(place, side)
        for n_actors in arguments.actors:
            name = f"{side}_{n_actors}"
            run = segment(place, side, n_actors)
            superpixels = f"{place.segmentation(name)}:superpixels"
            measured = evaluate(place, side, name, superpixels)
            runs[side, n_actors] = {"phantom": painted, "run": run, "evaluation": measured}
            show_size(side, n_actors, runs[side, n_actors])
        results["sizes"][side] = {str(n): runs[side, n] for n in arguments.actors}
    n_actors = arguments.actors[-1]
    results["growth"] = growth_of({side: runs[side, n_actors] for side in sorted(arguments.sizes)})
    show_growth(results["growth"])
    results["plans"] = show_plans(
        {side: runs[side, n_actors]["run"] for side in sorted(arguments.sizes)}, n_actors
    )
    results["speedups"] = show_speedups(runs)
    if arguments.seams is not None:
        whole = seams(place, arguments.seams)
        results["seams"] = show_seams(
            whole, runs[arguments.seams, n_actors]["evaluation"], arguments.seams
        )
    if arguments.train is not None:
        side = arguments.train
        rows = {n: train(place, side, n) for n in arguments.actors}
        results["training"] = show_training(side, rows)
    if arguments.kill:
        largest = max(arguments.sizes)
        results["kills"] = survive(place, largest, n_actors, runs[largest, n_actors]["run"])
    return results


if __name__ == "__main__":
    main()
