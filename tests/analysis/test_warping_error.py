from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from analysis.border_zone import border_zone
from analysis.input_error import InputError
from analysis.label_borders import interior_mask
from analysis.warping_error import (
    Mismatch,
    segmentation_warping_error,
    warping_error,
    warping_sweep,
)
from tests.analysis.components import components, n_components

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def drawn(*rows: str) -> np.ndarray:
    """Interior of a section drawn with # for membrane."""
    return np.array([[pixel != "#" for pixel in row] for row in rows])


def warp_binary(truth: np.ndarray, proposal: np.ndarray):
    return warping_error((~proposal).astype(np.float32), truth)


def is_simple(patch: np.ndarray) -> bool:
    """(4, 8)-simplicity of the centre of a 3 × 3 patch by Yokoi's number."""
    e, ne, n, nw, w, sw, s, se = (
        int(patch[y, x])
        for y, x in ((1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2))
    )
    corners = ((e, ne, n), (n, nw, w), (w, sw, s), (s, se, e))
    return sum(a - a * b * c for a, b, c in corners) == 1


def around(labels: np.ndarray, y: int, x: int) -> set[int]:
    return {
        int(labels[v, u])
        for v in range(max(y - 1, 0), min(y + 2, labels.shape[0]))
        for u in range(max(x - 1, 0), min(x + 2, labels.shape[1]))
        if (v, u) != (y, x)
    }


def type_of(warped: np.ndarray, y: int, x: int) -> Mismatch:
    """The rules of the challenge, word by word; two objects without membrane are a merge."""
    labels = around(components(warped), y, x) or {0}
    if labels == {0}:
        return Mismatch.OBJECT_DELETION if warped[y, x] else Mismatch.OBJECT_ADDITION
    if len(labels) == 1:
        return Mismatch.HOLE_ADDITION if warped[y, x] else Mismatch.HOLE_DELETION
    if len(labels) >= 3:
        return Mismatch.SPLIT if warped[y, x] else Mismatch.MERGE
    if not warped[y, x]:
        return Mismatch.HOLE_ADDITION if 0 in labels else Mismatch.MERGE
    without = warped.copy()
    without[y, x] = False
    apart = len(around(components(without), y, x)) > 2
    return Mismatch.SPLIT if apart else Mismatch.HOLE_DELETION


def warp_in_words(boundary: np.ndarray, truth: np.ndarray, threshold: float):
    """The warp as the challenge describes it, in plain Python: the specification."""
    target = np.pad(boundary < threshold, 1)
    source = np.pad(truth, 1)
    before = None
    while True:
        differing = [
            (x, y)
            for x in range(1, source.shape[1] - 1)
            for y in range(1, source.shape[0] - 1)
            if source[y, x] != target[y, x]
        ]
        if not differing or len(differing) == before:
            break
        before = len(differing)
        confidence = {
            (x, y): np.float32(abs(float(boundary[y - 1, x - 1]) - threshold)) for x, y in differing
        }
        for x, y in sorted(differing, key=lambda pixel: -confidence[pixel]):
            if is_simple(source[y - 1 : y + 2, x - 1 : x + 2]):
                source[y, x] = not source[y, x]
    warped = source[1:-1, 1:-1]
    types = np.zeros(truth.shape, np.uint8)
    for x, y in differing:
        types[y - 1, x - 1] = type_of(warped, y - 1, x - 1)
    return warped, types


def test_a_shifted_border_is_no_error():
    truth = drawn("...#......", "...#......", "...#......")
    proposal = drawn("....#.....", "....#.....", "....#.....")
    result = warp_binary(truth, proposal)
    assert result.error == 0
    assert warp_binary(proposal, truth).error == 0
    np.testing.assert_array_equal(result.warped[0], proposal)
    assert not result.mismatches.any()


def test_a_thick_border_may_shift_by_its_thickness():
    truth = drawn(*["..###....."] * 4)
    assert warp_binary(truth, drawn(*[".....###.."] * 4)).error == 0
    far = warp_binary(truth, drawn(*["......###."] * 4))
    assert far.counts["split"] > 0
    assert far.counts["merge"] > 0


def test_a_bridge_of_one_pixel_is_one_merge():
    truth = drawn("...#...", "...#...", "...#...")
    proposal = drawn("...#...", ".......", "...#...")
    result = warp_binary(truth, proposal)
    assert result.error == 1 / 21
    assert result.counts["merge"] == 1
    assert result.mismatches[0, 1, 3] == Mismatch.MERGE
    np.testing.assert_array_equal(result.warped[0], truth)


