from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict import object_mask as module
from predict.blockwise import plan_blocks
from predict.box import Box, whole
from predict.object_mask import N_CHANNELS, ObjectMask

CUBES = (10.0, 10.0, 10.0)
SMALL = ObjectMask(40.0, CUBES)
"""Of every voxel around one up to four away."""


def _tissue(shape: tuple[int, ...], seed: int, edge: int = 3) -> np.ndarray:
    """Return lumps of five objects and of none, with ragged borders."""
    rng = np.random.default_rng(seed)
    lumps = rng.integers(0, 6, tuple(-(-n // edge) for n in shape)).astype(np.uint64)
    for axis in range(3):
        lumps = lumps.repeat(edge, axis=axis)
    labels = np.ascontiguousarray(lumps[tuple(map(slice, shape))])
    is_odd = rng.random(shape) < 0.1
    labels[is_odd] = rng.integers(0, 6, np.count_nonzero(is_odd))
    return labels


def _one_by_one(mask: ObjectMask, labels: np.ndarray) -> np.ndarray:
    """Return the channels by their definition, in floating point and before rounding."""
    size, radius = np.array(mask.voxel_size_nm), mask.radius_nm
    step = np.maximum(1, np.floor(radius / 5 / size + 0.5)).astype(int)
    reach = (radius / size / step).astype(int).tolist()
    samples = []
    for offset in itertools.product(*(range(-r, r + 1) for r in reach)):
        place = np.array(offset) * step * size
        distance = np.linalg.norm(place)
        if 0 < distance <= radius:
            shell = math.ceil(3 * distance / radius - 1e-9) - 1
            samples.append((shell, np.array(offset) * step, place / distance))
    wanted = np.zeros((9, *labels.shape))
    for at in np.ndindex(labels.shape):
        if labels[at] == 0:
            continue
        directions: list[list[np.ndarray]] = [[], [], []]
        n = [0, 0, 0]
        for shell, offset, direction in samples:
            there = np.add(at, offset)
            if (there >= 0).all() and (there < labels.shape).all():
                n[shell] += 1
                if labels[tuple(there)] == labels[at]:
                    directions[shell].append(direction)
        for shell in range(3):
            if directions[shell]:
                d = np.array(directions[shell])
                tensor = d.T @ d - len(d) * np.eye(3) / 3
                vector = np.linalg.norm(d.sum(axis=0))
                sums = np.array([len(d), 4 * vector, 9 / 2**0.5 * np.linalg.norm(tensor)])
                wanted[(slice(3 * shell, 3 * shell + 3), *at)] = sums / n[shell]
    return np.minimum(255 * wanted, 255)


@pytest.mark.parametrize(
    "mask",
    [
        SMALL,
        ObjectMask(160.0, (30.0, 10.0, 12.0)),
        ObjectMask(100.0, (25.0, 20.0, 8.0)),
        ObjectMask(100.0, (120.0, 20.0, 20.0)),
    ],
    ids=str,
)
def test_channels_are_those_of_the_definition(mask):
    labels = _tissue((5, 9, 10), 1)
    found, wanted = mask.channels(labels), _one_by_one(mask, labels)
    assert found.dtype == np.uint8
    assert found.shape == (N_CHANNELS, *labels.shape)
    np.testing.assert_array_equal(found[::3], np.floor(wanted[::3] + 0.5))
    # Half a step, and directions are rounded, which shows where few samples are in the volume.
    assert np.abs(found - wanted).max() < 1
    assert np.abs(found - wanted).mean() < 0.3
    assert (found.max(axis=(1, 2, 3)) > 80).all()


def test_a_ball_drawn_by_hand():
    # Steps of 30 nm, shells from 53 1/3 and 106 2/3 nm on. Of the second, squares of 4 … 12 steps,
    # the 8 corners (±2, ±2, ±2) alone of 152 are beyond 100 nm.
    mask = ObjectMask(160.0, CUBES)
    z, y, x = np.ogrid[-17:18, -16:17, -15:16]
    labels = 1 + (z**2 + y**2 + x**2 > 10**2)
    middle = Box((17, 16, 15), (18, 17, 16))
    found = mask.channels(labels, middle).ravel()
    share = round(255 * 144 / 152)
    assert found.tolist() == [255, 0, 0, share, 0, 0, 0, 0, 0]


def test_a_flat_face_drawn_by_hand():
    # The first shell is the 26 voxels around one at steps of 30 nm, 17 of them of the object.
    mask = ObjectMask(160.0, CUBES)
    labels = np.ones((50, 40, 40), np.uint8)
    labels[:20] = 2
    found = mask.channels(labels, Box((20, 20, 20), (21, 21, 21))).ravel()
    share = 17 / 26
    vector = (1 + 4 / 2**0.5 + 4 / 3**0.5) / 26
    tensor = np.linalg.norm(np.array([-8, 4, 4]) / 3) / 2 / 26  # half of the plane's eight
    wanted = [255 * share, 255 * 4 * vector, 255 * 9 / 2**0.5 * tensor]
    assert found[:3].tolist() == [round(value) for value in wanted] == [167, 241, 102]
    # In the others half of the sphere, with half of the face besides.
    assert found[3::3].tolist() == [round(255 * (n / 2) / m) for n, m in ((180, 152), (492, 440))]
    assert (found[4::3] > 225).all()
    # Ten voxels behind it no sample of the first shells is beyond it, 37 + 9 of the third are.
    found = mask.channels(labels, Box((30, 20, 20), (31, 21, 21))).ravel()
    assert found[:6].tolist() == [255, 0, 0, 255, 0, 0]
    assert found[6] == round(255 * 394 / 440)
    assert found[7] > 50


def test_sheets_and_rods_have_a_tensor_and_no_vector():
    sheet, rod = np.full((9, 9, 9), 7), np.full((9, 9, 9), 7)
    sheet[4], rod[4, 4] = -3, -3
    middle = Box((4, 4, 4), (5, 5, 5))
    # The mean d dᵀ − I/3 has (−1/3, 1/6, 1/6) in a sheet and (2/3, −1/3, −1/3) in a rod.
    for labels, norm in ((sheet, (1 / 6) ** 0.5), (rod, (2 / 3) ** 0.5)):
        for share, vector, tensor in SMALL.channels(labels, middle).reshape(3, 3).astype(int):
            ratio = norm * 9 / 2**0.5
            assert 0 < share < 255
            assert vector == 0
            assert tensor == pytest.approx(min(ratio * share, 255), abs=ratio / 2 + 0.5)


def test_a_lone_voxel_and_none_have_nothing():
    labels = np.zeros((9, 9, 9), np.int64)
    labels[4, 4, 4] = 5
    assert not SMALL.channels(labels).any()
    assert not SMALL.channels(0 * labels).any()
    labels[4, 4, 5] = 5
    assert np.argwhere(SMALL.channels(labels).any(axis=0)).tolist() == [[4, 4, 4], [4, 4, 5]]


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.floats(5, 15)] * 3))
def test_an_object_that_fills_the_volume_is_whole_up_to_its_corners(shape, size):
    found = ObjectMask(60.0, size).channels(np.full(shape, 2**40))
    assert set(np.unique(found[::3]).tolist()) <= {0, 255}  # a shell may lie outside altogether
    if min(shape) >= 4:  # steps are of two voxels at most
        assert (found[0] == 255).all()


