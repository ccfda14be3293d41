"""Figures of spread: the values of several groups, with their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.figure_style import LINE_INKS, new_figure, style_plot
from analysis.input_error import InputError

_MEAN_INK, _VALUE_INK = LINE_INKS[0], "#888888"


def spread_figure(
    groups: Mapping[str, Sequence[float]],
    *,
    quantity: str,
    unit: str,
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a row for every group, the first on top: its values, and mean ± standard deviation.

    Args:
        groups: name → values; the standard deviation (n − 1) is left out for a single one.
        quantity: what the values are.
        unit: their unit.
        references: name → value of vertical lines, named in the key.

    Raises:
        InputError: there is no group, or one is empty.
    """
    if not groups:
        raise InputError("groups must name at least one group, but is empty.")
    empty = next((name for name, values in groups.items() if not len(values)), None)
    if empty is not None:
        raise InputError(f"groups: {empty} has no value.")
    longest = max(len(name) for name in groups)
    figure, axes = new_figure(1, 1, (4.6 + 0.07 * longest, 1.3 + 0.3 * len(groups)))
    axis = axes[0, 0]
    for row, values in enumerate(groups.values()):
        mean = float(np.mean(values))
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axis.plot(values, [row] * len(values), "o", color=_VALUE_INK, markersize=3.5, alpha=0.7)
        axis.errorbar(
            mean, row, xerr=sd, fmt="D", color=_MEAN_INK, markersize=5, capsize=3, linewidth=1.6
        )
    for number, (name, value) in enumerate((references or {}).items()):
        ink = LINE_INKS[1 + number % (len(LINE_INKS) - 1)]
        axis.axvline(value, color=ink, linewidth=1.0, linestyle="--", label=f"{name} {value:#.3g}")
    best = min(groups, key=lambda name: float(np.mean(groups[name])))
    style_plot(axis, f"least: {best}, {np.mean(groups[best]):#.3g} {unit}", "", "")
    axis.set_xlabel(f"{quantity}, {unit}", fontsize=9)
    axis.set_yticks(range(len(groups)), list(groups))
    axis.set_ylim(len(groups) - 0.5, -0.5)
    if references:
        axis.legend(fontsize=8, frameon=False)
    return figure
