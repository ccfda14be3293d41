from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.phantom.hashing import hash_position, mix, stream_key, unit, unit_at, value_noise

GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
COORDINATES = st.integers(-(2**40), 2**40)


def python_mix(h: int) -> int:
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & MASK
    return h ^ (h >> 31)


def python_hash(key: int, *position: int) -> int:
    h = key
    for i, p in enumerate(position):
        assert i < 3
        h = python_mix(h ^ ((p * GOLDEN) & MASK))
    return h


def test_mix_makes_the_published_splitmix_sequence():
    # First outputs of SplitMix64 seeded with 0, as in Vigna's reference implementation.
    published = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    assert tuple(mix(np.uint64((n * GOLDEN) & MASK)) for n in (1, 2, 3)) == published


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(0, 99), COORDINATES, COORDINATES, COORDINATES)
def test_hash_equals_its_python_twin(seed, stream, z, y, x):
    key = python_mix((python_mix((seed + GOLDEN) & MASK) + stream * GOLDEN) & MASK)
    assert stream_key(seed, stream) == key
    assert hash_position(np.uint64(key), z, y, x) == python_hash(key, z, y, x)
    assert unit_at(np.uint64(key), z, y, x) == (python_hash(key, z, y, x) >> 11) / 2**53


def test_units_are_uniform():
    values = np.array(
        [unit_at(np.uint64(9), i - 50, -j, 7) for i in range(100) for j in range(100)]
    )
    counts = np.histogram(values, bins=10, range=(0, 1))[0]
    assert np.all(np.abs(counts - 1000) < 150)
    assert 0 <= values.min()
    assert values.max() < 1


def test_noise_at_a_lattice_point_is_its_hashed_value():
    for z, y, x in ((0, 0, 0), (-3, 5, 2), (7, -1, -9)):
        expected = 2 * unit(np.uint64(python_hash(5, z, y, x))) - 1
        assert value_noise(np.uint64(5), float(z), float(y), float(x)) == expected


def test_noise_half_way_is_the_mean_of_eight_corners():
    corners = [
        unit_at(np.uint64(8), -1 + a, 2 + b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)
    ]
    assert math.isclose(value_noise(np.uint64(8), -0.5, 2.5, 0.5), 2 * np.mean(corners) - 1)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**62),
    st.tuples(*[st.floats(-1e4, 1e4)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 3),
)
def test_noise_is_bounded_and_nowhere_steeper_than_three(key, at, step):
    length = math.sqrt(sum(s * s for s in step)) * 1e-2
    there = tuple(a + 1e-2 * s for a, s in zip(at, step, strict=True))
    here = value_noise(np.uint64(key), *at)
    assert -1 <= here <= 1
    assert abs(value_noise(np.uint64(key), *there) - here) <= 3.0 * length + 1e-9
