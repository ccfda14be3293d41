from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from envs.error_calibration import Estimate, fit_calibration, membrane_share

MEMBRANES = (0.3, 0.1, 0.2, 0.25)


def test_a_plane_is_found() -> None:
    expected = (0.1, 0.2, 0.4, 0.3)
    found = fit_calibration(
        [Estimate(0.5 + 2 * x + 3 * m, x, m) for x, m in zip(expected, MEMBRANES, strict=True)]
    )
    assert found is not None
    numbers = (found.slope, found.membrane, found.intercept)
    assert numbers == (pytest.approx(2), pytest.approx(3), pytest.approx(0.5))
    assert found.rms == pytest.approx(0, abs=1e-9)
    assert found.n_shards == 4
    assert found(0.3, 0.1) == pytest.approx(1.4)


def test_an_expectation_that_misleads_is_not_used() -> None:
    found = fit_calibration([Estimate(3.0, 0.1, 0), Estimate(2.0, 0.2, 0), Estimate(1.0, 0.3, 0)])
    assert found is not None
    assert (found.slope, found.membrane) == (0, 0)
    assert found.intercept == pytest.approx(2)


def test_two_shards_are_too_few() -> None:
    assert fit_calibration([Estimate(1.0, 1.0, 0.2), Estimate(2.0, 2.0, 0.3)]) is None


def test_the_share_of_membrane_is_the_mean_boundary_value() -> None:
    assert membrane_share(np.array([255, 51]), np.array([2, 4])) == pytest.approx(306 / 255 / 6)
    assert membrane_share(np.array([510]), np.array([2])) == 1
    assert membrane_share(np.array([], np.int64), np.array([], np.int64)) == 0


ESTIMATES = hs.builds(Estimate, hs.floats(0, 5), hs.floats(0, 5), hs.floats(0, 1))


@given(hs.lists(ESTIMATES, min_size=3, max_size=9))
def test_no_other_plane_upwards_is_nearer(estimates: list[Estimate]) -> None:
    found = fit_calibration(estimates)
    assert found is not None
    true, expected, membrane = np.array(estimates).T
    for slope in np.linspace(0, 3, 7):
        for share in np.linspace(0, 6, 7):
            for intercept in np.linspace(0, 5, 6):
                plane = intercept + slope * expected + share * membrane
                assert found.rms <= np.sqrt(np.mean((plane - true) ** 2)) + 1e-6
