"""How the learning rate changes during a run."""

from __future__ import annotations

import math


def one_cycle(progress: float, warm_up: float) -> float:
    """Return the share of the highest learning rate: a linear rise, then half a cosine.

    Args:
        progress: share of the run that is done, 0..1.
        warm_up: share of the run in which the rate rises.
    """
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
