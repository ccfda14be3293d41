from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import contingency_table as skimage_table

from analysis.contingency import Contingency, ContingencyCounter, add_tables, contingency_table
from analysis.input_error import InputError


def pairs_of(table: Contingency) -> dict[tuple[int, int], int]:
    return {
        (int(table.segments[r]), int(table.labels[c])): int(n)
        for r, c, n in zip(table.rows, table.cols, table.counts, strict=True)
    }


def test_drawn_by_hand():
    segmentation = np.array([[7, 7, 0], [7, 3, 3]])
    labels = np.array([[2, 2, 2], [5, 5, 0]])
    table = contingency_table(segmentation, labels)
    assert table.segments.tolist() == [0, 3, 7]
    assert table.labels.tolist() == [2, 5]
    assert table.rows.tolist() == [0, 1, 2, 2]
    assert table.cols.tolist() == [0, 1, 0, 1]
    assert table.counts.tolist() == [1, 1, 2, 1]
    assert table.segment_sizes.tolist() == [1, 1, 3]
    assert table.label_sizes.tolist() == [3, 2]
    assert table.n_voxels == 5
    assert table.segments.dtype == table.labels.dtype == np.uint64


def test_zeros_are_kept_or_dropped_as_asked():
    segmentation = np.array([0, 0, 1, 1])
    labels = np.array([0, 2, 0, 2])
    assert pairs_of(contingency_table(segmentation, labels)) == {(0, 2): 1, (1, 2): 1}
    assert pairs_of(contingency_table(segmentation, labels, drop_label_zero=False)) == {
        (0, 0): 1,
        (0, 2): 1,
        (1, 0): 1,
        (1, 2): 1,
    }
    assert pairs_of(contingency_table(segmentation, labels, ignore_segmentation_zero=True)) == {
        (1, 2): 1
    }


def test_a_block_without_a_counted_voxel_has_an_empty_table():
    table = contingency_table(np.ones(4, int), np.zeros(4, int))
    assert table.n_voxels == 0
    assert table.segments.size == table.labels.size == table.counts.size == 0
    other = contingency_table(np.ones(4, int), np.ones(4, int))
    assert pairs_of(add_tables(table, other)) == {(1, 1): 4}


def test_labels_of_64_bits_are_told_apart():
    high = np.uint64(2**63)
    segmentation = np.array([high, high + np.uint64(1), high], dtype=np.uint64)
    labels = np.array([2**62, 2**62, 2**62 + 1], dtype=np.int64)
    assert pairs_of(contingency_table(segmentation, labels)) == {
        (2**63, 2**62): 1,
        (2**63 + 1, 2**62): 1,
        (2**63, 2**62 + 1): 1,
    }


def test_many_pairs_make_the_table_grow():
    rng = np.random.default_rng(3)
    segmentation = rng.integers(0, 1 << 40, 20_000)
    labels = rng.integers(1, 1 << 20, 20_000).astype(np.uint32)
    expected = Counter(zip(segmentation.tolist(), labels.tolist(), strict=True))
    assert pairs_of(contingency_table(segmentation, labels)) == expected


def test_read_only_and_strided_arrays_give_the_same_table():
    rng = np.random.default_rng(4)
    segmentation = rng.integers(0, 5, (4, 6, 8))
    labels = rng.integers(0, 5, (4, 6, 8))
    expected = pairs_of(contingency_table(segmentation, labels))
    segmentation.flags.writeable = False
    labels.flags.writeable = False
    assert pairs_of(contingency_table(segmentation, labels)) == expected
    assert pairs_of(contingency_table(segmentation.T, labels.T)) == expected


LABELS = hnp.arrays(
    np.int64, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 4)
)


@settings(max_examples=60, deadline=None)
@given(LABELS, st.randoms(use_true_random=False))
def test_equals_scikit_image_and_tables_of_blocks_add_up(labels, random):
    segmentation = labels.copy()
    flat = segmentation.reshape(-1)
    for i in range(flat.size):
        if random.random() < 0.4:
            flat[i] = random.randrange(6)
    table = contingency_table(segmentation, labels)
    dense = skimage_table(labels, segmentation, ignore_labels=[0], sparse_type="array").toarray()
    expected = {(s, k): int(n) for (k, s), n in np.ndenumerate(dense) if n}
    assert pairs_of(table) == expected
    cut = labels.shape[0] // 2
    if cut:
        parts = add_tables(
            contingency_table(segmentation[:cut], labels[:cut]),
            contingency_table(segmentation[cut:], labels[cut:]),
        )
        for name in ("segments", "labels", "rows", "cols", "counts"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(table, name))


