"""How far a policy's expectation of its own error may be trusted: a line fitted on shards.

The expectation of `envs.expected_error` takes logits at their word and superpixels for pure. The
logits are surer than they should be, and impure superpixels are wrong before the first merge: a
slope and an intercept make up for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls


class ErrorCalibration(NamedTuple):
    """VI = intercept + slope · expectation, in bits.

    Attributes:
        slope: at least 0.
        intercept: at least 0.
        rms: root of the mean square of what the line leaves, over the shards it was fitted to.
        n_shards: so many.
    """

    slope: float
    intercept: float
    rms: float
    n_shards: int

    def __call__(self, expected: float) -> float:
        """Return the VI that an expectation stands for."""
        return self.intercept + self.slope * expected


def fit_calibration(pairs: Sequence[tuple[float, float]]) -> ErrorCalibration | None:
    """Fit the line by least squares, neither number negative; None of fewer than three pairs.

    Args:
        pairs: true VI and expectation of every shard.
    """
    if len(pairs) < 3:
        return None
    true, expected = np.array(pairs, np.float64).T
    (slope, intercept), rest = nnls(np.stack([expected, np.ones_like(expected)], 1), true)
    return ErrorCalibration(
        float(slope), float(intercept), float(rest / np.sqrt(len(pairs))), len(pairs)
    )
