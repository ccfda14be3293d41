"""The other systems, as far as they are installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import NamedTuple


class Peers(NamedTuple):
    """Modules, None where one is missing."""

    waterz: ModuleType | None
    bioimage_cpp: ModuleType | None

    @property
    def missing(self) -> list[str]:
        """Return the names of those that are not installed."""
        return [name for name, module in self._asdict().items() if module is None]

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions of those that are."""
        return {name: version(name) for name, module in self._asdict().items() if module}


def find_peers() -> Peers:
    """Import the peers of the extra `baselines`."""
    return Peers(*(_imported(name) for name in Peers._fields))


def _imported(name: str) -> ModuleType | None:
    try:
        module = import_module(name)
        if name == "bioimage_cpp":
            for part in ("graph", "graph.features", "graph.agglomeration"):
                import_module(f"{name}.{part}")
    except ModuleNotFoundError:
        return None
    return module


@contextmanager
def silence() -> Iterator[None]:
    """Drop what compiled code writes to the standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
