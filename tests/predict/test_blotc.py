from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

from analysis.border_zone import border_zone
from analysis.input_error import InputError
from analysis.warping_error import warping_error
from predict.blotc import (
    LabelWarp,
    blotc_loss,
    cost_threshold,
    warp_labels,
    warp_targets,
    warping_mask,
    warping_mismatches,
)
from predict.boundary_loss import boundary_loss
from predict.boundary_targets import boundary_targets

FLAT = LabelWarp((1, 1, 1), in_section=True, reach_vox=2)
VOLUME = LabelWarp((1, 1, 1), in_section=False, reach_vox=2)
EVEN = torch.ones(4, 2)


def _components(image: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """Number the components by skimage; connectivity counts axes."""
    found: Any = measure.label(image, connectivity=connectivity, return_num=True)
    return found


def _counts(interior: np.ndarray, in_section: bool) -> tuple[int, int]:
    """Count components of interior and of membrane, the frame around them included."""
    pieces = [np.pad(section, 1) for section in interior] if in_section else [np.pad(interior, 1)]
    n_objects = sum(_components(piece, 1)[1] for piece in pieces)
    return n_objects, sum(_components(~piece, piece.ndim)[1] for piece in pieces)


def _two_cells(wall: int, shape=(1, 12, 16)) -> np.ndarray:
    """Draw a membrane two voxels wide, and a frame of it, around two interiors."""
    interior = np.zeros(shape, bool)
    z = slice(None) if shape[0] == 1 else slice(1, -1)
    interior[z, 1:-1, 1:-1] = True
    interior[..., wall : wall + 2] = False
    return interior


def _map(interior: np.ndarray) -> np.ndarray:
    return np.where(interior, np.float32(0.1), np.float32(0.9))


@pytest.mark.parametrize(("shape", "warp"), [((1, 12, 16), FLAT), ((9, 12, 16), VOLUME)])
def test_a_shifted_membrane_is_forgiven_and_a_broken_one_is_not(shape, warp):
    truth = _two_cells(7, shape)
    mask = warping_mask(truth, np.ones(shape, bool), warp)
    shifted = _map(_two_cells(8, shape))
    warped = warp_labels(truth, shifted, mask, in_section=warp.in_section)
    assert ((shifted < 0.5) != truth).sum() == 2 * truth[..., 2].sum()
    np.testing.assert_array_equal(warped, shifted < 0.5)

    broken = _map(truth)
    broken[:, 5:7, 7:9] = 0.2
    warped = warp_labels(truth, broken, mask, in_section=warp.in_section)
    differs = (broken < 0.5) != warped
    assert _counts(warped, warp.in_section) == _counts(truth, warp.in_section)
    assert differs[:, 5:7, 7:9].any()  # a membrane is left across the gap

    spot = _map(truth)
    spot[:, 5:7, 3:5] = 0.9  # a false membrane inside a cell, beyond the reach of the true one
    warped = warp_labels(truth, spot, mask, in_section=warp.in_section)
    assert warped[mask.shape[0] // 2, 5:7, 3:5].any()


def test_components_are_those_of_the_truth_by_overlap():
    """Every warped object is one true object, moved."""
    truth = _two_cells(7)
    warped = warp_labels(
        truth,
        _map(_two_cells(9)),
        warping_mask(truth, np.ones(truth.shape, bool), FLAT),
        in_section=True,
    )
    before, after = _components(truth[0], 1)[0], _components(warped[0], 1)[0]
    both = truth[0] & warped[0]
    pairs = set(zip(before[both].tolist(), after[both].tolist(), strict=True))
    assert len(pairs) == 2
    assert (warped != truth).any()


def _drawn(seed: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw blobs as the truth, and a map that is a displaced, noisy one of it."""
    rng = np.random.default_rng(seed)
    blur = [0 if shape[0] == 1 else 1, 1, 1]
    field = ndimage.gaussian_filter(rng.normal(size=shape), blur)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 0.5)
    seen = 0.6 * np.roll(field, 1, axis=-1) + 0.4 * field + 0.2 * noise
    return field > 0, (1 / (1 + np.exp(np.clip(4 * seen / field.std(), -8, 8)))).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**20),
    st.sampled_from([(1, 13, 15), (3, 9, 10), (7, 8, 9)]),
    st.booleans(),
    st.sampled_from([0.3, 0.5, 0.7]),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_topology_stays_and_labels_only_come_nearer(seed, shape, in_section, threshold, reach):
    truth, prediction = _drawn(seed, shape)
    warp = LabelWarp((1, 1, 1), in_section, reach, threshold)
    mask = warping_mask(truth, np.ones(shape, bool), warp)
    warped = warp_labels(truth, prediction, mask, threshold=threshold, in_section=in_section)
    assert _counts(warped, in_section) == _counts(truth, in_section)
    flipped = warped != truth
    assert not flipped[~mask].any()
    np.testing.assert_array_equal(warped[flipped], (prediction < threshold)[flipped])
    expected = warping_error(
        prediction, truth, threshold, foreground=4 if in_section else 6, mask=mask
    )
    np.testing.assert_array_equal(warped, expected.warped)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.booleans(), st.floats(1, 4))
def test_the_mask_is_the_zone_along_borders_away_from_what_is_not_seen(seed, in_section, reach):
    truth, _ = _drawn(seed, (6, 9, 10))
    known = np.random.default_rng(seed).uniform(size=truth.shape) > 0.01
    warp = LabelWarp((7, 7, 7), in_section, reach)
    zone = border_zone(truth, reach, 4 if in_section else 6)
    element = np.ones((1 if in_section else 3, 3, 3), bool)
    seen = np.asarray(ndimage.binary_erosion(known, element, border_value=0), bool)
    np.testing.assert_array_equal(warping_mask(truth, known, warp), zone & seen)


def test_the_reach_is_a_distance_in_nanometres():
    truth = np.ones((7, 5, 9), bool)
    truth[3, 2, 4] = False
    mask = warping_mask(truth, np.ones(truth.shape, bool), LabelWarp((20, 10, 10), False, 2.0))
    assert mask[3].sum() == 13 - 2  # a disc of radius 2, less what lies at the border of y
    np.testing.assert_array_equal(mask[2], mask[4])
    assert mask[2].sum() == 1


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**20),
    st.floats(0.2, 5),
    st.floats(0.2, 5),
    st.booleans(),
)
def test_warping_lowers_the_very_loss(seed, negative, positive, in_section):
    """No flip costs more than it spares: the loss of the warped labels is never higher."""
    truth, prediction = _drawn(seed, (5, 9, 10))
    logits = torch.logit(torch.from_numpy(prediction))[None, None].expand(-1, 4, -1, -1, -1)
    target = torch.from_numpy(np.repeat((~truth)[None, None], 4, 1).astype(np.float32))
    known = torch.zeros_like(target)
    known[:, 0] = 1
    weights = torch.tensor([[negative, positive]] * 4)
    threshold = cost_threshold(negative, positive)
    assert positive * np.log(threshold) == pytest.approx(negative * np.log1p(-threshold))
    warp = LabelWarp((1, 1, 1), in_section, threshold=threshold)
    found = blotc_loss(logits, target, known, weights, warp)
    assert float(found) <= float(boundary_loss(logits, target, known, weights)) + 1e-6


def test_equal_weights_have_the_threshold_of_the_paper():
    assert cost_threshold(1, 1) == pytest.approx(0.5)
    assert cost_threshold(1, 3) > 0.5


def test_affinities_at_flipped_voxels_become_unknown_and_others_stay():
    labels = np.ones((3, 9, 12), np.int64)
    labels[:, :, 6:] = 2
    target, known = boundary_targets(labels, zero_is_membrane=False, in_section=False)
    seen = np.where(target[0] > 0, np.float32(0.9), np.float32(0.1))
    seen[1, 4, 7] = 0.8  # the network widens the membrane (x 5 and 6) by one voxel
    moved = warp_targets(seen, target, known, VOLUME)
    assert np.argwhere(moved.target[0] != target[0]).tolist() == [[1, 4, 7]]
    np.testing.assert_array_equal(moved.target[1:], target[1:])
    np.testing.assert_array_equal(moved.known[0], known[0])
    changed = {tuple(place) for place in np.argwhere(moved.known != known)}
    here = (1, 4, 7)
    assert changed == {
        *((1 + axis, *here) for axis in range(3)),
        (1, 2, 4, 7),
        (2, 1, 5, 7),
        (3, 1, 4, 8),
    }
    assert warping_mismatches(seen, target, known, VOLUME) == 0
    seen[1, 4, 9] = 0.8  # beyond reach
    share = warping_mismatches(seen, target, known, VOLUME)
    assert share == pytest.approx(1 / known[0].sum())


def test_a_forgiven_shift_costs_less_than_a_gap():
    """The shift is the larger difference to the labels, and the gap the larger loss."""
    truth = _two_cells(7)
    target = torch.zeros(1, 4, *truth.shape)
    target[0, 0] = torch.from_numpy((~truth).astype(np.float32))
    known = torch.zeros_like(target)
    known[:, 0] = 1
    losses, plain = [], []
    shifted, broken = _map(_two_cells(8)), _map(truth)
    broken[:, 6, 7:9] = 0.1
    for prediction in (shifted, broken):
        logits = torch.logit(torch.from_numpy(prediction))[None, None].repeat(1, 4, 1, 1, 1)
        losses.append(float(blotc_loss(logits, target, known, EVEN, FLAT)))
        plain.append(float(boundary_loss(logits, target, known, EVEN)))
    assert plain[0] > plain[1]
    assert losses[0] == pytest.approx(-np.log(0.9), rel=1e-5)
    assert losses[1] > losses[0] + 0.005


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reach_vox": 0.5}, "reach_vox must be at least 1, got 0.5"),
        ({"threshold": 1.0}, "threshold must lie between 0 and 1, got 1.0"),
        ({"voxel_size_nm": (1, 1)}, "voxel_size_nm must be three positive numbers"),
    ],
)
def test_bad_warps(options, message):
    with pytest.raises(InputError, match=message):
        LabelWarp(**{"voxel_size_nm": (1, 1, 1), "in_section": True, **options})


def test_bad_arrays():
    truth = _two_cells(7)
    with pytest.raises(InputError, match=r"the same shape \(z, y, x\), got .* and \(1, 12, 15\)"):
        warp_labels(truth, _map(truth), truth[..., 1:], in_section=True)
    bytes_: Any = truth.view(np.uint8)
    with pytest.raises(InputError, match="must be bool, got dtypes uint8 and bool"):
        warp_labels(bytes_, _map(truth), truth, in_section=True)
    four = torch.zeros(1, 4, 1, 3, 3)
    with pytest.raises(InputError, match="boundary and affinities, 4, got 3 and 4"):
        blotc_loss(four[:, 1:], four, four, EVEN, FLAT)
