"""An interval of a DAWMR training: batches stream to the head actor, then the heads are judged."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray import exceptions as ray_exceptions
from scipy import special

from agglo.boundaries.dawmr_actors import HeadActor, Iteration, Validation, validation_boxes
from agglo.boundaries.dawmr_run import DawmrRun
from agglo.boundaries.saved_state import load_state, save_state
from agglo.pool import MAX_DEATHS, ActorPool
from analysis.boundary_scores import score_boundaries
from predict.blockwise import plan_blocks
from predict.boundary_settings import BoundaryTraining

AHEAD = 2
"""Batches made ahead of the head actor, beside one an actor."""

QUEUED = 3
"""Steps given to the head actor before the first of them has to be done."""

MAX_THREADS = 8
"""Of the head actor."""

VALIDATION_BLOCK = (32, 64, 64)
"""Blocks in which the validation part is predicted."""

logger = logging.getLogger(__name__)


class Heads:
    """The head actor of a run, started when it is first wanted and again after its death."""

    def __init__(self, work: DawmrRun) -> None:
        on_gpu = work.device == "cuda"
        self._class = ray.remote(num_cpus=0, num_gpus=1 if on_gpu else 0, max_restarts=0)(HeadActor)
        self._arguments = (work.network, work.training, work.device, share_out()[1])
        self._actor: Any = None

    def __enter__(self) -> Heads:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def actor(self) -> Any:
        """Return the handle of the actor."""
        if self._actor is None:
            self._actor = self._class.remote(*self._arguments)
        return self._actor

    def drop(self) -> None:
        """End the actor, if there is one; the next one knows nothing of it."""
        if self._actor is not None and ray.is_initialized():
            ray.kill(self._actor)
        self._actor = None


def train_interval(
    work: DawmrRun,
    pool: ActorPool,
    heads: Heads,
    iteration: Iteration,
    reference: Any,
    now: dict[str, Any],
) -> dict[str, Any]:
    """Train up to the next evaluation, and again from the start of it if the head actor dies."""
    training, n_done = work.training, len(now["evaluations"])
    started = time.perf_counter()
    n_deaths = 0
    while True:
        try:
            saved, loss = _stream(work, pool, heads.actor(), iteration, reference, now, started)
            break
        except (ray_exceptions.RayActorError, ray_exceptions.ObjectLostError):
            n_deaths += 1
            heads.drop()
            if n_deaths == MAX_DEATHS:
                raise
            logger.warning("the actor that trains the heads died; the interval is done again")
    state = load_state(saved)
    weights = {**now["standard"], **state["heads"][-1]}
    found = _validate(work, pool, reference, weights, iteration.fold)
    scores = _score(found, state["class_weights"].numpy())
    seconds = now["seconds"] + time.perf_counter() - started
    record = {
        "step": state["step"] - work.examples.n_measured,
        "seconds": seconds,
        "loss": loss,
        **scores,
    }
    # Heads of before the structured loss are no rivals of those that it has trained.
    begins = _is_structured(training, n_done) and not _is_structured(training, n_done - 1)
    best = now["best"]
    if best is None or begins or record["val_ap"] > best["scores"]["val_ap"]:
        best = {"scores": record, "heads": state["heads"]}
    return {
        **now,
        "heads": state,
        "seconds": seconds,
        "evaluations": [*now["evaluations"], record],
        "best": best,
    }


def _stream(
    work: DawmrRun,
    pool: ActorPool,
    heads: Any,
    iteration: Iteration,
    reference: Any,
    now: dict[str, Any],
    started: float,
) -> tuple[bytes, float]:
    """Stream batches from the feature actors to the head actor for an interval."""
    training, n_done = work.training, len(now["evaluations"])
    share = (n_done + 1) / training.n_evaluations
    queued: deque[Any] = deque()
    begun = now["heads"]["step"]
    queued.append(
        heads.begin.remote(
            *(iteration.fold, iteration.index, now["standard"], save_state(now["heads"]))
        )
    )
    method = "whole_cube" if _is_structured(training, n_done) else "examples"
    tasks = ((batch, (reference, batch)) for batch in _batches(work, begun, share))
    with closing(pool.stream(method, tasks, ahead=pool.n_actors + AHEAD)) as stream:
        for batch, examples in stream:
            if training.steps is not None:
                progress = (batch - work.examples.n_measured) / training.steps
            else:
                seconds = now["seconds"] + time.perf_counter() - started
                assert training.minutes is not None
                progress = min(1.0, seconds / (60 * training.minutes))
                if progress >= share and batch > begun:
                    break
            queued.append(heads.step.remote(examples, progress))
            if len(queued) > QUEUED:
                ray.get(queued.popleft())
    ray.get(list(queued))
    saved, loss = ray.get(heads.end.remote())
    return saved, loss


def _batches(work: DawmrRun, begun: int, share: float) -> Iterator[int]:
    """Yield the numbers of an interval's batches, endlessly where the clock ends it."""
    steps = work.training.steps
    if steps is None:
        return count(begun)
    return iter(range(begun, work.examples.n_measured + round(steps * share)))


def _is_structured(training: BoundaryTraining, n_done: int) -> bool:
    """Tell whether an interval is trained with a loss that looks at whole cubes."""
    is_late = n_done / training.n_evaluations >= training.structured_start
    return training.loss != "bce" and is_late


def _validate(
    work: DawmrRun, pool: ActorPool, reference: Any, weights: dict[str, torch.Tensor], fold: int
) -> list[Validation]:
    """Apply the head that saw everything to the parts kept for validation."""
    head = ray.put(weights)
    tasks = [
        ((volume, block), (reference, head, volume, block))
        for volume, box in validation_boxes(work.shapes, work.n_folds, fold)
        for block in plan_blocks(box, VALIDATION_BLOCK)
    ]
    return [found for _, found in pool.run("validate", tasks)]


def validation_logits(
    work: DawmrRun, pool: ActorPool, reference: Any, weights: dict[str, torch.Tensor], fold: int
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    """Return the logits and the targets of every channel of a head."""
    return _gathered(_validate(work, pool, reference, weights, fold))


def _gathered(
    found: Sequence[Validation],
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    logits, targets = (
        [np.concatenate(parts) for parts in zip(*boxes, strict=True)]
        for boxes in ([one.logits for one in found], [one.targets for one in found])
    )
    return logits, targets


def _score(found: Sequence[Validation], class_weights: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the weighted cross-entropy of the channels, and the ranking of the boundary map."""
    losses = []
    logits, targets = _gathered(found)
    for logit, target, (negative, positive) in zip(logits, targets, class_weights, strict=True):
        loss = np.where(
            target > 0, positive * np.logaddexp(0, -logit), negative * np.logaddexp(0, logit)
        )
        if loss.size:
            losses.append(float(loss.mean(dtype=np.float64)))
    ranking = score_boundaries(special.expit(logits[0]), targets[0] > 0)
    return {
        "val_loss": float(np.mean(losses)),
        "val_auc": ranking.auc,
        "val_ap": ranking.average_precision,
    }


def share_out() -> tuple[int, int]:
    """Return how many feature actors there are, and how many threads the head actor has."""
    cpus = [math.floor(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    n_threads = max(1, min(MAX_THREADS, max(cpus) // 4))
    return max(1, sum(cpus) - (n_threads if n_threads > 1 else 0)), n_threads
