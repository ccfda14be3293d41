"""What methods are held against: doing nothing, and knowing the truth of the test part."""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.trial import Numbers, Trial, fastest, speed
from envs.instance import Instance
from envs.merge_tree import MergeTree
from envs.rollout import Episode, play_episode
from envs.scorers import Oracle


def nothing(trial: Trial) -> Numbers:
    """Leave the superpixels as they are; score the boundary map too."""
    numbers = trial.test.numbers(np.array(trial.test.graph.ids))
    return {**numbers, **trial.test.map_numbers(), "n_contacts": trial.test.graph.n_edges}


def majority(trial: Trial) -> Numbers:
    """Give every superpixel its majority label."""
    return {**trial.test.floor()}


def greedy_oracle(trial: Trial) -> Numbers:
    """Merge by the true fall of VI, as long as there is one."""
    graph, truth = trial.test.graph, trial.test.truth

    def play() -> Episode:
        oracle = Oracle.of(Instance(graph, truth))  # an episode uses its rows up
        return play_episode(graph, oracle, truth=truth)

    episode, cpu_s = fastest(play)
    clusters = MergeTree.of_episode(graph.ids, episode).cut(-np.inf)
    return {**trial.test.numbers(clusters), **speed(len(episode.merges), cpu_s)}
