from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from agglo.search.grid import Grid, candidates_of, draw_candidates
from agglo.training.learner import LearnerConfig
from agglo.training.train_config import TrainConfig
from analysis.input_error import InputError

SHARD = (16, 20, 20)


def names_of(grid: Grid) -> list[str]:
    return [candidate.name for candidate in candidates_of(grid, SHARD)]


def test_every_option_of_the_training_can_be_searched() -> None:
    """But those that say how volumes are cut, and the seed."""
    own = {field.name for field in fields(TrainConfig)} - {"seed", "shard_vox", "learner"}
    own |= {field.name for field in fields(LearnerConfig)} - {"name"}
    assert {field.name for field in fields(Grid)} == own | {"learners"}


def test_without_a_value_there_is_one_candidate_the_default() -> None:
    (only,) = candidates_of(Grid(), SHARD)
    assert only == ("aggregation", TrainConfig(shard_vox=SHARD))
    assert only.with_seed(7) == TrainConfig(shard_vox=SHARD, seed=7)


def test_candidates_are_all_combinations_of_what_a_learner_takes() -> None:
    """A single value is set and not named; flat has no rounds to multiply it by."""
    grid = Grid(learners=("lash", "flat"), rounds=(4, 8), batch=(32,), label=("rand", "vi"))
    candidates = candidates_of(grid, SHARD)
    assert [candidate.name for candidate in candidates] == [
        "lash, rounds 4, label rand",
        "lash, rounds 4, label vi",
        "lash, rounds 8, label rand",
        "lash, rounds 8, label vi",
        "flat, label rand",
        "flat, label vi",
    ]
    settings = [
        (c.config.learner.name, c.config.rounds, c.config.learner.label) for c in candidates
    ]
    default = TrainConfig().rounds
    assert settings == [
        *((("lash", rounds, label)) for rounds in (4, 8) for label in ("rand", "vi")),
        *(("flat", default, label) for label in ("rand", "vi")),
    ]
    assert all(candidate.config.learner.batch == 32 for candidate in candidates)
    assert all(candidate.config.shard_vox == SHARD for candidate in candidates)


def test_groups_of_features_are_joined_by_plus() -> None:
    candidates = candidates_of(Grid(features=("boundary", "boundary+grey")), SHARD)
    assert [candidate.config.learner.features for candidate in candidates] == [
        ("boundary",),
        ("boundary", "grey"),
    ]
    assert candidates[1].name == "aggregation, features boundary+grey"


def test_balances_are_switched_on_and_off() -> None:
    grid = Grid(learners=("lash", "flat"), balance_classes=(False, True), balance_volumes=(True,))
    candidates = candidates_of(grid, SHARD)
    assert [candidate.name for candidate in candidates] == [
        f"{name}, balance classes {is_on}" for name in ("lash", "flat") for is_on in (False, True)
    ]
    assert [c.config.learner.balance_classes for c in candidates] == [False, True] * 2
    assert all(candidate.config.learner.balance_volumes for candidate in candidates)


def test_patience_multiplies_what_chooses_a_round() -> None:
    """And flat, which has no rounds, is not multiplied by either."""
    grid = Grid(
        learners=("gala", "flat"),
        validation_shards=(2,),
        choose_round=(False, True),
        patience=(3, 4),
    )
    candidates = candidates_of(grid, SHARD)
    assert [candidate.name for candidate in candidates] == [
        "gala, choose round False",
        "gala, choose round True, patience 3",
        "gala, choose round True, patience 4",
        "flat",
    ]
    assert [(c.config.choose_round, c.config.patience) for c in candidates] == [
        *((False, None), (True, 3), (True, 4), (False, None))
    ]
    assert all(candidate.config.validation_shards == 2 for candidate in candidates)


def test_scales_are_joined_by_plus() -> None:
    candidates = candidates_of(Grid(scales=("1", "2+0.5")), SHARD)
    assert [candidate.config.scales for candidate in candidates] == [(1.0,), (2.0, 0.5)]
    assert candidates[1].name == "aggregation, scales 2+0.5"


def test_a_value_given_twice_is_tried_once() -> None:
    grid = Grid(learners=("gala", "gala"), noise=(0.3, 0.3, 0.5))
    assert names_of(grid) == ["gala, noise 0.3", "gala, noise 0.5"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"learners": ()}, "--learners must name one learner or more"),
        ({"learners": ("gala", "forest")}, "--learners must be of aggregation, .*, not forest"),
        (
            {"learners": ("gala", "flat"), "record_floor": (-1.0, -2.0)},
            "--record-floor does not belong to --learners gala flat",
        ),
        ({"degraded_copies": (-1,)}, "--degraded-copies must not be negative, not -1"),
        ({"scales": ("1+one",)}, r"--scales must be numbers joined by \+, not 1\+one"),
        ({"scales": ("1+0",)}, "--scales must be one positive number or more, not 1.0 0.0"),
        (
            {"validation_shards": (0, 2), "choose_round": (True,)},
            "--choose-round needs --validation-shards of at least 2, not 0",
        ),
        (
            {"validation_shards": (2,), "choose_round": (False,), "patience": (2,)},
            "--patience needs --choose-round True, which was not given",
        ),
        ({"rounds": (4, 0)}, "--rounds must be at least 1, not 0"),
        (
            {"learners": ("fitted-q",), "balance_classes": (True,)},
            "--balance-classes does not belong to --learners fitted-q",
        ),
        ({"label": ("majority",)}, "--label must be one of vi, rand for --learner aggregation"),
        ({"features": ("grey+hue",)}, "--features must be some of boundary, .*, not grey hue"),
        ({"learning_rate": (0.0,)}, "--learning-rate must be positive, not 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        candidates_of(Grid(**options), SHARD)


def test_a_sample_is_a_part_of_the_grid_that_the_seed_decides() -> None:
    whole = candidates_of(Grid(rounds=(1, 2, 3, 4), batch=(32, 64, 128)), SHARD)
    drawn = [draw_candidates(whole, 5, seed) for seed in range(10)]
    for sample in drawn:
        places = [whole.index(candidate) for candidate in sample]
        assert places == sorted(set(places))
        assert len(places) == 5
    assert len({tuple(c.name for c in sample) for sample in drawn}) > 5
    assert drawn[3] == draw_candidates(whole, 5, 3)
    assert draw_candidates(whole, len(whole), 0) == whole


@pytest.mark.parametrize("n", [0, 13])
def test_a_sample_is_not_larger_than_the_grid(n: int) -> None:
    whole = candidates_of(Grid(rounds=(1, 2, 3, 4), batch=(32, 64, 128)), SHARD)
    with pytest.raises(InputError, match=rf"--samples must lie in 1\.\.12, .*, not {n}"):
        draw_candidates(whole, n, 0)
