"""One page that shows what a run gave: HTML that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Number
from pathlib import Path

from matplotlib.figure import Figure

from agglo.checkpoint_file import plain_value
from agglo.whole_file import write_whole
from analysis.input_error import InputError

DPI = 130
"""Resolution of the figures."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report: what it shows, names of its columns, its rows."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"a table of {len(self.header)} columns cannot have a row of {len(row)}"
                )


def write_report(
    path: Path,
    *,
    title: str,
    summary: Sequence[tuple[str, object, str]],
    tables: Sequence[Table] = (),
    figures: Sequence[tuple[str, Figure]] = (),
    facts: Mapping[str, object],
) -> None:
    """Write a report as one self-contained HTML page, whole or not at all.

    Args:
        path: the file.
        title: heading of the page.
        summary: name, value and explanation of the numbers to be seen first.
        tables: further tables.
        figures: caption and figure, in order; each is embedded as a PNG.
        facts: what the run depended on (command, versions, configuration), for the foot of the
            page; values are text, numbers, or what JSON holds.

    Raises:
        InputError: where the file cannot be written.
    """
    page = _page(title, summary, tables, figures, facts)
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise InputError(f"--out: {path} cannot be written ({error.strerror}).") from error


def png_uri(figure: Figure, dpi: int = DPI) -> str:
    """Return a figure as a PNG in a `data:` address, to be embedded in HTML."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _page(
    title: str,
    summary: Sequence[tuple[str, object, str]],
    tables: Sequence[Table],
    figures: Sequence[tuple[str, Figure]],
    facts: Mapping[str, object],
) -> str:
    """Compose the page."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{escape(title)}</h1>",
        *_summary(summary),
    ]
    for table in tables:
        parts += _table(table)
    for caption, figure in figures:
        parts += _figure(caption, figure)
    parts += [*_facts(facts), "</main>", "</body>", "</html>"]
    return "\n".join(parts) + "\n"


def _summary(summary: Sequence[tuple[str, object, str]]) -> list[str]:
    """Compose the numbers to be seen first."""
    parts = ['<dl class="summary">']
    for name, value, explanation in summary:
        parts += [
            "<div>",
            f"<dt>{escape(name)}</dt>",
            f'<dd class="value">{escape(_shown(value))}</dd>',
            f"<dd>{escape(explanation)}</dd>",
            "</div>",
        ]
    return [*parts, "</dl>"] if summary else []


def _table(table: Table) -> list[str]:
    """Compose a table; columns of numbers are set to the right."""
    is_number = [
        bool(table.rows) and all(isinstance(row[column], Number) for row in table.rows)
        for column in range(len(table.header))
    ]
    kinds = [' class="number"' if number else "" for number in is_number]
    parts = ['<div class="wide">', "<table>", f"<caption>{escape(table.caption)}</caption>"]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for kind, name in zip(kinds, table.header, strict=True)
    )
    parts += ["<thead>", f"<tr>{head}</tr>", "</thead>", "<tbody>"]
    for row in table.rows:
        cells = "".join(
            f"<td{kind}>{escape(_shown(value))}</td>"
            for kind, value in zip(kinds, row, strict=True)
        )
        parts.append(f"<tr>{cells}</tr>")
    return [*parts, "</tbody>", "</table>", "</div>"]


def _figure(caption: str, figure: Figure) -> list[str]:
    """Compose a figure; on a narrow screen it keeps half its width and is scrolled."""
    width, height = 96 * figure.get_size_inches()
    return [
        "<figure>",
        f'<div class="wide"><img src="{png_uri(figure)}" alt="{escape(caption)}" '
        f'width="{width:.0f}" height="{height:.0f}" style="min-width:{width / 2:.0f}px"></div>',
        f"<figcaption>{escape(caption)}</figcaption>",
        "</figure>",
    ]


def _facts(facts: Mapping[str, object]) -> list[str]:
    """Compose what the run depended on."""
    parts = ["<h2>How this was made</h2>", '<dl class="facts">']
    for name, value in facts.items():
        parts += [f"<dt>{escape(name)}</dt>", f"<dd>{escape(_shown(value))}</dd>"]
    return [*parts, "</dl>"] if facts else []


def _shown(value: object) -> str:
    """Write a value: floats with four digits, text as it is, the rest as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | Path):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=plain_value)


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #5c5c5c; --line: #d9d9d9;
  --paper: #fff; --card: #f5f5f3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --soft: #a9a9a6; --line: #3d3d3c;
  --paper: #161616; --card: #222221; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1.5rem; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
dl, dd, figure { margin: 0; }
.summary { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr));
  gap: .75rem; }
.summary div { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; }
.summary dt { font-weight: 600; }
.summary dd { color: var(--soft); font-size: .85rem; }
.summary .value { color: var(--ink); font-size: 1.6rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 2rem 0 0; min-width: 50%; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin-top: 2.25rem; }
figure .wide { background: #fff; border-radius: .5rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; }
.facts { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr;
  gap: .25rem 1.25rem; font-size: .9rem; }
.facts dt { color: var(--soft); }
.facts dd { overflow-wrap: anywhere; }
"""
