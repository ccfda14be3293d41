"""Peak memory of `agglo evaluate` on Zarr volumes of growing size."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from agglo.volumes import ArrayLayout, BlockWriter

EDGES = (128, 256, 512, 768)
CASES: dict[str, tuple[str, ...]] = {
    "tables": (
        "--warping",
        "none",
    ),
    "border_tolerance_2": ("--warping", "none", "--border-tolerance", "2"),
    "warping": (),
}
_LARGEST_WARPED = 512


def memory(edges: tuple[int, ...] = EDGES) -> list[dict[str, Any]]:
    """Measure each case on each size, in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for edge in edges:
            for name, cell in (("truth", 48), ("proposal", 37)):
                _write_cells(f"{folder}/{name}_{edge}.zarr", edge, cell)
            row: dict[str, Any] = {"edge": edge, "labels_mb": 2 * 8 * edge**3 / 1e6}
            for case, words in CASES.items():
                if case == "warping" and edge > _LARGEST_WARPED:
                    continue
                row[f"{case}_mb"], row[f"{case}_s"] = _peak(
                    "--segmentation",
                    f"{folder}/proposal_{edge}.zarr",
                    "--labels",
                    f"{folder}/truth_{edge}.zarr",
                    *words,
                )
            rows.append(row)
    return rows


def _write_cells(text: str, edge: int, cell: int) -> None:
    """Write labels that are cubes of `cell` voxels, wavy so that compression has work to do."""
    layout = ArrayLayout((edge, edge, edge), np.uint64)
    y, x = np.mgrid[:edge, :edge]
    n = 2 + edge // cell
    with BlockWriter(text, layout, voxel_size_nm=(8.0, 8.0, 8.0)) as writer:
        for slab in layout.slabs():
            z = np.arange(slab[0].start, slab[0].stop)[:, None, None]
            wave = (3 * np.sin(0.2 * x + 0.1 * z) + 3 * np.cos(0.23 * y)).astype(np.int64) + 6
            column = (z + wave) // cell
            row = (y[None] + wave) // cell
            block = 1 + (column * n + row) * n + (x[None] + wave) // cell
            writer.write((slab[0].start, 0, 0), block.astype(np.uint64))


def _peak(*words: str) -> tuple[float, float]:
    """Run `agglo evaluate`; return its peak memory in MB and its seconds of CPU."""
    said = subprocess.run(
        [sys.executable, "-c", _CHILD, "evaluate", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    peak_kb, seconds = json.loads(said.stdout.splitlines()[-1])
    return peak_kb / 1e3, seconds


_CHILD = """
import json, resource, sys
from pathlib import Path
from agglo.cli import main

main(sys.argv[1:])
# Not ru_maxrss: it remembers the parent, as large as that was when it forked.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([int(status["VmHWM"].split()[0]), used.ru_utime + used.ru_stime]))
"""
