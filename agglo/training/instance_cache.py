"""What an actor keeps of the shards it has read, within a budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from agglo.training.shard import Shard
from envs.instance import Instance


class InstanceCache:
    """Instances by shard; those that were not asked for the longest make way.

    A training over more shards than fit reads some of them again, to the same bits.
    """

    def __init__(self, load: Callable[[Shard], Instance], budget_bytes: int) -> None:
        """Keep as much as fits.

        Args:
            load: reads a shard.
            budget_bytes: what the arrays of all instances may take together; the one in use is
                kept however large it is.
        """
        self._load, self._budget = load, budget_bytes
        self._kept: OrderedDict[Shard, Instance] = OrderedDict()
        self.n_bytes = 0

    def get(self, shard: Shard) -> Instance:
        """Return the instance of a shard, read if it is not there."""
        if shard in self._kept:
            self._kept.move_to_end(shard)
            return self._kept[shard]
        instance = self._load(shard)
        self._kept[shard] = instance
        self.n_bytes += bytes_of(instance)
        while self.n_bytes > self._budget and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self.n_bytes -= bytes_of(oldest)
        return instance


def bytes_of(instance: Instance) -> int:
    """Return what the arrays of graph and truth of an instance take."""
    graph = instance.graph
    arrays = (graph.ids, graph.regions, graph.edges, graph.contacts, *instance.truth)
    return sum(array.nbytes for array in arrays)
