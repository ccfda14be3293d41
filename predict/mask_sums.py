"""The compiled sums behind object masks: all samples of a line of voxels at once.

A line holds `LINE` voxels along x. Samples that mirror each other are taken together: of eight
reflections the sums and differences that a Walsh–Hadamard transform gives are all that is weighted,
once instead of eight times. All is in 16 bits, which may wrap around on the way, because sums fit.

The accumulators of a line lie one behind the other in one array with the line's own labels, at
distances known when compiled; only so does LLVM find that nothing overlaps and make vector
instructions. For the same reason the truth values come from outside: knowing that they are 0 and 1
it would widen everything to 64 bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LINE = 128
"""Voxels worked on at once, whole vectors of any machine; accumulators stay in the first cache."""

OWN, COUNT, D_Z, D_Y, D_X, T_ZZ, T_YY, T_ZY, T_ZX, T_YX, INSIDE = (LINE * n for n in range(11))
N_SUMS = 11

HIGHEST = 255
WORD = np.int16


@njit(cache=True, nogil=True, error_model="numpy")
def fill_channels(
    labels, offsets, weights, begins, counts, first, last, factors, truth, sums, out_channels
) -> None:
    """Fill the channels of a block.

    Args:
        labels: (z, y, x) int16, the block with its halo, 0 where there is no object or no
            volume; along x as many whole lines as the block touches, and the halo.
        offsets: (n, 3) int64 in voxels, at least 0: one of each set of mirror images; sorted by
            shell and, in it, by the number of axes along which they are not 0, three first.
        weights: (n, 8) int16.
        begins: (shells, 4) int64, where each part of `offsets` begins, and ends.
        counts: (shells, …) int64, `MaskSamples.counts`.
        first: of z, y, x in turn, (extents,) int64: the first corner in `counts` that lies in the
            volume as seen from a voxel of the block.
        last: the corner behind the last.
        factors: (shells, 3) float64, 8-bit steps of a channel for a mean of 1 in its units.
        truth: (2,) int16, 0 and 1.
        sums: (`N_SUMS` · `LINE`,) int16, for use in here.
        out_channels: (3 · shells, z, y, x) uint8, of 0.
    """
    n_shells, _ = factors.shape
    _, depth, height, width = out_channels.shape
    halo_z = (labels.shape[0] - depth) // 2
    halo_y = (labels.shape[1] - height) // 2
    halo_x = (labels.shape[2] - (width + LINE - 1) // LINE * LINE) // 2
    row, section = labels.shape[2], labels.shape[1] * labels.shape[2]
    near = labels.reshape(labels.size)
    for z in range(depth):
        for y in range(height):
            for begin in range(0, width, LINE):
                place = ((z + halo_z) * labels.shape[1] + y + halo_y) * row + halo_x + begin
                sums[:LINE] = near[place : place + LINE]
                if not sums[:LINE].any():
                    continue
                sums[INSIDE:] = 1  # where a line reaches beyond the block
                for shell in range(n_shells):
                    sums[LINE:INSIDE] = 0
                    a, b, c, d = begins[shell]
                    _add_eights(near, place, section, row, offsets[a:b], weights[a:b], truth, sums)
                    _add_fours(near, place, section, row, offsets[b:c], weights[b:c], truth, sums)
                    _add_twos(near, place, section, row, offsets[c:d], weights[c:d], truth, sums)
                    inside = (
                        counts[shell, last[0][z], last[1][y]]
                        - counts[shell, last[0][z], first[1][y]]
                        - counts[shell, first[0][z], last[1][y]]
                        + counts[shell, first[0][z], first[1][y]]
                    )
                    end = min(begin + LINE, width)
                    for i in range(end - begin):
                        inside_x = inside[last[2][begin + i]] - inside[first[2][begin + i]]
                        sums[i + INSIDE] = max(inside_x, 1)
                    _reduce(sums, factors[shell])
                    for n in range(3):
                        results = sums[(1 + n) * LINE : (1 + n) * LINE + end - begin]
                        out_channels[3 * shell + n, z, y, begin:end] = results


@njit(cache=True, nogil=True, error_model="numpy")
def _add_eights(near, place, section, row, offsets, weights, truth, sums) -> None:
    """Add the eight reflections of samples that lie in no plane through the voxel."""
    no, yes = truth[0], truth[1]
    for n in range(len(offsets)):
        z, y, x = offsets[n, 0] * section, offsets[n, 1] * row, offsets[n, 2]
        d_z, d_y, d_x, t_zz, t_yy, t_zy, t_zx, t_yx = _eight(weights[n])
        row_0, row_1 = near[place - z - y - x :], near[place - z - y + x :]
        row_2, row_3 = near[place - z + y - x :], near[place - z + y + x :]
        row_4, row_5 = near[place + z - y - x :], near[place + z - y + x :]
        row_6, row_7 = near[place + z + y - x :], near[place + z + y + x :]
        for i in range(LINE):
            own = sums[i]
            a = yes if row_0[i] == own else no
            b = yes if row_1[i] == own else no
            c = yes if row_2[i] == own else no
            d = yes if row_3[i] == own else no
            e = yes if row_4[i] == own else no
            f = yes if row_5[i] == own else no
            g = yes if row_6[i] == own else no
            h = yes if row_7[i] == own else no
            ab, cd, ef, gh = WORD(b + a), WORD(d + c), WORD(f + e), WORD(h + g)
            ba, dc, fe, hg = WORD(b - a), WORD(d - c), WORD(f - e), WORD(h - g)
            low, low_y, high, high_y = WORD(cd + ab), WORD(cd - ab), WORD(gh + ef), WORD(gh - ef)
            low_x, low_yx = WORD(dc + ba), WORD(dc - ba)
            high_x, high_yx = WORD(hg + fe), WORD(hg - fe)
            seen = WORD(high + low)
            sums[i + COUNT] = WORD(sums[i + COUNT] + seen)
            sums[i + D_Z] = WORD(sums[i + D_Z] + WORD(d_z * WORD(high - low)))
            sums[i + D_Y] = WORD(sums[i + D_Y] + WORD(d_y * WORD(high_y + low_y)))
            sums[i + D_X] = WORD(sums[i + D_X] + WORD(d_x * WORD(high_x + low_x)))
            sums[i + T_ZZ] = WORD(sums[i + T_ZZ] + WORD(t_zz * seen))
            sums[i + T_YY] = WORD(sums[i + T_YY] + WORD(t_yy * seen))
            sums[i + T_ZY] = WORD(sums[i + T_ZY] + WORD(t_zy * WORD(high_y - low_y)))
            sums[i + T_ZX] = WORD(sums[i + T_ZX] + WORD(t_zx * WORD(high_x - low_x)))
            sums[i + T_YX] = WORD(sums[i + T_YX] + WORD(t_yx * WORD(high_yx + low_yx)))


@njit(cache=True, nogil=True, error_model="numpy")
def _add_fours(near, place, section, row, offsets, weights, truth, sums) -> None:
    """Add the four reflections of samples that lie in one plane through the voxel.

    Of the axes that the plane has, u is the first and v the second; a weight along the third is 0.
    """
    no, yes = truth[0], truth[1]
    for n in range(len(offsets)):
        z, y, x = offsets[n, 0] * section, offsets[n, 1] * row, offsets[n, 2]
        d_z, d_y, d_x, t_zz, t_yy, t_zy, t_zx, t_yx = _eight(weights[n])
        u, v = (y, x) if z == 0 else (z, x + y)
        d_yu, d_yv = (d_y, truth[0]) if z == 0 else (truth[0], d_y)
        row_0, row_1 = near[place - u - v :], near[place - u + v :]
        row_2, row_3 = near[place + u - v :], near[place + u + v :]
        for i in range(LINE):
            own = sums[i]
            a = yes if row_0[i] == own else no
            b = yes if row_1[i] == own else no
            c = yes if row_2[i] == own else no
            d = yes if row_3[i] == own else no
            ab, cd, ba, dc = WORD(b + a), WORD(d + c), WORD(b - a), WORD(d - c)
            seen, along_u = WORD(cd + ab), WORD(cd - ab)
            along_v, both = WORD(dc + ba), WORD(dc - ba)
            of_y = WORD(WORD(d_yu * along_u) + WORD(d_yv * along_v))
            sums[i + COUNT] = WORD(sums[i + COUNT] + seen)
            sums[i + D_Z] = WORD(sums[i + D_Z] + WORD(d_z * along_u))
            sums[i + D_Y] = WORD(sums[i + D_Y] + of_y)
            sums[i + D_X] = WORD(sums[i + D_X] + WORD(d_x * along_v))
            sums[i + T_ZZ] = WORD(sums[i + T_ZZ] + WORD(t_zz * seen))
            sums[i + T_YY] = WORD(sums[i + T_YY] + WORD(t_yy * seen))
            sums[i + T_ZY] = WORD(sums[i + T_ZY] + WORD(t_zy * both))
            sums[i + T_ZX] = WORD(sums[i + T_ZX] + WORD(t_zx * both))
            sums[i + T_YX] = WORD(sums[i + T_YX] + WORD(t_yx * both))


@njit(cache=True, nogil=True, error_model="numpy")
def _add_twos(near, place, section, row, offsets, weights, truth, sums) -> None:
    """Add the two reflections of samples that lie on an axis through the voxel."""
    no, yes = truth[0], truth[1]
    for n in range(len(offsets)):
        d_z, d_y, d_x, t_zz, t_yy, _, _, _ = _eight(weights[n])
        along = offsets[n, 0] * section + offsets[n, 1] * row + offsets[n, 2]
        row_0, row_1 = near[place - along :], near[place + along :]
        for i in range(LINE):
            own = sums[i]
            a = yes if row_0[i] == own else no
            b = yes if row_1[i] == own else no
            seen, more = WORD(b + a), WORD(b - a)
            sums[i + COUNT] = WORD(sums[i + COUNT] + seen)
            sums[i + D_Z] = WORD(sums[i + D_Z] + WORD(d_z * more))
            sums[i + D_Y] = WORD(sums[i + D_Y] + WORD(d_y * more))
            sums[i + D_X] = WORD(sums[i + D_X] + WORD(d_x * more))
            sums[i + T_ZZ] = WORD(sums[i + T_ZZ] + WORD(t_zz * seen))
            sums[i + T_YY] = WORD(sums[i + T_YY] + WORD(t_yy * seen))


@njit(cache=True, nogil=True, error_model="numpy")
def _eight(weights):
    """Return the weights of a sample, one by one."""
    d_z, d_y, d_x, t_zz = weights[0], weights[1], weights[2], weights[3]
    return d_z, d_y, d_x, t_zz, weights[4], weights[5], weights[6], weights[7]


@njit(cache=True, nogil=True, error_model="numpy")
def _reduce(sums, factors) -> None:
    """Put the three channels of a shell in place of the first three sums of a line."""
    for i in range(LINE):
        seen, n = np.float64(sums[i + COUNT]), np.float64(sums[i + INSIDE])
        d_z, d_y = np.float64(sums[i + D_Z]), np.float64(sums[i + D_Y])
        d_x, zz = np.float64(sums[i + D_X]), np.float64(sums[i + T_ZZ])
        yy, zy = np.float64(sums[i + T_YY]), np.float64(sums[i + T_ZY])
        zx, yx = np.float64(sums[i + T_ZX]), np.float64(sums[i + T_YX])
        xx = -zz - yy
        across = zy * zy + zx * zx + yx * yx
        vector = np.sqrt(d_z * d_z + d_y * d_y + d_x * d_x)
        tensor = np.sqrt(zz * zz + yy * yy + xx * xx + 2 * across)
        is_object = WORD(sums[i] != 0)
        sums[i + COUNT] = is_object * WORD(seen * factors[0] / n + 0.5)
        sums[i + D_Z] = is_object * WORD(min(vector * factors[1] / n + 0.5, HIGHEST))
        sums[i + D_Y] = is_object * WORD(min(tensor * factors[2] / n + 0.5, HIGHEST))
