from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predict.affinity_boundary import boundary_logits
from predict.boundary_network import AffinityBoundary
from predict.box import Triple, whole

LEAST = AffinityBoundary("least", False)
MEAN = AffinityBoundary("mean", False)
RULES = [LEAST, MEAN, AffinityBoundary("least", True), AffinityBoundary("mean", True)]


def _edges_inside(shape: Triple) -> torch.Tensor:
    """Mark the edges that do not leave the array."""
    counts = torch.ones(1, 3, *shape, dtype=torch.bool)
    for axis in range(3):
        counts[:, axis].select(1 + axis, 0).zero_()
    return counts


def test_hand_drawn_row():
    affinities = torch.tensor([0.9, 0.75, 0.5, 0.25]).reshape(1, 1, 1, 1, 4).expand(1, 3, 1, 1, 4)
    counts = torch.zeros(1, 3, 1, 1, 4, dtype=torch.bool)
    counts[0, 2] = True
    for rule, expected in (
        (LEAST, [0.25, 0.5, 0.75, 0.75]),
        (MEAN, [1 - 1.65 / 2, 1 - 1.25 / 2, 1 - 0.75 / 2, 0.75]),
    ):
        found = boundary_logits(torch.logit(affinities), counts, rule)
        assert found.shape == (1, 1, 1, 1, 4)
        np.testing.assert_allclose(torch.sigmoid(found).ravel(), expected, rtol=1e-6)
    counts[0, 2, 0, 0, 0] = False  # the first edge leaves the volume
    found = boundary_logits(torch.logit(affinities), counts, MEAN)
    assert float(torch.sigmoid(found).ravel()[0]) == pytest.approx(0.25)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**20),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.sampled_from(RULES),
    st.sampled_from([1.0, 8.0]),
)
def test_it_is_the_map_of_the_volume(seed, shape, rule, scale):
    logits = scale * np.random.default_rng(seed).normal(size=(1, 3, *shape)).astype(np.float32)
    affinities = torch.sigmoid(torch.from_numpy(logits))
    expected = rule.apply(affinities[0].numpy(), whole(shape), shape)
    found = boundary_logits(torch.from_numpy(logits), _edges_inside(shape), rule)
    np.testing.assert_allclose(torch.sigmoid(found)[0, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_patch_is_the_map_of_a_block_but_for_its_far_end(rule):
    rng = np.random.default_rng(4)
    volume = rng.uniform(0.05, 0.95, (3, 6, 7, 8)).astype(np.float32)
    at_once = rule.apply(volume, whole((6, 7, 8)), (6, 7, 8))
    patch = torch.logit(torch.from_numpy(volume[:, 2:5, 1:6, 3:8]))[None]
    found = boundary_logits(patch, torch.ones(patch.shape, dtype=torch.bool), rule)
    last = 3 if rule.in_section else 2
    np.testing.assert_allclose(
        torch.sigmoid(found)[0, 0, :last, :-1, :-1], at_once[2 : 2 + last, 1:5, 3:7], rtol=1e-5
    )


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_gradients_are_finite_differences(rule):
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(0, 2, (2, 3, 2, 3, 4))).requires_grad_()
    counts = torch.from_numpy(rng.uniform(size=logits.shape) < 0.7)
    assert torch.autograd.gradcheck(lambda a: boundary_logits(a, counts, rule), (logits,))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_sure_affinities_and_voxels_without_edges_stay_finite(rule):
    logits = torch.full((1, 3, 2, 2, 2), 90.0)
    logits[..., 0] = -90
    logits.requires_grad_()
    counts = torch.ones(logits.shape, dtype=torch.bool)
    for some in (counts, torch.zeros_like(counts)):
        found = boundary_logits(logits, some, rule)
        (gradient,) = torch.autograd.grad(found.sum(), logits)
        assert torch.isfinite(found).all()
        assert torch.isfinite(gradient).all()
    assert (torch.sigmoid(boundary_logits(logits, torch.zeros_like(counts), rule)) < 1e-30).all()
