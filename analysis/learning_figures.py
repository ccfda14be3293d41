"""Figures of learning: how recorded numbers develop over rounds, runs or shards side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from analysis.figure_style import LINE_INKS, new_figure, style_plot
from analysis.input_error import InputError


def learning_figure(
    records: Sequence[Mapping[str, float]],
    metrics: Mapping[str, str],
    *,
    x: str = "round",
    references: Mapping[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Draw recorded numbers against a counter: mean as a line, smallest to largest as a band.

    Records that share a value of `x` (several shards, seeds or volumes) are one point of the
    line. Metrics of one unit share a plot.

    Args:
        records: one mapping a record; those without `x` or the metric are passed over.
        metrics: key of each metric → its unit, as in ``{"vi": "bits", "loss": "nats"}``.
        x: key of the counter.
        references: name → value of horizontal lines in the first plot, such as the floor.
        title: line above the figure.

    Raises:
        InputError: no metric is asked for, or a metric is in no record.
    """
    if not metrics:
        raise InputError("metrics must name at least one metric, but is empty.")
    units = list(dict.fromkeys(metrics.values()))
    figure, axes = new_figure(1, len(units), (5.6, 3.8), title)
    for place, unit in enumerate(units):
        axis = axes[0, place]
        ends = []
        for number, metric in enumerate(name for name in metrics if metrics[name] == unit):
            steps, mean, low, high = _by_step(records, x, metric)
            colour = LINE_INKS[number % len(LINE_INKS)]
            if np.any(high > low):
                axis.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
            axis.plot(
                steps, mean, "o-", color=colour, linewidth=1.8, markersize=4, label=_spoken(metric)
            )
            ends.append(f"{_spoken(metric)} {mean[0]:#.3g} → {mean[-1]:#.3g}")
        style_plot(axis, f"{', '.join(ends)} {unit}".rstrip(), _spoken(x), unit)
        if place == 0:
            _draw_references(axis, references or {})
        axis.locator_params(axis="x", integer=True)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8, frameon=False)
    return figure


def _by_step(
    records: Sequence[Mapping[str, float]], x: str, metric: str
) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the steps and the mean, smallest and largest value at each."""
    values: dict[float, list[float]] = {}
    for record in records:
        if x in record and metric in record:
            values.setdefault(float(record[x]), []).append(float(record[metric]))
    if not values:
        raise InputError(f"records must hold {x} and {metric}, but none of {len(records)} does.")
    steps = sorted(values)
    groups = [np.array(values[step]) for step in steps]
    return (
        np.array(steps),
        np.array([group.mean() for group in groups]),
        np.array([group.min() for group in groups]),
        np.array([group.max() for group in groups]),
    )


def _draw_references(axis: Axes, references: Mapping[str, float]) -> None:
    """Draw dashed lines at named values, named at their right end."""
    for name, value in references.items():
        axis.axhline(value, color="#777777", linewidth=1.0, linestyle="--")
        axis.annotate(
            f"{name} {value:#.3g}",
            (1.0, value),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
            ha="right",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _spoken(key: str) -> str:
    """Write a key as words; VI keeps its capitals."""
    return " ".join("VI" if word == "vi" else word for word in key.split("_"))