@settings(max_examples=48, deadline=None)
@given(st.permutations(range(3)), st.tuples(*[st.sampled_from((1, -1))] * 3), st.integers(0, 2**31))
def test_turns_and_mirrors_of_cubes_turn_and_mirror_the_channels(order, flips, seed):
    labels = _tissue((6, 7, 9), seed)
    cut = tuple(slice(None, None, step) for step in flips)
    turned = SMALL.channels(labels.transpose(order)[cut])
    wanted = SMALL.channels(labels).transpose(0, *(1 + axis for axis in order))
    np.testing.assert_array_equal(turned, wanted[(slice(None), *cut)])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_cut_changes_no_byte(data):
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 150)))
    mask = data.draw(st.sampled_from([SMALL, ObjectMask(160.0, (30.0, 8.0, 8.0))]))
    labels = _tissue(shape, data.draw(st.integers(0, 2**31)))
    undivided = mask.channels(labels)
    size = data.draw(st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(30, 160)))
    for block in plan_blocks(whole(shape), size):
        found = mask.channels(labels, block)
        np.testing.assert_array_equal(found, undivided[(slice(None), *block.slices)])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([np.uint8, np.int16, np.int64, np.uint64]))
def test_names_of_objects_do_not_matter(seed, dtype: Any):
    labels = _tissue((5, 6, 7), seed)
    known = np.iinfo(dtype)
    numbers = [known.max, known.max - 1, known.min or 1, 2, 77]
    np.random.default_rng(seed).shuffle(numbers)
    names = np.array([0, *numbers], dtype)
    np.testing.assert_array_equal(SMALL.channels(names[labels]), SMALL.channels(labels))


