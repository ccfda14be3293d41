"""What groups of features are worth: learners by what they look at.

Run from the root: python -m benchmarks.features --out FOLDER --steps 6000 --views 8

Every learner is trained with every set of groups and every seed, on the training part of a case of
`benchmarks.accuracy`, and measured on the other part. Maps, channels and rows are kept in --out,
which may be that of `benchmarks.accuracy`, and are not made again. Beside them lie `features.json`
and a figure for each case.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import tyro
from matplotlib.figure import Figure

from agglo.cluster import ray_session
from agglo.evaluation_result import save_figures
from agglo.json_file import write_json
from agglo.progress import console, messages, progress, show_messages, show_table
from agglo.training.learner import LEARNER_NAMES
from analysis.input_error import InputError
from analysis.spread_figures import spread_figure
from benchmarks.accuracy.cases import GROUPS, Case
from benchmarks.accuracy.evidence import mean_boundary
from benchmarks.accuracy.learned import Trained
from benchmarks.accuracy.maps import Maps, training_words
from benchmarks.accuracy.peer_methods import Linkage
from benchmarks.accuracy.references import greedy_oracle, majority
from benchmarks.accuracy.rows import Row, read_row, require_same, seed_folder, write_row
from benchmarks.accuracy.scene import Scene
from benchmarks.accuracy.trial import Trial
from benchmarks.features.channels import MASKS, add_channels
from benchmarks.metrics.label_volumes import DATA
from envs.feature_groups import DEFAULT_GROUPS, GROUP_NAMES

ALL = "+".join(GROUP_NAMES)
DEFAULT = "+".join(DEFAULT_GROUPS)
SETS = (
    "boundary",
    "boundary+grey",
    "boundary+geometry",
    DEFAULT,
    f"{DEFAULT}+shape",
    f"{DEFAULT}+texture",
    f"{DEFAULT}+{MASKS}",
    f"{DEFAULT}+embedding",
    ALL,
)

REFERENCES = {
    "floor": majority,
    "greedy-oracle": greedy_oracle,
    "mean-boundary": Linkage(mean_boundary),
}


@dataclass(frozen=True)
class Arguments:
    """Measure what groups of features are worth to the learners."""

    out: Path
    """folder for maps, channels, rows, tables and figures"""
    data: tuple[Literal["fib25", "gala"], ...] = ("fib25",)
    """groups of cases"""
    learners: tuple[str, ...] = ("aggregation", "gala", "flat")
    """which learners"""
    features: tuple[str, ...] = SETS
    """sets of groups of features, joined by +; masks are channels that are looked at as texture"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """of every policy"""
    steps: int = 2000
    """training steps of each fold of the boundary model, and of the embedding's"""
    folds: int | None = None
    """folds of both, as many as `agglo boundaries train` takes if not given"""
    widths: tuple[int, ...] = ()
    """channels of each level of both, their own if not given"""
    views: int = 1
    """mirror images and turns whose predictions are averaged in a boundary map"""
    data_folder: Path = DATA
    """folder of the data sets"""

    def __post_init__(self) -> None:
        for name in self.learners:
            if name not in LEARNER_NAMES:
                raise InputError(f"--learners: {name!r} is none of {', '.join(LEARNER_NAMES)}.")
        names = (*GROUP_NAMES, MASKS)
        for one in self.features:
            for name in one.split("+"):
                if name not in names:
                    raise InputError(f"--features: {name!r} is none of {', '.join(names)}.")
            if {"texture", MASKS} <= set(one.split("+")):
                raise InputError(
                    f"--features: {one} has texture and {MASKS}, which are channels of one group; "
                    "name one of them."
                )
        if self.steps < 1 or self.views < 1 or not self.seeds:
            raise InputError("--steps, --views and the number of --seeds must be at least 1.")

    @property
    def training_words(self) -> tuple[str, ...]:
        """Arguments of `agglo boundaries train`."""
        return training_words("--steps", str(self.steps), folds=self.folds, widths=self.widths)

    @property
    def prediction_words(self) -> tuple[str, ...]:
        """Arguments of `agglo boundaries predict`."""
        return () if self.views == 1 else ("--views", str(self.views))


