from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as some

from envs.halved_labels import halve_labels


def halved_in_python(labels: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    halved = np.empty([-(-size // 2) for size in labels.shape], np.uint64)
    for at in itertools.product(*map(range, halved.shape)):
        block = labels[tuple(slice(2 * place, 2 * place + 2) for place in at)]
        counts = Counter(block.ravel().tolist())
        halved[at] = min(counts, key=lambda label: (-counts[label], label))
    return halved


def test_a_drawn_volume() -> None:
    labels = np.array([[[1, 1, 9], [2, 0, 0]], [[1, 2, 0], [2, 2, 9]]], np.uint64)
    # 1, 1, 2, 0, 1, 2, 2, 2: more of 2; 9, 0, 0, 9: as many of both
    np.testing.assert_array_equal(halve_labels(labels), [[[2, 0]]])


@given(
    shape=some.tuples(*[some.integers(1, 7)] * 3),
    n_labels=some.integers(1, 4),
    seed=some.integers(0, 2**32 - 1),
)
def test_labels_are_those_counted(shape: tuple[int, int, int], n_labels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_labels, shape, dtype=np.uint64) * np.uint64(2**62 + 1)
    np.testing.assert_array_equal(halve_labels(labels), halved_in_python(labels))
