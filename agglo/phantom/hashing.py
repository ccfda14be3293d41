"""Hashes of integer positions and the value noise made of them.

All triples are z, y, x; hashes and keys are uint64, positions int64 or float64. Everything random
in the phantom comes from here, so everything is a pure function of (key, integer position): no
state, no order of evaluation, no transcendental function whose last bit depends on the machine.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_S11 = np.uint64(11)
_S27 = np.uint64(27)
_S30 = np.uint64(30)
_S31 = np.uint64(31)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@njit(cache=True)
def mix(h):
    """Scramble 64 bits one to one (the finaliser of Steele, Lea and Flood's SplitMix, 2014)."""
    h = np.uint64(h)
    h = (h ^ (h >> _S30)) * _MULTIPLY_1
    h = (h ^ (h >> _S27)) * _MULTIPLY_2
    return h ^ (h >> _S31)


@njit(cache=True)
def stream_key(seed, stream):
    """Return the key of one independent stream of a seed."""
    return mix(mix(np.uint64(seed) + _STEP) + np.uint64(stream) * _STEP)


@njit(cache=True)
def hash_position(key, z, y, x):
    """Return the 64-bit hash of an integer position, negative ones included."""
    h = mix(np.uint64(key) ^ (np.uint64(np.int64(z)) * _STEP))
    h = mix(h ^ (np.uint64(np.int64(y)) * _STEP))
    return mix(h ^ (np.uint64(np.int64(x)) * _STEP))


@njit(cache=True)
def unit(h):
    """Turn a hash into a number in [0, 1)."""
    return float(np.uint64(h) >> _S11) * _TO_UNIT


@njit(cache=True)
def unit_at(key, z, y, x):
    """Return the number in [0, 1) that belongs to an integer position."""
    return unit(hash_position(key, z, y, x))


@njit(cache=True)
def value_noise(key, z, y, x):
    """Interpolate hashed values at integer positions smoothly.

    Cubic smoothstep between the eight corners, so the noise is C1, lies in (-1, 1), and its
    gradient is nowhere longer than 3 (Lagae et al., A survey of procedural noise functions, 2010,
    section on lattice value noise).
    """
    z0 = math.floor(z)
    y0 = math.floor(y)
    x0 = math.floor(x)
    fz = z - z0
    fy = y - y0
    fx = x - x0
    fz = fz * fz * (3.0 - 2.0 * fz)
    fy = fy * fy * (3.0 - 2.0 * fy)
    fx = fx * fx * (3.0 - 2.0 * fx)
    iz = np.int64(z0)
    iy = np.int64(y0)
    ix = np.int64(x0)
    total = 0.0
    for dz in range(2):
        hz = mix(np.uint64(key) ^ (np.uint64(iz + dz) * _STEP))
        wz = fz if dz == 1 else 1.0 - fz
        for dy in range(2):
            hy = mix(hz ^ (np.uint64(iy + dy) * _STEP))
            wy = wz * (fy if dy == 1 else 1.0 - fy)
            a = unit(mix(hy ^ (np.uint64(ix) * _STEP)))
            b = unit(mix(hy ^ (np.uint64(ix + 1) * _STEP)))
            total += wy * (a + fx * (b - a))
    return 2.0 * total - 1.0
