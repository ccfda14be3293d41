from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from predict.embedding_loss import embedding_loss, find_objects

MARGINS = {"within": 0.1, "apart": 0.5}


def _loss(embedding: np.ndarray, labels: np.ndarray, **options) -> float:
    return float(
        embedding_loss(
            torch.from_numpy(embedding), torch.from_numpy(labels), **{**MARGINS, **options}
        )
    )


def _brute_force(
    embedding: np.ndarray, labels: np.ndarray, within: float, apart: float, least_voxels: int
) -> float:
    """Return the loss from all voxels and all pairs of objects, one after the other."""
    losses = []
    for patch, own in zip(embedding, labels, strict=True):
        objects = []
        for name in np.unique(own[own != 0]):
            parts, n_parts = ndimage.label(own == name)  # type: ignore[misc]
            objects += [(name, patch[:, parts == part].T) for part in range(1, n_parts + 1)]
        objects = [(name, voxels) for name, voxels in objects if len(voxels) >= least_voxels]
        pulls, pushes = [], []
        for _, voxels in objects:
            mean = voxels.mean(axis=0)
            distances = [np.sqrt(np.mean((voxel - mean) ** 2)) for voxel in voxels]
            pulls.append(np.mean([max(0, distance - within) ** 2 for distance in distances]))
        for (name, one), (other_name, other) in itertools.combinations(objects, 2):
            if name != other_name:
                distance = np.sqrt(np.mean((one.mean(axis=0) - other.mean(axis=0)) ** 2))
                pushes.append(max(0, apart - distance) ** 2)
        losses.append((np.mean(pulls) if pulls else 0) + (np.mean(pushes) if pushes else 0))
    return float(np.mean(losses))


@st.composite
def batches(draw) -> tuple[np.ndarray, np.ndarray]:
    """Draw embeddings, some voxels of one object alike, and labels with 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 2)), *(draw(st.integers(1, 5)) for _ in range(3)))
    labels = rng.integers(0, draw(st.integers(1, 4)) + 1, shape)
    embedding = rng.uniform(size=(shape[0], draw(st.integers(1, 4)), *shape[1:]))
    near = rng.uniform(size=5)[labels][:, None]
    return near + draw(st.sampled_from([0.1, 1.0])) * (embedding - near), labels


def test_hand_drawn_row():
    """Two objects of two voxels, a part of the first label aside, and a voxel of nothing."""
    labels = np.array([1, 1, 2, 2, 0, 1, 1]).reshape(1, 1, 1, 7)
    values = np.array([0.0, 0.4, 0.5, 0.5, 0.9, 0.2, 0.2])
    embedding = np.stack([values, values])[None, :, None, None]
    found = find_objects(labels[0], least_voxels=1)
    assert found.of_voxel.tolist() == [[[0, 0, 1, 1, 3, 2, 2]]]
    assert found.label.tolist() == [1, 2, 1]
    # Means 0.2, 0.5, 0.2: the two voxels of the first are 0.1 beyond the margin of 0.1, and the
    # second lacks 0.2 to both; the parts of label 1 are no pair.
    assert _loss(embedding, labels, least_voxels=1) == pytest.approx(0.1**2 / 3 + 0.2**2)
    aside = np.where(np.arange(7) < 5, labels, 0)
    assert _loss(embedding, aside, least_voxels=1) == pytest.approx(0.1**2 / 2 + 0.2**2)


def test_small_objects_and_patches_without_any_are_left_out():
    labels = np.array([1, 1, 1, 2, 2, 3]).reshape(1, 1, 1, 6)
    embedding = np.random.default_rng(0).uniform(size=(1, 2, 1, 1, 6))
    assert find_objects(labels[0], least_voxels=2).label.tolist() == [1, 2]
    without = np.where(labels == 3, 0, labels)
    found = _loss(embedding, labels, least_voxels=2)
    assert found == pytest.approx(_loss(embedding, without, least_voxels=1))
    assert _loss(embedding, labels, least_voxels=4) == 0
    assert _loss(embedding, np.zeros_like(labels)) == 0


@settings(max_examples=60)
@given(batches(), st.integers(1, 4))
def test_it_is_what_all_voxels_and_pairs_say(batch, least_voxels):
    expected = _brute_force(*batch, **MARGINS, least_voxels=least_voxels)
    assert _loss(*batch, least_voxels=least_voxels) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40)
@given(batches(), st.randoms(use_true_random=False))
def test_names_of_labels_and_the_order_and_number_of_channels_do_not_matter(batch, random):
    embedding, labels = batch
    found = _loss(embedding, labels, least_voxels=1)
    names = np.array([0, *random.sample(range(1, 1000), 4)])
    channels = random.sample(range(embedding.shape[1]), embedding.shape[1])
    again = _loss(embedding[:, channels], names[labels], least_voxels=1)
    assert again == pytest.approx(found, abs=1e-9)
    doubled = np.concatenate([embedding, embedding], axis=1)
    assert _loss(doubled, labels, least_voxels=1) == pytest.approx(found, abs=1e-9)


def test_its_gradient_pulls_and_pushes():
    rng = np.random.default_rng(3)
    labels = np.kron(rng.integers(0, 4, (1, 2, 2, 2)), np.ones((1, 2, 2, 2), int))
    embedding = torch.from_numpy(rng.uniform(size=(1, 3, 4, 4, 4))).requires_grad_()

    def loss(values: torch.Tensor) -> torch.Tensor:
        return embedding_loss(values, torch.from_numpy(labels), least_voxels=1, **MARGINS)

    assert torch.autograd.gradcheck(loss, (embedding,))
    (gradient,) = torch.autograd.grad(loss(embedding), embedding)
    assert (gradient[0].abs().amax(0)[torch.from_numpy(labels[0]) == 0] == 0).all()
    assert gradient.abs().max() > 0
    lower = loss(embedding.detach() - 0.1 * gradient)
    assert lower < loss(embedding.detach())


def test_equal_means_do_not_make_the_gradient_infinite():
    labels = torch.tensor([1, 1, 2, 2]).reshape(1, 1, 1, 4)
    embedding = torch.full((1, 2, 1, 1, 4), 0.5, requires_grad=True)
    loss = embedding_loss(embedding, labels, least_voxels=1, **MARGINS)
    (gradient,) = torch.autograd.grad(loss, embedding)
    assert loss.item() == pytest.approx(0.25)
    assert torch.isfinite(gradient).all()
