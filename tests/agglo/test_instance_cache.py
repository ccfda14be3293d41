from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from agglo.training.instance_cache import InstanceCache, bytes_of
from agglo.training.shard import Shard
from agglo.training.volume_set import NO_REGIONS
from envs.instance import Instance
from envs.truth_rows import TruthTable


def _shard(number: int) -> Shard:
    return Shard(0, (number, 0, 0), (number + 1, 1, 1))


def _instance(n_rows: int) -> Instance:
    """Return an instance of 16 bytes a row."""
    rows = np.zeros(n_rows, np.int32)
    return Instance(NO_REGIONS.graph, TruthTable(rows, rows, np.zeros(n_rows, np.int64)))


def test_the_shard_not_asked_for_longest_makes_way() -> None:
    read: list[int] = []

    def load(shard: Shard) -> Instance:
        read.append(shard.begin_vox[0])
        return _instance(1)

    cache = InstanceCache(load, 32)
    for number in (1, 2, 1, 3, 1, 2):
        cache.get(_shard(number))
    assert read == [1, 2, 3, 2]


def test_a_degraded_copy_is_another_shard() -> None:
    cache = InstanceCache(lambda shard: _instance(shard.copy + 1), 1000)
    assert len(cache.get(_shard(0)).truth.rows) == 1
    assert len(cache.get(_shard(0)._replace(copy=1)).truth.rows) == 2


@given(
    sizes=some.lists(some.integers(1, 9), min_size=1, max_size=6),
    asked=some.lists(some.integers(0, 5), max_size=40),
    budget=some.integers(0, 400),
)
def test_it_keeps_to_its_budget(sizes: list[int], asked: list[int], budget: int) -> None:
    """Against a list in which the last asked for come first."""
    read: list[int] = []

    def load(shard: Shard) -> Instance:
        read.append(shard.begin_vox[0])
        return _instance(sizes[shard.begin_vox[0]])

    cache = InstanceCache(load, budget)
    recent: list[int] = []
    for number in (number % len(sizes) for number in asked):
        n_read = len(read)
        assert bytes_of(cache.get(_shard(number))) == 16 * sizes[number]
        assert (len(read) == n_read) == (number in recent)
        recent = [number, *(other for other in recent if other != number)]
        while 16 * sum(sizes[one] for one in recent) > budget and len(recent) > 1:
            recent.pop()
        assert cache.n_bytes == 16 * sum(sizes[one] for one in recent)
