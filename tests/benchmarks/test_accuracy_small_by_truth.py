from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as hs

from benchmarks.accuracy.small_by_truth import placed_by_truth
from envs.truth_rows import TruthTable


def table_of(voxels: np.ndarray) -> TruthTable:
    """Return the sparse table of (R, L) voxels of regions by label."""
    rows, labels = np.nonzero(voxels)
    return TruthTable(rows.astype(np.int32), labels.astype(np.int32), voxels[rows, labels])


def test_a_sliver_goes_where_most_of_its_neuron_is() -> None:
    # Two neurons of 90 and 80 voxels; region 2 is a sliver of the second one, merged to the first,
    # region 3 one of the first that was left alone, region 4 has no truth.
    voxels = np.array([[90, 0], [0, 80], [1, 4], [6, 2], [0, 0]])
    clusters = np.array([7, 8, 7, 9, 5], np.uint64)
    is_small = np.array([False, False, True, True, True])
    placed = placed_by_truth(clusters, is_small, table_of(voxels))
    np.testing.assert_array_equal(placed, [7, 8, 8, 7, 5])
    np.testing.assert_array_equal(placed_by_truth(clusters, ~is_small, table_of(voxels)), clusters)
    np.testing.assert_array_equal(clusters, [7, 8, 7, 9, 5])


CELLS = hs.lists(
    hs.tuples(
        hs.integers(0, 3), hs.booleans(), hs.lists(hs.integers(0, 9), min_size=3, max_size=3)
    ),
    min_size=1,
    max_size=8,
)


@given(CELLS)
def test_it_is_what_counting_by_hand_gives(cells: list[tuple[int, bool, list[int]]]) -> None:
    clusters = np.array([name for name, _, _ in cells], np.uint64)
    is_small = np.array([small for _, small, _ in cells])
    voxels = np.array([row for _, _, row in cells])
    placed = placed_by_truth(clusters, is_small, table_of(voxels))
    for k, row in enumerate(voxels):
        if not is_small[k] or not row.any():
            assert placed[k] == clusters[k]
            continue
        label = int(row.argmax())
        held = {int(name): voxels[clusters == name, label].sum() for name in np.unique(clusters)}
        assert placed[k] == min(name for name in held if held[name] == max(held.values()))
