"""Which tests stay together when `pytest -n 2 --dist loadgroup` shares them out among processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("RAY_worker_niceness", "0")
"""Ray's workers are at niceness 15 otherwise, and starve beside the tests of another process."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of one process spin while they wait for a core that another has: twenty times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

WITH_RAY = ("agglo", "interop")
"""Folders whose tests start Ray or whole commands: one process has them all, and their 2 CPUs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, so that its kernels are compiled in one process."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here)
        group = "ray" if place.parts[0] in WITH_RAY else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
