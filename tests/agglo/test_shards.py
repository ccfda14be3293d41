from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.training.shard import (
    Shard,
    cut_at_scales,
    cut_shards,
    divide_shards,
    halve_shards,
    split_shards,
)
from analysis.input_error import InputError

SIDES = st.tuples(*3 * [st.integers(1, 20)])


def test_cut_shards_of_two_drawn_volumes() -> None:
    shards = cut_shards([(4, 5, 9), (3, 3, 3)], (4, 4, 4))
    assert shards == [
        Shard(0, (0, 0, 0), (4, 5, 4)),  # 9 / 4 is nearest to 2, of 4 and 5 voxels
        Shard(0, (0, 0, 4), (4, 5, 9)),
        Shard(1, (0, 0, 0), (3, 3, 3)),
    ]
    assert shards[1].box == (slice(0, 4), slice(0, 5), slice(4, 9))
    assert shards[1].shape == (4, 5, 5)


def test_a_drawn_volume_at_three_scales_without_its_last_quarter() -> None:
    kept_out = [Shard(0, (0, 4, 4), (2, 8, 8)), Shard(1, (0, 0, 0), (2, 8, 8))]
    assert cut_at_scales([(2, 8, 8)], (2, 4, 4), (2.0, 1.0, 0.5), kept_out) == [
        # at scale 2 one shard, which has the quarter
        Shard(0, (0, 0, 0), (2, 4, 4)),
        Shard(0, (0, 0, 4), (2, 4, 8)),
        Shard(0, (0, 4, 0), (2, 8, 4)),
        *[
            Shard(0, (z, y, x), (z + 1, y + 2, x + 2))
            for z in (0, 1)
            for y in (0, 2, 4, 6)
            for x in (0, 2, 4, 6)
            if y < 4 or x < 4
        ],
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(SIDES, min_size=1, max_size=3),
    SIDES,
    st.lists(st.floats(0.1, 4), min_size=1, max_size=3),
    st.integers(0, 3),
)
def test_scales_cover_what_is_not_kept_out_and_nothing_else(
    shapes: list[tuple[int, int, int]],
    wanted: tuple[int, int, int],
    scales: list[float],
    n_out: int,
) -> None:
    kept_out = cut_shards(shapes, wanted)[:n_out]
    counts = [np.zeros(shape, int) for shape in shapes]
    is_out = [np.zeros(shape, bool) for shape in shapes]
    for shard in kept_out:
        is_out[shard.volume][shard.box] = True
    shards = cut_at_scales(shapes, wanted, tuple(scales), kept_out)
    for shard in shards:
        assert not is_out[shard.volume][shard.box].any()
        counts[shard.volume][shard.box] += 1
    if not kept_out:
        assert all((count == len(scales)).all() for count in counts)
    every = cut_at_scales(shapes, wanted, tuple(scales), [])
    left = [s for s in every if not is_out[s.volume][s.box].any()]
    assert shards == left


def test_halves_of_a_drawn_shard() -> None:
    assert halve_shards([Shard(3, (1, 2, 5), (2, 5, 9))]) == [
        Shard(3, (1, 2, 5), (2, 3, 7)),
        Shard(3, (1, 2, 7), (2, 3, 9)),
        Shard(3, (1, 3, 5), (2, 5, 7)),
        Shard(3, (1, 3, 7), (2, 5, 9)),
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(SIDES, min_size=1, max_size=3), SIDES)
def test_halves_tile_what_the_shards_did(
    shapes: list[tuple[int, int, int]], wanted: tuple[int, int, int]
) -> None:
    counts = [np.zeros(shape, int) for shape in shapes]
    for half in halve_shards(cut_shards(shapes, wanted)):
        assert min(half.shape) > 0
        counts[half.volume][half.box] += 1
    assert all((count == 1).all() for count in counts)


@settings(max_examples=50, deadline=None)
@given(st.lists(SIDES, min_size=1, max_size=3), SIDES)
def test_shards_tile_every_volume_in_nearly_equal_parts(
    shapes: list[tuple[int, int, int]], wanted: tuple[int, int, int]
) -> None:
    shards = cut_shards(shapes, wanted)
    counts = [np.zeros(shape, int) for shape in shapes]
    for shard in shards:
        assert counts[shard.volume][shard.box].shape == shard.shape
        counts[shard.volume][shard.box] += 1
    assert all((count == 1).all() for count in counts)
    assert shards == sorted(shards)
    for volume, shape in enumerate(shapes):
        own = [shard.shape for shard in shards if shard.volume == volume]
        for axis in range(3):
            sides = {side[axis] for side in own}
            assert max(sides) - min(sides) <= 1
            n_parts = len({s.begin_vox[axis] for s in shards if s.volume == volume})
            assert abs(n_parts - shape[axis] / wanted[axis]) <= 0.5 or n_parts == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 11), st.integers(0, 2**63 - 1))
def test_validation_shards_are_drawn_from_the_others(n: int, n_validation: int, seed: int) -> None:
    shards = cut_shards([(n, 1, 1)], (1, 1, 1))
    if n_validation >= n:
        with pytest.raises(InputError, match=f"--validation-shards .*: {n_validation} of {n} "):
            split_shards(shards, n_validation, seed)
        return
    training, validation = split_shards(shards, n_validation, seed)
    assert len(validation) == n_validation
    assert sorted(training + validation) == shards
    assert training == sorted(training)
    assert validation == sorted(validation)
    assert (training, validation) == split_shards(shards, n_validation, seed)


def test_the_seed_decides_which_shards_validate() -> None:
    shards = cut_shards([(16, 1, 1)], (1, 1, 1))
    drawn = {tuple(split_shards(shards, 3, seed)[1]) for seed in range(20)}
    assert len(drawn) > 10


@pytest.mark.parametrize("wanted", [(0, 4, 4), (4, 4, -1)])
def test_a_shard_has_a_positive_size(wanted: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="--shard-vox must be three positive numbers, not "):
        cut_shards([(4, 4, 4)], wanted)


def test_a_negative_number_of_validation_shards_is_refused() -> None:
    with pytest.raises(InputError, match=r"--validation-shards .*: -1 of 1 asked for"):
        split_shards(cut_shards([(4, 4, 4)], (4, 4, 4)), -1, 0)


def test_every_volume_gives_its_share_of_validation_shards() -> None:
    shards = cut_shards([(4, 1, 1), (10, 1, 1), (2, 1, 1)], (1, 1, 1))
    training, validation = divide_shards(shards, 0.3, 0)
    assert sorted(training + validation) == shards
    assert training == sorted(training)
    assert validation == sorted(validation)
    assert [sum(s.volume == v for s in validation) for v in range(3)] == [2, 3, 1]
    assert divide_shards(shards, 0.3, 0) == (training, validation)
    drawn = {tuple(divide_shards(shards, 0.3, seed)[1]) for seed in range(20)}
    assert len(drawn) > 10


def test_a_shard_of_every_volume_is_left_to_train_on() -> None:
    training, _ = divide_shards(cut_shards([(2, 1, 1), (3, 1, 1)], (1, 1, 1)), 0.99, 0)
    assert [shard.volume for shard in training] == [0, 1]


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ([(4, 1, 1), (1, 1, 1)], "--shard-vox must cut every volume .* leaves volume 1 in one"),
        ([(3, 1, 1)], "--validation-share and --shard-vox .*, but 0.3 of 3 is 1"),
    ],
)
def test_too_few_shards_to_validate_on_are_refused(
    shapes: list[tuple[int, int, int]], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        divide_shards(cut_shards(shapes, (1, 1, 1)), 0.3, 0)
