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

WITHOUT_RAY = (
    *("test_block_scores", "test_checkpoint_file", "test_instance_cache", "test_network_fit"),
    *("test_phantom_", "test_policy_", "test_reveal", "test_skeleton_file", "test_tree_cut"),
    *("test_volume_set", "test_volumes_blocks", "test_volumes_damage", "test_volumes_kinds"),
    *("test_volumes_metadata", "test_volumes_reading", "test_volumes_writing"),
)
"""How files in these folders begin that do neither: the other process, which has less to do, has
them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, so that its kernels are compiled in one process."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here)
        is_with_ray = place.parts[0] in WITH_RAY and not place.name.startswith(WITHOUT_RAY)
        group = "ray" if is_with_ray else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
