"""VI against the number of questions to a human, and the reference policies without any."""

from __future__ import annotations

from typing import Any

import numpy as np

from agglo.policy_file import Policy
from agglo.training.threshold import best_threshold
from analysis.asking_figures import AskingPanel
from analysis.contingency import contingency_table
from analysis.segmentation_scores import floor_scores
from benchmarks.asking.curves import Run, lines_of, needed, of_policies, ratio, sweep
from benchmarks.asking.scenes import Scene
from envs import scorers
from envs.asking import Asking, RuleName
from envs.asking_rollout import play_asking_episode
from envs.human import SimulatedHuman
from envs.instance import Instance
from envs.prices import Prices
from envs.rollout import play_episode

SHARES = (0.0, *np.linspace(0.005, 0.1, 8), *np.linspace(0.15, 1.0, 18))
DOUBTS = (1.0, 0.99, 0.97, 0.95, *np.linspace(0.9, 0.1, 17), 0.05, 0.02, 0.01, 0.003, 0.001, 0.0)
QUERY_PRICES = (1000.0, *np.geomspace(0.1, 1e-6, 36), 0.0)
LEVELS: dict[RuleName, tuple[float, ...]] = {
    "random": SHARES,
    "uncertainty": DOUBTS,
    "value": QUERY_PRICES,
}
N_DRAWS = 5
"""Humans that err, and random orders of questions, for each policy."""


def floor_of(scene: Scene) -> float:
    """Return the VI of superpixels that all carry their majority label."""
    table = contingency_table(scene.superpixels, scene.labels, ignore_segmentation_zero=True)
    return floor_scores(table).vi


def play_runs(
    instance: Instance, policies: list[Policy], rule: RuleName, error: float
) -> list[Run]:
    """Play a rule at all its levels, with every policy and a human of its own."""
    runs = []
    for seed, policy in enumerate(policies):
        for draw in range(N_DRAWS if rule == "random" or error > 0 else 1):

            def play(level: float, policy=policy, seed=seed, draw=draw):
                return play_asking_episode(
                    instance,
                    policy.network,
                    asking=Asking(
                        query=rule,
                        query_level=level if rule != "value" else 0.5,
                        human_error=error,
                        seed=seed * N_DRAWS + draw,
                    ),
                    human=SimulatedHuman(error, seed=seed * N_DRAWS + draw),
                    prices=Prices(query=level if rule == "value" else 0.0),
                    threshold=policy.threshold,
                )

            runs.append(sweep(LEVELS[rule], play, lambda e: e.n_queries, lambda e: e.n_queries))
    return runs


def ask_humans(
    scene: Scene, policies: list[Policy], error: float
) -> tuple[dict[str, Any], AskingPanel]:
    """Measure all rules against a human with an error rate."""
    instance = scene.instance()
    start = float(
        np.mean(
            [
                play_asking_episode(instance, p.network, threshold=p.threshold).error[1]
                for p in policies
            ]
        )
    )
    knowing = [
        play_asking_episode(
            instance,
            p.network,
            asking=Asking(query="random", query_level=1.0),
            human=SimulatedHuman(),
            threshold=p.threshold,
        )
        for p in policies
    ]
    levels = {
        "merges only": start,
        "every contact answered rightly": float(np.mean([e.error[1] for e in knowing])),
        "majority floor": floor_of(scene),
    }
    runs: dict[str, list[Run]] = {
        rule: play_runs(instance, policies, rule, error) for rule in LEVELS
    }
    x = np.arange(0.0, max(run.spent.max() for part in runs.values() for run in part) + 1)
    found: dict[str, Any] = {"human_error": error, "levels": levels, "halving": {}}
    for name in ("majority floor", "every contact answered rightly"):
        target = (start + levels[name]) / 2
        n = {rule: needed(part, target, x) for rule, part in runs.items()}
        found["halving"][name] = {
            "target_vi": target,
            "questions": n,
            "value_to_random": ratio(n["value"], n["random"]),
            "each_policy": [
                {rule: needed(own, target, x) for rule, own in zip(LEVELS, owns, strict=True)}
                for owns in zip(
                    *(of_policies(runs[rule], len(policies)) for rule in LEVELS), strict=True
                )
            ],
        }
    found["runs"] = {rule: [run.as_json() for run in part] for rule, part in runs.items()}
    shown = np.r_[0.0, np.unique(np.rint(np.geomspace(1, max(x[-1], 1), 120)))]
    panel = AskingPanel(
        f"questions to a human, {error:.0%} wrong",
        "questions",
        shown,
        lines_of(runs, len(policies), shown),
        levels,
    )
    return found, panel


def reference_policies(
    train: Scene, scene: Scene, policies: list[Policy], seed: int
) -> dict[str, float]:
    """Return the VI of every policy that asks nothing; thresholds are the best of training."""
    quantile = scorers.QuantileBoundary(0.0, 0.5)
    key, _ = best_threshold(
        [
            play_episode(part.graph, quantile, truth=part.truth, threshold=-np.inf)
            for part in (quarter.instance() for quarter in train.quarters())
        ]
    )
    instance = scene.instance()
    chosen: dict[str, scorers.Policy] = {
        "oracle": scorers.Oracle.of(instance),
        "mean boundary": scorers.MeanBoundary(policies[0].mean_boundary_threshold),
        "median boundary": quantile._replace(threshold=-key),
        "random": scorers.RandomScores(seed),
    }
    found = {
        name: float(play_asking_episode(instance, policy).error[1])
        for name, policy in chosen.items()
    }
    for k, policy in enumerate(policies):
        episode = play_asking_episode(instance, policy.network, threshold=policy.threshold)
        found[f"learned, seed {k}"] = float(episode.error[1])
    found["no merge"] = float(
        play_asking_episode(instance, policies[0].network, threshold=np.inf).error[1]
    )
    found["majority floor"] = floor_of(scene)
    return found
