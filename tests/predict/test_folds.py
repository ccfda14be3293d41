from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.box import Box
from predict.folds import GAP_VOX, fold_parts, split_volume


def _mask(shape, boxes) -> np.ndarray:
    mask = np.zeros(shape, int)
    for box in boxes:
        mask[box.slices] += 1
    return mask


def test_hand_made_split():
    split = split_volume((10, 40, 100), n_folds=2, fold=0)
    assert split.held_out == Box((0, 0, 0), (10, 40, 50))
    # validation: the last 12 % of y (5 rows), training stops 4 rows before
    assert split.training == (Box((0, 0, 54), (10, 31, 100)),)
    assert split.validation == (Box((0, 35, 54), (10, 40, 100)),)


def test_a_middle_fold_trains_on_both_sides():
    split = split_volume((90, 30, 30), n_folds=3, fold=1)
    assert [(box.start[0], box.stop[0]) for box in split.training] == [(0, 26), (64, 90)]


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(24, 40)] * 3), st.integers(1, 4), st.data())
def test_parts_tile_the_volume_and_nothing_overlaps(shape, n_folds, data):
    assert (_mask(shape, fold_parts(shape, n_folds)) == 1).all()
    fold = data.draw(st.integers(0, n_folds - 1))
    split = split_volume(shape, n_folds, fold)
    held_out = [] if split.held_out is None else [split.held_out]
    training, validation = _mask(shape, split.training), _mask(shape, split.validation)
    seen = training + validation + _mask(shape, held_out)
    assert training.any()
    assert validation.any()
    assert seen.max() == 1
    for i in range(3):  # a training voxel has no other voxel of use within the gap
        for box in split.training:
            wider = box.along(i, max(0, box.start[i] - GAP_VOX), box.stop[i] + GAP_VOX)
            assert not validation[wider.slices].any()
            assert not _mask(shape, held_out)[wider.slices].any()


def test_bad_folds():
    with pytest.raises(InputError, match="n_folds must be at least 1, got 0"):
        fold_parts((4, 4, 4), 0)
    with pytest.raises(InputError, match=r"too many for a volume of shape \(4, 4, 4\)"):
        fold_parts((4, 4, 4), 5)
    with pytest.raises(InputError, match="too small to train 2"):
        split_volume((4, 4, 4), 2, 0)
    with pytest.raises(InputError, match=r"fold must be in 0\.\.1, got 2"):
        split_volume((40, 40, 40), 2, 2)
    with pytest.raises(InputError, match=r"got shape \(0, 4, 4\)"):
        fold_parts((0, 4, 4), 1)
