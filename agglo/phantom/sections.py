"""What goes wrong from section to section, and shot noise. All triples are z, y, x."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from agglo.phantom.config import PhantomConfig
from agglo.phantom.hashing import hash_position, mix, stream_key, unit, unit_at

_SECTION, _SHOT = 70, 71
GOOD, PALE, STREAKED, BLURRED = 0, 1, 2, 3
"""Kinds of sections: as they should be, low contrast, with a dark band, out of focus."""

BLUR_NM = 34.0
"""How much wider a membrane is in a section out of focus."""

_MIDDLE_GREY = 128.0
_BAND_PERIOD = 24.0  # node spacings
_BAND_SHARE = 0.12
_NOISE_WHITE = 0.4  # weight of white noise; the rest is the same noise smeared over neighbours


@njit(cache=True)
def section_effects(
    seed: int,
    jitter: float,
    bad_rate: float,
    first: int,
    out_gain: npt.NDArray[np.float64],
    out_shift: npt.NDArray[np.float64],
    out_kind: npt.NDArray[np.int64],
) -> None:
    """Draw contrast, brightness and kind of the sections first, first + 1, ...

    Args:
        seed: Seed of the phantom.
        jitter: Standard deviation of the brightness in grey levels.
        bad_rate: Probability of a bad section.
        first: Global index of the first section.
        out_gain: (n,) float64, receives the factor of the contrast.
        out_shift: (n,) float64, receives the change of brightness.
        out_kind: (n,) int64, receives the kind.
    """
    for i in range(out_gain.shape[0]):
        h = hash_position(stream_key(seed, _SECTION), first + i, 0, 0)
        gain = 1.0 + 0.02 * jitter * (unit(mix(h + np.uint64(1))) - 0.5)
        kind = GOOD
        if unit(h) < bad_rate:
            kind = 1 + np.int64(3.0 * unit(mix(h + np.uint64(2))))
        if kind == PALE:
            gain *= 0.25 + 0.3 * unit(mix(h + np.uint64(3)))
        out_gain[i] = max(gain, 0.1)
        out_kind[i] = kind
        # The sum of four uniform numbers has variance 1/3.
        total = -2.0
        for part in range(4):
            total += unit(mix(h + np.uint64(4 + part)))
        out_shift[i] = jitter * 1.7320508075688772 * total


def expose(
    config: PhantomConfig,
    offset: npt.NDArray[np.int64],
    clean: npt.NDArray[np.float32],
    gain: npt.NDArray[np.float64],
    shift: npt.NDArray[np.float64],
    kind: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    """Turn ideal grey levels into the image: section effects, shot noise, 8 bits.

    Args:
        config: The phantom.
        offset: (3,) int64, global index of the first voxel.
        clean: (z, y, x) float32, ideal grey levels.
        gain: (z,) float64, from `section_effects`.
        shift: (z,) float64, likewise.
        kind: (z,) int64, likewise.

    Returns:
        (z, y, x) uint8.
    """
    image = np.empty(clean.shape, dtype=np.uint8)
    size = np.array(config.voxel_size_nm)
    _expose(
        config.seed,
        config.noise,
        bool(size[0] < 2.0 * min(size[1], size[2])),
        size / (config.node_spacing_nm * _BAND_PERIOD),
        offset,
        clean,
        gain,
        shift,
        kind,
        image,
    )
    return image


@njit(cache=True)
def _white_plane(key, z, y0, x0, out_plane):
    """Fill a plane with numbers of mean 0 and variance 1/3, four 16-bit uniform ones summed."""
    step = np.uint64(0x9E3779B97F4A7C15)
    low = np.uint64(0xFFFF)
    plane_key = mix(key ^ (np.uint64(np.int64(z)) * step))
    for j in range(out_plane.shape[0]):
        row_key = mix(plane_key ^ (np.uint64(np.int64(y0 + j)) * step))
        for k in range(out_plane.shape[1]):
            h = mix(row_key ^ (np.uint64(np.int64(x0 + k)) * step))
            total = (
                np.int32(h & low)
                + np.int32((h >> np.uint64(16)) & low)
                + np.int32((h >> np.uint64(32)) & low)
                + np.int32(h >> np.uint64(48))
            )
            out_plane[j, k] = total - np.int32(131070)


@njit(cache=True)
def _smear_plane(white, out_plane):
    """Smear with 1-2-1 along y and x; the output is a margin of one smaller all round."""
    rows = np.empty((white.shape[0], white.shape[1] - 2), np.int32)
    for j in range(white.shape[0]):
        for k in range(rows.shape[1]):
            rows[j, k] = white[j, k] + 2 * white[j, k + 1] + white[j, k + 2]
    for j in range(out_plane.shape[0]):
        for k in range(out_plane.shape[1]):
            out_plane[j, k] = rows[j, k] + 2 * rows[j + 1, k] + rows[j + 2, k]


@njit(cache=True)
def _expose(seed, noise, smear_z, band_step, offset, clean, gain, shift, kind, out_image):
    nz, ny, nx = clean.shape
    key = stream_key(seed, _SHOT)
    white = np.empty((3, ny + 2, nx + 2), np.int32)
    smeared = np.empty((3, ny, nx), np.int32)
    # Standard deviations: white 65536 / sqrt(3); 1-2-1 multiplies by sqrt(6) along each axis.
    smear = 6.0 * np.sqrt(6.0) if smear_z else 6.0
    alike = (8.0 if smear_z else 4.0) / smear  # correlation of white and smeared noise
    rest = 1.0 - _NOISE_WHITE
    total = np.sqrt(_NOISE_WHITE**2 + rest**2 + 2.0 * _NOISE_WHITE * rest * alike)
    white_scale = _NOISE_WHITE * noise * 1.7320508075688772 / (65536.0 * total)
    smear_scale = rest * noise * 1.7320508075688772 / (65536.0 * total * smear)
    for i in range(-1, nz + 1):
        slot = (i + 1) % 3
        if smear_z or 0 <= i < nz:
            _white_plane(key, offset[0] + i, offset[1] - 1, offset[2] - 1, white[slot])
            _smear_plane(white[slot], smeared[slot])
        z = i - 1 if smear_z else i  # the section that is complete now
        if not 0 <= z < nz:
            continue
        mine = (z + 1) % 3
        before = z % 3
        after = (z + 2) % 3
        band_at = unit_at(stream_key(seed, _SECTION), offset[0] + z, 1, 0)
        band_slope = 2.0 * unit_at(stream_key(seed, _SECTION), offset[0] + z, 2, 0) - 1.0
        for j in range(ny):
            for k in range(nx):
                grey = np.float64(clean[z, j, k])
                grey = _MIDDLE_GREY + gain[z] * (grey - _MIDDLE_GREY) + shift[z]
                if kind[z] == STREAKED:
                    phase = (
                        band_at
                        + (offset[1] + j) * band_step[1]
                        + band_slope * ((offset[2] + k) * band_step[2])
                    )
                    phase -= np.floor(phase)
                    if phase < _BAND_SHARE:
                        q = 2.0 * phase / _BAND_SHARE - 1.0
                        grey *= 1.0 - 0.45 * (1.0 - q * q)
                grain = smear_scale * (
                    smeared[before, j, k] + 2 * smeared[mine, j, k] + smeared[after, j, k]
                    if smear_z
                    else smeared[mine, j, k]
                )
                grey += grain + white_scale * white[mine, j + 1, k + 1]
                out_image[z, j, k] = np.uint8(min(max(np.floor(grey + 0.5), 0.0), 255.0))
