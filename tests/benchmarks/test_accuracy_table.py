from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.input_error import InputError
from benchmarks.accuracy.__main__ import Arguments, compare, make_rows
from benchmarks.accuracy.cases import GROUPS, Case
from benchmarks.accuracy.figure import mark_of, tradeoff_figure
from benchmarks.accuracy.methods import METHODS, Method
from benchmarks.accuracy.rows import Row, read_row, require_same, write_row
from benchmarks.accuracy.table import (
    ERRORS,
    cell,
    group_rows,
    judge,
    overview,
    results_of,
    show_case,
)

CASE = GROUPS["fib25"][0]


def row(method: str, seed: int, split: float, merge: float) -> Row:
    numbers: dict[str, float | None] = {
        "vi_split": split,
        "vi_merge": merge,
        "vi": split + merge,
        "vi_tolerant": 0.5 * (split + merge),
        "adapted_rand_error": 0.1,
    }
    return Row(CASE.name, method, seed, numbers)


ROWS = [
    row("superpixels", 0, 3.0, 0.2),
    row("mean-boundary", 0, 0.9, 0.9),
    row("flat", 0, 0.8, 0.7),
    row("flat", 1, 0.8, 0.9),
    row("on-policy", 0, 0.7, 0.5),
    row("on-policy", 1, 0.7, 0.6),
]


def test_names_of_cases_are_their_own_and_both_sides_differ() -> None:
    cases = [case for group in GROUPS.values() for case in group]
    assert len({case.name for case in cases}) == len(cases)
    assert len({case.title for case in cases}) == len(cases)
    for case in cases:
        assert case.test.name not in [part.name for part in case.train]
        assert {part.voxel_size_nm for part in (*case.train, case.test)} == {
            case.test.voxel_size_nm
        }


def test_ours_is_held_against_the_best_peer() -> None:
    groups = group_rows(ROWS)
    assert [group.name for group in groups] == [
        "superpixels",
        "mean-boundary",
        "flat",
        "on-policy",
    ]
    vi, tolerant, arand = judge(groups)
    assert (vi.peer, vi.method, vi.number) == ("flat", "on-policy", "vi")
    assert vi.gain == pytest.approx(1.6 - 1.25)
    assert vi.deviation == pytest.approx(np.sqrt(0.02))
    assert vi.is_clear
    assert tolerant.gain == pytest.approx(0.5 * vi.gain)
    assert arand.gain == 0
    assert not arand.is_clear


def test_a_gain_within_the_deviation_is_not_clear() -> None:
    (vi, *_) = judge(group_rows([*ROWS[:-2], row("on-policy", 0, 0.7, 0.85)]))
    assert 0 < vi.gain < 0.15
    assert vi.deviation == pytest.approx(np.sqrt(0.02))
    assert not vi.is_clear


def test_cells_have_a_deviation_where_there_are_seeds() -> None:
    by_name = {group.name: group for group in group_rows(ROWS)}
    vi = next(number for number in ERRORS if number.name == "vi")
    oracle = next(number for number in ERRORS if number.name == "oracle_vi")
    assert cell(by_name["flat"], vi) == "1.600 ± 0.141"
    assert cell(by_name["mean-boundary"], vi) == "1.800"
    assert cell(by_name["mean-boundary"], oracle) == "–"


def test_the_table_of_a_case_is_printed_with_failures(capsys) -> None:
    rows = [*ROWS, Row(CASE.name, "waterz-50", 0, failure="waterz not installed.")]
    show_case(CASE.title, rows)
    printed = capsys.readouterr().out
    assert "fib25_low → fib25_high: errors" in printed
    assert "waterz not installed." in printed
    results = results_of(rows)
    assert [one["method"] for one in results["summary"]] == [
        "superpixels",
        "mean-boundary",
        "flat",
        "on-policy",
    ]
    assert len(results["rows"]) == len(rows)


def test_every_method_has_a_mark_of_its_own() -> None:
    marks = [mark_of(name) for name in METHODS]
    assert len({(mark.colour, mark.shape, mark.is_filled) for mark in marks[1:]}) == len(marks) - 1


