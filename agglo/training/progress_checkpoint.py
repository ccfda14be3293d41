"""What a training has learned so far, and its place in the checkpoints of a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy.typing as npt

from agglo.run_folder import RunFolder
from agglo.training.learner import Memory
from envs.merge_network import MergeNetwork

_MEMORY = "memory_"
"""What the names of a learner's own arrays in a checkpoint begin with."""


@dataclass
class Progress:
    """What has been learned so far; all that a checkpoint holds."""

    n_rounds: int = 0
    memory: Memory = field(default_factory=dict)
    networks: list[MergeNetwork] = field(default_factory=list)


def save_progress(folder: RunFolder, progress: Progress) -> None:
    """Write the checkpoint of a finished round."""
    arrays: dict[str, npt.NDArray] = {
        f"{_MEMORY}{name}": array for name, array in progress.memory.items()
    }
    for i, network in enumerate(progress.networks):
        for name, array in network._asdict().items():
            arrays[f"network_{i}_{name}"] = array
    folder.save_checkpoint(progress.n_rounds - 1, arrays)


def restored_progress(folder: RunFolder) -> Progress:
    """Read the last checkpoint, or begin."""
    checkpoint = folder.latest_checkpoint()
    if checkpoint is None:
        return Progress()
    n, arrays = checkpoint
    n_networks = sum(name.endswith("_b3") for name in arrays)
    return Progress(
        n + 1,
        {
            name.removeprefix(_MEMORY): array
            for name, array in arrays.items()
            if name.startswith(_MEMORY)
        },
        [
            MergeNetwork(*(arrays[f"network_{i}_{name}"] for name in MergeNetwork._fields))
            for i in range(n_networks)
        ],
    )
