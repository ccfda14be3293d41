"""What a search found: its configurations in the order of their mean VI, as table and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from agglo.search.grid import Candidate
from analysis.spread_figures import spread_figure

COLUMNS = {"vi": "VI", "oracle_vi": "VI, oracle threshold", "adapted_rand_error": "ARAND"}
"""Numbers of a trial that are averaged, and how the table calls them."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A configuration with all its seeds.

    Attributes:
        number: place among the candidates.
        candidate: what was trained.
        trials: the record of every seed.
    """

    number: int
    candidate: Candidate
    trials: tuple[Mapping[str, Any], ...]

    def mean(self, score: str) -> float:
        """Return the mean of a score over seeds."""
        return float(np.mean([trial[score] for trial in self.trials]))

    def sd(self, score: str) -> float | None:
        """Return the standard deviation (n − 1) of a score over seeds; None of one seed."""
        values = [trial[score] for trial in self.trials]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    @property
    def results(self) -> dict[str, Any]:
        """What goes to JSON."""
        config = asdict(self.candidate.config)
        del config["seed"]
        return {
            "configuration": self.number,
            "name": self.candidate.name,
            **{score: {"mean": self.mean(score), "sd": self.sd(score)} for score in COLUMNS},
            "config": config,
            "trials": list(self.trials),
        }


@dataclass(frozen=True, slots=True)
class Ranking:
    """The configurations of a search, best first, and what they have to beat.

    Attributes:
        ranked: ordered by mean VI over seeds; of equal ones the earlier candidate first.
        references: VI in bits of what was not searched, by name.
    """

    ranked: tuple[Ranked, ...]
    references: Mapping[str, float]

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        trials: Sequence[Mapping[str, Any]],
        references: Mapping[str, float],
    ) -> Ranking:
        """Rank candidates by the records of their trials."""
        ranked = [
            Ranked(number, candidate, tuple(t for t in trials if t["configuration"] == number))
            for number, candidate in enumerate(candidates)
        ]
        return cls(tuple(sorted(ranked, key=lambda one: one.mean("vi"))), references)

    @property
    def best(self) -> Ranked:
        """The configuration of least mean VI."""
        return self.ranked[0]

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the columns of the table."""
        return ("configuration", *COLUMNS.values(), "s")

    @property
    def rows(self) -> list[tuple[object, ...]]:
        """Rows of the table: mean ± sd over seeds, best first, and the references."""
        return [
            *(
                (
                    one.candidate.name,
                    *(spread(one.mean(score), one.sd(score)) for score in COLUMNS),
                    f"{one.mean('seconds'):.1f}",
                )
                for one in self.ranked
            ),
            *((name, f"{vi:.3f}", "", "", "") for name, vi in self.references.items()),
        ]

    def figure(self) -> Figure:
        """Draw VI of every configuration: seeds, mean and standard deviation.

        The superpixels are left out, far beside which the configurations would all look alike.
        """
        beaten = {name: vi for name, vi in self.references.items() if name != "superpixels"}
        return spread_figure(
            {one.candidate.name: [t["vi"] for t in one.trials] for one in self.ranked},
            quantity="VI of the validation shards",
            unit="bits",
            references=beaten,
        )


def spread(mean: float, sd: float | None) -> str:
    """Write mean ± standard deviation."""
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"
