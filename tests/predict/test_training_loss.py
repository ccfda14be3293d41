from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from predict.boundary_loss import boundary_loss
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import boundary_targets
from predict.embedding_loss import embedding_loss
from predict.malis import malis_loss
from predict.training_loss import training_loss
from predict.unet import UNetConfig

NETWORK = UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 6))
TRAINING = BoundaryTraining((8, 8, 8), steps=10, loss="malis", malis_weight=0.5)
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
WEIGHTS = torch.tensor([[0.6, 3.0], [2.0, 0.7], [1.5, 0.8], [1.0, 1.0]])


@pytest.fixture
def batch() -> Batch:
    return _batch(side=3)


def _batch(side: int) -> Batch:
    """Return logits, target, known and labels of two patches, some cubes of them unlabelled."""
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 5, (2, 2, 2, 2)), np.ones((1, side, side, side), int))
    made = [boundary_targets(one, zero_is_membrane=False, in_section=False) for one in labels]
    target = torch.from_numpy(np.stack([one.target for one in made]))
    known = torch.from_numpy(np.stack([one.known for one in made])).float()
    assert 0 < known[:, 1:].sum() < known[:, 1:].numel()
    logits = torch.from_numpy(rng.normal(0, 2, target.shape).astype(np.float32))
    return logits, target, known, torch.from_numpy(labels)


def _loss_and_gradient(
    batch: Batch, training: BoundaryTraining, *, structured: bool
) -> tuple[float, torch.Tensor]:
    logits, target, known, labels = batch
    logits = logits.clone().requires_grad_()
    loss = training_loss(
        *(logits, target, known, labels, WEIGHTS),
        network_config=NETWORK,
        training=training,
        structured=structured,
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    return float(loss.detach()), gradient


def test_malis_is_added_on_the_affinities_and_leaves_the_boundary_to_cross_entropy(batch):
    logits, _, known, labels = batch
    plain, plain_gradient = _loss_and_gradient(
        batch, replace(TRAINING, loss="bce"), structured=False
    )
    found, gradient = _loss_and_gradient(batch, TRAINING, structured=True)
    assert plain_gradient[:, 0].abs().max() > 0
    assert torch.equal(gradient[:, 0], plain_gradient[:, 0])
    affinities = torch.sigmoid(logits[:, 1:])
    parts = [
        malis_loss(*(array.numpy() for array in one), most=TRAINING.malis_most)
        for one in zip(affinities, labels, known[:, 1:] > 0, strict=True)
    ]
    assert found == pytest.approx(plain + 0.5 * np.mean([part.loss for part in parts]))
    by_affinity = torch.from_numpy(np.stack([part.gradient for part in parts])) / len(parts)
    added = 0.5 * by_affinity * affinities * (1 - affinities)
    assert all(added[:, axis].abs().max() > 0 for axis in range(3))
    torch.testing.assert_close(gradient[:, 1:], plain_gradient[:, 1:] + added)


@pytest.mark.parametrize("loss", ["bce", "malis", "blotc"])
def test_the_loss_of_an_embedding_is_added_and_leaves_the_others_alone(loss):
    batch = logits, target, known, labels = _batch(side=5)
    training = replace(TRAINING, loss=loss, embedding_weight=0.7)
    plain, plain_gradient = _loss_and_gradient(batch, training, structured=True)
    drawn = torch.from_numpy(np.random.default_rng(1).normal(0, 2, (2, 3, 10, 10, 10)))
    more = torch.cat([logits, drawn.float()], dim=1)
    unknown = known.clone()
    unknown[:, :, :3] = 0
    found, gradient = _loss_and_gradient((more, target, known, labels), training, structured=True)
    assert torch.equal(gradient[:, :4], plain_gradient)
    embedding = more[:, 4:].sigmoid()
    within, apart = training.embedding_within, training.embedding_apart
    seen = labels * (known[:, 0] > 0).long()
    expected = float(embedding_loss(embedding, seen, within=within, apart=apart))
    assert expected > 0.01
    assert found == pytest.approx(plain + 0.7 * expected)
    _, gradient = _loss_and_gradient((more, target, unknown, labels), training, structured=True)
    assert (gradient[:, 4:, :3] == 0).all()
    assert gradient[:, 4:, 3:].abs().max() > 0


def test_before_malis_begins_all_channels_learn_by_cross_entropy_alone(batch):
    logits, target, known, _ = batch
    found, gradient = _loss_and_gradient(batch, TRAINING, structured=False)
    assert found == pytest.approx(float(boundary_loss(logits, target, known, WEIGHTS)))
    assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()
