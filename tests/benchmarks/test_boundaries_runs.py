from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.input_error import InputError
from benchmarks.boundaries import run_folders
from benchmarks.boundaries.run import training_costs
from benchmarks.boundaries.run_folders import do_run, read_row, sentence_of
from benchmarks.boundaries.runs import FAILURE_FILE, LOG_FILE, ROW_FILE, RUN_FILE, Run

RUN = Run("isbi", "dawmr3", "structured", 2, 5.0, None)


def test_words_of_a_training() -> None:
    words = " ".join(RUN.training_words)
    assert words == "--model dawmr --iterations 3 --loss malis --folds 1 --seed 2 --minutes 15.0"
    short = Run("isbi", "unet", "structured", 0, None, 20)
    assert " ".join(short.training_words) == (
        "--model unet --loss blotc --folds 1 --seed 0 --steps 20"
    )


@pytest.mark.parametrize(
    ("log", "status", "sentence"),
    [
        ("reading\nagglo: --loss: there is none.\nexit\n", 2, "--loss: there is none."),
        ("Traceback …\nOSError: disk full\n\n", 1, "OSError: disk full"),
        ("step 1\n", -9, "It was ended by signal SIGKILL."),
        ("", 3, "It ended with status 3 and said nothing."),
        (
            "╭─ Parsing error ───╮\n│ Argument --model:  │\n│ invalid 'dawmr'.   │\n"
            "│ ────────────────── │\n╰────────────────────╯\n",
            2,
            "Argument --model: invalid 'dawmr'.",
        ),
    ],
)
def test_the_sentence_of_a_failed_run(log: str, status: int, sentence: str) -> None:
    assert sentence_of(log, status) == sentence


def test_a_run_is_done_once_and_a_failed_one_again(tmp_path: Path, monkeypatch) -> None:
    statuses = [2, 0]

    def child(folder: Path, _: Path, n_cpus: int | None) -> int:
        assert n_cpus is None
        assert Run.read(folder / RUN_FILE) == RUN
        assert not (folder / FAILURE_FILE).exists()
        status = statuses.pop(0)
        (folder / LOG_FILE).write_text("agglo: nothing to see.\n")
        if not status:
            (folder / ROW_FILE).write_text(json.dumps({"numbers": {"auc": 0.5}}))
        return status

    monkeypatch.setattr(run_folders, "_in_child", child)
    assert read_row(tmp_path, RUN).failure == "It has not been run."
    assert do_run(tmp_path, RUN, tmp_path).failure == "nothing to see."
    assert read_row(tmp_path, RUN).failure == "nothing to see."
    assert do_run(tmp_path, RUN, tmp_path).numbers == {"auc": 0.5}
    assert do_run(tmp_path, RUN, tmp_path).numbers == {"auc": 0.5}
    assert not statuses
    other = Run("isbi", "dawmr3", "structured", 2, None, 30)
    message = "holds a run with minutes 5.0, not None, steps None, not 30; choose another folder"
    with pytest.raises(InputError, match=message):
        do_run(tmp_path, other, tmp_path)
    assert read_row(tmp_path, other).run == RUN


@pytest.mark.slow
def test_a_child_that_cannot_read_the_data_says_so(tmp_path: Path) -> None:
    row = do_run(tmp_path, Run("isbi", "unet", "bce", 0, None, 20), tmp_path / "nowhere")
    assert row.failure.startswith("--image: ")
    assert "nowhere" in row.failure


def test_costs_of_a_recursion_are_those_of_all_its_iterations(tmp_path: Path) -> None:
    records = [
        {"fold": 0, "iteration": iteration, "step": step, "seconds": 0.5 * step}
        for iteration, step in ((0, 2), (0, 4), (1, 3))
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    assert training_costs(tmp_path) == {"train_s": 3.5, "train_steps": 7}


def test_costs_of_a_training_are_those_of_its_last_record(tmp_path: Path) -> None:
    assert training_costs(tmp_path) == {"train_s": None, "train_steps": None}
    records = [{"fold": 0, "step": 2, "seconds": 1.5}, {"fold": 0, "step": 4, "seconds": 3.0}]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "metrics.jsonl").write_text(lines + '{"fold": 0, "st')
    assert training_costs(tmp_path) == {"train_s": 3.0, "train_steps": 4}
