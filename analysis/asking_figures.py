"""Figures of what questions and second looks buy: error against what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from analysis.figure_style import LINE_INKS, new_figure, style_plot
from analysis.input_error import InputError


@dataclass(frozen=True, slots=True, eq=False)
class AskingPanel:
    """Curves that share a plot.

    Attributes:
        title: line above.
        x_label: what was spent.
        x: (K,) what was spent, ascending.
        lines: rule → (S, K) bits of VI, one row a run.
        levels: name → bits of VI, drawn across.
        is_logarithmic: draw x logarithmically beyond its first positive value.
    """

    title: str
    x_label: str
    x: npt.NDArray[np.float64]
    lines: Mapping[str, npt.NDArray[np.float64]]
    levels: Mapping[str, float] = field(default_factory=dict)
    is_logarithmic: bool = True

    def __post_init__(self) -> None:
        if not self.lines:
            raise InputError(f"lines of the panel {self.title!r} are empty")
        for name, runs in self.lines.items():
            if runs.ndim != 2 or runs.shape[1] != len(self.x) or not len(runs):
                raise InputError(
                    f"lines[{name!r}] must be (S, {len(self.x)}), not of shape {runs.shape}"
                )


def asking_figure(panels: Sequence[AskingPanel], *, title: str = "") -> Figure:
    """Draw VI against what was spent: mean of the runs as a line, least to most as a band.

    Args:
        panels: one plot each, side by side.
        title: line above the figure.

    Raises:
        InputError: there is no panel.
    """
    if not panels:
        raise InputError("panels must hold at least one panel, but is empty")
    figure, axes = new_figure(1, len(panels), (5.2, 4.0), title)
    for axis, panel in zip(axes[0], panels, strict=True):
        for number, (name, runs) in enumerate(panel.lines.items()):
            colour = LINE_INKS[number % len(LINE_INKS)]
            axis.fill_between(
                panel.x, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.12, linewidth=0
            )
            axis.plot(panel.x, runs.mean(axis=0), color=colour, linewidth=1.8, label=name)
        style_plot(axis, panel.title, panel.x_label, "VI, bits")
        positive = panel.x[panel.x > 0]
        if panel.is_logarithmic and len(positive):
            axis.set_xscale("symlog", linthresh=float(positive[0]), linscale=0.4)
        for name, value in panel.levels.items():
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
        axis.legend(fontsize=8, frameon=False)
    return figure
