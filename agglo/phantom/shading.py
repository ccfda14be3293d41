"""Grey levels of what lies inside a neurite, at its membrane and at a synapse.

Small functions of one point, called once a voxel. Points and lengths are in straight nm, z, y, x.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from agglo.phantom.hashing import hash_position, mix, stream_key, unit
from agglo.phantom.skeleton import MITOCHONDRION, NO_BODY

_CYTOPLASM, _PAIR, _VESICLE = 80, 81, 82

MEMBRANE_GREY = 78.0
_MITOCHONDRION_GREY = 84.0
_OUTLINE_GREY = 62.0
_LUMEN_GREY = 172.0
_TUBULE_WALL_GREY = 98.0
_SYNAPSE_GREY = 48.0
_VESICLE_GREY = 88.0

SYNAPSE_REACH_NM = 160.0
"""Nothing of a synapse is seen farther from its site."""

_TBAR_NM = 36.0
_DENSITY_NM = 70.0
_VESICLE_CELL_NM = 52.0
_VESICLE_NM = 21.0


@njit(cache=True)
def bump(q):
    """Return a smooth hill of height 1 at 0 that ends at q = 1."""
    if q >= 1.0:
        return 0.0
    r = 1.0 - q * q
    return r * r


@njit(cache=True)
def cytoplasm_grey(seed, neurite):
    """Return the mean grey level of a neurite's cytoplasm; a few neurites are dark."""
    h = mix(neurite ^ stream_key(seed, _CYTOPLASM))
    u = unit(h)
    return 138.0 + 24.0 * u if u > 0.12 else 108.0 + 100.0 * u


@njit(cache=True)
def pair_visibility(seed, faint, one, other):
    """Return how well the membrane between two neurites is seen, the same either way round."""
    h = mix(min(one, other) ^ stream_key(seed, _PAIR))
    u = unit(mix(h ^ max(one, other)))
    return 0.35 + 0.35 * u / faint if u < faint else 1.0


@njit(cache=True)
def shade_bodies(neurite, candidates, n, ids, segments, bodies, inside_nm, texture, z, y, x, grey):
    """Return the grey level after drawing the organelles of a neurite at a point.

    `inside_nm` is the distance to the membrane and `grey` the level of the cytoplasm.
    """
    nearest = np.inf
    kind = float(NO_BODY)
    for m in range(n):
        node = candidates[m]
        if bodies[node, 0] == NO_BODY or ids[node] != neurite:
            continue
        segment = segments[node]
        body = bodies[node]
        az = z - segment[0] - body[3]
        ay = y - segment[1] - body[4]
        ax = x - segment[2] - body[5]
        along = az * segment[3] + ay * segment[4] + ax * segment[5]
        off = along - min(max(along, body[1]), body[2])
        across = az * az + ay * ay + ax * ax - along * along
        d = math.sqrt(max(across, 0.0) + off * off) - body[6]
        if d < nearest:
            nearest = d
            kind = body[0]
    if kind == NO_BODY or nearest > 24.0:
        return grey
    if kind == MITOCHONDRION:
        d = max(nearest, 30.0 - inside_nm)
        fill = min(max(0.5 - d / 12.0, 0.0), 1.0)
        body_grey = _MITOCHONDRION_GREY + 9.0 * texture
        outline = bump(abs(d + 5.0) / 11.0)
        body_grey += 0.7 * outline * (_OUTLINE_GREY - body_grey)
        return grey + fill * (body_grey - grey)
    d = max(nearest, 34.0 - inside_nm)
    fill = min(max(0.5 - d / 12.0, 0.0), 1.0)
    grey += fill * (_LUMEN_GREY - grey)
    return grey + 0.8 * bump(abs(d) / 14.0) * (_TUBULE_WALL_GREY - grey)


@njit(cache=True)
def shade_synapse(seed, site, direction, is_pre, is_post, inside_nm, z, y, x, grey):
    """Return the grey level after drawing one synapse at a point of one of its two neurites."""
    dz = z - site[0]
    dy = y - site[1]
    dx = x - site[2]
    far = math.sqrt(dz * dz + dy * dy + dx * dx)
    if far >= SYNAPSE_REACH_NM:
        return grey
    if is_pre:
        bz = dz + 20.0 * direction[0]
        by = dy + 20.0 * direction[1]
        bx = dx + 20.0 * direction[2]
        tbar = bump(math.sqrt(bz * bz + by * by + bx * bx) / _TBAR_NM)
        grey += tbar * (_SYNAPSE_GREY - grey)
        if inside_nm > 24.0 and tbar == 0.0:
            grey = _shade_vesicle(seed, far, z, y, x, grey)
    if is_pre or is_post:
        density = bump(far / _DENSITY_NM) * bump(inside_nm / 26.0)
        grey += 0.8 * density * (_SYNAPSE_GREY - grey)
    return grey


@njit(cache=True)
def _shade_vesicle(seed, far, z, y, x, grey):
    """Draw the vesicle, if there is one, of the vesicle cell a point lies in."""
    iz = np.int64(math.floor(z / _VESICLE_CELL_NM))
    iy = np.int64(math.floor(y / _VESICLE_CELL_NM))
    ix = np.int64(math.floor(x / _VESICLE_CELL_NM))
    h = hash_position(stream_key(seed, _VESICLE), iz, iy, ix)
    if unit(h) > 1.1 * (1.0 - far / SYNAPSE_REACH_NM) + 0.2:
        return grey
    slack = _VESICLE_CELL_NM - 2.0 * _VESICLE_NM
    vz = z - iz * _VESICLE_CELL_NM - _VESICLE_NM - slack * unit(mix(h + np.uint64(1)))
    vy = y - iy * _VESICLE_CELL_NM - _VESICLE_NM - slack * unit(mix(h + np.uint64(2)))
    vx = x - ix * _VESICLE_CELL_NM - _VESICLE_NM - slack * unit(mix(h + np.uint64(3)))
    d = math.sqrt(vz * vz + vy * vy + vx * vx)
    return grey + 0.75 * bump(abs(d - 12.0) / 9.0) * (_VESICLE_GREY - grey)
