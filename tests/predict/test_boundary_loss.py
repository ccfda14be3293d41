from __future__ import annotations

import numpy as np
import pytest
import torch

from predict.boundary_loss import boundary_loss, hinge_loss


def test_hand_computed_loss():
    logits = torch.zeros(1, 4, 1, 1, 2)
    logits[0, 0, 0, 0] = torch.tensor([np.log(3.0), 0.0])  # probabilities 3/4 and 1/2
    target = torch.zeros_like(logits)
    target[0, 0, 0, 0, 0] = 1
    known = torch.zeros_like(logits)
    known[0, 0] = 1
    weights = torch.ones(4, 2)
    weights[0] = torch.tensor([1.0, 4.0])
    expected = (4 * -np.log(0.75) + -np.log(0.5)) / 2
    assert float(boundary_loss(logits, target, known, weights)) == pytest.approx(expected)


def test_the_hinge_is_drawn_by_hand() -> None:
    logits = torch.tensor([2.0, 0.5, -1.0, 3.0]).view(1, 1, 4, 1, 1)
    target = torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 4, 1, 1)
    known = torch.tensor([1.0, 1.0, 1.0, 1.0]).view(1, 1, 4, 1, 1)
    weights = torch.tensor([[2.0, 1.0]])
    # Margins 2, 0.5, −1 and −3: losses 0, 0.25, 4 and 16, the last of class 0 twice.
    assert float(hinge_loss(logits, target, known, weights)) == pytest.approx((0.25 + 4 + 32) / 4)
    known[0, 0, 3] = 0
    assert float(hinge_loss(logits, target, known, weights)) == pytest.approx(4.25 / 3)