def test_the_figure_has_a_panel_a_case_and_leaves_out_cases_without_numbers() -> None:
    failed = [Row("other", "flat", 0, failure="No.")]
    figure = tradeoff_figure({CASE.title: ROWS, "swap": ROWS, "other": failed})
    shown = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title().split("\n")[0] for axis in shown] == [CASE.title, "swap"]
    assert "superpixels 3.00 + 0.20" in shown[0].get_title()


def test_settings_of_a_folder_are_kept(tmp_path: Path) -> None:
    require_same(tmp_path, {"boundary model": "--steps 3"})
    require_same(tmp_path, {"boundary model": "--steps 3"})
    with pytest.raises(InputError, match="holds rows with boundary model --steps 3, not --steps 4"):
        require_same(tmp_path, {"boundary model": "--steps 4"})


def test_rows_that_are_there_are_not_made_again(tmp_path: Path, monkeypatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("no map is needed")

    monkeypatch.setattr("benchmarks.accuracy.__main__.Maps.prepare", never)
    absent = Method("absent", never, needs=("no_such_module",))  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(METHODS, "gasp", absent)
    for one in ROWS:
        write_row(tmp_path, CASE, one)
    assert read_row(tmp_path, CASE, "flat", 1) == ROWS[3]
    assert read_row(tmp_path, CASE, "flat", 2) is None
    asked = Arguments(tmp_path, methods=("flat", "superpixels", "gasp"), seeds=(0, 1))
    rows = list(make_rows(asked, tmp_path, CASE))
    assert rows[0] == ROWS[0]
    assert rows[1].failure == "no_such_module not installed (extra `baselines`)."
    assert rows[2:] == ROWS[2:4]


def test_arguments_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'nonsense' is none of superpixels, floor"):
        Arguments(tmp_path, methods=("nonsense",))
    with pytest.raises(InputError, match="either --minutes or --steps"):
        Arguments(tmp_path, minutes=3, steps=3)
    assert Arguments(tmp_path, steps=30).training_words == ("--model", "unet", "--steps", "30")
    words = Arguments(tmp_path, minutes=3.0, folds=3).training_words
    assert words == ("--model", "unet", "--minutes", "3.0", "--folds", "3")
    tasks = Arguments(tmp_path, methods=("flat", "gasp"), seeds=(3, 4)).tasks()
    assert tasks == [(0, "gasp"), (3, "flat"), (4, "flat")]


def test_a_case_may_have_several_training_parts() -> None:
    case: Case = GROUPS["transfer"][0]
    assert case.model_name == "gala+tinyfib"
    assert case.name == "gala+tinyfib-fib25_low"
    assert case.title == "gala + tinyfib → fib25_low"


def test_a_summary_writes_table_numbers_and_figure(tmp_path: Path, capsys) -> None:
    for one in ROWS:
        write_row(tmp_path, CASE, one)
    swap = GROUPS["fib25"][1]
    write_row(tmp_path, swap, replace(ROWS[2], case=swap.name))
    asked = Arguments(tmp_path, data=("fib25",), seeds=(0, 1), summary=True)
    compare(asked)
    assert "mean VI" in capsys.readouterr().out
    written = json.loads((tmp_path / "accuracy.json").read_text())
    assert list(written["cases"]) == [case.name for case in GROUPS["fib25"]]
    verdict = written["cases"][CASE.name]["verdicts"][0]
    assert (verdict["peer"], verdict["is_clear"]) == ("flat", True)
    assert written["overview"]["fib25"] == pytest.approx({"flat": (1.6 + 1.5) / 2})
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000


def test_methods_are_averaged_over_cases_that_all_have_them() -> None:
    swap = [row("flat", 0, 0.4, 0.4), row("on-policy", 0, 0.5, 0.25)]
    assert overview([ROWS, swap]) == pytest.approx({"flat": 1.2, "on-policy": 1.0})
