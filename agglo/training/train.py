"""The training loop: play on all shards, learn centrally, broadcast, repeat.

Round 0 learns from the contacts of the superpixels as they are (flat). In every further round the
actors play episodes with the latest network as the learner wants them played (docs/learners.md),
and it learns from what was decided on the way. A round's tasks are functions of (policy version,
shard, seed) and are reduced in key order, so the number of actors and their deaths change nothing;
only where old networks may play on (`staleness`) does the order of arrival matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from agglo.policy_file import Policy, save_policy
from agglo.pool import ActorPool
from agglo.run_folder import RunFolder
from agglo.training.asynchronous_rollouts import AsynchronousRollouts, require_staleness
from agglo.training.exploration import Decisions, explored, initial_contacts
from agglo.training.known_channels import KnownChannels, know_channels
from agglo.training.learner import Learner, Past
from agglo.training.learners import require_learner
from agglo.training.progress_checkpoint import Progress, restored_progress, save_progress
from agglo.training.rollout_actor import RolloutActor
from agglo.training.rollouts import (
    EpisodePlan,
    Rollouts,
    SynchronousRollouts,
    derived_seed,
    play_shards,
)
from agglo.training.shard import (
    Shard,
    cut_at_scales,
    cut_shards,
    halve_shards,
    split_shards,
    with_copies,
)
from agglo.training.threshold import best_threshold
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import VolumeSet
from analysis.input_error import InputError
from envs.channel_sums import blank_channels
from envs.error_calibration import Estimate, fit_calibration
from envs.feature_groups import n_features_of
from envs.feature_layout import layout_of
from envs.generator import VoronoiGenerator
from envs.merge_network import MergeNetwork, average, mean_boundary_network
from envs.rollout import Episode, play_episode
from envs.trial_rollout import Label


def train_policy(
    volumes: list[VolumeSet],
    shapes: list[tuple[int, int, int]],
    config: TrainConfig,
    out: Path,
    *,
    n_actors: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    staleness: int = 0,
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
            not more than there are shards and copies, if not given.
        resume: go on from the last checkpoint of a run with the same configuration.
        overwrite: replace a run that exists.
        staleness: versions that the network of an episode may be old; with 0 the result is a
            function of the configuration, otherwise of the order of arrival too.
        tensorboard: write the records for TensorBoard too.
        on_round: told the record of every round.

    Raises:
        InputError: where volumes or run folder are not what they should be.
    """
    require_learner(config.learner, config)
    require_staleness(staleness, config.learner, config.make_learner())
    training, _ = _division(cut_shards(shapes, config.shard_vox), config)
    n_played = len(played_shards(training, shapes, config))
    # The pool first: a run that is there is not replaced by one that finds no place.
    with rollout_pool(volumes, n_played, n_actors) as pool:
        return train_run(
            pool,
            volumes,
            shapes,
            config,
            out,
            resume=resume,
            overwrite=overwrite,
            staleness=staleness,
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
    staleness: int = 0,
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
        staleness: as of `train_policy`.
        tensorboard: write the records for TensorBoard too.
        on_round: told the record of every round.

    Raises:
        InputError: where volumes or run folder are not what they should be.
    """
    known = know_channels(volumes, config.learner.features)
    if config.degraded_copies and known.made_by:
        raise InputError(
            f"--degraded-copies: there are no channels of damaged boundary maps, so --features "
            f"{' '.join(known.made_by)} cannot be learned from copies."
        )
    stated = {
        "train": asdict(config),
        "volumes": [volume.stated() for volume in volumes],
        "shapes": shapes,
    }
    stated |= _stated(staleness)
    if shards is not None:
        stated["shards"] = shards
    training, validation = _division(shards or cut_shards(shapes, config.shard_vox), config)
    played_on = played_shards(training, shapes, config)
    with RunFolder.create(out, stated, resume=resume, overwrite=overwrite) as folder:
        if tensorboard:
            folder.write_events()
        learner = config.make_learner()
        blank = _blank_network(config, known.n_texture)
        _warm_kernels(blank, config, learner)
        progress = restored_progress(folder)
        with _rollouts(pool, played_on, config, learner, staleness, progress) as rollouts:
            if progress.networks:
                rollouts.publish(progress.n_rounds - 1, progress.networks[-1])
            while progress.n_rounds < config.n_rounds and not progress.has_settled(config.patience):
                began = time.perf_counter()
                n = progress.n_rounds
                if n == 0:
                    played = _contacts(pool, played_on, blank, learner.start_label)
                else:
                    played = rollouts.explored(n)
                rollout_seconds = time.perf_counter() - began
                past = Past(progress.memory, progress.networks)
                seed = derived_seed(config.seed, n, len(played_on))
                lesson = rollouts.meanwhile(partial(learner.learn, past, played, seed))
                rollouts.publish(n, lesson.network)
                progress.memory = lesson.memory
                progress.networks = [*progress.networks, lesson.network][-config.n_average :]
                progress.n_rounds = n + 1
                mean = average(progress.networks)
                record = {
                    "round": n,
                    **lesson.record,
                    **_measured(rollouts.play(training, mean), "train"),
                    **_measured(rollouts.play(validation, mean), "validation"),
                    **rollouts.record(),
                    "rollout_seconds": rollout_seconds,
                    "seconds": time.perf_counter() - began,
                }
                if config.choose_round:
                    record |= _chosen(progress, record, len(validation))
                folder.log(record)
                save_progress(folder, progress)
                on_round(record)
        return _finish(
            folder, pool, training, validation, progress, volumes, known, config, staleness
        )


@contextmanager
def _rollouts(
    pool: ActorPool,
    shards: list[Shard],
    config: TrainConfig,
    learner: Learner,
    staleness: int,
    progress: Progress,
) -> Iterator[Rollouts]:
    """Choose how episodes are played."""
    if learner.exploration is None:
        yield SynchronousRollouts(pool, None)
        return
    plan = EpisodePlan(shards, config.explorations(learner), config.seed)
    if not staleness:
        yield SynchronousRollouts(pool, plan)
        return
    n_taken = max(progress.n_rounds - 1, 0)
    rollouts = AsynchronousRollouts(pool, plan, staleness, config.rounds, n_taken=n_taken)
    with closing(rollouts):
        yield rollouts


def _stated(staleness: int) -> dict[str, Any]:
    """Return what is said of an asynchronous run; of a synchronous one nothing."""
    return {"staleness": staleness} if staleness else {}


def _division(shards: list[Shard], config: TrainConfig) -> tuple[list[Shard], list[Shard]]:
    """Return the shards to train on, and those to validate on."""
    return split_shards(shards, config.validation_shards, config.seed)


def played_shards(
    training: list[Shard], shapes: list[tuple[int, int, int]], config: TrainConfig
) -> list[Shard]:
    """Return what is learned from: the training shards' part of the volumes at every scale."""
    own = set(training)
    kept_out = [shard for shard in cut_shards(shapes, config.shard_vox) if shard not in own]
    shards = cut_at_scales(shapes, config.shard_vox, config.scales, kept_out)
    if not shards:
        raise InputError(
            f"--scales {' '.join(map(str, config.scales))} leave no shard to train on: each meets "
            f"one of the {len(kept_out)} that are kept out."
        )
    return with_copies(shards, config.degraded_copies)


def _contacts(
    pool: ActorPool, shards: list[Shard], blank: MergeNetwork, label: Label
) -> list[Decisions]:
    """Return the initial contacts of every shard, from which there is something to learn."""
    tasks = [(i, (shard, blank, label)) for i, shard in enumerate(shards)]
    contacts = [decisions for _, decisions in pool.run("initial", tasks)]
    _require_two_kinds(contacts)
    return contacts


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


def _measured(episodes: list[Episode], name: str) -> dict[str, float]:
    """Return mean VI before and after the episodes that have truth, where there are any."""
    vis = [episode.vi for episode in episodes if episode.has_truth]
    if not vis:
        return {}
    return {
        f"{name}_start_vi": float(np.mean([start for start, _ in vis])),
        f"{name}_vi": float(np.mean([end for _, end in vis])),
    }


def _chosen(progress: Progress, record: dict[str, Any], n_validation: int) -> dict[str, int]:
    """Choose among the rounds so far, and return which one it is for the record of the last."""
    if "validation_vi" not in record:
        raise InputError(
            f"--choose-round: none of the {n_validation} validation shards has superpixels with "
            f"labels."
        )
    return {"chosen_round": progress.choose(record["validation_vi"]).round_index}


def _finish(
    folder: RunFolder,
    pool: ActorPool,
    training: list[Shard],
    validation: list[Shard],
    progress: Progress,
    volumes: list[VolumeSet],
    known: KnownChannels,
    config: TrainConfig,
    staleness: int,
) -> Policy:
    """Choose the thresholds and write the policy."""
    network, chosen = progress.policy_network, progress.chosen
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
            "volumes": [volume.stated() for volume in volumes],
            "threshold_from": f"{len(validation)} validation shards" if validation else "logit 0",
            "config": asdict(config),
            **_stated(staleness),
            **({} if chosen is None else {"round": chosen.round_index, "validation_vi": chosen.vi}),
        },
        fit_calibration(_estimate(pool, [*training, *validation], network, threshold)),
        known.made_by,
    )
    save_policy(folder.path, policy)
    return policy


