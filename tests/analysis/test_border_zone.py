from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.border_zone import border_zone
from analysis.input_error import InputError


def test_drawn_by_hand():
    interior = np.array([[True] * 3 + [False] * 4 + [True]])
    assert border_zone(interior, 1)[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert border_zone(interior, 2)[0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert not border_zone(np.ones((3, 4), bool), 5).any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_all_distances(data):
    interior = data.draw(hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)))
    reach = data.draw(st.sampled_from([1.0, 1.5, 2.0, 3.0]))
    foreground = data.draw(st.sampled_from([4, 8, 6, 26]))
    places = np.argwhere(np.ones_like(interior))
    steps = places[:, None] - places[None]
    near = (steps**2).sum(-1) <= reach**2
    if foreground in (4, 8):
        near &= steps[..., 0] == 0
    values = interior.reshape(-1)
    expected = (near & (values[:, None] != values[None])).any(1).reshape(interior.shape)
    np.testing.assert_array_equal(border_zone(interior, reach, foreground), expected)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="reach_vox must be at least 1, but is 0"):
        border_zone(np.ones((2, 2), bool), 0)
    with pytest.raises(InputError, match="reach_vox must be at least 1, but is nan"):
        border_zone(np.ones((2, 2), bool), float("nan"))
    with pytest.raises(InputError, match="interior must be bool"):
        border_zone(np.ones((2, 2)), 1)  # pyright: ignore[reportArgumentType]
