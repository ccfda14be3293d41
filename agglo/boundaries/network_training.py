"""Train the folds of a convolutional network on Ray.

An actor trains one fold up to its next evaluation and gives the whole state back, so an actor that
dies costs one interval and a run goes on from its last checkpoint. All folds advance together.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
import torch

from agglo.boundaries.saved_state import load_state, save_state
from agglo.boundaries.training_volumes import fold_volumes
from agglo.pool import ActorPool
from agglo.run_folder import RunFolder
from analysis.input_error import InputError
from predict import compute_device
from predict.boundary_settings import BoundaryTraining
from predict.boundary_training import State, is_finished, start_training, train_interval
from predict.convnet import ConvNetConfig
from predict.image_normalisation import ImageNormalisation
from predict.unet import UNetConfig

MAX_THREADS = 8
"""More threads than this do not make a small network faster."""

MOST_ON_A_GPU = 8
"""So many folds share a GPU: one step of a small network leaves it idle for the most part."""

logger = logging.getLogger(__name__)


class FoldTrainer:
    """Train folds, an interval at a time, in an actor."""

    def __init__(
        self,
        network: UNetConfig | ConvNetConfig,
        training: BoundaryTraining,
        n_folds: int,
        device: compute_device.DeviceName,
        n_threads: int,
        described: Sequence[tuple[ImageNormalisation, bool]],
        *arrays: npt.NDArray[Any] | None,
    ) -> None:
        """Take image, labels, mask, image, … of the volumes that `described` describes."""
        torch.set_num_threads(n_threads)
        self.network, self.training, self.n_folds = network, training, n_folds
        self.device = compute_device.choose_device(device)
        self.described, self.arrays = described, arrays

    def advance(self, fold: int, saved: bytes | None) -> bytes:
        """Train a fold up to its next evaluation; take and give back its saved state."""
        network, training = self.network, self.training
        volumes = fold_volumes(self.arrays, self.described, self.n_folds, fold)
        state = (
            load_state(saved) if saved else start_training(network, training, volumes, fold=fold)
        )
        return save_state(train_interval(state, network, training, volumes, self.device))


def train_networks(
    run: RunFolder,
    network: UNetConfig | ConvNetConfig,
    training: BoundaryTraining,
    n_folds: int,
    device: compute_device.DeviceName,
    described: Sequence[tuple[ImageNormalisation, bool]],
    arrays: Sequence[npt.NDArray[Any] | None],
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
) -> list[State]:
    """Train all folds; a Ray session must have been joined.

    Args:
        run: folder for checkpoints and records.
        network: its shape.
        training: settings of one fold.
        n_folds: models trained.
        device: where to compute.
        described: normalisation of each volume, and whether its label 0 is membrane.
        arrays: image, labels and mask of every volume, one after the other.
        on_evaluation: called with every record of metrics.jsonl.

    Returns:
        The last state of every fold.
    """
    n_actors, n_threads, n_gpus = share_out(n_folds, device)
    logger.info(
        "training %d folds, %d at a time with %d threads each, on %s",
        *(n_folds, n_actors, n_threads),
        compute_device.choose_device("cpu").description
        if device == "cpu"
        else f"{n_gpus:g} of a GPU each",
    )
    references = [None if array is None else ray.put(array) for array in arrays]
    arguments = (network, training, n_folds, device, n_threads, described, *references)
    with ActorPool(
        FoldTrainer, arguments, n_actors=n_actors, num_cpus=n_threads, num_gpus=n_gpus
    ) as pool:
        return _train(pool, run, n_folds, training, on_evaluation)


def _train(
    pool: ActorPool,
    run: RunFolder,
    n_folds: int,
    training: BoundaryTraining,
    on_evaluation: Callable[[dict[str, Any]], None] | None,
) -> list[State]:
    """Advance all folds until each is finished; log and checkpoint every round."""
    saved: dict[int, bytes | None] = dict.fromkeys(range(n_folds))
    checkpoint = run.latest_checkpoint()
    n_rounds = 0
    if checkpoint is not None:
        n_rounds = checkpoint.round_index + 1
        saved = {fold: checkpoint.state[f"fold_{fold}"].tobytes() for fold in saved}
    while unfinished := [
        fold
        for fold, state in saved.items()
        if state is None or not is_finished(load_state(state), training)
    ]:
        tasks = [(fold, (fold, saved[fold])) for fold in unfinished]
        for fold, state in pool.run("advance", tasks):
            saved[fold] = state
            record = {"fold": fold, **load_state(state)["evaluations"][-1]}
            run.log(record)
            if on_evaluation is not None:
                on_evaluation(record)
        whole = {fold: state for fold, state in saved.items() if state is not None}
        run.save_checkpoint(
            n_rounds,
            {f"fold_{fold}": np.frombuffer(state, np.uint8) for fold, state in whole.items()},
        )
        n_rounds += 1
    return [load_state(state) for state in saved.values() if state is not None]


class Share(NamedTuple):
    """How folds are trained beside each other."""

    n_actors: int
    n_threads: int  # of each
    n_gpus: float  # of each, a part of one


def share_out(n_folds: int, device: str) -> Share:
    """Return how many folds train at a time, and what each of them gets."""
    if n_folds < 1:
        raise InputError(f"--folds: at least 1 is needed, {n_folds} asked for.")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if device == "cuda":
        return _share_of_gpus(n_folds, nodes)
    cpus = [math.floor(node.get("CPU", 0)) for node in nodes]
    n_actors = max(1, min(n_folds, sum(cpus)))
    fitting = [
        threads
        for threads in range(1, MAX_THREADS + 1)
        if sum(n_cpus // threads for n_cpus in cpus) >= n_actors
    ]
    return Share(n_actors, max(fitting, default=1), 0)


def _share_of_gpus(n_folds: int, nodes: Sequence[Mapping[str, float]]) -> Share:
    """Put as few folds on a GPU as may be, and no more on a node than it has CPUs."""
    room = 0
    for n_on_one in range(1, MOST_ON_A_GPU + 1):
        room = sum(
            min(math.floor(node.get("GPU", 0)) * n_on_one, math.floor(node.get("CPU", 0)))
            for node in nodes
        )
        if room >= n_folds:
            break
    return Share(max(1, min(n_folds, room)), 1, math.floor(1e4 / n_on_one) / 1e4)