def _estimate(
    pool: ActorPool, shards: list[Shard], network: MergeNetwork, threshold: float
) -> list[Estimate]:
    """Return VI and its expectation for every part with truth, shards halved along each axis."""
    reference = ray.put(network)
    tasks = [(i, (part, reference, threshold)) for i, part in enumerate(halve_shards(shards))]
    return [one for _, one in pool.run("estimate", tasks) if one is not None]


def _blank_network(config: TrainConfig, n_texture: int) -> MergeNetwork:
    """Return a network of zeros: the form that tells the actors how many features to compute."""
    n_features = n_features_of(config.learner.features, n_texture)
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


def _warm_kernels(network: MergeNetwork, config: TrainConfig, learner: Learner) -> None:
    """Compile the kernels here, once, so that the actors load them from the cache."""
    instance = VoronoiGenerator(8, 4, 2)(np.random.default_rng(0))
    layout = layout_of(network.n_features)
    if layout.has_channels:
        graph = blank_channels(instance.graph, layout.n_texture, int(layout.has_embedding))
        instance = instance._replace(graph=graph)
    play_episode(instance.graph, network, truth=instance.truth)
    initial_contacts(instance, network, learner.start_label)
    for exploration in set(config.explorations(learner)):
        explored(instance, network, exploration, 0)
