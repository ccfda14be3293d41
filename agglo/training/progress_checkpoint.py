"""What a training has learned so far, and its place in the checkpoints of a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agglo.run_folder import RunFolder
from agglo.training.learner import Memory
from envs.merge_network import MergeNetwork, average

_MEMORY = "memory_"
"""What the names of a learner's own arrays in a checkpoint begin with."""
_CHOSEN = "chosen_"
"""What the names of all that is kept of the chosen round begin with."""


class ChosenRound(NamedTuple):
    """The round whose policy is the best so far.

    Attributes:
        round_index: its number, 0 for the flat start.
        vi: bits at logit 0, mean over the validation shards.
        network: the mean of the last networks after it.
    """

    round_index: int
    vi: float
    network: MergeNetwork


@dataclass
class Progress:
    """What has been learned so far; all that a checkpoint holds."""

    n_rounds: int = 0
    memory: Memory = field(default_factory=dict)
    networks: list[MergeNetwork] = field(default_factory=list)
    chosen: ChosenRound | None = None

    @property
    def policy_network(self) -> MergeNetwork:
        """Return the network of the chosen round, or the mean of the last where none is chosen."""
        return average(self.networks) if self.chosen is None else self.chosen.network

    def choose(self, vi: float) -> ChosenRound:
        """Return the best round, now that one more is measured; of equally good ones the first."""
        if self.chosen is None or vi < self.chosen.vi:
            self.chosen = ChosenRound(self.n_rounds - 1, vi, average(self.networks))
        return self.chosen

    def has_settled(self, patience: int | None) -> bool:
        """Tell whether so many rounds, or more, came after the chosen one and were no better."""
        if self.chosen is None or patience is None:
            return False
        return self.n_rounds - 1 - self.chosen.round_index >= patience


def save_progress(folder: RunFolder, progress: Progress) -> None:
    """Write the checkpoint of a finished round."""
    state: dict[str, Any] = {f"{_MEMORY}{name}": array for name, array in progress.memory.items()}
    for i, network in enumerate(progress.networks):
        state |= _named(network, f"network_{i}_")
    if progress.chosen is not None:
        round_index, vi, network = progress.chosen
        state |= {f"{_CHOSEN}round": round_index, f"{_CHOSEN}vi": vi, **_named(network, _CHOSEN)}
    folder.save_checkpoint(progress.n_rounds - 1, state)


def restored_progress(folder: RunFolder) -> Progress:
    """Read the last checkpoint, or begin."""
    checkpoint = folder.latest_checkpoint()
    if checkpoint is None:
        return Progress()
    n, state = checkpoint
    n_networks = sum(name.startswith("network_") and name.endswith("_b3") for name in state)
    chosen = None
    if f"{_CHOSEN}round" in state:
        chosen = ChosenRound(
            state[f"{_CHOSEN}round"], state[f"{_CHOSEN}vi"], _network_in(state, _CHOSEN)
        )
    return Progress(
        n + 1,
        {
            name.removeprefix(_MEMORY): array
            for name, array in state.items()
            if name.startswith(_MEMORY)
        },
        [_network_in(state, f"network_{i}_") for i in range(n_networks)],
        chosen,
    )


def _named(network: MergeNetwork, prefix: str) -> dict[str, Any]:
    """Return the arrays of a network by name."""
    return {f"{prefix}{name}": array for name, array in network._asdict().items()}


def _network_in(state: dict[str, Any], prefix: str) -> MergeNetwork:
    """Return the network of which `_named` made arrays."""
    return MergeNetwork(*(state[f"{prefix}{name}"] for name in MergeNetwork._fields))
