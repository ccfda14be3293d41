"""Train a DAWMR network on Ray: iteration by iteration, features on many actors, heads on one.

For every fold and every iteration of its recursion: dictionaries are learned from patches of the
input, features of a few batches tell how to standardise them, feature actors make batches of
examples that stream to the head actor, and the heads' affinities, each part predicted by the head
that saw none of its labels, are the input of the next iteration. The state after each of these
intervals is saved. A batch is a function of its number and the head actor takes batches in order,
so neither the number of feature actors nor any death among them changes the result.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import torch

from agglo.boundaries.dawmr_actors import ERRORS, FeatureActor, Iteration
from agglo.boundaries.dawmr_interval import (
    Heads,
    share_out,
    train_interval,
    validation_logits,
)
from agglo.boundaries.dawmr_run import DawmrRun
from agglo.boundaries.saved_state import load_state, save_state
from agglo.pool import ActorPool
from agglo.volumes import ArrayLayout, BlockWriter
from predict.blockwise import DEFAULT_BLOCK, plan_blocks
from predict.box import whole
from predict.cross_fitting import N_PARTS
from predict.dawmr import DawmrConfig
from predict.dawmr_heads import calibrated, measure_features, start_heads

Record = dict[str, Any]


def train_dawmr(
    work: DawmrRun, on_evaluation: Callable[[Record], None] | None = None
) -> tuple[list[dict[str, torch.Tensor]], list[Record]]:
    """Train all folds; a Ray session must have been joined.

    Args:
        work: what to train on, and where.
        on_evaluation: called with every record of metrics.jsonl.

    Returns:
        weights and scores of every fold, the scores those of its last iteration. The affinities
        between iterations are deleted when all folds are done.
    """
    checkpoint = work.run.latest_checkpoint()
    state: dict[str, Any] = {"n_saved": 0, "folds": [[] for _ in range(work.n_folds)], "now": None}
    if checkpoint is not None:
        state = load_state(checkpoint.state["state"].tobytes())

    def save(now: dict[str, Any] | None) -> None:
        state["now"] = now
        state["n_saved"] += 1
        saved = np.frombuffer(save_state(state), np.uint8)
        work.run.save_checkpoint(state["n_saved"], {"state": saved})

    def log(record: Record) -> None:
        work.run.log(record)
        if on_evaluation is not None:
            on_evaluation(record)

    given = (work.given, work.described, work.examples)
    arguments = (work.network, work.training, work.n_folds, *given)
    n_actors, _ = share_out()
    with Heads(work) as heads, ActorPool(FeatureActor, arguments, n_actors=n_actors) as pool:
        for fold, done in enumerate(state["folds"]):
            for index in range(len(done), len(work.network.iterations)):
                done.append(
                    _train_iteration(
                        *(work, pool, heads, fold, index, done, state["now"], save, log)
                    )
                )
                save(None)
    shutil.rmtree(work.folder, ignore_errors=True)
    weights = [
        {
            f"stages.{index}.{name}": tensor
            for index, iteration in enumerate(done)
            for name, tensor in iteration["weights"].items()
        }
        for done in state["folds"]
    ]
    return weights, [done[-1]["scores"] for done in state["folds"]]


def _train_iteration(
    work: DawmrRun,
    pool: ActorPool,
    heads: Heads,
    fold: int,
    index: int,
    done: Sequence[dict[str, Any]],
    now: dict[str, Any] | None,
    save: Callable[[dict[str, Any] | None], None],
    log: Callable[[Record], None],
) -> dict[str, Any]:
    """Train one iteration of one fold and return its weights, its scores and its mean errors."""
    network, training = work.network, work.training
    is_last = index == len(network.iterations) - 1
    before = work.affinities_of(fold, index - 1) if index > 0 else ()
    mean_errors = tuple(done[-1]["mean_errors"]) if done else ()
    if now is None:
        started, n_measured = time.perf_counter(), work.examples.n_measured
        unlearned = Iteration(fold, index, None, before, mean_errors)
        filters = learn_filters(pool, network, unlearned)
        learned = ray.put(Iteration(fold, index, filters, before, mean_errors))
        tasks = ((batch, (learned, batch)) for batch in range(n_measured))
        batches = [examples for _, examples in pool.run("examples", tasks)]
        standard, class_weights = measure_features(batches, training.balance)
        started_heads = start_heads(
            network, index, training, 1 if is_last else N_PARTS + 1, fold=fold
        )
        now = {
            "filters": filters,
            "standard": standard,
            "heads": {**started_heads, "step": n_measured, "class_weights": class_weights},
            "seconds": time.perf_counter() - started,
            "evaluations": [],
            "best": None,
        }
        save(now)
    iteration = Iteration(fold, index, now["filters"], before, mean_errors)
    reference = ray.put(iteration)
    while len(now["evaluations"]) < training.n_evaluations:
        now = train_interval(work, pool, heads, iteration, reference, now)
        log({"fold": fold, "iteration": index, **now["evaluations"][-1]})
        save(now)
    best = now["best"]
    weights = [{**now["standard"], **head} for head in best["heads"]]
    if network.hidden == 0:
        weights = calibrated(weights, *validation_logits(work, pool, reference, weights[-1], fold))
    counts = [] if is_last else _write_affinities(work, pool, fold, index, reference, weights)
    features = {f"features.{name}": tensor for name, tensor in now["filters"].items()}
    return {
        "weights": {**features, **weights[-1]},
        "scores": best["scores"],
        "mean_errors": counts,
    }


def learn_filters(
    pool: ActorPool, network: DawmrConfig, iteration: Iteration
) -> dict[str, torch.Tensor]:
    """Learn the dictionary of every channel at every scale, each in an actor."""
    config = network.iterations[iteration.index]
    tasks = [
        ((scale, channel), (iteration, scale, channel))
        for scale in range(len(config.scales))
        for channel in range(len(config.atoms))
        if not (network.two_dimensional and channel == 1)  # what 2D affinities along z are: 0
    ]
    learned = dict(pool.run("learn_filters", tasks))
    filters = {}
    for scale, one in enumerate(config.scales):
        for channel, n_atoms in enumerate(config.atoms):
            values = learned.get((scale, channel), np.zeros((n_atoms, *one.patch), np.float32))
            shaped = np.array(values, np.float32).reshape(n_atoms, 1, *one.patch)
            filters[f"filters_{scale}_{channel}"] = torch.from_numpy(shaped)
    return filters


def _write_affinities(
    work: DawmrRun,
    pool: ActorPool,
    fold: int,
    index: int,
    reference: Any,
    weights: list[dict[str, torch.Tensor]],
) -> list[float]:
    """Write the affinities of every volume and return the mean density of their errors."""
    heads = ray.put(weights)
    means = []
    work.folder.mkdir(exist_ok=True)
    for volume, address in enumerate(work.affinities_of(fold, index)):
        shape = work.shapes[volume]
        with BlockWriter(
            address,
            ArrayLayout((3, *shape), np.float16),
            voxel_size_nm=work.training.voxel_size_nm,
            overwrite=True,
            nested={ERRORS: ArrayLayout(shape, np.float16)},
        ) as writer:
            tasks = [
                (number, (reference, heads, volume, block, writer.handle))
                for number, block in enumerate(plan_blocks(whole(shape), DEFAULT_BLOCK))
            ]
            counts = [one for _, one in pool.run("write", tasks)]
        n_voxels = sum(one.n_voxels for one in counts)
        means.append(sum(one.total for one in counts) / max(1, n_voxels))
    return means
