"""Pools of actors that work in this process, and what is cut short in the middle."""

from __future__ import annotations

import itertools
import pickle
from typing import Any


class HerePool:
    """Does in this process, and at once, what an `ActorPool` does elsewhere."""

    def __init__(self, actor_class: type, arguments: tuple[Any, ...], *, n_actors: int) -> None:
        self.actor = actor_class(*pickle.loads(pickle.dumps(arguments)))

    def __enter__(self) -> HerePool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, method: str, tasks: Any, *, on_result: Any) -> None:
        """Run the tasks."""
        for key, arguments in tasks:
            on_result(key, getattr(self.actor, method)(*arguments))


class CutPool(HerePool):
    """Is interrupted when the third block is in."""

    def run(self, method: str, tasks: Any, *, on_result: Any) -> None:
        """Run the tasks until then."""
        super().run(method, itertools.islice(tasks, 3), on_result=on_result)
        raise KeyboardInterrupt
