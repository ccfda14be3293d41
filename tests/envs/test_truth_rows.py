from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from skimage.metrics import variation_of_information

from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.segmentation_scores import score_segmentation
from envs.truth_rows import (
    NO_TRUTH,
    TruthTable,
    errors_of_rows,
    float_of,
    join_rows,
    majority_of,
    merge_gains,
    pair_changes,
    start_rows,
    sum_pairs,
    truth_table,
)
from tests.envs.random_tissue import SEEDS

modest = settings(max_examples=60, deadline=None)


def scores(segmentation: npt.NDArray, labels: npt.NDArray) -> tuple[float, float]:
    """Return VI (bits) and Rand index voxel by voxel, of pairs of voxels with truth."""
    seg, lab = segmentation[labels != 0], labels[labels != 0]
    joint = {}
    for pair in zip(seg.tolist(), lab.tolist(), strict=True):
        joint[pair] = joint.get(pair, 0) + 1
    n = len(seg)
    vi = sum(
        count / n * (np.log2((seg == s).sum() / count) + np.log2((lab == k).sum() / count))
        for (s, k), count in joint.items()
    )
    if n < 2:
        return float(vi), 1.0
    same_seg, same_lab = seg[:, None] == seg, lab[:, None] == lab
    upper = np.triu_indices(n, 1)
    return float(vi), float((same_seg == same_lab)[upper].mean())


@hs.composite
def overlaps(draw: hs.DrawFn) -> tuple[npt.NDArray, npt.NDArray]:
    """Draw superpixels (all of 1..R occur) and truth labels, 0 among them, in one dimension."""
    n_regions = draw(hs.integers(1, 8))
    n_voxels = draw(hs.integers(n_regions, 60))
    rng = np.random.default_rng(draw(SEEDS))
    superpixels = rng.permutation(np.r_[:n_regions, rng.integers(n_regions, size=n_voxels)])
    labels = rng.integers(0, draw(hs.integers(1, 6)) + 1, superpixels.shape)
    labels[rng.integers(len(labels))] = 1
    return superpixels[: n_regions + n_voxels] + 1, labels


def table_of(superpixels: npt.NDArray, labels: npt.NDArray) -> TruthTable:
    return truth_table(np.unique(superpixels).astype(np.uint64), superpixels, labels)


def test_drawn_rows() -> None:
    superpixels = np.array([[[5, 5, 9], [9, 9, 12]]])
    labels = np.array([[[1, 1, 1], [2, 0, 0]]])
    table = truth_table(np.array([5, 9, 12], np.uint64), superpixels, labels)
    assert list(zip(*(column.tolist() for column in table), strict=True)) == [
        (0, 0, 2),
        (1, 0, 1),
        (1, 1, 1),
    ]
    rows = start_rows(table, 3)
    # Four voxels; p = 1/2, 1/4, 1/4: VI = 1/2·log2(3/2) + 1/4·(log2(2) + log2(3)) + 1/4·log2(2).
    vi, rand = errors_of_rows(rows)
    assert vi == pytest.approx(0.75 * np.log2(3))
    assert rand == pytest.approx(3 / 6)
    # Merged, all four are one segment of three 1 and one 2; the pairs (1, 1) become right.
    gain_vi, gain_rand = merge_gains(rows, 0, 1)
    assert gain_vi == pytest.approx(0.75 * np.log2(3) - (0.75 * np.log2(4 / 3) + 0.25 * 2))
    assert gain_rand == pytest.approx((2 * 2 * 1 - 2 * 2) / 6, abs=1e-15)
    # Region 12 has no truth.
    assert merge_gains(rows, 0, 2) == (0.0, 0.0)
    join_rows(rows, 2, 0)
    assert merge_gains(rows, 1, 2) == (gain_vi, gain_rand)
    assert errors_of_rows(rows) == (vi, rand)


@modest
@given(overlaps(), SEEDS)
def test_gains_are_the_changes_of_scores_made_from_scratch(
    overlap: tuple[npt.NDArray, npt.NDArray], seed: int
) -> None:
    """Join regions in random order and roles until one is left."""
    superpixels, labels = overlap
    rng = np.random.default_rng(seed)
    n_regions = int(superpixels.max())
    rows = start_rows(table_of(superpixels, labels), n_regions)
    region = {u: [u + 1] for u in range(n_regions)}
    segmentation = superpixels.copy()
    before = scores(segmentation, labels)
    assert errors_of_rows(rows) == pytest.approx(before, abs=1e-9)
    while len(region) > 1:
        u, v = (int(w) for w in rng.choice(sorted(region), 2, replace=False))
        gains = merge_gains(rows, u, v)
        assert merge_gains(rows, v, u) == pytest.approx(gains, abs=1e-12)
        join_rows(rows, u, v)
        region[u] += region.pop(v)
        segmentation = np.where(np.isin(segmentation, region[u]), region[u][0], segmentation)
        after = scores(segmentation, labels)
        assert gains == pytest.approx((before[0] - after[0], after[1] - before[1]), abs=1e-9)
        assert errors_of_rows(rows) == pytest.approx(after, abs=1e-9)
        before = after