def test_a_broken_membrane_costs_its_gap():
    truth = drawn("...#...", "...#...", "...#...", "...#...", "...#...")
    proposal = drawn("...#...", ".......", ".......", ".......", "...#...")
    result = warp_binary(truth, proposal)
    assert result.counts == dict.fromkeys(result.counts, 0) | {"merge": 3}
    assert result.split_merge_error == 3 / 35


def test_two_whole_objects_merged():
    truth = drawn("..#..", "..#..", "..#..")
    result = warp_binary(truth, np.ones((3, 5), bool))
    assert result.counts == dict.fromkeys(result.counts, 0) | {"merge": 3}


def test_a_cut_through_an_object_costs_one_split_pixel():
    truth = drawn("#######", ".......", ".......", ".......", "#######")
    proposal = drawn("#######", "...#...", "...#...", "...#...", "#######")
    result = warp_binary(truth, proposal)
    assert result.counts == dict.fromkeys(result.counts, 0) | {"split": 1}
    assert result.error == 1 / 35


def test_holes():
    whole = drawn(".....", ".....", ".....", ".....", ".....")
    holed = drawn(".....", ".....", "..#..", ".....", ".....")
    added, deleted = warp_binary(whole, holed), warp_binary(holed, whole)
    assert added.counts == dict.fromkeys(added.counts, 0) | {"hole_addition": 1}
    assert deleted.counts == dict.fromkeys(deleted.counts, 0) | {"hole_deletion": 1}


def test_a_hole_opened_to_the_outside_is_a_hole_deletion():
    truth = drawn("#######", "#.....#", "#.###.#", "#.....#", "#######")
    proposal = drawn("#######", "#.....#", "#.###.#", "#.#...#", "#######")
    result = warp_binary(truth, proposal)
    assert result.counts == dict.fromkeys(result.counts, 0) | {"hole_deletion": 1}


def test_objects():
    empty = drawn("####", "####", "####")
    dotted = drawn("####", "#.##", "####")
    added, deleted = warp_binary(empty, dotted), warp_binary(dotted, empty)
    assert added.counts == dict.fromkeys(added.counts, 0) | {"object_addition": 1}
    assert deleted.counts == dict.fromkeys(deleted.counts, 0) | {"object_deletion": 1}


def test_a_diagonal_contact_keeps_objects_apart():
    truth = drawn("..##", "..##", "##..", "##..")
    bridged = drawn("..##", "....", "##..", "##..")
    assert warp_binary(truth, truth).error == 0
    result = warp_binary(truth, bridged)
    assert result.counts == dict.fromkeys(result.counts, 0) | {"merge": 1}


def test_two_objects_without_membrane_around_are_a_merge():
    # Only a section one pixel wide has such a place; the challenge's program types it otherwise.
    result = warp_binary(drawn(".#."), drawn("..."))
    assert result.counts == dict.fromkeys(result.counts, 0) | {"merge": 1}


def test_membrane_along_the_image_border_is_a_shifted_border():
    truth = np.ones((4, 6), bool)
    proposal = drawn("......", "......", "......", "######")
    assert warp_binary(truth, proposal).error == 0
    notched = drawn("..#...", "......", "......", "......")
    assert warp_binary(truth, notched).error == 0


def test_the_most_certain_mismatch_goes_first():
    # A bar of two rows cut across: the pixel flipped first is free, the other one splits.
    truth = drawn("#####", ".....", ".....", "#####")
    boundary = (~truth).astype(np.float32)
    boundary[1:3, 2] = 0.9, 0.6
    result = warping_error(boundary, truth)
    assert result.mismatches[0, 1:3, 2].tolist() == [Mismatch.NONE, Mismatch.SPLIT]
    boundary[1:3, 2] = 0.6, 0.9
    result = warping_error(boundary, truth)
    assert result.mismatches[0, 1:3, 2].tolist() == [Mismatch.SPLIT, Mismatch.NONE]


def test_error_is_the_mean_of_the_sections():
    truth = np.stack([drawn("..#..", "..#..")] * 2)
    proposal = truth.copy()
    proposal[1, 0, 2] = True
    result = warp_binary(truth, proposal)
    assert result.section_errors.tolist() == [0.0, 0.1]
    assert result.error == 0.05
    assert result.warped.shape == result.mismatches.shape == (2, 2, 5)


