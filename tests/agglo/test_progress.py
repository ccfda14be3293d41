from __future__ import annotations

import io
import logging
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from agglo import progress as module
from agglo.progress import progress, show_messages, show_table

ROOT = Path(__file__).parents[2]

SCRIPT = """
import logging
from agglo.progress import progress, show_messages, show_table
show_messages()
with progress("training", total=4) as bar:
    for i in range(4):
        bar.advance(loss=1 / (i + 3), note="[x]")
        with progress("shards", total=2) as inner:
            inner.advance(2)
        logging.getLogger("agglo.train").info("round %d [of 4]", i)
show_table("Result", ["method", "VI"], [["policy", 1.23456], ["mean [boundary]", 1.5]])
"""


def test_a_pipe_gets_plain_lines_and_no_bar() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == "".join(f"round {i} [of 4]\n" for i in range(4))
    lines = [line.split() for line in result.stdout.splitlines() if line.strip(" ─")]
    assert lines == [
        ["Result"],
        ["method", "VI"],
        ["policy", "1.235"],
        ["mean", "[boundary]", "1.5"],
    ]
    assert "\x1b" not in result.stdout + result.stderr


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = bytearray()

    def read() -> None:
        try:
            while block := os.read(ours, 65536):
                seen.extend(block)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    process.communicate(timeout=60)
    reader.join()
    os.close(ours)
    text = seen.decode()
    assert process.returncode == 0
    assert "training" in text
    assert "shards" in text
    assert "4/4" in text
    assert "left" in text
    assert "loss 0.1667  note [x]" in text
    assert "round 3 [of 4]" in text


def test_bars_count_without_a_terminal() -> None:
    with progress("work") as bar:
        bar.advance()
        bar.advance(3, loss=0.5)
    assert bar.n_done == 4


def test_numbers_stand_to_the_right_and_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=stream, width=60))
    show_table("", ["name", "n"], [["a" * 80, 1], ["b", 1000]])
    lines = [line for line in stream.getvalue().splitlines() if set(line) & set("ab0")]
    assert "".join(lines[1:]).count("a") == 80
    assert max(map(len, stream.getvalue().splitlines())) <= 60
    assert lines[1].rindex("1") == lines[-1].rindex("1000") + 3


def test_messages_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("analysis", "predict", "envs", "agglo")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    try:
        show_messages()
        show_messages(logging.WARNING)
        logging.getLogger("envs.graph").warning("once")
        logging.getLogger("envs.graph").info("not at this level")
    finally:
        for logger, (level, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers = handlers
    assert capsys.readouterr().err == "once\n"
