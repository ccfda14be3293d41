"""What a command says while it runs: tables on stdout, messages and bars on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 120
"""Columns of a table where there is no terminal to ask."""


def _console(stream: TextIO, *, stderr: bool) -> Console:
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


console = _console(sys.stdout, stderr=False)
"""For results: tables and lines, plain text without colour in a pipe."""

messages = _console(sys.stderr, stderr=True)
"""For what is said on the way: log lines and progress bars."""


class Bar:
    """Count the steps of one piece of work; nothing is drawn where `shown` is None."""

    def __init__(self, shown: Progress | None, description: str, total: int | None) -> None:
        self.n_done = 0
        self._shown = shown
        self._note = ""
        if shown is not None:
            self._task: TaskID = shown.add_task(description, total=total, note="")

    def advance(self, n: int = 1, **fields: object) -> None:
        """Count `n` more steps and show the fields, such as a loss, beside the bar."""
        self.n_done += n
        if self._shown is not None:
            if fields:
                self._note = "  ".join(f"{name} {_short(value)}" for name, value in fields.items())
            self._shown.update(self._task, advance=n, note=self._note)


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Bar]:
    """Show a bar with the time left on a terminal, and nothing in a pipe.

    A bar inside another one is drawn below it and goes when its work is done.

    Args:
        description: the work, in a word or two.
        total: number of steps; unknown if None.
    """
    if not messages.is_terminal:
        yield Bar(None, description, total)
        return
    if _shown:
        bar = Bar(_shown[-1], description, total)
        try:
            yield bar
        finally:
            _shown[-1].remove_task(bar._task)
        return
    with Progress(*_columns(), console=messages) as shown:
        _shown.append(shown)
        try:
            yield Bar(shown, description, total)
        finally:
            _shown.pop()


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to stdout; numbers are set to the right, floats with four digits."""
    cells = [list(row) for row in rows]
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for index, name in enumerate(header):
        is_number = all(isinstance(row[index], int | float) for row in cells)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(_short(value)) for value in row))
    console.print(table)


def show_messages(level: int = logging.INFO) -> None:
    """Send the log lines of the four packages to stderr, above a bar if one is drawn."""
    for name in ("analysis", "predict", "envs", "agglo"):
        package = logging.getLogger(name)
        package.setLevel(level)
        if not any(isinstance(handler, _ConsoleHandler) for handler in package.handlers):
            package.addHandler(_ConsoleHandler())


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else ""
        messages.print(Text(self.format(record), style=style), soft_wrap=True)


_shown: list[Progress] = []


def _columns() -> list[ProgressColumn]:
    return [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    ]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
