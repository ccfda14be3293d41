"""The learners on one volume, trained on one part and measured on the other, and the other way.

Run from the root: python -m benchmarks.learners --data GALA_FIB_TRAIN_H5 --json FILE
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from agglo.cluster import ray_session
from agglo.json_file import check_json, write_json
from agglo.progress import console, messages, progress, show_messages, show_table
from agglo.training.learner import LEARNER_NAMES, LearnerConfig
from agglo.training.train_config import TrainConfig
from analysis.input_error import InputError
from benchmarks.learners.halves import Half, half_at, halves_of
from benchmarks.learners.runs import Run, baselines, floor_of, train_and_score
from benchmarks.learners.variants import DEFAULT, varied
from envs.feature_groups import DEFAULT_GROUPS

NUMBERS = ("vi", "vi_split", "vi_merge", "adapted_rand_error")


@dataclass(frozen=True)
class Arguments:
    """Compare the learners on gala_fib or another volume, cut in two along an axis."""

    data: Path | None = None
    """HDF5 with raw, boundary_prob, superpixels and gt, to be cut in two"""
    first: tuple[str, str, str, str] | None = None
    """instead: image, boundaries, superpixels and labels of a volume ..."""
    second: tuple[str, str, str, str] | None = None
    """... and of another"""
    json: Path | None = None
    """write the numbers here"""
    axis: int = 2
    """axis (of z, y, x) along which it is cut"""
    gap_vox: int = 4
    """voxels left out between the halves"""
    seeds: int = 3
    """policies of every learner and half"""
    learners: tuple[str, ...] = LEARNER_NAMES
    """which of them"""
    features: tuple[str, ...] = ("+".join(DEFAULT_GROUPS),)
    """which groups of features they look at, sets of groups joined by +: each learner is trained
    with each, which tells what a group is worth"""
    variants: tuple[str, ...] = (DEFAULT,)
    """what else they are told: balance-classes, balance-volumes, choose-round, validation-shards=N
    and patience=N, joined by +; each learner is trained in each way"""
    scales: tuple[float, ...] = TrainConfig().scales
    """shards are cut at each of these multiples of --shard-vox"""
    strict_episodes: int = TrainConfig().strict_episodes
    """of aggregation: further episodes in which only what is right is carried out"""
    degraded_copies: int = 0
    """copies of every shard with a damaged boundary map that are learned from beside it"""
    shard_vox: tuple[int, int, int] = (50, 50, 50)
    """wanted size of a shard"""
    batch: int = 64
    """decisions in a batch: a half of gala's block has some 600 contacts, few steps a pass"""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.learners")
    show_messages(logging.WARNING)
    try:
        compare(arguments)
    except InputError as error:
        messages.print(str(error), markup=False)
        sys.exit(2)


def compare(arguments: Arguments) -> None:
    """Train and measure, print the tables and write the numbers."""
    if arguments.json:
        check_json(arguments.json)
    if arguments.data:
        first, second = halves_of(arguments.data.resolve(), arguments.axis, arguments.gap_vox)
    elif arguments.first and arguments.second:
        first, second = half_at("first", arguments.first), half_at("second", arguments.second)
    else:
        raise InputError("--data, or --first and --second, must be given.")
    ways = [(first, second), (second, first)]
    runs: list[Run] = []
    base = TrainConfig(
        shard_vox=arguments.shard_vox,
        scales=arguments.scales,
        strict_episodes=arguments.strict_episodes,
        degraded_copies=arguments.degraded_copies,
    )
    learners = [
        LearnerConfig(name=name, batch=arguments.batch, features=tuple(groups.split("+")))
        for name, groups in product(arguments.learners, arguments.features)
    ]
    trainings = [
        (variant, varied(replace(base, learner=learner), variant))
        for learner, variant in product(learners, arguments.variants)
    ]
    n_runs = len(ways) * len(trainings) * arguments.seeds
    with ray_session(), progress("learners", n_runs) as bar:
        plan = product(trainings, ways, range(arguments.seeds))
        for (variant, config), (train, test), seed in plan:
            runs.append(train_and_score(train, test, replace(config, seed=seed), variant))
            bar.advance(learner=config.learner.name, vi=runs[-1].scores["vi"])
        references = {
            f"{train.name} → {test.name}": {
                **floor_of(test),
                **baselines(train, test, arguments.shard_vox),
            }
            for train, test in ways
        }
    console.out(
        f"{arguments.data or 'two volumes'}; VI in bits, truth 0 dropped, at the policy's own "
        f"threshold (logit 0 without validation shards); mean ± sd over {arguments.seeds} seeds"
    )
    for train, test in ways:
        show_way(train, test, runs, references[f"{train.name} → {test.name}"])
    if arguments.json:
        write_json(
            arguments.json,
            {
                "arguments": {
                    name: str(value) if isinstance(value, Path) else value
                    for name, value in asdict(arguments).items()
                },
                "references": references,
                "runs": [asdict(run) for run in runs],
            },
        )


def show_way(train: Half, test: Half, runs: list[Run], references: dict[str, Any]) -> None:
    """Print the table of one direction."""
    rows: list[tuple[object, ...]] = [
        (name, "", "", *(f"{scores[number]:.3f}" for number in NUMBERS), "", "", "")
        for name, scores in references.items()
    ]
    here = [run for run in runs if run.train == train.name]
    kinds = [(run.learner, run.features, run.variant) for run in here]
    for kind in dict.fromkeys(kinds):
        mine = [run for run, own in zip(here, kinds, strict=True) if own == kind]
        rows.append(
            (
                *kind,
                *(spread([run.scores[number] for run in mine]) for number in NUMBERS),
                spread([run.train_vi for run in mine]),
                " ".join(str(run.round_index) for run in mine),
                f"{sum(run.seconds for run in mine) / len(mine):.1f}",
            )
        )
    show_table(
        f"trained on {train.name}, measured on {test.name}",
        ("", "features", "variant", "VI", "split", "merge", "ARAND", "training VI", "round", "s"),
        rows,
    )


def spread(values: list[float]) -> str:
    """Write mean ± standard deviation (n − 1)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.3f} ± {variance**0.5:.3f}"


if __name__ == "__main__":
    main()