SECTIONS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_equals_the_specification(data):
    shape = data.draw(SECTIONS)
    truth = data.draw(hnp.arrays(bool, shape))
    levels = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 5)))
    boundary = (levels / 5).astype(np.float32)
    threshold = data.draw(st.sampled_from([0.2, 0.5, 0.6, 1.0]))
    result = warping_error(boundary, truth, threshold)
    warped, types = warp_in_words(boundary, truth, threshold)
    np.testing.assert_array_equal(result.warped[0], warped)
    np.testing.assert_array_equal(result.mismatches[0], types)
    assert result.error == np.count_nonzero(types) / truth.size


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_warp_keeps_topology_and_only_mends(data):
    shape = data.draw(SECTIONS)
    truth, proposal = (data.draw(hnp.arrays(bool, shape)) for _ in range(2))
    result = warp_binary(truth, proposal)
    warped = result.warped[0]
    np.testing.assert_array_equal(result.mismatches[0] != 0, warped != proposal)
    assert not ((warped != proposal) & (truth == proposal)).any()
    assert n_components(warped) == n_components(truth)
    outside = [np.pad(~image, 1, constant_values=True) for image in (warped, truth)]
    holes = [n_components(image, connectivity=2) for image in outside]
    assert holes[0] == holes[1]
    assert sum(result.counts.values()) == np.count_nonzero(warped != proposal)


def test_a_mask_keeps_the_warp_near_the_true_border():
    truth, proposal = drawn(*["..##......"] * 5), drawn(*["....##...."] * 5)
    assert warp_binary(truth, proposal).error == 0
    mask = border_zone(truth, 1)
    assert mask[0].tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    result = warping_error((~proposal).astype(np.float32), truth, mask=mask)
    np.testing.assert_array_equal(result.warped[0], drawn(*["....#....."] * 5))
    assert result.error == 0.1
    assert result.counts == dict.fromkeys(result.counts, 0) | {"shift": 5}


def test_what_only_the_mask_kept_from_flipping_is_a_shift():
    truth, proposal = drawn(*["..##...."] * 3), drawn(*["...##..."] * 3)
    boundary = (~proposal).astype(np.float32)
    mask = np.zeros(truth.shape, bool)
    result = warping_error(boundary, truth, mask=mask)
    np.testing.assert_array_equal(result.warped[0], truth)
    assert result.counts == dict.fromkeys(result.counts, 0) | {"shift": 6}
    mask[:, 2:4] = True
    assert warping_error(boundary, truth, mask=mask).counts["shift"] == 3
    assert warping_error(boundary, truth, mask=~np.zeros_like(mask)).error == 0


def test_a_proposal_of_membrane_alone_costs_a_pixel_an_object_unless_masked():
    truth = drawn(*["..........#.........."] * 21)
    boundary = np.ones(truth.shape)
    result = warping_error(boundary, truth)
    assert result.counts == dict.fromkeys(result.counts, 0) | {"object_deletion": 2}
    assert result.split_merge_error == 0
    assert warping_error(boundary, truth, mask=border_zone(truth, 3)).error == 2 * 7 / 21


def test_foreground_8_joins_diagonals():
    truth = drawn("..##", "..##", "##..", "##..")
    bridged = drawn("..##", "....", "##..", "##..")
    result = warping_error((~bridged).astype(np.float32), truth, foreground=8)
    assert result.error == 0


def test_a_sweep_keeps_each_threshold():
    rng = np.random.default_rng(0)
    truth = rng.random((2, 20, 20)) < 0.7
    boundary = np.where(truth, rng.random(truth.shape) * 0.8, 0.2 + rng.random(truth.shape) * 0.8)
    thresholds = (0.3, 0.5, 0.7)
    sweep = warping_sweep(boundary, truth, thresholds)
    results = [warping_error(boundary, truth, threshold) for threshold in thresholds]
    assert sweep.errors.tolist() == [result.error for result in results]
    assert sweep.split_merge_errors.tolist() == [result.split_merge_error for result in results]
    assert sweep.minimum_error == min(sweep.errors) == sweep.best.error
    assert sweep.best_threshold == thresholds[int(sweep.errors.argmin())]
    assert sweep.minimum_split_merge_error == min(sweep.split_merge_errors)
    assert sweep.best_split_merge_threshold == thresholds[int(sweep.split_merge_errors.argmin())]
    assert sweep.best_split_merge.split_merge_error == sweep.minimum_split_merge_error
    assert warping_sweep(boundary, truth).thresholds.size == 10


