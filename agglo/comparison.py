"""Several evaluations of one kind as one table, one JSON object and one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from agglo.evaluation_result import Evaluation
from analysis.comparison_figures import (
    MapColumn,
    SegmentationColumn,
    maps_figure,
    segmentations_figure,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Evaluations of segmentations, or of boundary maps, side by side.

    Attributes:
        evaluations: by the address of what was measured, in the order of the table.
    """

    evaluations: Mapping[str, Evaluation]

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the columns of the table: what was measured, and how it is counted."""
        return ("", *short_names(list(self.evaluations)), "counted as")

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """Rows of the table: a number's name, its value for each, how it is counted."""
        names: dict[str, None] = {}
        conventions: dict[str, dict[str, None]] = {}
        for evaluation in self.evaluations.values():
            for name in evaluation.scores:
                names.setdefault(name)
                text = evaluation.conventions.get(name, "")
                conventions.setdefault(name, {}).setdefault(text)
        return [
            (
                name,
                *(each.scores.get(name, "") for each in self.evaluations.values()),
                _joined(list(conventions[name])),
            )
            for name in names
        ]

    @property
    def results(self) -> dict[str, Any]:
        """What goes to JSON: the results of each, by address."""
        return {address: each.results for address, each in self.evaluations.items()}

    def figure(self) -> Figure | None:
        """Draw all side by side; None where they were evaluated without pictures."""
        names = short_names(list(self.evaluations))
        columns = [each.column for each in self.evaluations.values()]
        size = next(iter(self.evaluations.values())).voxel_size_nm
        segmentations = [column for column in columns if isinstance(column, SegmentationColumn)]
        maps = [column for column in columns if isinstance(column, MapColumn)]
        if segmentations:
            return segmentations_figure(segmentations, names=names, voxel_size_nm=size)
        return maps_figure(maps, names=names, voxel_size_nm=size) if maps else None


def _joined(texts: Sequence[str]) -> str:
    """Join conventions; what they have in common before a closing bracket is said once."""
    parts = [text.rpartition(" (") for text in texts]
    if len(texts) > 1 and len({head for head, _, _ in parts}) == 1 and parts[0][0]:
        return f"{parts[0][0]} ({' / '.join(tail.removesuffix(')') for _, _, tail in parts)})"
    return " / ".join(texts)


def short_names(addresses: Sequence[str]) -> list[str]:
    """Leave out the folders that all addresses begin with."""
    if len(addresses) < 2:
        return list(addresses)
    folders = [address.split("/")[:-1] for address in addresses]
    n_same = 0
    while all(len(f) > n_same and f[n_same] == folders[0][n_same] for f in folders):
        n_same += 1
    return ["/".join(address.split("/")[n_same:]) for address in addresses]
