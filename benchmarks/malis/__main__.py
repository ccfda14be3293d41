"""Time of the MALIS loss as a function of the number of voxels, in one thread.

Run from the root: python -m benchmarks.malis --json FILE
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything that reads it is imported

import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tyro
from scipy import ndimage

from agglo.json_file import check_json, write_json
from agglo.progress import show_table
from predict.boundary_targets import boundary_targets
from predict.malis import malis_loss

VOXELS_PER_CELL = 2000

PUBLISHED_S = 2.6
"""Seconds a megavoxel that Funke et al. 2018 state for the whole of their method."""


@dataclass(frozen=True)
class Arguments:
    """Measure the loss with its gradient on Voronoi cells with noisy affinities."""

    json: Path | None = None
    """write the numbers here"""
    sizes: tuple[int, ...] = (32, 64, 128)
    """sides of the volumes"""
    noise: float = 1.0
    """deviation of the logits, which are ±1.5 by the truth"""
    runs: int = 5
    """times everything is measured; the least CPU time counts"""
    seed: int = 0


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.malis")
    if arguments.json:
        check_json(arguments.json)
    volumes = [noisy_cells(side, arguments.noise, arguments.seed) for side in arguments.sizes]
    rows, exponents = [], {}
    for form, constrained in (("constrained", True), ("unconstrained", False)):
        malis_loss(*noisy_cells(8, 1.0, 0), constrained=constrained)  # compiled or loaded
        found = []
        for affinities, labels in volumes:
            seconds = least_time(affinities, labels, constrained, arguments.runs)
            found.append((labels.size, seconds))
            rows.append((form, labels.shape[0], seconds, 1e6 * seconds / labels.size))
        if len(found) > 1:
            n_voxels, seconds = np.log(np.array(found)).T
            exponents[form] = float(np.polyfit(n_voxels, seconds, 1)[0])
    show_table(
        f"MALIS with its gradient; the published time is {PUBLISHED_S} s a megavoxel",
        ("form", "side", "CPU s", "CPU s a megavoxel"),
        rows,
    )
    show_table("time as a power of the number of voxels", ("form", "exponent"), exponents.items())
    if arguments.json:
        write_json(
            arguments.json,
            {
                "machine": {"system": platform.platform(), "cores": os.cpu_count()},
                "noise": arguments.noise,
                "rows": [
                    {"form": form, "side": side, "cpu_s": seconds, "cpu_s_per_megavoxel": each}
                    for form, side, seconds, each in rows
                ],
                "exponents": exponents,
                "published_s_per_megavoxel": PUBLISHED_S,
            },
        )


def noisy_cells(
    side: int, noise: float, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Draw Voronoi cells and noisy affinities of them: (3, z, y, x) and (z, y, x)."""
    rng = np.random.default_rng(seed)
    n_cells = max(2, side**3 // VOXELS_PER_CELL)
    seeds = np.zeros((side,) * 3, np.int32)
    seeds[tuple(rng.integers(0, side, (3, n_cells)))] = np.arange(1, n_cells + 1)
    nearest = ndimage.distance_transform_edt(
        seeds == 0, return_distances=False, return_indices=True
    )
    assert isinstance(nearest, np.ndarray)
    labels = seeds[tuple(nearest)]
    truth = boundary_targets(labels, zero_is_membrane=False, in_section=False).target[1:]
    logits = 3 * truth - 1.5 + noise * rng.standard_normal(truth.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), labels


def least_time(
    affinities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    constrained: bool,
    n_runs: int,
) -> float:
    """Return the least CPU seconds of several runs."""
    seconds = []
    for _ in range(max(1, n_runs)):
        started = time.process_time()
        malis_loss(affinities, labels, constrained=constrained)
        seconds.append(time.process_time() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
