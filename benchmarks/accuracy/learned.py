"""Policies of `agglo train`, and the numbers of any merge network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agglo.cli import main as agglo
from agglo.policy_file import load_policy
from agglo.run_folder import RunFolder
from agglo.training.volume_set import VolumeSet
from benchmarks.accuracy.maps import voxel_size_words
from benchmarks.accuracy.scene import Scene
from benchmarks.accuracy.trees import Merges
from benchmarks.accuracy.trial import Numbers, Trial, fastest, tree_numbers
from envs.feature_groups import CHANNEL_GROUPS
from envs.merge_network import MergeNetwork
from envs.rollout import play_episode


@dataclass(frozen=True, slots=True)
class Trained:
    """A policy of `agglo train`, with the threshold that it has from there.

    Attributes:
        name: of its run folder.
        words: further arguments of the command.
        features: groups of features that it looks at; those of the command if none is named.
    """

    name: str
    words: Sequence[str] = ()
    features: tuple[str, ...] = ()

    def __call__(self, trial: Trial) -> Numbers:
        """Train, or go on with a training, and apply."""
        seconds = self.train(trial)
        policy = load_policy(str(trial.folder / self.name), argument="--out")
        return {**policy_numbers(trial.test, policy.network, policy.threshold), "train_s": seconds}

    def train(self, trial: Trial) -> float:
        """Train, go on with a training, or leave a finished one; return the seconds it took."""
        run = trial.folder / self.name
        volumes = [scene.volumes for scene in trial.train]
        if not (run / "policy.npz").exists():
            run.parent.mkdir(parents=True, exist_ok=True)
            agglo(
                [
                    *("train", "--out", str(run), "--seed", str(trial.seed), *self.words),
                    *("--image", *(one.image for one in volumes)),
                    *("--boundaries", *(one.boundaries for one in volumes)),
                    *("--superpixels", *(one.superpixels for one in volumes)),
                    *("--labels", *(one.labels for one in volumes)),
                    *feature_words(volumes, self.features),
                    *voxel_size_words(volumes[0].voxel_size_nm or (1.0, 1.0, 1.0)),
                    *["--resume"] * run.exists(),
                ]
            )
        return sum(record["seconds"] for record in RunFolder.read(run).records())


def feature_words(volumes: Sequence[VolumeSet], features: Sequence[str]) -> list[str]:
    """Return the arguments that say what is looked at, and where its channels lie."""
    words = ["--features", *features] if features else []
    for group in CHANNEL_GROUPS:
        if group in features:
            words += [f"--{group}", *(str(getattr(one, group)) for one in volumes)]
    return words


def policy_numbers(scene: Scene, network: MergeNetwork, threshold: float) -> Numbers:
    """Return the numbers of a policy."""

    def grow(threshold: float) -> Merges:
        episode = play_episode(scene.graph, network, threshold=threshold)
        return episode.merges, episode.heights

    _, cpu_s = fastest(lambda: grow(threshold))
    return tree_numbers(scene, grow(-np.inf), threshold, cpu_s)
