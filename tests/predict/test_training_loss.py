from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from predict.boundary_loss import boundary_loss
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import boundary_targets
from predict.malis import malis_loss
from predict.training_loss import training_loss
from predict.unet import UNetConfig

NETWORK = UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 6))
TRAINING = BoundaryTraining((8, 8, 8), steps=10, loss="malis", malis_weight=0.5)
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
WEIGHTS = torch.tensor([[0.6, 3.0], [2.0, 0.7], [1.5, 0.8], [1.0, 1.0]])


@pytest.fixture
def batch() -> Batch:
    """Return logits, target, known and labels of two patches, some voxels of them unlabelled."""
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 5, (2, 2, 2, 2)), np.ones((1, 3, 3, 3), int))
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


def test_before_malis_begins_all_channels_learn_by_cross_entropy_alone(batch):
    logits, target, known, _ = batch
    found, gradient = _loss_and_gradient(batch, TRAINING, structured=False)
    assert found == pytest.approx(float(boundary_loss(logits, target, known, WEIGHTS)))
    assert (gradient.abs().amax((0, 2, 3, 4)) > 0).all()
