from __future__ import annotations

import numpy as np
import pytest
import torch

from predict.boundary_loss import boundary_loss


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
