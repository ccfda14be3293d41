"""Training runs on small tissues, with and without Ray, and how two of them compare."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agglo.policy_file import Policy, load_policy
from agglo.run_folder import RunFolder
from agglo.training import rollouts, train
from agglo.training.train import train_policy
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import VolumeSet
from envs.features import FEATURE_NAMES
from tests.agglo.small_volumes import make_tissue, open_tissue, write_tissue


class SerialPool:
    """Does what `ActorPool` does in this process, task by task, from the last to the first."""

    def __init__(self, actor_class: type, arguments: tuple[Any, ...], *, n_actors: int) -> None:
        self._actor = actor_class(*arguments)

    def __enter__(self) -> SerialPool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, method: str, tasks: Iterable[tuple[Any, tuple]]) -> list[tuple[Any, Any]]:
        """Call a method for every task; results are sorted by key."""
        call = getattr(self._actor, method)
        results = {key: call(*arguments) for key, arguments in reversed(list(tasks))}
        return sorted(results.items(), key=lambda item: item[0])


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `train_policy` work in this process, until the end of the test."""
    monkeypatch.setattr(train, "ActorPool", SerialPool)
    for module in (train, rollouts):
        monkeypatch.setattr(module, "ray", SimpleNamespace(put=lambda value: value))


def write_tissues(folder: Path) -> Path:
    """Write tissues 1, 2 (of another shape) and 3 into a folder."""
    write_tissue(folder / "1.h5", make_tissue(1))
    write_tissue(folder / "2.h5", make_tissue(2, (12, 36, 44), n_superpixels=80))
    write_tissue(folder / "3.h5", make_tissue(3))
    return folder


def opened(*paths: Path) -> tuple[list[VolumeSet], list[tuple[int, int, int]]]:
    sets = [open_tissue(path) for path in paths]
    return [volumes for volumes, _ in sets], [shape for _, shape in sets]


def train_on(
    paths: list[Path], out: Path, config: TrainConfig, *, n_actors: int = 1, **how: Any
) -> Policy:
    return train_policy(*opened(*paths), config, out, n_actors=n_actors, **how)


def records(run: Path, *, without_time: bool = True) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    if without_time:
        for record in found:
            record.pop("seconds")
            record.pop("rollout_seconds", None)  # a trial of a search has none
    return found


def assert_same_run(ours: Path, expected: Path) -> None:
    """Check that two runs have the same policy, byte for byte, and the same log but for time."""
    for one, other in zip(
        load_policy(str(ours)).network, load_policy(str(expected)).network, strict=True
    ):
        assert one.tobytes() == other.tobytes()
    assert (ours / "policy.npz").read_bytes() == (expected / "policy.npz").read_bytes()
    assert records(ours) == records(expected)


def write_light_and_dark(folder: Path) -> list[Path]:
    """Write two tissues, the second dark, so that every decision shows which one it is of."""
    light, dark = make_tissue(1), make_tissue(2)
    dark = dark._replace(image=dark.image // 8)
    return [
        write_tissue(folder / f"{name}.h5", tissue)
        for name, tissue in (("light", light), ("dark", dark))
    ]


def assert_volumes_remembered(run: Path) -> None:
    """Check that the decisions of a run on a light and a dark tissue know which they are of."""
    checkpoint = RunFolder.read(run).latest_checkpoint()
    assert checkpoint is not None
    volumes, features = (checkpoint.state[f"memory_{name}"] for name in ("volumes", "features"))
    n_contacts = records(run)[0]["decisions"]
    grey = features[:, FEATURE_NAMES.index("larger: grey mean")]
    for part in (slice(n_contacts), slice(n_contacts, None)):
        assert 0 < volumes[part].sum() < len(volumes[part])
        np.testing.assert_array_equal(volumes[part] == 1, grey[part] < 0.16)
