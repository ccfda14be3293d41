"""The actor process of a pool: it holds an instance of any class and calls its methods."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray
from ray import cloudpickle

from analysis.input_error import InputError


class Packed(NamedTuple):
    """An argument of the constructor, pickled: what unpacking it raises keeps its type."""

    data: bytes


def packed(argument: Any) -> Any:
    """Pack an argument, except for a reference, which Ray is to resolve."""
    if isinstance(argument, ray.ObjectRef):
        return argument
    return Packed(cloudpickle.dumps(argument))  # pyright: ignore[reportPrivateImportUsage]


class ActorHost:
    """Hold one instance of the pool's class in an actor process.

    The instance is made by a method and not by the actor's constructor, and from arguments that
    are unpacked here, because Ray drops the type of an exception in its own unpacking and takes one
    in the constructor for the actor's death.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._instance: Any = None

    def __repr__(self) -> str:
        return self._name

    def start(self, *given: Any) -> int:
        """Make the instance of a class and its arguments; return the id of the process."""
        with _naming_node():
            actor_class, *arguments = (
                pickle.loads(one.data) if isinstance(one, Packed) else one for one in given
            )
            self._instance = actor_class(*arguments)
        return os.getpid()

    def run(self, method: str, *arguments: Any) -> tuple[float, Any]:
        """Return the seconds it took and the result, in one object or as two."""
        began = time.perf_counter()
        with _naming_node():
            result = getattr(self._instance, method)(*arguments)
        return time.perf_counter() - began, result


@contextmanager
def _naming_node() -> Iterator[None]:
    """Add the node to a sentence about wrong input, where the cluster has several.

    A file may be missing, or a disk full, on one of them alone.
    """
    try:
        yield
    except InputError as error:
        names = {node["NodeID"]: node["NodeName"] for node in ray.nodes() if node["Alive"]}
        if len(names) > 1:
            here = ray.get_runtime_context().get_node_id()
            error.args = (f"{str(error).rstrip('.')} (on node {names.get(here, here)}).",)
        raise
