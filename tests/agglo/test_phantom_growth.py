from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.phantom import growth
from agglo.phantom.growth import STEPS, grow_tile
from agglo.phantom.hashing import hash_position, stream_key, unit_at, value_noise

Node = tuple[int, int, int]


def tile(seed: int, branching: float, start: Node, n: int) -> np.ndarray:
    out = np.full((n, n, n), 99, dtype=np.int8)
    grow_tile(seed, branching, np.array(start, dtype=np.int64), out)
    return out


class Twin:
    """The rule for one node at a time, by recursion instead of by sweeps over arrays."""

    def __init__(self, seed: int, branching: float):
        self.branching = branching

        def key(stream: int) -> np.uint64:
            return np.uint64(stream_key(seed, stream))

        @cache
        def potential(node: Node) -> float:
            hills = value_noise(key(growth._POTENTIAL), *(c / growth._HILL_NODES for c in node))
            return (
                node[0]
                + growth._HILL_HEIGHT * hills
                + 1e-3 * unit_at(key(growth._TIES), node[0], node[1], node[2])
            )

        @cache
        def wishes(node: Node) -> tuple[Node, ...]:
            liked = []
            for axis in range(3):
                at = (c / growth._TRACT_NODES for c in node)
                tract = growth._TRACT_STRENGTH * value_noise(key(growth._TRACT + axis), *at)
                like = tract + unit_at(key(growth._WISH + axis), *node)
                like -= growth._Z_PENALTY if axis == 0 else 0.0
                for sign in (-1, 1):
                    to = tuple(c + sign * (a == axis) for a, c in enumerate(node))
                    rise = potential(to) - potential(node)  # type: ignore[arg-type]
                    if rise > 0:
                        liked.append((like + 0.01 * rise, to))
            return tuple(to for _, to in sorted(liked, reverse=True)[:2])

        def wish(node: Node, rank: int) -> Node | None:
            return wishes(node)[rank] if len(wishes(node)) > rank else None

        def around(node: Node) -> list[Node]:
            return [tuple(int(c) for c in np.array(node) + s) for s in STEPS]  # type: ignore[misc]

        def priority(node: Node) -> int:
            return int(hash_position(key(growth._PRIORITY), *node))

        @cache
        def first_round(target: Node) -> Node | None:
            sources = [s for s in around(target) if wish(s, 0) == target]
            return max(sources, key=priority) if sources else None

        def has_lost(node: Node) -> bool:
            target = wish(node, 0)
            return target is not None and first_round(target) != node

        @cache
        def second_round(target: Node) -> Node | None:
            if first_round(target) is not None:
                return None
            sources = [s for s in around(target) if wish(s, 1) == target and has_lost(s)]
            return max(sources, key=priority) if sources else None

        def way_out(node: Node) -> Node | None:
            if not has_lost(node):
                return wish(node, 0)
            instead = wish(node, 1)
            if instead is not None and second_round(instead) == node:
                return instead
            joins = unit_at(key(growth._BRANCH), *node) < self.branching
            return wish(node, 0) if joins else None

        self.way_out = way_out


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**63 - 1), st.tuples(*[st.integers(-(2**19), 2**19)] * 3))
def test_edges_equal_those_of_the_recursive_rule(seed, start):
    ours = tile(seed, 0.4, start, 3)
    twin = Twin(seed, 0.4)
    for index in np.ndindex(3, 3, 3):
        node = tuple(int(s + i) for s, i in zip(start, index, strict=True))
        code = int(ours[index])
        reached = None if code < 0 else tuple(int(c) for c in np.array(node) + STEPS[code])
        assert reached == twin.way_out(node)  # type: ignore[arg-type]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**40), st.tuples(*[st.integers(-100, 100)] * 3))
def test_a_tile_equals_the_same_nodes_of_a_larger_one(seed, start):
    large = tile(seed, 0.5, start, 14)
    small = tile(seed, 0.5, (start[0] + 9, start[1] + 4, start[2]), 5)
    assert np.array_equal(large[9:, 4:9, :5], small)


def test_neurites_are_long_branch_and_run_in_all_directions():
    ways = tile(1, 0.5, (0, -20, 10), 50)
    assert 12 < 1 / np.mean(ways < 0) < 30  # nodes a neurite
    shares = np.bincount(ways[ways >= 0], minlength=6) / np.sum(ways >= 0)
    assert shares[0] == 0  # z always goes up
    assert shares[1] < 0.4
    assert np.all(shares[2:] > 0.1)
    inner = np.zeros(ways.shape, dtype=int)
    for source in np.argwhere(ways >= 0):
        target = source + STEPS[ways[tuple(source)]]
        if np.all((target >= 0) & (target < 50)):
            inner[tuple(target)] += 1
    core = inner[1:-1, 1:-1, 1:-1]
    assert 0.01 < np.mean(core > 1) < 0.2  # branch points
    no_branches = tile(1, 0.0, (0, -20, 10), 50)
    assert np.mean(no_branches < 0) > np.mean(ways < 0)
