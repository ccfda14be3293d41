from __future__ import annotations

from collections.abc import Iterator

import pytest

from agglo.cluster import ray_session


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A local Ray with 2 CPUs, whatever cluster may be running on the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")
        with ray_session(n_cpus=2):
            yield
