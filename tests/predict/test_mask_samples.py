from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.mask_samples import LARGEST_SUM, N_SHELLS, MaskSamples

SIZES = [(10.0, 10.0, 10.0), (8.0, 8.0, 8.0), (30.0, 6.0, 6.0), (40.0, 4.0, 4.0), (50.0, 9.0, 7.0)]


@pytest.mark.parametrize(
    ("size", "step", "n"),
    [
        (SIZES[0], (3, 3, 3), (26, 152, 440)),
        (SIZES[1], (4, 4, 4), (18, 152, 344)),
        (SIZES[2], (1, 5, 5), (26, 152, 440)),
        (SIZES[3], (1, 8, 8), None),
        ((22.0, 22.0, 22.0), (1, 1, 1), None),
    ],
)
def test_samples_are_at_equal_distances_in_nanometres(size, step, n):
    samples = MaskSamples.around(160.0, size)
    assert samples.step_vox == step
    in_shells = np.bincount(samples.shells)
    if n is not None:  # whole numbers z² + y² + x² by the ways to write them, as r₃ counts them
        assert tuple(in_shells) == n
    places = samples.offsets * samples.step_vox * size
    distances = np.linalg.norm(places, axis=1)
    assert np.all(np.ceil(distances / 160 * N_SHELLS - 1e-9) - 1 == samples.shells)
    np.testing.assert_allclose(samples.directions, places / distances[:, None], atol=1e-12)
    volume = 4 / 3 * math.pi * 160**3 / math.prod(np.multiply(step, size))
    assert len(distances) == pytest.approx(volume, rel=0.06)


def test_samples_are_few_hundred_of_the_usual_voxels():
    for size in SIZES:
        assert 270 <= len(MaskSamples.around(160.0, size).shells) <= 700


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(3, 40)] * 3), st.floats(130, 400), st.integers(0, 2**31), st.booleans()
)
def test_no_mask_is_too_much_for_sixteen_bits(size, radius, seed, is_cubic):
    samples = MaskSamples.around(radius, (size[0],) * 3 if is_cubic else size)
    weights, units = samples.weights()
    rng = np.random.default_rng(seed)
    for shell, (unit, unit_tensor) in enumerate(units):
        mine = weights[samples.shells == shell].astype(np.int64)
        for sign in (1, -1):
            most = np.maximum(sign * mine, 0).sum(axis=0)
            assert 0 <= most.min() <= most.max() <= LARGEST_SUM
        # And they are the directions and their tensors, to a fraction of a unit.
        d = samples.directions[samples.shells == shell]
        mask = rng.integers(0, 2, len(d))
        np.testing.assert_allclose(mask @ mine[:, :3] / unit, mask @ d, atol=len(d) / unit)
        tensor = np.einsum("n,ni,nj->ij", mask, d, d) - mask.sum() / 3 * np.eye(3)
        wanted = tensor[[0, 1, 1, 2, 2], [0, 1, 0, 0, 1]]
        np.testing.assert_allclose(
            mask @ mine[:, 3:] / unit_tensor, wanted, atol=2 * len(d) / unit_tensor
        )


def test_counts_are_those_of_any_box():
    samples = MaskSamples.around(70.0, (20.0, 10.0, 15.0))
    reach, counts = samples.offsets.max(axis=0), samples.counts()
    rng = np.random.default_rng(0)
    for _ in range(30):
        lo, hi = np.sort(rng.integers(-reach, reach + 1, (2, 3)), axis=0)
        is_in = ((samples.offsets >= lo) & (samples.offsets <= hi)).all(axis=1)
        wanted = np.bincount(samples.shells[is_in], minlength=N_SHELLS)
        cut = counts
        for axis in (1, 2, 3):
            corners = lo[axis - 1] + reach[axis - 1], hi[axis - 1] + reach[axis - 1] + 1
            cut = np.diff(cut.take(corners, axis=axis), axis=axis)
        np.testing.assert_array_equal(cut.ravel(), wanted)


def test_bad_input():
    cubes = SIZES[0]
    for radius in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="the radius must be positive and finite, got"):
            MaskSamples.around(radius, cubes)
    with pytest.raises(
        InputError, match=r"of 20 nm is too small for voxels of 10 10 10 nm .* 1 of"
    ):
        MaskSamples.around(20.0, cubes)
    with pytest.raises(InputError, match=r"of 2570 nm is more than 256 voxels of 40 10 20 nm"):
        MaskSamples.around(2570.0, (40.0, 10.0, 20.0))
    with pytest.raises(InputError, match="voxel_size_nm must be three positive numbers"):
        MaskSamples.around(160.0, (0.0, 1.0, 1.0))
