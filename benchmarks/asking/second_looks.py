"""VI against the voxels imaged again, of a volume of which 30 % was badly imaged.

Image and boundary map are damaged, superpixels are those of the whole map: a second look changes
evidence, never superpixels. The distance that is halved is from the VI of the first look to that
with everything imaged again, under the same policy, trained on other damage of the same kind and on
second looks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agglo.policy_file import Policy
from agglo.training.reveal import fit_reveal, known_looks
from analysis.asking_figures import AskingPanel
from benchmarks.asking.curves import Run, lines_of, needed, of_policies, ratio, sweep
from benchmarks.asking.questions import DOUBTS, SHARES
from benchmarks.asking.scenes import Scene, train_or_load
from envs.actions import REIMAGE
from envs.asking import Asking
from envs.asking_rollout import play_asking_episode
from envs.instance import Instance
from envs.merge_network import MergeNetwork
from envs.microscope import Damage, SimulatedMicroscope, damaged_blocks
from envs.prices import Prices

N_DRAWS = 3
"""Random orders of looks for each policy and damage."""

NOISE = 0.05
TRAINING, REVEALING, TEST = (1, 2, 3), (4, 5, 6, 7, 8, 9), (101, 102, 103)
"""Seeds of the damage: on which the policy is trained, the worth of looks, and reported."""

LOOK_SHARES = (0.0, 0.1, 0.3)
PRICES = (1000.0, *np.geomspace(5, 5e-4, 36), 0.0)


def both_looks(scene: Scene, seed: int) -> tuple[Scene, Scene]:
    """Return what bad imaging shows of a scene, and what the second look would show."""
    second = scene.imaged_again(SimulatedMicroscope(NOISE, seed))
    return scene.badly_imaged(Damage(seed=seed)), second


def policies_for_damage(train: Scene, out: Path, n_seeds: int) -> list[Policy]:
    """Train policies on volumes with the same kind of damage, and on their second looks."""
    texts = []
    for seed in TRAINING:
        for name, scene in zip(("bad", "again"), both_looks(train, seed), strict=True):
            folder = out / "second_looks" / f"{name}_{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            scene.write(folder)
            texts.append(tuple(f"{folder}/{part}.zarr" for part in Scene._fields))
    return [train_or_load(texts, out / "second_looks" / f"run_{k}", k) for k in range(n_seeds)]


def learn_reveals(train: Scene, policies: list[Policy]) -> list[MergeNetwork]:
    """Learn what a second look is worth to each policy, on damage it was not trained on."""
    instances = [
        bad.instance(again)
        for seed in REVEALING
        for bad, again in zip(*(scene.quarters() for scene in both_looks(train, seed)), strict=True)
    ]
    return [
        fit_reveal(
            [
                known_looks(
                    instance, policy.network, threshold=policy.threshold, look_share=share, seed=k
                )
                for k, instance in enumerate(instances)
                for share in LOOK_SHARES
            ],
            seed=seed,
        )
        for seed, policy in enumerate(policies)
    ]


def play_runs(
    tests: list[Instance], policies: list[Policy], reveals: list[MergeNetwork], rule: str
) -> list[Run]:
    """Play a rule at all its levels, policy by policy, on every damaged volume."""
    runs = []
    for k, (policy, reveal) in enumerate(zip(policies, reveals, strict=True)):
        for d, instance in enumerate(tests):
            n_voxels = float(instance.truth.counts.sum())
            for draw in range(N_DRAWS if rule == "random" else 1):
                seed = (k * len(tests) + d) * N_DRAWS + draw

                def play(level: float, policy=policy, reveal=reveal, instance=instance, seed=seed):
                    is_valued = rule.startswith("value")
                    return play_asking_episode(
                        instance,
                        policy.network,
                        asking=Asking(
                            reimage="value" if is_valued else rule,  # pyright: ignore
                            reimage_level=0.5 if is_valued else level,
                            reveal=reveal if rule == "value, learned" else None,
                            seed=seed,
                        ),
                        prices=Prices(reimage=level if is_valued else 0.0),
                        threshold=policy.threshold,
                    )

                levels = {"random": SHARES, "uncertainty": DOUBTS}.get(rule, PRICES)
                runs.append(
                    sweep(
                        levels,
                        play,
                        lambda e, n=n_voxels: e.n_imaged / n,
                        lambda e: int((e.kinds == REIMAGE).sum()),
                    )
                )
    return runs


def look_again(
    train: Scene, scene: Scene, out: Path, n_seeds: int
) -> tuple[dict[str, Any], AskingPanel]:
    """Measure all rules on damaged volumes."""
    policies = policies_for_damage(train, out, n_seeds)
    reveals = learn_reveals(train, policies)
    pairs = [both_looks(scene, seed) for seed in TEST]
    tests = [bad.instance(again) for bad, again in pairs]
    cleared = [Instance(test.clear, test.truth) for test in tests if test.clear is not None]
    start, all_again = (
        [
            float(play_asking_episode(one, p.network, threshold=p.threshold).error[1])
            for p in policies
            for one in instances
        ]
        for instances in (tests, cleared)
    )
    levels = {"first look": float(np.mean(start)), "all imaged again": float(np.mean(all_again))}
    target = sum(levels.values()) / 2
    rules = ("random", "uncertainty", "value", "value, learned")
    runs = {rule: play_runs(tests, policies, reveals, rule) for rule in rules}
    x = np.linspace(0, 1, 2001)
    share = {rule: needed(part, target, x) for rule, part in runs.items()}
    looks = {
        rule: needed(
            [run._replace(spent=run.n_actions.astype(float)) for run in part],
            target,
            np.arange(0.0, 2000.0),
        )
        for rule, part in runs.items()
    }
    found = {
        "damaged_share": [
            float(damaged_blocks(scene.labels.shape, Damage(seed=s)).mean()) for s in TEST
        ],
        "levels": levels,
        "target_vi": target,
        "voxel_share": share,
        "looks": looks,
        "value_to_random": ratio(share["value"], share["random"]),
        "learned_to_random": ratio(share["value, learned"], share["random"]),
        "each_policy": [
            {rule: needed(own, target, x) for rule, own in zip(rules, owns, strict=True)}
            for owns in zip(*(of_policies(runs[rule], n_seeds) for rule in rules), strict=True)
        ],
        "runs": {rule: [run.as_json() for run in part] for rule, part in runs.items()},
    }
    shown = np.r_[0.0, np.geomspace(0.003, 1, 120)]
    panel = AskingPanel(
        "second looks at a volume of which 30 % was damaged",
        "share of the voxels imaged again",
        shown,
        lines_of(runs, n_seeds, shown),
        levels,
    )
    return found, panel
