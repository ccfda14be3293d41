from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.malis import Malis, malis_loss
from predict.maximin_pairs import maximin_pairs

SIDE = 6


def _ends(shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the flat edge index and the two flat voxels of every edge inside the array."""
    voxels = np.arange(np.prod(shape)).reshape(shape)
    edges, here, there = [], [], []
    for axis in range(3):
        first = (slice(None),) * axis + (slice(1, None),)
        second = (slice(None),) * axis + (slice(None, -1),)
        here.append(voxels[first].ravel())
        there.append(voxels[second].ravel())
        edges.append(here[-1] + axis * voxels.size)
    return np.concatenate(edges), np.concatenate(here), np.concatenate(there)


def _maximin(values: np.ndarray, here: np.ndarray, there: np.ndarray, n: int) -> np.ndarray:
    """Return the maximin affinity of all pairs of voxels, −1 without a path (Floyd-Warshall)."""
    best = np.full((n, n), -1.0)
    best[here, there] = best[there, here] = values
    for k in range(n):
        np.maximum(best, np.minimum(best[:, k, None], best[None, k]), out=best)
    return best


def _brute_force(affinities, labels, known, constrained) -> tuple[float, np.ndarray]:
    """Return loss and gradient from all pairs, one after the other; affinities must differ."""
    edges, here, there = _ends(labels.shape)
    keep = known.ravel()[edges]
    edges, here, there = edges[keep], here[keep], there[keep]
    flat = labels.ravel()
    n = flat.size
    values = affinities.ravel()[edges].astype(float)
    true = (flat[here] == flat[there]) & (flat[here] != 0)
    capped = np.where(true, values, 0) if constrained else values
    floored = np.where(true, 1, values) if constrained else values
    first, second = np.triu_indices(n, 1)
    labelled = (flat[first] != 0) & (flat[second] != 0)
    same = labelled & (flat[first] == flat[second])
    other = labelled & (flat[first] != flat[second])
    loss, gradient = 0.0, np.zeros(affinities.size)
    for chosen, passed, wanted in ((same, capped, 1.0), (other, floored, 0.0)):
        if constrained and wanted == 1:
            usable = true
        else:
            usable = np.ones(len(values), bool)
        maximin = _maximin(passed[usable], here[usable], there[usable], n)[first, second]
        counted = chosen & (maximin >= 0)
        n_pairs = max(1, np.count_nonzero(counted))
        loss += float(((wanted - maximin[counted]) ** 2).sum()) / n_pairs
        # the edge of a pair is the one of its maximin affinity, for affinities all differ
        decided = Counter(maximin[counted].tolist())
        own = np.ones(len(values), bool)
        if constrained:
            own = true if wanted == 1 else ~true
        for edge, value in zip(edges[own], passed[own], strict=True):
            gradient[edge] += 2 * (value - wanted) * decided[float(value)] / n_pairs
    return loss, gradient.reshape(affinities.shape)


def _volume(seed: int, n_labels: int = 5, side: int = SIDE):
    """Draw distinct affinities on a coarse binary grid, blocky labels with 0 and 1, and a mask."""
    rng = np.random.default_rng(seed)
    shape = (side,) * 3
    grid = 3 * side**3 + 2
    affinities = (rng.permutation(3 * side**3) + 1).reshape(3, *shape) / 2 ** grid.bit_length()
    labels = rng.integers(0, n_labels, (side // 2 + 1,) * 3).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    labels = labels[:side, :side, :side].copy()
    noise = rng.uniform(size=shape) < 0.15
    labels[noise] = rng.integers(0, n_labels, np.count_nonzero(noise))
    return affinities.astype(np.float32), labels, rng.uniform(size=(3, *shape)) < 0.9


def test_hand_drawn_row():
    """Of four voxels a a | b b the middle edge decides four pairs, the outer ones one each."""
    labels = np.array([[[1, 1, 2, 2]]])
    affinities = np.zeros((3, 1, 1, 4), np.float32)
    affinities[2, 0, 0] = [0.9, 0.75, 0.5, 0.25]  # the first leaves the array
    pairs = maximin_pairs(affinities, labels, constrained=False)
    assert pairs.edge.tolist() == [9, 10, 11]
    # 0.75 joins a a; then 0.5 takes in b (2 pairs of two labels); then b b and a b, a b by 0.25
    assert pairs.same.tolist() == [1, 0, 1]
    assert pairs.other.tolist() == [0, 2, 2]
    loss, gradient = malis_loss(affinities, labels, constrained=False)
    assert loss == pytest.approx((0.25**2 + 0.75**2) / 2 + (2 * 0.5**2 + 2 * 0.25**2) / 4)
    np.testing.assert_allclose(gradient[2, 0, 0], [0, -0.25, 0.5, -0.75 + 0.25])
    # constrained, the middle edge alone is to blame for all four pairs of two labels
    loss, gradient = malis_loss(affinities, labels)
    assert loss == pytest.approx((0.25**2 + 0.75**2) / 2 + 0.5**2)
    np.testing.assert_allclose(gradient[2, 0, 0], [0, -0.25, 1, -0.75])
    assert not gradient[:2].any()


def test_an_edge_counts_for_no_more_than_its_bound():
    affinities, labels, known = _volume(0)
    pairs = maximin_pairs(affinities, labels, known)
    _, gradient = malis_loss(affinities, labels, known, most=0.01)
    value = affinities.ravel()[pairs.edge].astype(float)
    same = np.where(pairs.is_true, pairs.same, 0) / pairs.same[pairs.is_true].sum()
    other = np.where(pairs.is_true, 0, pairs.other) / pairs.other[~pairs.is_true].sum()
    assert same.max() > 0.01 < other.max()
    expected = 2 * (np.minimum(other, 0.01) * value - np.minimum(same, 0.01) * (1 - value))
    np.testing.assert_allclose(gradient.ravel()[pairs.edge], expected, rtol=1e-5, atol=1e-9)
    whole, bounded = (malis_loss(affinities, labels, known, most=m).loss for m in (1.0, 0.01))
    assert bounded < whole == malis_loss(affinities, labels, known).loss


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_it_equals_all_pairs(seed: int, constrained: bool):
    affinities, labels, known = _volume(seed)
    for mask in (known, np.ones_like(known)):
        loss, gradient = malis_loss(affinities, labels, mask, constrained=constrained)
        expected_loss, expected = _brute_force(affinities, labels, mask, constrained)
        assert np.count_nonzero(expected) > 20
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 9), st.integers(2, 4), st.booleans())
def test_it_equals_all_pairs_of_any_labels(seed, n_labels, side, constrained):
    affinities, labels, known = _volume(seed, n_labels + 1, side)
    loss, gradient = malis_loss(affinities, labels, known, constrained=constrained)
    expected_loss, expected = _brute_force(affinities, labels, known, constrained)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("constrained", [True, False])
def test_gradient_is_that_of_finite_differences(constrained: bool):
    affinities, labels, known = _volume(7)
    _, gradient = malis_loss(affinities, labels, known, constrained=constrained)
    step = np.float32(2.0**-13)  # less than half the distance of two affinities, and exact
    rng = np.random.default_rng(0)
    touched = np.flatnonzero(gradient)
    for edge in [*rng.choice(touched, 40, replace=False), *rng.integers(0, gradient.size, 10)]:
        losses = []
        for sign in (1, -1):
            moved = affinities.copy()
            moved.reshape(-1)[edge] += sign * step
            losses.append(malis_loss(moved, labels, known, constrained=constrained).loss)
        slope = (losses[0] - losses[1]) / (2 * float(step))
        assert slope == pytest.approx(float(gradient.ravel()[edge]), rel=1e-4, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 40), st.booleans())
def test_every_pair_is_counted_once(seed, n_labels, constrained):
    """With all edges everything is joined, and the counts are those of the label sizes."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(extent) for extent in rng.integers(1, 9, 3))
    labels = rng.integers(0, n_labels, shape)
    affinities = (rng.integers(0, 4, (3, *shape)) / 3).astype(np.float32)  # full of ties
    pairs = maximin_pairs(affinities, labels, constrained=constrained)
    sizes = np.bincount(labels.ravel(), minlength=n_labels)[1:].astype(int)
    same = int((sizes * (sizes - 1) // 2).sum())
    assert len(pairs.edge) == labels.size - 1
    assert int(pairs.same.sum()) == same
    assert int(pairs.other.sum()) == int(sizes.sum()) * (int(sizes.sum()) - 1) // 2 - same
    assert (pairs.same >= 0).all()
    assert (pairs.other >= 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.booleans())
def test_names_of_labels_and_order_of_ties_do_not_matter(seed, constrained):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, (4, 5, 6))
    affinities = (rng.integers(0, 3, (3, 4, 5, 6)) / 2).astype(np.float32)
    options = {"constrained": constrained}
    loss, gradient = malis_loss(affinities, labels, **options)
    names = np.array([0, 2**63 + 5, 3, 2**40, 9, 1], np.uint64)
    again = malis_loss(affinities, names[labels], **options)
    assert again.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_array_equal(again.gradient, gradient)
    mirrored = np.flip(affinities, 3).copy()
    mirrored[2] = np.roll(mirrored[2], 1, axis=2)  # the edge of a pair belongs to the later voxel
    assert malis_loss(mirrored, np.flip(labels, 2), **options).loss == pytest.approx(loss)


def test_the_truth_costs_nothing():
    _, labels, _ = _volume(3)
    truth = np.zeros((3, *labels.shape), np.float32)
    edges, here, there = _ends(labels.shape)
    flat = labels.ravel()
    truth.reshape(-1)[edges] = (flat[here] == flat[there]) & (flat[here] != 0)
    loss, gradient = malis_loss(truth, labels)
    assert loss == 0
    assert not gradient.any()


def test_a_constrained_positive_pass_does_not_go_round_the_outside():
    """Two voxels of an object are joined at 0.9 round the outside, at 0.3 inside."""
    labels = np.array([[[1, 1], [0, 0]]])
    affinities = np.zeros((3, 1, 2, 2), np.float32)
    affinities[2, 0, :, 1] = [0.3, 0.9]
    affinities[1, 0, 1] = 0.9
    assert malis_loss(affinities, labels, constrained=False).loss == pytest.approx(0.1**2)
    assert malis_loss(affinities, labels).loss == pytest.approx(0.7**2)


def test_torch_sees_the_same_loss_and_gradient():
    volumes = [_volume(seed) for seed in (1, 2)]
    affinities, labels, known = (np.stack(arrays) for arrays in zip(*volumes, strict=True))
    logits = torch.logit(torch.from_numpy(affinities)).requires_grad_()
    loss = Malis.apply(torch.sigmoid(logits), torch.from_numpy(labels), torch.from_numpy(known))
    (3 * loss).backward()
    expected = [malis_loss(*volume) for volume in volumes]
    assert float(loss.detach()) == pytest.approx(np.mean([one.loss for one in expected]), rel=1e-6)
    slope = affinities * (1 - affinities)
    weights = np.stack([one.gradient for one in expected]) / 2
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), 3 * slope * weights, rtol=1e-4, atol=1e-8)


def test_arguments_are_left_as_they_are_and_may_be_read_only():
    volume = _volume(5)
    copies = [array.copy() for array in volume]
    for array in volume:
        array.setflags(write=False)
    first, second = malis_loss(*volume), malis_loss(*volume)
    assert first.loss == second.loss
    np.testing.assert_array_equal(first.gradient, second.gradient)
    for array, copy in zip(volume, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_bad_input():
    affinities, labels, known = _volume(0)
    cases = [
        ((affinities[:2], labels), r"affinities must be a non-empty \(3, z, y, x\) array, got"),
        ((affinities[0], labels), "affinities must be a non-empty"),
        ((affinities.astype(int), labels), "affinities must be floats in 0..1, got dtype int64"),
        ((affinities + 1, labels), r"affinities must lie in 0..1, got values from 1\."),
        ((affinities * np.nan, labels), "affinities must lie in 0..1, got values from nan to nan"),
        ((affinities, labels[1:]), r"same extent, got \(6, 6, 6\) and \(5, 6, 6\)"),
        ((affinities, labels / 2), "labels must be integers, got dtype float64"),
        ((affinities, labels, known[:2]), r"known must have the shape .* got \(2, 6, 6, 6\)"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            malis_loss(*arguments)
