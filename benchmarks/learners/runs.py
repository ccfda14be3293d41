"""One policy: trained on one half, measured on the other."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from agglo.training.shard import Shard, cut_shards
from agglo.training.threshold import best_threshold
from agglo.training.train import train_policy
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import load_instance
from analysis.contingency import contingency_table
from analysis.segmentation_scores import floor_scores, score_segmentation
from benchmarks.learners.halves import Half
from envs.merge_network import MergeNetwork, mean_boundary_network
from envs.merge_tree import MergeTree, relabel
from envs.rollout import play_episode

Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """A trained policy's numbers.

    Attributes:
        learner: its name.
        features: groups of features that it looks at, joined by "+".
        variant: what else was told to the training.
        train: name of the half it was trained on.
        test: name of the half it was measured on.
        seed: of training.
        scores: of its segmentation of the other half, at its own threshold.
        train_vi: mean VI of the training shards after the policy's round, at logit 0.
        round_index: the policy's round: the last, or the one chosen.
        decisions: learned from in that round.
        seconds: of training, on one actor.
    """

    learner: str
    features: str
    variant: str
    train: str
    test: str
    seed: int
    scores: Scores
    train_vi: float
    round_index: int
    decisions: int
    seconds: float


def train_and_score(train: Half, test: Half, config: TrainConfig, variant: str) -> Run:
    """Train on one half, on one actor, and measure on the other."""
    records = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        policy = train_policy(
            [train.volumes],
            [train.shape],
            config,
            Path(folder) / "run",
            n_actors=1,
            on_round=records.append,
        )
    seconds = time.perf_counter() - began
    own = records[policy.provenance.get("round", -1)]
    return Run(
        config.learner.name,
        "+".join(config.learner.features),
        variant,
        train.name,
        test.name,
        config.seed,
        scored(test, policy.network, policy.threshold),
        own["train_vi"],
        own["round"],
        own["decisions"],
        seconds,
    )


def scored(half: Half, network: MergeNetwork, threshold: float) -> Scores:
    """Measure what a network makes of a half."""
    graph = half.instance.graph
    tree = MergeTree.of_episode(graph.ids, play_episode(graph, network, threshold=threshold))
    segments = relabel(half.superpixels, graph.ids, tree.cut(-np.inf))
    return asdict(score_segmentation(contingency_table(segments, half.labels)))


def floor_of(half: Half) -> dict[str, Scores]:
    """Measure the superpixels, and each of them given to its majority label."""
    table = contingency_table(half.superpixels, half.labels)
    return {
        "superpixels": asdict(score_segmentation(table)),
        "floor": asdict(floor_scores(table)),
    }


def baselines(train: Half, test: Half, shard_vox: tuple[int, int, int]) -> dict[str, Scores]:
    """Measure mean-boundary agglomeration, with the threshold that is best on training shards."""
    shards = cut_shards([train.shape], shard_vox)
    network = mean_boundary_network(0.0)
    episodes = [
        play_episode(graph, network, truth=truth, threshold=-np.inf)
        for graph, truth, *_ in (
            load_instance(train.volumes, Shard(0, shard.begin_vox, shard.end_vox))
            for shard in shards
        )
    ]
    threshold, _ = best_threshold(episodes)
    return {"mean boundary": scored(test, network, threshold)}