def test_more_objects_than_sixteen_bits_tell_apart(monkeypatch: pytest.MonkeyPatch):
    # Around the middle every voxel is an object of its own, but for some within reach.
    mask = ObjectMask(160.0, (8.0, 8.0, 8.0))
    labels = np.arange(1, 41 * 41 * 41 + 1).reshape(41, 41, 41)
    lumps = _tissue(labels[::4, ::4, ::4].shape, 3)
    labels[::4, ::4, ::4][lumps > 2] = lumps[lumps > 2]
    labels[20, 20, 20] = 3
    assert len(np.unique(labels)) > 2**16
    found = mask.channels(labels, Box((20, 20, 20), (21, 21, 22)))
    few = np.where(np.isin(labels, (3, labels[20, 20, 21])), labels, 0)
    np.testing.assert_array_equal(found, mask.channels(few, Box((20, 20, 20), (21, 21, 22))))
    assert found[3:, ..., 0].all()
    labels = _tissue((5, 6, 7), 0)
    wanted = SMALL.channels(labels)
    monkeypatch.setattr(module, "MOST_LABELS", 2)
    np.testing.assert_array_equal(SMALL.channels(labels), wanted)


def test_a_name_tells_all_that_matters():
    assert str(ObjectMask(160.0, (30.0, 6.0, 6.0))) == (
        "masks 160 nm in 3 shells, voxels of 30 6 6 nm"
    )
    others = [ObjectMask(161.0, CUBES), ObjectMask(160.0, (10.0, 10.0, 11.0))]
    assert len({str(one) for one in (ObjectMask(160.0, CUBES), *others)}) == 3
    # Units of files round: 5 · 4 · 8 nm is on the sphere, and stays there.
    exact, rounded = ObjectMask(160.0, (8.0, 8.0, 8.0)), ObjectMask(160.0, (8.0000001, 8.0, 8.0))
    assert str(exact) == str(rounded)
    np.testing.assert_array_equal(exact.samples().offsets, rounded.samples().offsets)


def test_bad_input():
    labels = np.ones((3, 4, 5), np.uint8)
    with pytest.raises(InputError, match=r"labels must be a non-empty .* float32"):
        SMALL.channels(labels.astype(np.float32))
    with pytest.raises(InputError, match=r"labels must be a non-empty .* got shape \(4, 5\)"):
        SMALL.channels(labels[0])
    with pytest.raises(InputError, match=r"labels must be a non-empty .* got shape \(0, 4, 5\)"):
        SMALL.channels(labels[:0])
    with pytest.raises(InputError, match="the radius must be positive and finite, got 0"):
        ObjectMask(0.0, CUBES)
    with pytest.raises(InputError, match="the radius of 10 nm is too small"):
        ObjectMask(10.0, CUBES)
    with pytest.raises(InputError, match="voxel_size_nm must be three positive"):
        ObjectMask(160.0, (10.0, 10.0))  # type: ignore[arg-type]
