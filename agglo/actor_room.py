"""How many actors of a size the cluster can hold."""

from __future__ import annotations

import math

import ray

from agglo.cluster import describe_resources
from analysis.input_error import InputError


def actor_room(num_cpus: float, num_gpus: float) -> float:
    """Return how many actors of this size all living nodes together could hold."""
    room = 0.0
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            room += min(
                math.floor(resources.get(name, 0.0) / wanted + 1e-9) if wanted else math.inf
                for name, wanted in (("CPU", num_cpus), ("GPU", num_gpus))
            )
    return room


def check_actor_room(n_actors: int, num_cpus: float, num_gpus: float) -> None:
    """Refuse actors that the cluster can never place, and none at all.

    Raises:
        InputError: see the sentence.
    """
    if n_actors < 1:
        raise InputError(f"n_actors: at least one actor is needed, {n_actors} asked for.")
    room = actor_room(num_cpus, num_gpus)
    if room < n_actors:
        raise InputError(
            f"--actors: {n_actors} of {num_cpus:g} CPU and {num_gpus:g} GPU each were asked for, "
            f"but the cluster has {describe_resources()}, room for {room:g}."
        )
