"""The feature stage of DAWMR with one actor and with two, and with one of them killed.

Run from the root: python -m benchmarks.dawmr --json FILE

Actors read image and labels from disk, learn the dictionaries of a first iteration and make
batches of examples, as in training; nobody trains on them. Time runs from when all actors have made
a few, so their start does not count. The features of every batch are hashed: one actor, two actors
and two actors of which one is killed have to make the same ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import statistics
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tyro
from rich import print

from agglo.boundaries.dawmr_actors import FeatureActor, Iteration
from agglo.boundaries.dawmr_interval import AHEAD
from agglo.boundaries.dawmr_training import learn_filters
from agglo.cluster import ray_session
from agglo.json_file import write_json
from agglo.pool import ActorPool
from agglo.volumes import Volume, open_volume
from benchmarks.metrics.label_volumes import DATA
from predict.boundary_settings import BoundaryTraining
from predict.dawmr import DawmrConfig
from predict.dawmr_examples import ExampleSettings
from predict.image_normalisation import measure_normalisation

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)


@dataclass(frozen=True)
class Arguments:
    """Time the feature stage."""

    image: str = f"{DATA / 'fib25_medulla' / 'train.h5'}:raw[0:70]"
    """image to read"""
    labels: str = f"{DATA / 'fib25_medulla' / 'train.h5'}:gt[0:70]"
    """its neurons"""
    batches: int = 60
    """batches of each measurement"""
    runs: int = 3
    """measurements with one and with two actors, in turn"""
    json: Path | None = None
    """write the results here"""


class DigestingActor(FeatureActor):
    """Make batches and give back what tells two of them apart."""

    def digest(self, iteration: Iteration, batch: int) -> str:
        """Return the digest of the features and targets of a batch."""
        examples = self.examples(iteration, batch)
        return hashlib.blake2b(examples.features.tobytes() + examples.target.tobytes()).hexdigest()


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.dawmr")
    image = open_volume(arguments.image, argument="--image", voxel_size_nm=VOXEL_SIZE_NM)
    labels = open_volume(arguments.labels, argument="--labels", voxel_size_nm=VOXEL_SIZE_NM)
    network = DawmrConfig.for_voxel_size(VOXEL_SIZE_NM, n_iterations=1)
    training = BoundaryTraining(VOXEL_SIZE_NM, steps=100)
    given: list[tuple[Volume, Volume, Volume | None]] = [(image, labels, None)]
    described = [(measure_normalisation(image), False)]
    examples = ExampleSettings()
    actor = (network, training, 1, given, described, examples)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    digests: dict[str, list[str]] = {}
    with ray_session():
        with ActorPool(DigestingActor, actor, n_actors=2) as pool:
            filters = learn_filters(pool, network, Iteration(0, 0, None, (), ()))
        iteration = ray.put(Iteration(0, 0, filters, (), ()))
        for run in range(arguments.runs):
            for n_actors in (1, 2):
                with ActorPool(DigestingActor, actor, n_actors=n_actors) as pool:
                    found, taken = stream(pool, iteration, arguments.batches)
                seconds[n_actors].append(taken)
                digests[f"{n_actors} actors, run {run}"] = found
        with ActorPool(DigestingActor, actor, n_actors=2) as pool:
            digests["2 actors, 1 killed"], _ = stream(
                pool, iteration, arguments.batches, kill_after=arguments.batches // 2
            )
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    results: dict[str, Any] = {
        "batches": arguments.batches,
        "seconds_one_actor": seconds[1],
        "seconds_two_actors": seconds[2],
        "speed_up_of_each_pair": ratios,
        "speed_up_median": statistics.median(ratios),
        "examples_per_second_two_actors": arguments.batches
        * examples.n_cubes
        * examples.n_examples
        / min(seconds[2]),
        "all_the_same": len({tuple(found) for found in digests.values()}) == 1,
    }
    print(json.dumps(results, indent=2))
    if arguments.json:
        write_json(arguments.json, results)


def stream(
    pool: ActorPool, iteration: Any, n_batches: int, kill_after: int | None = None
) -> tuple[list[str], float]:
    """Make batches; return their digests and the seconds that took with all actors at work."""
    pool.run("digest", [(number, (iteration, number)) for number in range(2 * pool.n_actors)])
    tasks = ((number, (iteration, number)) for number in range(n_batches))
    digests, started = [], time.perf_counter()
    with closing(pool.stream("digest", tasks, ahead=pool.n_actors + AHEAD)) as batches:
        for number, reference in batches:
            if number == kill_after:
                os.kill(pool.pids()[0], signal.SIGKILL)
            digests.append(ray.get(reference))
    return digests, time.perf_counter() - started


if __name__ == "__main__":
    main()
