"""Evidence of a boundary at the contacts of superpixels, for the methods that take no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.forest import boundary_probability
from benchmarks.accuracy.trial import Trial
from envs.rollout import initial_decisions
from envs.scorers import MeanBoundary


class Evidence(NamedTuple):
    """Evidence of a boundary at the contacts of superpixels.

    Attributes:
        train: (E,) float64 in [0, 1] for each training part.
        test: computes that of the test part.
        seconds: wall time of learning it.
    """

    train: list[npt.NDArray[np.float64]]
    test: Callable[[], npt.NDArray[np.float64]]
    seconds: float


def mean_boundary(trial: Trial) -> Evidence:
    """Take the mean boundary value of a contact."""
    return Evidence(
        [scene.mean_boundary for scene in trial.train], lambda: trial.test.mean_boundary, 0.0
    )


def forest(trial: Trial) -> Evidence:
    """Take the word of a random forest, out of bag for the training parts."""
    fitted, train, seconds = trial.forest

    def test() -> npt.NDArray[np.float64]:
        scene = trial.test
        features, _ = initial_decisions(scene.graph, scene.truth, MeanBoundary(0.0))
        return boundary_probability(fitted, features)

    return Evidence(train, test, seconds)