@settings(max_examples=60, deadline=None)
@given(LABELS, LABELS, st.booleans(), st.booleans())
def test_a_counter_of_blocks_equals_the_table_of_the_whole(first, second, drop, ignore):
    options = {"drop_label_zero": drop, "ignore_segmentation_zero": ignore}
    counter = ContingencyCounter(**options)
    for block in (first, second):
        counter.add(block[::-1] + (block.size > 20), block)
    whole = contingency_table(
        np.concatenate([(block[::-1] + (block.size > 20)).ravel() for block in (first, second)]),
        np.concatenate([first.ravel(), second.ravel()]),
        **options,
    )
    for name in ("segments", "labels", "rows", "cols", "counts"):
        np.testing.assert_array_equal(getattr(counter.table(), name), getattr(whole, name))


def test_a_counter_keeps_counting_after_a_table_was_asked_for():
    counter = ContingencyCounter()
    assert counter.table().n_voxels == 0
    rng = np.random.default_rng(5)
    expected: Counter[tuple[int, int]] = Counter()
    for _ in range(4):
        block = rng.integers(1, 60, (2, 900))
        counter.add(block[0].astype(np.uint64), block[1].astype(np.int32))
        expected.update(zip(*block.tolist(), strict=True))
        assert pairs_of(counter.table()) == expected
    with pytest.raises(InputError, match="labels must not hold negative"):
        counter.add([1], [-1])


def test_faster_than_scikit_image():
    blocks = np.arange(60 * 250 * 250).reshape(60, 250, 250)
    z, y, x = np.unravel_index(blocks, blocks.shape)
    labels = (1 + z // 20 + 3 * (y // 50) + 15 * (x // 50)).astype(np.int32)
    segmentation = (1 + z // 10 + 12 * (y // 25) + 120 * (x // 10)).astype(np.int32)

    def best_of_three(count) -> float:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            count()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    contingency_table(segmentation[:1], labels[:1])
    ours = best_of_three(lambda: contingency_table(segmentation, labels))
    theirs = best_of_three(
        lambda: skimage_table(labels, segmentation, ignore_labels=[0], sparse_type="array")
    )
    assert theirs > 3 * ours


@pytest.mark.parametrize(
    ("segmentation", "labels", "message"),
    [
        (np.ones((2, 3), int), np.ones((3, 2), int), r"segmentation and labels .* \(2, 3\) and"),
        (np.ones(3), np.ones(3, int), "segmentation must hold integer labels.*float64"),
        (np.ones(3, int), np.ones(3, np.float32), "labels must hold integer labels.*float32"),
        (np.array([1, -1]), np.ones(2, int), "segmentation must not hold negative.*-1"),
        (np.ones(2, int), np.array([1, -7]), "labels must not hold negative.*-7"),
    ],
)
def test_wrong_input_is_refused(segmentation, labels, message):
    with pytest.raises(InputError, match=message):
        contingency_table(segmentation, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.array([1, 0])}, "counts must be positive, but one is 0"),
        ({"counts": np.array([1])}, "must have one length"),
        ({"rows": np.array([1, 0])}, "pairs must ascend"),
        ({"segments": np.array([9, 4], np.uint64)}, "segments must ascend"),
        ({"labels": np.array([2, 3], np.uint64)}, "every one of the 2 labels must have a count"),
    ],
)
def test_a_table_that_is_none_is_refused(change, message):
    parts = {
        "segments": np.array([4, 9], np.uint64),
        "labels": np.array([2], np.uint64),
        "rows": np.array([0, 1]),
        "cols": np.array([0, 0]),
        "counts": np.array([1, 1]),
    }
    Contingency(**parts)
    with pytest.raises(InputError, match=message):
        Contingency(**{**parts, **change})