def main() -> None:
    try:
        measure(tyro.cli(Arguments, prog="python -m benchmarks.features"))
    except InputError as error:
        messages.print(str(error), markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        messages.print("interrupted; rows that were finished are kept", markup=False)
        sys.exit(1)


def measure(arguments: Arguments) -> None:
    """Make the rows that are missing, and show all of them."""
    show_messages()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    words = (*arguments.training_words, *arguments.prediction_words)
    require_same(out, {"boundary model": " ".join(words)})
    cases = [case for name in dict.fromkeys(arguments.data) for case in GROUPS[name]]
    policies = list(product(arguments.learners, arguments.features))
    n_rows = len(cases) * len(policies) * len(arguments.seeds)
    with ray_session(), progress("features", n_rows) as bar:
        rows = {}
        for case in cases:
            rows[case.title] = rows_of(arguments, out, case, policies, bar.advance)
    for title, some in rows.items():
        show_case(title, some, policies)
    results = {title: [asdict(row) for row in some] for title, some in rows.items()}
    write_json(out / "features.json", results, argument="--out")
    figures = {
        f"features_{case.name}": figure_of(rows[case.title], policies, case.title) for case in cases
    }
    save_figures(out, figures)


def rows_of(
    arguments: Arguments,
    out: Path,
    case: Case,
    policies: Sequence[tuple[str, str]],
    on_row: Callable[..., None],
) -> list[Row]:
    """Return the rows of a case, references first, and make those that are missing."""
    maps = Maps(
        arguments.data_folder.absolute(), out, arguments.training_words, arguments.prediction_words
    )
    train, test = maps.prepare(case)
    scenes = {}
    for features in arguments.features:
        if has_masks(features) not in scenes:
            alike = (one for one in arguments.features if has_masks(one) == has_masks(features))
            groups = {name for one in alike for name in one.split("+")}
            sets = add_channels(maps, case, [*train, test], sorted(groups))
            scenes[has_masks(features)] = [Scene.read(one) for one in sets]
    *some, tested = next(iter(scenes.values()))
    rows = [
        Row(case.name, name, 0, work(Trial(some, tested, 0, seed_folder(out, case, 0))))
        for name, work in REFERENCES.items()
    ]
    for seed, (learner, features) in product(arguments.seeds, policies):
        name = name_of(learner, features)
        row = read_row(out, case, name, seed)
        if row is None:
            work = Trained(name, ("--learner", learner), groups_of(features))
            *trained, tested = scenes[has_masks(features)]
            trial = Trial(trained, tested, seed, seed_folder(out, case, seed))
            row = Row(case.name, name, seed, work(trial))
            write_row(out, case, row)
        rows.append(row)
        on_row(policy=name, vi=row.numbers["vi"])
    return rows


def name_of(learner: str, features: str) -> str:
    """Return the name of the rows of a learner that looks at some groups."""
    return f"{learner}_{features}"


def has_masks(features: str) -> bool:
    """Tell whether the texture of a set of groups are masks."""
    return MASKS in features.split("+")


def groups_of(features: str) -> tuple[str, ...]:
    """Return the groups of features of a set, as a policy names them."""
    return tuple("texture" if name == MASKS else name for name in features.split("+"))


def values_of(rows: Sequence[Row], name: str, number: str) -> list[float]:
    """Return a number of all seeds of a method."""
    return [float(row.numbers[number] or 0.0) for row in rows if row.method == name]


def spread(values: Sequence[float]) -> str:
    """Write mean ± standard deviation (n − 1)."""
    mean = statistics.fmean(values)
    return f"{mean:.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{mean:.3f}"


def show_case(title: str, rows: Sequence[Row], policies: Sequence[tuple[str, str]]) -> None:
    """Print the table of a case: VI and ARAND of each learner by what it looks at."""
    learners = tuple(dict.fromkeys(learner for learner, _ in policies))
    references = ", ".join(f"{n} {values_of(rows, n, 'vi')[0]:.3f}" for n in REFERENCES)
    console.print(f"VI in bits at the policy's own threshold; {references}", markup=False)
    for number, header in (("vi", "VI"), ("adapted_rand_error", "ARAND")):
        show_table(
            f"{title}: {header}",
            ("looked at", *learners),
            [
                (
                    features,
                    *(
                        spread(values_of(rows, name_of(learner, features), number))
                        for learner in learners
                    ),
                )
                for features in dict.fromkeys(features for _, features in policies)
            ],
        )


def short(features: str) -> str:
    """Return a set of groups as a figure names it."""
    return "all" if features == ALL else features.replace(DEFAULT, "default")


def figure_of(rows: Sequence[Row], policies: Sequence[tuple[str, str]], title: str) -> Figure:
    """Draw the VI of every seed of every policy of a case."""
    groups = {
        f"{learner}: {short(features)}": values_of(rows, name_of(learner, features), "vi")
        for learner, features in policies
    }
    references = {name: values_of(rows, name, "vi")[0] for name in REFERENCES}
    return spread_figure(groups, quantity=f"VI, {title}", unit="bits", references=references)


if __name__ == "__main__":
    main()
