"""The actor process of a pool: it holds an instance of any class and calls its methods."""

from __future__ import annotations

import os
import time
from typing import Any


class ActorHost:
    """Hold one instance of the pool's class in an actor process.

    The instance is made by a method and not by the actor's constructor, because Ray reports an
    exception in a constructor as the actor's death and drops its type.
    """

    def __init__(self, actor_class: type, *arguments: Any) -> None:
        self._actor_class = actor_class
        self._arguments = arguments
        self._instance: Any = None

    def __repr__(self) -> str:
        return self._actor_class.__name__

    def start(self) -> int:
        """Make the instance and return the id of the process."""
        self._instance = self._actor_class(*self._arguments)
        return os.getpid()

    def run(self, method: str, *arguments: Any) -> tuple[float, Any]:
        """Return the seconds it took and the result, in one object or as two."""
        began = time.perf_counter()
        result = getattr(self._instance, method)(*arguments)
        return time.perf_counter() - began, result
