"""Chance as a function: numbers that look random and depend on their arguments alone.

Whatever is drawn for a pair, a region or an edge must not depend on the order of events, so nothing
here has a state. Mixing is the finaliser of splitmix64 (Steele, Lea & Flood 2014).
"""

from __future__ import annotations

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio."""


@njit(cache=True)
def mix(x):
    """Scramble 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True)
def hashed(seed, a, b):
    """Return 64 bits that depend on the three integers, a and b not negative."""
    x = mix(np.uint64(seed) + GOLDEN * (np.uint64(a) + np.uint64(1)))
    return mix(x + GOLDEN * (np.uint64(b) + np.uint64(1)))


@njit(cache=True)
def uniform(seed, a, b):
    """Return a number in [0, 1) that depends on the three integers only."""
    return float(hashed(seed, a, b) >> np.uint64(11)) * 2.0**-53


@njit(cache=True)
def gaussian(seed, a, b):
    """Return a standard normal number that depends on the three integers only (Box–Muller)."""
    x = hashed(seed, a, b)
    y = mix(x + GOLDEN)
    u = (float(x >> np.uint64(11)) + 1.0) * 2.0**-53
    v = float(y >> np.uint64(11)) * 2.0**-53
    return np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v)