@modest
@given(overlaps())
def test_errors_are_those_of_the_segmentation_scores(
    overlap: tuple[npt.NDArray, npt.NDArray],
) -> None:
    superpixels, labels = overlap
    rows = start_rows(table_of(superpixels, labels), int(superpixels.max()))
    vi, rand = errors_of_rows(rows)
    expected = score_segmentation(contingency_table(superpixels, labels))
    assert vi == pytest.approx(expected.vi, abs=1e-9)
    assert rand == pytest.approx(expected.rand_index, abs=1e-9)
    known = labels != 0
    assert vi == pytest.approx(
        float(np.sum(variation_of_information(labels[known], superpixels[known]))), abs=1e-9
    )


def test_thousands_of_entries_telescope() -> None:
    """Many labels a region, so that hash chains are long and entries are shifted back."""
    rng = np.random.default_rng(1)
    superpixels = rng.integers(0, 300, 40_000)
    labels = rng.integers(0, 200, 40_000)
    n_regions = 300
    table = truth_table(
        np.arange(1, n_regions, dtype=np.uint64), superpixels, labels
    )  # superpixel 0 is none
    rows = start_rows(table, n_regions - 1)
    start = errors_of_rows(rows)
    total = np.zeros(2)
    left = list(range(n_regions - 1))
    segmentation = superpixels.copy()
    for _ in range(250):
        u, v = rng.choice(len(left), 2, replace=False)
        u, v = left[u], left[v]
        total += merge_gains(rows, u, v)
        join_rows(rows, u, v)
        segmentation[segmentation == v + 1] = u + 1
        left.remove(v)
    vi, rand = errors_of_rows(rows)
    assert start[0] - vi == pytest.approx(total[0], abs=1e-9)
    assert rand - start[1] == pytest.approx(total[1], abs=1e-9)
    kept = superpixels != 0
    expected = score_segmentation(contingency_table(segmentation[kept], labels[kept]))
    assert vi == pytest.approx(expected.vi, abs=1e-9)
    assert rand == pytest.approx(expected.rand_index, abs=1e-9)


def test_label_zero_and_superpixel_zero_are_dropped() -> None:
    superpixels = np.array([1, 1, 2, 2, 0, 0])
    table = table_of(superpixels[:4], np.array([4, 0, 0, 0]))
    assert (table.rows.tolist(), table.counts.tolist()) == ([0], [1])
    table = truth_table(np.array([1, 2], np.uint64), superpixels, np.array([4, 4, 4, 7, 4, 9]))
    assert table.counts.tolist() == [2, 1, 1]
    assert errors_of_rows(start_rows(table, 2)) == pytest.approx(
        scores(superpixels[:4], np.array([4, 4, 4, 7]))
    )


def test_without_truth_nothing_is_gained() -> None:
    rows = start_rows(NO_TRUTH, 3)
    assert merge_gains(rows, 0, 1) == (0.0, 0.0)
    join_rows(rows, 0, 1)
    assert errors_of_rows(rows) == (0.0, 1.0)


def test_rows_can_be_started_again_from_a_read_only_table() -> None:
    table = table_of(np.array([1, 1, 2, 3, 3]), np.array([1, 2, 2, 2, 1]))
    for column in table:
        column.setflags(write=False)
    first = start_rows(table, 3)
    expected = errors_of_rows(first)
    join_rows(first, 0, 1)
    assert errors_of_rows(first) != pytest.approx(expected)
    assert errors_of_rows(start_rows(table, 3)) == expected


def test_wrong_truth_is_told() -> None:
    ids = np.array([1, 2], np.uint64)
    superpixels = np.array([[[1, 2]]])
    with pytest.raises(InputError, match=r"labels of shape \(1, 1, 2\) are 0 wherever"):
        truth_table(ids, superpixels, np.zeros((1, 1, 2), int))
    with pytest.raises(InputError, match="same shape"):
        truth_table(ids, superpixels, np.ones((1, 2, 1), int))
    with pytest.raises(InputError, match="labels must not hold negative"):
        truth_table(ids, superpixels, np.array([[[-1, 2]]]))
    for others in ([1, 3], [1], [2, 3]):
        with pytest.raises(InputError, match="superpixels hold ids that are not among the"):
            truth_table(np.array(others, np.uint64), superpixels, np.ones((1, 1, 2), int))


@modest
@given(overlaps(), SEEDS)
def test_majorities_and_pairs_are_those_of_summed_counts(
    overlap: tuple[npt.NDArray, npt.NDArray], seed: int
) -> None:
    superpixels, labels = overlap
    rng = np.random.default_rng(seed)
    n_regions = int(superpixels.max())
    table = table_of(superpixels, labels)
    rows = start_rows(table, n_regions)
    counts = np.zeros((n_regions, int(table.labels.max()) + 1), np.int64)
    counts[table.rows, table.labels] = table.counts
    left = list(range(n_regions))
    pairs = np.zeros((3, 2), np.int64)
    while True:
        for u in left:
            expected = int(counts[u].argmax()) if counts[u].any() else -1
            assert majority_of(rows, u) == expected
        sum_pairs(rows, pairs)
        sums = [int((c**2).sum()) for c in (counts, counts.sum(1), counts.sum(0))]
        assert [float_of(*words) for words in pairs] == sums
        if len(left) == 1:
            break
        u, v = (int(w) for w in rng.choice(left, 2, replace=False))
        changes = pair_changes(rows, u, v)
        assert [float_of(*changes[:2]), float_of(*changes[2:])] == [
            2 * counts[u] @ counts[v],
            2 * counts[u].sum() * counts[v].sum(),
        ]
        join_rows(rows, u, v)
        counts[u] += counts[v]
        counts[v] = 0
        left.remove(v)
