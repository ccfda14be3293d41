"""What questions and second looks buy on FIB-25, by rule: curves, a picture, a table.

Run from the root: python -m benchmarks.asking --data FIB25_TRAIN_H5 --out DIR --json FILE
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from agglo.cluster import ray_session
from agglo.evaluation_result import save_figures
from agglo.json_file import check_json, write_json
from agglo.progress import show_table
from analysis.asking_figures import asking_figure
from benchmarks.asking.questions import ask_humans, reference_policies
from benchmarks.asking.scenes import make_volumes, train_or_load
from benchmarks.asking.second_looks import look_again

Part = Literal["references", "questions", "second-looks"]


@dataclass(frozen=True)
class Arguments:
    """Measure rules of asking on FIB-25, trained on sections 0–79, reported on 84–119."""

    data: Path
    """train.h5 of FIB-25, with raw and gt"""
    out: Path
    """folder for volumes, policies and picture; what lies there, as from benchmarks/fib25, is
    used"""
    json: Path | None = None
    """write the numbers here"""
    minutes: float = 12.0
    """of training the boundary model"""
    seeds: int = 3
    """policies trained"""
    human_errors: tuple[float, ...] = (0.0, 0.05)
    """error rates of the human"""
    parts: tuple[Part, ...] = ("references", "questions", "second-looks")
    """what to measure"""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.asking")
    if arguments.json:
        check_json(arguments.json)
    data, out = arguments.data.resolve(), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    panels = []
    with ray_session():
        scenes = make_volumes(data, out, arguments.minutes, seed=0)
        train, test = scenes["train"], scenes["test"]
        texts = (
            f"{data}:raw[0:80]",
            f"{out}/train_boundaries.zarr",
            f"{out}/train_superpixels.zarr",
            f"{data}:gt[0:80]",
        )
        policies = [train_or_load([texts], out / f"run_{k}", k) for k in range(arguments.seeds)]
        if "references" in arguments.parts:
            results["references"] = found = reference_policies(train, test, policies, seed=0)
            show_table("policies that ask nothing", ("policy", "VI, bits"), found.items())
        if "questions" in arguments.parts:
            results["questions"] = []
            for error in arguments.human_errors:
                found, panel = ask_humans(test, policies, error)
                results["questions"].append(found)
                panels.append(panel)
                show_questions(found)
        if "second-looks" in arguments.parts:
            results["second_looks"], panel = look_again(train, test, out, arguments.seeds)
            panels.append(panel)
            show_looks(results["second_looks"])
    if panels:
        save_figures(out / "pictures", {"asking": asking_figure(panels)})
    if arguments.json:
        write_json(arguments.json, results)


def show_questions(found: dict[str, Any]) -> None:
    show_table(
        f"questions that halve a distance, answers {found['human_error']:.0%} wrong; VI "
        + ", ".join(f"{name} {value:.3f}" for name, value in found["levels"].items()),
        ("distance to", "half-way VI", "random", "uncertainty", "value", "value / random"),
        [
            (
                name,
                row["target_vi"],
                *(said(row["questions"][rule]) for rule in ("random", "uncertainty", "value")),
                said(row["value_to_random"]),
            )
            for name, row in found["halving"].items()
        ],
    )


def show_looks(found: dict[str, Any]) -> None:
    show_table(
        f"second looks that bring VI from {found['levels']['first look']:.3f} half-way to "
        f"{found['levels']['all imaged again']:.3f}",
        ("rule", "share of voxels", "looks", "share / random's"),
        [
            (
                rule,
                said(share),
                said(found["looks"][rule]),
                said(share and share / found["voxel_share"]["random"]),
            )
            for rule, share in found["voxel_share"].items()
        ],
    )


def said(number: float | None) -> float | str:
    """Write what is never reached as a word."""
    return "never" if number is None else number


if __name__ == "__main__":
    main()
