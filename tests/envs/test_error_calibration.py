from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from envs.error_calibration import fit_calibration


def test_a_line_is_found() -> None:
    found = fit_calibration([(0.5 + 2 * x, x) for x in (0.1, 0.2, 0.4)])
    assert found is not None
    assert (found.slope, found.intercept) == (pytest.approx(2), pytest.approx(0.5))
    assert found.rms == pytest.approx(0, abs=1e-9)
    assert found.n_shards == 3
    assert found(0.3) == pytest.approx(1.1)


def test_an_expectation_that_misleads_is_not_used() -> None:
    found = fit_calibration([(3.0, 0.1), (2.0, 0.2), (1.0, 0.3)])
    assert found is not None
    assert (found.slope, found.intercept) == (0, pytest.approx(2))


def test_two_pairs_are_too_few() -> None:
    assert fit_calibration([(1.0, 1.0), (2.0, 2.0)]) is None


@given(hs.lists(hs.tuples(hs.floats(0, 5), hs.floats(0, 5)), min_size=3, max_size=9))
def test_no_other_line_upwards_is_nearer(pairs: list[tuple[float, float]]) -> None:
    found = fit_calibration(pairs)
    assert found is not None
    true, expected = np.array(pairs).T
    for slope in np.linspace(0, 3, 13):
        for intercept in np.linspace(0, 5, 11):
            rms = np.sqrt(np.mean((intercept + slope * expected - true) ** 2))
            assert found.rms <= rms + 1e-6
