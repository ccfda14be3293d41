"""A phantom: an unbounded volume like electron microscopy, with exact labels, made by formula."""

from __future__ import annotations

from agglo.phantom.config import PhantomConfig
from agglo.phantom.volume import SYNAPSE_DTYPE, Phantom, make_phantom

__all__ = ["SYNAPSE_DTYPE", "Phantom", "PhantomConfig", "make_phantom"]
