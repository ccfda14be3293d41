"""What a pool of actors has in hand: its actors, and the tasks that they were given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Drawn: TypeAlias = tuple[Any, str, tuple[Any, ...]]
"""Key, method and arguments of a task."""


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor that is ready."""

    handle: Any
    pid: int


@dataclass(frozen=True, slots=True)
class Task:
    """A task in the hands of an actor; `payload` refers to a result that stays where it is."""

    actor: Actor
    key: Any
    method: str
    arguments: tuple[Any, ...]
    payload: Any


def next_task(source: Iterator[tuple[Any, tuple[Any, ...]]], method: str) -> Drawn | None:
    """Draw the next task of a method, if there is one."""
    task = next(source, None)
    return None if task is None else (task[0], method, task[1])
