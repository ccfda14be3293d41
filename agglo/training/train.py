"""The training loop: play on all shards, learn centrally, broadcast, repeat.

Round 0 learns from the contacts of the superpixels as they are (flat). In every further round the
actors play episodes with the latest network as the learner wants them played (docs/learners.md),
and it learns from what was decided on the way. A round's tasks are functions of (policy version,
shard, seed) and are reduced in key order, so the number of actors and their deaths change nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from agglo.policy_file import Policy, save_policy
from agglo.pool import ActorPool
from agglo.run_folder import RunFolder
from agglo.training.exploration import Decisions, explored, initial_contacts
from agglo.training.learner import Learner, LearnerConfig, Memory, Past
from agglo.training.learners import make_learner, require_learner
from agglo.training.rollout_actor import RolloutActor
from agglo.training.shard import Shard, cut_shards, halve_shards, split_shards
from agglo.training.threshold import best_threshold
from agglo.training.volume_set import VolumeSet
from analysis.input_error import InputError
from envs.error_calibration import fit_calibration
from envs.features import N_FEATURES, N_SHAPE_FEATURES
from envs.generator import VoronoiGenerator
from envs.merge_network import MergeNetwork, average, mean_boundary_network
from envs.rollout import Episode, play_episode

_MEMORY = "memory_"
"""What the names of a learner's own arrays in a checkpoint begin with."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What a training run depends on; two runs with equal configurations are equal bit for bit."""

    rounds: int = 8
    """on-policy rounds after the flat start"""
    episodes: int = 2
    """exploring episodes per shard and round"""
    shard_vox: tuple[int, int, int] = (128, 128, 128)
    """wanted size of a shard (z, y, x); volumes are cut into equal parts near it"""
    validation_shards: int = 0
    """shards kept out of training; if there are any, the stopping threshold is chosen on them"""
    noise: float = 0.5
    """standard deviation of the noise on the logit while exploring"""
    record_floor: float = -1.0
    """decisions are recorded down to this logit, below 0 without being carried out"""
    n_average: int = 6
    """the policy is the mean logit of this many last networks"""
    shape_features: bool = False
    """let the network look at the shape of regions and contacts too"""
    seed: int = 0
    """seed of exploration, initial weights and choice of validation shards"""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """which learner, and how it fits its network"""

    def __post_init__(self) -> None:
        for name in ("rounds", "episodes", "n_average"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.noise < np.inf:
            raise InputError(f"--noise must not be negative, but is {self.noise}.")
        if not self.record_floor <= 0:
            raise InputError(f"--record-floor must not be positive, but is {self.record_floor}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed must lie in 0..2^63 − 1, not {self.seed}.")

    def make_learner(self) -> Learner:
        """Make the learner that this run takes."""
        return make_learner(self.learner, self.noise, self.record_floor)

    @property
    def n_rounds(self) -> int:
        """Return how many rounds there are, the flat start included."""
        return 1 if self.make_learner().exploration is None else self.rounds + 1


@dataclass
class Progress:
    """What has been learned so far; all that a checkpoint holds."""

    n_rounds: int = 0
    memory: Memory = field(default_factory=dict)
    networks: list[MergeNetwork] = field(default_factory=list)


def train_policy(
    volumes: list[VolumeSet],
    shapes: list[tuple[int, int, int]],
    config: TrainConfig,
    out: Path,
    *,
    n_actors: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    on_round: Callable[[dict[str, Any]], None] = lambda record: None,
) -> Policy:
    """Train a merge policy and write its run folder.

    Args:
        volumes: addresses of the training volumes.
        shapes: their shapes.
        config: what the result depends on.
        out: the run folder.
        n_actors: rollout actors; does not change the result. One for each CPU of the cluster, but
            not more than there are shards, if not given.
        resume: go on from the last checkpoint of a run with the same configuration.
        overwrite: replace a run that exists.
        tensorboard: write the records for TensorBoard too.
        on_round: told the record of every round.

    Raises:
        InputError: where volumes or run folder are not what they should be.
    """
    require_learner(config.learner, config)
    training, _ = _division(cut_shards(shapes, config.shard_vox), config)
    # The pool first: a run that is there is not replaced by one that finds no place.
    with rollout_pool(volumes, len(training), n_actors) as pool:
        return train_run(
            pool,
            volumes,
            shapes,
            config,
            out,
            resume=resume,
            overwrite=overwrite,
            tensorboard=tensorboard,
            on_round=on_round,
        )


def rollout_pool(volumes: list[VolumeSet], n_shards: int, n_actors: int | None) -> ActorPool:
    """Start rollout actors: so many, or one for each CPU, but not more than there are shards."""
    if n_actors is None:
        n_actors = max(1, min(n_shards, int(ray.cluster_resources().get("CPU", 1))))
    return ActorPool(RolloutActor, (tuple(volumes),), n_actors=n_actors)


def train_run(
    pool: ActorPool,
    volumes: list[VolumeSet],
    shapes: list[tuple[int, int, int]],
    config: TrainConfig,
    out: Path,
    *,
    shards: list[Shard] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    on_round: Callable[[dict[str, Any]], None] = lambda record: None,
) -> Policy:
    """Train a merge policy on actors that are there, see `train_policy`, and write its run folder.

    Args:
        pool: rollout actors of these volumes.
        volumes: addresses of the training volumes.
        shapes: their shapes.
        config: what the result depends on.
        out: the run folder.
        shards: what there is to train and validate on; all of the volumes if not given.
        resume: go on from the last checkpoint of a run with the same configuration.
        overwrite: replace a run that exists.
        tensorboard: write the records for TensorBoard too.
        on_round: told the record of every round.

    Raises:
        InputError: where volumes or run folder are not what they should be.
    """
    stated = {"train": asdict(config), "volumes": [list(v) for v in volumes], "shapes": shapes}
    if shards is not None:
        stated["shards"] = shards
    training, validation = _division(shards or cut_shards(shapes, config.shard_vox), config)
    with RunFolder.create(out, stated, resume=resume, overwrite=overwrite) as folder:
        if tensorboard:
            folder.write_events()
        learner = config.make_learner()
        _warm_kernels(config, learner)
        progress = _restored(folder)
        while progress.n_rounds < config.n_rounds:
            began = time.perf_counter()
            n = progress.n_rounds
            played = _collect(pool, training, learner, progress, config)
            if n == 0:
                _require_two_kinds(played)
            past = Past(progress.memory, progress.networks)
            lesson = learner.learn(past, played, _seed(config, n, len(training)))
            progress.memory = lesson.memory
            progress.networks = [*progress.networks, lesson.network][-config.n_average :]
            progress.n_rounds = n + 1
            record = {
                "round": n,
                **lesson.record,
                **_measure(pool, training, average(progress.networks), "train"),
                **_measure(pool, validation, average(progress.networks), "validation"),
                "seconds": time.perf_counter() - began,
            }
            folder.log(record)
            _save(folder, progress)
            on_round(record)
        return _finish(folder, pool, training, validation, progress, volumes, config)


def _division(shards: list[Shard], config: TrainConfig) -> tuple[list[Shard], list[Shard]]:
    """Return the shards to train on, and those to validate on."""
    return split_shards(shards, config.validation_shards, config.seed)


def _collect(
    pool: ActorPool,
    shards: list[Shard],
    learner: Learner,
    progress: Progress,
    config: TrainConfig,
) -> list[Decisions]:
    """Play the round's episodes, in key order; round 0 takes the initial contacts."""
    if progress.n_rounds == 0:
        blank, label = _blank_network(config), learner.start_label
        tasks = [((i, 0), (shard, blank, label)) for i, shard in enumerate(shards)]
        return [decisions for _, decisions in pool.run("initial", tasks)]
    network = ray.put(progress.networks[-1])
    tasks = [
        (
            (i, episode),
            (shard, network, learner.exploration, _seed(config, progress.n_rounds, i, episode)),
        )
        for i, shard in enumerate(shards)
        for episode in range(config.episodes)
    ]
    return [decisions for _, decisions in pool.run("explore", tasks)]


def _require_two_kinds(contacts: list[Decisions]) -> None:
    """Refuse training shards whose contacts are all good or all bad."""
    worths = np.concatenate([decisions.worths for decisions in contacts])
    n, n_good = int((worths != 0).sum()), int((worths > 0).sum())
    if n_good in (0, n):
        raise InputError(
            f"--superpixels and --labels: the {len(contacts)} training shards have "
            f"{n} contacts of superpixels with labels, {n_good} of "
            f"them within one neuron, so there is nothing to tell apart."
        )


def play_shards(
    pool: ActorPool, shards: list[Shard], network: MergeNetwork, threshold: float
) -> list[Episode]:
    """Play every shard once without noise."""
    reference = ray.put(network)
    tasks = [(i, (shard, reference, threshold)) for i, shard in enumerate(shards)]
    return [episode for _, episode in pool.run("play", tasks)]


def _measure(
    pool: ActorPool, shards: list[Shard], network: MergeNetwork, name: str
) -> dict[str, float]:
    """Return mean VI of the shards before and after an episode, where there are shards."""
    if not shards:
        return {}
    episodes = [episode for episode in play_shards(pool, shards, network, 0.0) if episode.has_truth]
    if not episodes:
        return {}
    return {
        f"{name}_start_vi": float(np.mean([episode.vi[0] for episode in episodes])),
        f"{name}_vi": float(np.mean([episode.vi[1] for episode in episodes])),
    }


def _finish(
    folder: RunFolder,
    pool: ActorPool,
    training: list[Shard],
    validation: list[Shard],
    progress: Progress,
    volumes: list[VolumeSet],
    config: TrainConfig,
) -> Policy:
    """Choose the thresholds and write the policy."""
    network = average(progress.networks)
    threshold = 0.0
    if validation:
        threshold, _ = best_threshold(play_shards(pool, validation, network, -np.inf))
    key, _ = best_threshold(play_shards(pool, training, mean_boundary_network(0.0), -np.inf))
    policy = Policy(
        network,
        threshold,
        -key,
        volumes[0].voxel_size_nm,
        {
            "volumes": [list(volume) for volume in volumes],
            "threshold_from": f"{len(validation)} validation shards" if validation else "logit 0",
            "config": asdict(config),
        },
        fit_calibration(_estimate(pool, [*training, *validation], network, threshold)),
    )
    save_policy(folder.path, policy)
    return policy


def _estimate(
    pool: ActorPool, shards: list[Shard], network: MergeNetwork, threshold: float
) -> list[tuple[float, float]]:
    """Return VI and its expectation for every part with truth, shards halved along each axis."""
    reference = ray.put(network)
    tasks = [(i, (part, reference, threshold)) for i, part in enumerate(halve_shards(shards))]
    return [pair for _, pair in pool.run("estimate", tasks) if pair is not None]


def _seed(config: TrainConfig, *key: int) -> int:
    """Derive a seed of 63 bits from the run's and the task's key."""
    sequence = np.random.SeedSequence(config.seed, spawn_key=key)
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def _blank_network(config: TrainConfig) -> MergeNetwork:
    """Return a network of zeros: the form that tells the actors how many features to compute."""
    n_features = N_SHAPE_FEATURES if config.shape_features else N_FEATURES
    zero = np.zeros((1, 1), np.float32)
    return MergeNetwork(
        np.zeros(n_features, np.float32),
        np.ones(n_features, np.float32),
        np.zeros((1, n_features, 1), np.float32),
        zero,
        np.zeros((1, 1, 1), np.float32),
        zero,
        zero,
        np.zeros(1, np.float32),
    )


def _warm_kernels(config: TrainConfig, learner: Learner) -> None:
    """Compile the kernels here, once, so that the actors load them from the cache."""
    instance = VoronoiGenerator(8, 4, 2)(np.random.default_rng(0))
    network = _blank_network(config)
    play_episode(instance.graph, network, truth=instance.truth)
    initial_contacts(instance, network, learner.start_label)
    if learner.exploration is not None:
        explored(instance, network, learner.exploration, 0)


def _save(folder: RunFolder, progress: Progress) -> None:
    """Write the checkpoint of a finished round."""
    arrays: dict[str, npt.NDArray] = {
        f"{_MEMORY}{name}": array for name, array in progress.memory.items()
    }
    for i, network in enumerate(progress.networks):
        for name, array in network._asdict().items():
            arrays[f"network_{i}_{name}"] = array
    folder.save_checkpoint(progress.n_rounds - 1, arrays)


def _restored(folder: RunFolder) -> Progress:
    """Read the last checkpoint, or begin."""
    checkpoint = folder.latest_checkpoint()
    if checkpoint is None:
        return Progress()
    n, arrays = checkpoint
    n_networks = sum(name.endswith("_b3") for name in arrays)
    return Progress(
        n + 1,
        {
            name.removeprefix(_MEMORY): array
            for name, array in arrays.items()
            if name.startswith(_MEMORY)
        },
        [
            MergeNetwork(*(arrays[f"network_{i}_{name}"] for name in MergeNetwork._fields))
            for i in range(n_networks)
        ],
    )
