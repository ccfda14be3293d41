"""Splits against mergers: a panel for each case, a mark for each method.

The function returns a `matplotlib.figure.Figure`; writing it is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figure_style import LINE_INKS, new_figure, style_plot
from benchmarks.accuracy.methods import METHODS
from benchmarks.accuracy.rows import Row
from benchmarks.accuracy.table import Group, group_rows

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _GREY = LINE_INKS
_N_COLUMNS = 3
_SHOWN_APART = ("superpixels",)
"""Methods that lie far off all others and are told in words."""


class Mark(NamedTuple):
    """How a method is drawn.

    Attributes:
        colour: of its family.
        shape: of the marker, its own within the family.
        is_filled: else an outline.
        size: of the mean, points.
    """

    colour: str
    shape: str
    is_filled: bool = True
    size: float = 8.0


MARKS: dict[str, Mark] = {
    "floor": Mark(_GREY, "P"),
    "greedy-oracle": Mark(_GREY, "X"),
    "small-by-truth": Mark(_GREY, "d"),
    "mean-boundary": Mark(_BLUE, "o"),
    "waterz-50": Mark(_SKY, "^"),
    "waterz-75": Mark(_SKY, "v"),
    "waterz-85": Mark(_SKY, "<"),
    "waterz-max-50": Mark(_SKY, "^", False),
    "waterz-max-75": Mark(_SKY, "v", False),
    "waterz-max-85": Mark(_SKY, "<", False),
    "multicut": Mark(_ORANGE, "s"),
    "gasp": Mark(_ORANGE, "D", size=7.0),
    "forest-linkage": Mark(_GREEN, "o"),
    "forest-multicut": Mark(_GREEN, "s"),
    "forest-gasp": Mark(_GREEN, "D", size=7.0),
    "flat": Mark(_PINK, "o"),
    "committee": Mark(_RED, "h"),
    "gala-scales": Mark(_RED, "p"),
    "on-policy-copies": Mark(_RED, "*", False, size=15.0),
    "on-policy-single": Mark(_RED, "X"),
    "on-policy-expert": Mark(_RED, "D", size=7.0),
    "on-policy": Mark(_RED, "*", size=15.0),
}
"""Methods that are not named here are drawn in pink, each with a shape of its own."""

_SHAPES = "shdp>8"


def mark_of(name: str) -> Mark:
    """Return the mark of a method."""
    others = [method for method in METHODS if method not in MARKS]
    return MARKS.get(name) or Mark(_PINK, _SHAPES[others.index(name) % len(_SHAPES)])


def tradeoff_figure(cases: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw VI split against VI merge of all methods, a panel a case.

    A large mark is a mean over seeds, small ones are the seeds; grey lines join equal VI.

    Args:
        cases: rows by the title of their case, at least one of them with numbers.
    """
    groups = {case: group_rows(rows) for case, rows in cases.items()}
    groups = {case: some for case, some in groups.items() if some}
    n_columns = min(_N_COLUMNS, len(groups))
    n_rows = -(-len(groups) // n_columns)
    title = "Splits and mergers, thresholds chosen on the training side"
    figure, axes = new_figure(n_rows, n_columns, (4.3, 4.0), title if n_columns > 1 else "")
    for axis in axes.ravel()[len(groups) :]:
        axis.set_axis_off()
    for axis, (case, some) in zip(axes.ravel(), groups.items(), strict=False):
        _draw_case(axis, case, some)
    shown = [
        name for name in METHODS if any(name == g.name for some in groups.values() for g in some)
    ]
    figure.legend(
        handles=[_handle(name) for name in shown if name not in _SHOWN_APART],
        loc="outside lower center",
        ncols=max(int(figure.get_figwidth() / 1.9), 1),
        frameon=False,
        fontsize=9,
    )
    return figure


def _draw_case(axes: Axes, case: str, groups: Sequence[Group]) -> None:
    drawn = [group for group in groups if group.name not in _SHOWN_APART]
    for group in drawn:
        mark = mark_of(group.name)
        merge, split = group.values("vi_merge"), group.values("vi_split")
        face = mark.colour if mark.is_filled else "none"
        if len(merge) > 1:
            axes.plot(
                *(merge, split, mark.shape),
                color=mark.colour,
                markersize=mark.size / 2.4,
                alpha=0.55,
                linestyle="none",
                markeredgewidth=0,
            )
        axes.plot(
            *(np.mean(merge), np.mean(split), mark.shape),
            color=mark.colour,
            markerfacecolor=face,
            markeredgecolor="white" if mark.is_filled else mark.colour,
            markeredgewidth=0.6 if mark.is_filled else 1.5,
            markersize=mark.size,
            zorder=4 if group.method.kind == "ours" else 3,
        )
    apart = [group for group in groups if group.name in _SHOWN_APART]
    words = "".join(
        f"\n{group.method.title} {np.mean(group.values('vi_split')):.2f} + "
        f"{np.mean(group.values('vi_merge')):.2f}"
        for group in apart
    )
    style_plot(axes, case + words, "VI merge, bits", "VI split, bits")
    merges = [value for group in drawn for value in group.values("vi_merge")]
    splits = [value for group in drawn for value in group.values("vi_split")]
    axes.set_xlim(0, 1.1 * max(merges))
    axes.set_ylim(0, 1.1 * max(splits))
    _draw_levels(axes)


def _draw_levels(axes: Axes) -> None:
    """Draw lines of equal VI, each with its value."""
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    step = next(one for one in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if (right + top) / one <= 9)
    for vi in np.arange(step, right + top, step):
        axes.plot(
            [0, vi], [vi, 0], color="#bbbbbb", linewidth=0.8, zorder=1, scalex=False, scaley=False
        )
        x, y = (0.0, vi) if vi <= top else (vi - top, top)
        axes.annotate(
            f"VI {vi:.2g}",
            (x, y),
            (3, -2),
            textcoords="offset points",
            fontsize=7,
            color="#888888",
            va="top",
        )


def _handle(name: str) -> Line2D:
    mark = mark_of(name)
    return Line2D(
        [],
        [],
        color=mark.colour,
        marker=mark.shape,
        markerfacecolor=mark.colour if mark.is_filled else "none",
        markersize=mark.size,
        linestyle="none",
        label=METHODS[name].title,
    )
