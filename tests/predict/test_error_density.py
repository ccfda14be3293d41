from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.error_density import error_density


def test_one_error_drawn_by_hand():
    target = np.ones((3, 1, 1, 5), np.float32)
    probability = np.full_like(target, 0.9)
    probability[1, 0, 0, 1] = 0.2  # wrong
    probability[2, 0, 0, 4] = 0.2  # would be wrong, but nobody knows
    known = np.ones(target.shape, bool)
    known[:, 0, 0, 4] = False
    found = error_density(probability, target, known, radius_vox=(0, 0, 1))
    np.testing.assert_allclose(found[0, 0], [1 / 2, 1 / 3, 1 / 3, 0, 0], rtol=1e-6)
    assert found.dtype == np.float32


def test_where_nothing_is_wrong_or_known_there_is_no_density():
    target = np.zeros((3, 2, 3, 4), np.float32)
    known = np.ones(target.shape, bool)
    assert not error_density(target, target, known, radius_vox=(1, 1, 1)).any()
    assert not error_density(1 - target, target, ~known, radius_vox=(1, 1, 1)).any()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.tuples(*[st.integers(0, 3)] * 3),
)
def test_is_the_share_of_wrong_voxels_in_every_box(seed, shape, radius):
    rng = np.random.default_rng(seed)
    probability = rng.random((3, *shape)).astype(np.float32)
    target = (rng.random((3, *shape)) < 0.7).astype(np.float32)
    known = rng.random((3, *shape)) < 0.6
    found = error_density(probability, target, known, radius_vox=radius)
    for voxel in np.ndindex(shape):
        box = tuple(slice(max(0, p - r), p + r + 1) for p, r in zip(voxel, radius, strict=True))
        n_known = n_wrong = 0
        if not known[:, *voxel].any():
            assert found[voxel] == 0
            continue
        for other in np.ndindex(found[box].shape):
            edges = [
                (abs(p - t) > 0.5)
                for p, t, k in zip(
                    probability[:, *box][:, *other],
                    target[:, *box][:, *other],
                    known[:, *box][:, *other],
                    strict=True,
                )
                if k
            ]
            n_known += bool(edges)
            n_wrong += any(edges)
        np.testing.assert_allclose(found[voxel], n_wrong / n_known, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": np.zeros((2, 2, 2, 2))}, r"probability must be \(3, z, y, x\)"),
        ({"known": np.ones((3, 2, 2, 1), bool)}, r"same shape, got \(3, 2, 2, 2\)"),
        ({"radius_vox": (1, -1, 1)}, "radius_vox must be at least 0"),
    ],
)
def test_bad_input(change, message):
    volume = np.zeros((3, 2, 2, 2), np.float32)
    arguments = {
        "probability": volume,
        "target": volume,
        "known": volume == 0,
        "radius_vox": (1, 1, 1),
    } | change
    with pytest.raises(InputError, match=message):
        error_density(**arguments)
