"""How far a policy's expectation of its own error may be trusted: a plane fitted on shards.

The expectation of `envs.expected_error` takes logits at their word and superpixels for pure. The
logits are surer than they should be, and impure superpixels are wrong before the first merge. A
slope makes up for the first. What superpixels mix up lies where membranes are, so the second goes
with the share of the volume that is membrane: with it, VI of blocks that the policy was not trained
on is told better than with a constant alone (docs/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls


class Estimate(NamedTuple):
    """What is known of a shard's segmentation.

    Attributes:
        true_vi: against the labels, bits.
        expected_vi: told from the merge tree, bits.
        membrane: share of the shard that is membrane, 0..1, see `membrane_share`.
    """

    true_vi: float
    expected_vi: float
    membrane: float


class ErrorCalibration(NamedTuple):
    """VI = intercept + slope · expectation + membrane · share of membrane, in bits.

    Attributes:
        slope: at least 0.
        intercept: at least 0.
        rms: root of the mean square of what the plane leaves, over the shards it was fitted to.
        n_shards: so many.
        membrane: at least 0; 0 in policies from before there was this term.
    """

    slope: float
    intercept: float
    rms: float
    n_shards: int
    membrane: float = 0.0

    def __call__(self, expected: float, membrane: float) -> float:
        """Return the VI that an expectation stands for in a volume with so much membrane."""
        return self.intercept + self.slope * expected + self.membrane * membrane


def membrane_share(boundary: npt.NDArray[np.integer], sizes: npt.NDArray[np.integer]) -> float:
    """Return the mean boundary value of some regions, 0..1; 0 of none.

    Args:
        boundary: (R,) integer, sums of 8-bit boundary values.
        sizes: (R,) integer, voxels.
    """
    n = int(np.sum(sizes))
    return int(np.sum(boundary)) / (255.0 * n) if n else 0.0


def fit_calibration(estimates: Sequence[Estimate]) -> ErrorCalibration | None:
    """Fit the plane by least squares, no number negative; None of fewer than three shards."""
    if len(estimates) < 3:
        return None
    true, expected, membrane = np.array(estimates, np.float64).T
    ones = np.ones_like(expected)
    (slope, share, intercept), rest = nnls(np.stack([expected, membrane, ones], 1), true)
    return ErrorCalibration(
        float(slope),
        float(intercept),
        float(rest / np.sqrt(len(estimates))),
        len(estimates),
        float(share),
    )
