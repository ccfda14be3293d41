"""How time and memory grow with the number of voxels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from benchmarks.kernels.race import Row


def exponents_of_time(rows: Iterable[Row]) -> list[dict[str, str | float]]:
    """Fit CPU seconds of each task and contender as a power of the number of voxels."""
    points = defaultdict(list)
    for row in rows:
        points[row.task, row.who].append((row.n_voxels, row.cpu_s))
    return [
        {"task": task, "who": who, "exponent": exponent(found)}
        for (task, who), found in points.items()
        if len(found) > 1
    ]


def exponent(points: Iterable[tuple[int, float]]) -> float:
    """Return the slope of a line through the logarithms."""
    size, value = np.log(np.array(list(points), np.float64)).T
    return float(np.polyfit(size, value, 1)[0])
