"""`agglo train`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agglo.cluster import ray_session, require_lasting
from agglo.commands.options import VoxelSizeNm
from agglo.event_files import require_tensorboard
from agglo.json_file import write_json
from agglo.progress import console, progress
from agglo.run_folder import RunFolder
from agglo.training.asynchronous_rollouts import require_staleness
from agglo.training.learners import require_learner
from agglo.training.train import train_policy
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import open_sets
from analysis.input_error import InputError
from envs.feature_groups import CHANNEL_GROUPS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """Train the merge policy by on-policy rollouts on Ray.

    Example: agglo train --image em.h5:raw --boundaries boundaries.zarr --superpixels
    superpixels.zarr --labels em.h5:neurons --out run
    """

    image: tuple[str, ...]
    """image volumes"""
    boundaries: tuple[str, ...]
    """their boundary maps, out of fold where the same volumes trained the boundary model"""
    superpixels: tuple[str, ...]
    """their superpixels"""
    labels: tuple[str, ...]
    """their neurons, 0 = not known"""
    out: Path
    """run folder: config.json, metrics.jsonl, checkpoints, policy.npz"""
    config: TrainConfig = field(default_factory=TrainConfig)
    """what the result depends on"""
    actors: int | None = None
    """rollout actors, whose number does not change the result; one for each CPU if not given"""
    staleness: int = 0
    """versions that the network of an episode may be old: with more than 0 actors play on while the
    learner fits, and the result is no longer the same bit for bit"""
    texture: tuple[str, ...] = ()
    """their channels of `agglo texture` or `agglo masks`, if --features look at texture"""
    embedding: tuple[str, ...] = ()
    """their embedding, of `agglo boundaries predict`, if --features look at one"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    resume: bool = False
    """go on from the last checkpoint in OUT"""
    overwrite: bool = False
    """replace a run that exists"""
    tensorboard: bool = False
    """write the records to OUT/tensorboard as event files too (extra `tensorboard`)"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Train, printing a line a round."""
        require_learner(self.config.learner, self.config)
        require_staleness(self.staleness, self.config.learner, self.config.make_learner())
        require_lasting(self.out)
        if self.tensorboard:
            require_tensorboard()
        for group in CHANNEL_GROUPS:
            if getattr(self, group) and group not in self.config.learner.features:
                raise InputError(f"--{group} was given, but --features do not name {group}.")
        if self.actors is not None and self.actors < 1:
            raise InputError(f"--actors must be at least 1, not {self.actors}.")
        volumes, shapes = open_sets(
            *(self.image, self.boundaries, self.superpixels, self.labels, self.voxel_size_nm),
            texture=self.texture,
            embedding=self.embedding,
        )
        with ray_session(), progress("training", self.config.n_rounds) as bar:

            def on_round(record: dict[str, Any]) -> None:
                logger.info("%s", line_of(record))
                bar.advance(record["round"] + 1 - bar.n_done, vi=record["train_vi"])

            policy = train_policy(
                volumes,
                shapes,
                self.config,
                self.out,
                n_actors=self.actors,
                resume=self.resume,
                overwrite=self.overwrite,
                staleness=self.staleness,
                tensorboard=self.tensorboard,
                on_round=on_round,
            )
        console.out(
            f"policy in {self.out}: merges from {policy.threshold:.3f} on "
            f"({policy.provenance['threshold_from']}); "
            f"mean-boundary baseline up to {policy.mean_boundary_threshold:.3f}"
        )
        records = RunFolder.read(self.out).records()
        if self.staleness:
            console.out(ages_of(records))
        if self.json:
            write_json(
                self.json,
                {
                    "threshold": policy.threshold,
                    "mean_boundary_threshold": policy.mean_boundary_threshold,
                    "rounds": records,
                },
            )


def line_of(record: dict[str, Any]) -> str:
    """Say in a line what a round did."""
    parts = [
        f"round {record['round']}",
        f"{record['decisions']} decisions",
        f"loss {record['loss']:.4f}",
        f"training VI {record['train_start_vi']:.3f} -> {record['train_vi']:.3f}",
    ]
    if "validation_vi" in record:
        parts.append(
            f"validation VI {record['validation_start_vi']:.3f} -> {record['validation_vi']:.3f}"
        )
    if "chosen_round" in record:
        parts.append(f"round {record['chosen_round']} is the best so far")
    if record.get("staleness"):
        parts.append(f"episodes {spread_of(record['staleness'])} versions old")
    if "idle_share" in record:
        parts.append(f"actors idle {record['idle_share']:.0%}")
    return ", ".join([*parts, f"{record['seconds']:.1f} s"])


def spread_of(staleness: list[int]) -> str:
    """Say between which numbers of versions the episodes of a round are old."""
    least, most = min(staleness), max(staleness)
    return str(most) if least == most else f"{least}–{most}"


def ages_of(records: list[dict[str, Any]]) -> str:
    """Say how old the episodes of an asynchronous run were, and how idle its actors."""
    ages = [age for record in records for age in record["staleness"]]
    seconds = sum(record["seconds"] for record in records)
    idle = sum(record["idle_share"] * record["seconds"] for record in records) / seconds
    return (
        f"{ages.count(0)} of {len(ages)} episodes were played with the latest network, the oldest "
        f"{max(ages)} versions before it; actors were idle for {idle:.0%} of the time"
    )
