"""A training state of tensors as bytes."""

from __future__ import annotations

import io
from typing import Any

import torch


def save_state(state: dict[str, Any]) -> bytes:
    """Return a training state, plain containers of tensors and numbers, as bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load_state(saved: bytes) -> dict[str, Any]:
    """Return the training state that `save_state` saved."""
    return torch.load(io.BytesIO(saved), weights_only=True, map_location="cpu")
