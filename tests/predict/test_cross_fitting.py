from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from predict.box import Box
from predict.cross_fitting import N_PARTS, assign_heads, cut_training_boxes, examples_of
from predict.folds import GAP_VOX, split_volume


def painted(shape: tuple[int, int, int], boxes: list[Box]) -> np.ndarray:
    """Count how many boxes cover each voxel."""
    count = np.zeros(shape, int)
    for box in boxes:
        count[box.slices] += 1
    return count


def test_a_box_is_cut_across_its_longest_axis() -> None:
    parts = cut_training_boxes([Box((0, 0, 5), (4, 10, 9))])
    assert parts == ((Box((0, 0, 5), (4, 5, 9)),), (Box((0, 5, 5), (4, 10, 9)),))
    assert examples_of(parts)[1] == (Box((0, 5 + GAP_VOX, 5), (4, 10, 9)),)
    assert examples_of(parts)[0] == parts[0]


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(20, 60), st.integers(20, 60), st.integers(20, 60)),
    st.integers(1, 3),
    st.data(),
)
def test_heads_cover_a_volume_and_none_predicts_what_it_saw(
    shape: tuple[int, int, int], n_folds: int, data: st.DataObject
) -> None:
    fold = data.draw(st.integers(0, n_folds - 1))
    split = split_volume(shape, n_folds, fold)
    parts = cut_training_boxes(split.training)
    assignment = assign_heads(shape, parts)
    assert (painted(shape, [box for box, _ in assignment]) == 1).all()
    head_of = np.full(shape, -1)
    for box, head in assignment:
        head_of[box.slices] = head
    trains = painted(shape, list(split.training)) > 0
    assert (head_of[trains] < N_PARTS).all()
    assert (head_of[~trains] == N_PARTS).all()
    for part, boxes in enumerate(examples_of(parts)):
        seen = painted(shape, list(boxes)) > 0
        assert not (seen & ~trains).any()
        # Head p learns from all parts but p, so what it predicts is part p.
        assert (head_of[seen] == part).all()
        for other, others in enumerate(examples_of(parts)):
            if other != part:  # a target reads labels one voxel away: never one of another piece
                apart = painted(shape, list(others)) > 0
                grown = seen.copy()
                for axis in range(3):
                    along, of = np.moveaxis(grown, axis, 0), np.moveaxis(seen, axis, 0)
                    along[1:] |= of[:-1]
                    along[:-1] |= of[1:]
                assert not (grown & apart).any()
