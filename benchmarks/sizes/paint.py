"""Write a scene, in a process and Ray session of its own.

Started by `benchmarks.sizes`: python -m benchmarks.sizes.paint --folder FOLDER --side 256
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from agglo.cluster import ray_session
from benchmarks.sizes.scene import write_scene


@dataclass(frozen=True)
class Arguments:
    """Write a scene."""

    folder: Path
    """folder of the scene"""
    side: int
    """voxels along each edge"""
    seed: int = 0
    z: int = 0
    """its first section in the unbounded phantom"""
    actors: int = 2


def main() -> None:
    given = tyro.cli(Arguments, prog="python -m benchmarks.sizes.paint")
    with ray_session():
        write_scene(given.folder, given.side, given.seed, given.z, given.actors)


if __name__ == "__main__":
    main()