def test_segmentations_are_compared_by_their_interiors():
    labels = np.repeat([[1] * 4 + [2] * 6], 5, axis=0)
    shifted = np.repeat([[7] * 5 + [3] * 5], 5, axis=0)
    assert segmentation_warping_error(shifted, labels).error == 0
    merged = segmentation_warping_error(np.full_like(labels, 9), labels)
    assert merged.counts == dict.fromkeys(merged.counts, 0) | {"merge": 5}
    split = labels.copy()
    split[:, 8:] = 5
    result = segmentation_warping_error(split, labels)
    assert result.counts == dict.fromkeys(result.counts, 0) | {"split": 1}


def test_wider_membranes_forgive_wider_shifts():
    labels = np.repeat([[1] * 7 + [2] * 8], 6, axis=0)
    shifted = np.repeat([[1] * 10 + [2] * 5], 6, axis=0)
    assert segmentation_warping_error(shifted, labels).error > 0
    assert segmentation_warping_error(shifted, labels, widen_vox=1).error == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_segmentations_equal_their_binary_maps(data):
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
    first, second = (
        data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 3))) for _ in range(2)
    )
    result = segmentation_warping_error(first, second)
    expected = warp_binary(interior_mask(second), interior_mask(first))
    np.testing.assert_array_equal(result.mismatches, expected.mismatches)
    assert segmentation_warping_error(first, first).error == 0


def test_the_truth_itself_has_no_error_and_a_grey_map_some():
    file = DATA / "isbi2012_membrane" / "train.h5"
    if not file.exists():
        pytest.skip(f"no {file}")
    with h5py.File(file) as volume:
        interior = np.asarray(volume["interior"])[:2].astype(bool)
        grey = np.asarray(volume["raw"])[:2].astype(np.float32) / 255
    assert warping_error((~interior).astype(np.float32), interior).error == 0
    smooth = 1 - ndimage.gaussian_filter(grey, (0, 2, 2))
    result = warping_error(smooth, interior, 0.55)
    pixel_error = np.mean((smooth < 0.55) != interior)
    assert 0 < result.split_merge_error < result.error < pixel_error


@pytest.mark.parametrize(
    ("boundaries", "interior", "threshold", "message"),
    [
        (np.array([[0.5, np.nan]]), np.ones((1, 2), bool), 0.5, "boundaries must be finite"),
        (np.array([[0.5, 2.0]]), np.ones((1, 2), bool), 0.5, r"boundaries must lie in \[0, 1\]"),
        (np.zeros((2, 2)), np.ones((1, 2), bool), 0.5, "boundaries and interior must have"),
        (np.zeros((2, 2)), np.ones((2, 2), int), 0.5, "interior must be bool.*int64"),
        (np.zeros((2, 2)), np.ones((2, 2), bool), 1.5, r"threshold must lie in .* but is 1.5"),
        (np.zeros(4), np.ones(4, bool), 0.5, r"boundaries must have axes"),
        (np.zeros((2, 2)), np.ones((2, 2), np.uint8), 0.5, "interior must be bool.*uint8"),
    ],
)
def test_wrong_input_is_refused(boundaries, interior, threshold, message):
    with pytest.raises(InputError, match=message):
        warping_error(boundaries, interior, threshold)


def test_wrong_masks_are_refused():
    boundary, interior = np.zeros((2, 2)), np.ones((2, 2), bool)
    with pytest.raises(InputError, match="mask must be bool, but its dtype is float64"):
        warping_error(boundary, interior, mask=np.ones((2, 2)))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="mask and interior must have the same shape"):
        warping_error(boundary, interior, mask=np.ones((2, 3), bool))


def test_wrong_segmentations_and_sweeps_are_refused():
    with pytest.raises(InputError, match="segmentation and labels must have the same shape"):
        segmentation_warping_error(np.ones((2, 3), int), np.ones((3, 2), int))
    with pytest.raises(InputError, match="labels must hold integer labels"):
        segmentation_warping_error(np.ones((2, 3), int), np.ones((2, 3)))
    with pytest.raises(InputError, match="thresholds must name at least one"):
        warping_sweep(np.zeros((2, 2)), np.ones((2, 2), bool), ())
