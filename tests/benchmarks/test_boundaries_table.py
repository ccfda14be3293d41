from __future__ import annotations

import pytest

from benchmarks.boundaries.data_sets import DATA_SETS, FIB25, ISBI
from benchmarks.boundaries.runs import DataName, LossKind, ModelName, Row, Run
from benchmarks.boundaries.table import cell, group_rows
from benchmarks.boundaries.verdicts import compare_rows, judge_target


def row(
    model: ModelName,
    kind: LossKind,
    seed: int,
    numbers: dict[str, float | None],
    data: DataName = "fib25",
) -> Row:
    run = Run(data, model, kind, seed, 10.0, None)
    return Row(run, numbers, "" if numbers else "It was lost.")


def test_mean_and_deviation_drawn_by_hand() -> None:
    rows = [
        row("unet", "bce", 0, {"vi": 1.0, "auc": 0.97}),
        row("convnet", "bce", 0, {"vi": 2.0, "auc": 0.9}),
        row("unet", "bce", 1, {"vi": 1.2, "auc": 0.99}),
        row("unet", "bce", 2, {}),
        row("convnet", "structured", 0, {}),
    ]
    unet, convnet, failed = group_rows(rows)
    assert (unet.name, convnet.name, failed.name) == ("unet bce", "convnet bce", "convnet malis")
    assert (unet.n_done, len(unet.rows), failed.n_done) == (2, 3, 0)
    vi = FIB25.number("vi")
    assert cell(unet, vi) == "1.100 ± 0.141"
    assert cell(convnet, vi) == "2.000"
    assert cell(failed, vi) == "–"
    assert unet.results["n_failed"] == 1
    assert unet.results["budgets"] == ["10 min"]


def test_a_number_that_a_run_lacks_is_left_out_of_the_mean() -> None:
    rows = [row("unet", "bce", 0, {"train_s": None}), row("unet", "bce", 1, {"train_s": 4.0})]
    (group,) = group_rows(rows)
    assert (group.mean("train_s"), group.deviation("train_s")) == (4.0, None)


def test_pairs_are_those_of_a_seed_and_a_cost_gains_by_falling() -> None:
    rows = [
        *(row("dawmr1", "bce", seed, {"average_precision": 0.8, "vi": 1.0}) for seed in (0, 1)),
        row("dawmr3", "bce", 0, {"average_precision": 0.9, "vi": 0.75}),
        row("dawmr3", "bce", 1, {"average_precision": 0.7, "vi": 0.5}),
        row("dawmr3", "bce", 2, {"average_precision": 0.9, "vi": 0.5}),
        row("dawmr1", "bce", 2, {}),
    ]
    precision, vi = compare_rows(FIB25, rows)
    assert (precision.first, precision.second) == ("dawmr3 bce", "dawmr1 bce")
    assert precision.gains == pytest.approx({0: 0.1, 1: -0.1})
    assert vi.gains == {0: 0.25, 1: 0.5}
    assert (precision.n_better, vi.n_better) == (1, 2)
    assert vi.without_pair == (2,)
    assert not vi.is_better_in_all
    assert vi.words == "better in 2 of 2 seeds, no pair for seed 2"
    whole = [one for one in rows if one.run.seed < 2]
    assert [one.is_better_in_all for one in compare_rows(FIB25, whole)] == [False, True]


def test_structured_losses_are_compared_for_every_model() -> None:
    rows = [
        row(model, kind, 0, {"average_precision": 0.5, "v_rand_thinned": 0.5}, "isbi")
        for model in ("convnet", "unet")
        for kind in ("bce", "structured")
    ]
    verdicts = compare_rows(ISBI, rows)
    assert {(one.first, one.second) for one in verdicts} == {
        ("convnet malis", "convnet bce"),
        ("unet blotc", "unet bce"),
    }
    assert {one.number.name: one.words for one in verdicts} == {
        "average_precision": "better in 0 of 1 seeds",
        "v_rand_thinned": "better in 0 of 1 seeds",
        "v_info_thinned": "no pair for seed 0",
    }


def test_a_target_is_judged_by_the_mean_over_seeds() -> None:
    rows = [
        row("unet", "bce", 0, {"auc": 0.97}),
        row("unet", "bce", 1, {"auc": 0.99}),
        row("convnet", "bce", 0, {"auc": 0.974}),
        row("dawmr1", "bce", 0, {}),
    ]
    target = judge_target(FIB25, group_rows(rows))
    assert (target.best, target.reached_by) == ("unet bce", ("unet bce",))
    assert target.best_mean == pytest.approx(0.98)
    nothing = judge_target(FIB25, group_rows(rows[3:]))
    assert (nothing.best, nothing.best_mean, nothing.reached_by) == (None, None, ())


def test_a_row_has_numbers_or_a_failure() -> None:
    run = Run("isbi", "unet", "bce", 0, None, 20)
    with pytest.raises(ValueError, match="either numbers or a failure"):
        Row(run)
    with pytest.raises(ValueError, match="either numbers or a failure"):
        Row(run, {"vi": 1.0}, "It was lost.")


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=str)
def test_parts_of_a_data_set_do_not_meet(data_set) -> None:
    ends = (*data_set.train, *data_set.validation, *data_set.report)
    assert list(ends) == sorted(ends)
    for name in (*data_set.compared, data_set.target.number):
        assert data_set.number(name).name == name
