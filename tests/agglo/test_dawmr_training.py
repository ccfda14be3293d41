from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.boundaries import dawmr_interval, dawmr_training, training
from agglo.boundaries.model_folder import BoundaryModel, read_model
from agglo.boundaries.network_choice import BoundaryConfig
from agglo.boundaries.prediction import predict_boundaries
from agglo.boundaries.training import train_boundaries
from agglo.pool import ActorPool
from agglo.volumes import open_volume, write_volume
from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from predict.dawmr_examples import ExampleSettings
from tests.predict.test_dawmr_examples import cells

pytestmark = pytest.mark.usefixtures("ray_local")

SHAPE = (32, 48, 56)
SIZE = (8.0, 8.0, 8.0)
SMALL = {"widths": (12, 6, 16), "iterations": 2, "minutes": None, "steps": 40}


@pytest.fixture(scope="module", autouse=True)
def few_examples() -> Iterator[None]:
    """Take small batches of small cubes."""
    small = ExampleSettings(12**3, 2, 300, 2000, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ExampleSettings", lambda: small)
        yield


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an image with dark membranes and its labels."""
    folder = tmp_path_factory.mktemp("tissue")
    labels = cells(SHAPE, 40, 5)
    edges = np.zeros(SHAPE, bool)
    for axis in range(3):
        here, there = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        np.moveaxis(edges, axis, 0)[1:] |= here != there
    image = 170 - 80 * edges + np.random.default_rng(0).normal(0, 15, SHAPE)
    write_volume(
        str(folder / "image.zarr"), image.clip(0, 255).astype(np.uint8), voxel_size_nm=SIZE
    )
    write_volume(str(folder / "labels.zarr"), labels.astype(np.uint32), voxel_size_nm=SIZE)
    return folder


def train(tissue: Path, out: Path, **changes: Any) -> BoundaryModel:
    options = {
        key: changes.pop(key) for key in ("loss", "resume", "on_evaluation") if key in changes
    }
    config = BoundaryConfig(**{"folds": 1, **SMALL, **changes})
    return train_boundaries(
        [str(tissue / "image.zarr")],
        [str(tissue / "labels.zarr")],
        out,
        config,
        model="dawmr",
        **options,
    )


def without_times(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in one.items() if key != "seconds"} for one in records]


def weights_of(run: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(run.glob("fold_*.pt"))]


@pytest.fixture(scope="module")
def model(tissue: Path, tmp_path_factory: pytest.TempPathFactory, ray_local: None) -> Path:
    out = tmp_path_factory.mktemp("model") / "dawmr"
    train(tissue, out)
    return out


def test_a_model_folder_tells_how_it_was_made(model: Path) -> None:
    read = read_model(model)
    described = json.loads((model / "model.json").read_text())
    assert described["network"]["kind"] == "dawmr"
    assert described["training"]["steps"] == 40
    assert len(described["network"]["iterations"]) == 2
    assert read.scores[0]["val_auc"] > 0.7
    records = without_times(model)
    assert [one["iteration"] for one in records] == [0] * 4 + [1] * 4
    assert [one["step"] for one in records] == [10, 20, 30, 40] * 2


def test_it_predicts_better_than_its_image_and_wherever_it_is_cut(
    tissue: Path, model: Path, tmp_path: Path
) -> None:
    predict_boundaries(str(tissue / "image.zarr"), model, str(tmp_path / "all.zarr"))
    found = open_volume(str(tmp_path / "all.zarr"), argument="--out").read()
    image = open_volume(str(tissue / "image.zarr"), argument="--image").read()
    labels = open_volume(str(tissue / "labels.zarr"), argument="--labels").read()
    truth = np.zeros(SHAPE, bool)
    for axis in range(3):
        here, there = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        np.moveaxis(truth, axis, 0)[1:] |= here != there
        np.moveaxis(truth, axis, 0)[:-1] |= here != there
    darkness = (1 - image / 255).astype(np.float32)
    assert score_boundaries(found, truth).auc > score_boundaries(darkness, truth).auc


class OneActor(ActorPool):
    """A pool of one actor, whatever is asked for."""

    def __init__(self, *arguments: Any, n_actors: int, **options: Any) -> None:
        super().__init__(*arguments, n_actors=1, **options)


class Mortal(ActorPool):
    """A pool of which an actor is killed while it streams, every third time."""

    n_streams = 0
    n_killed = 0

    def stream(self, *arguments: Any, **options: Any) -> Iterator[Any]:  # type: ignore[override]
        inner = super().stream(*arguments, **options)
        is_deadly = Mortal.n_streams % 3 == 0
        Mortal.n_streams += 1
        try:
            for number, one in enumerate(inner):
                if number == 0 and is_deadly:
                    Mortal.n_killed += 1
                    os.kill(self.pids()[0], signal.SIGKILL)
                yield one
        finally:
            inner.close()

    def close(self) -> None:
        super().close()


@pytest.mark.parametrize("pool", [OneActor, Mortal])
def test_neither_actors_nor_deaths_change_a_bit(
    pool: type[ActorPool],
    tissue: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dawmr_training, "ActorPool", pool)
    train(tissue, tmp_path / "again")
    assert weights_of(tmp_path / "again") == weights_of(model)
    assert without_times(tmp_path / "again") == without_times(model)
    assert pool is OneActor or Mortal.n_killed >= 3, "in both iterations"


def test_a_dead_head_actor_costs_its_interval(
    tissue: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(dawmr_interval.HeadActor):
        def step(self, *arguments: Any) -> None:
            super().step(*arguments)
            marker = tmp_path / "died"
            if not marker.exists() and self._n_steps == 2:
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(dawmr_interval, "HeadActor", Dying)
    train(tissue, tmp_path / "again")
    assert (tmp_path / "died").exists()
    assert weights_of(tmp_path / "again") == weights_of(model)


@pytest.mark.parametrize("after", [2, 5])
def test_an_interrupted_run_goes_on(after: int, tissue: Path, model: Path, tmp_path: Path) -> None:
    seen: list[Any] = []

    def interrupt(record: dict[str, Any]) -> None:
        seen.append(record)
        between = out / "iterations" / "fold_0_iteration_0_volume_0.zarr"
        assert between.exists() == (record["iteration"] == 1)
        if between.exists():
            affinities = open_volume(str(between), argument="--out").read()
            errors = open_volume(f"{between}:errors", argument="--out").read()
            assert affinities.shape == (3, *SHAPE)
            assert 0 < errors.mean() < 1
            assert 0 < affinities.mean() < 1
        if len(seen) == after:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(tissue, out, on_evaluation=interrupt)
    assert not (out / "model.json").exists()
    assert (out / "iterations").exists() == (after > 4)
    train(tissue, out, resume=True)
    assert weights_of(out) == weights_of(model)
    assert without_times(out) == without_times(model)
    assert not (out / "iterations").exists()


@pytest.mark.parametrize("loss", ["malis", "blotc"])
def test_structured_losses_train_on_cubes(loss: str, tissue: Path, tmp_path: Path) -> None:
    trained = train(tissue, tmp_path / "model", loss=loss, iterations=1, steps=20)
    assert trained.loss == loss
    assert trained.scores[0]["step"] > 10, "heads of before the structured loss are no rivals"


def test_a_linear_machine_is_calibrated(tissue: Path, tmp_path: Path) -> None:
    trained = train(tissue, tmp_path / "svm", widths=(8, 4, 0), folds=2, iterations=1)
    assert trained.n_folds == 2
    assert trained.weights[0]["stages.0.first.weight"].shape[0] == 4
    predict_boundaries(
        str(tissue / "image.zarr"), tmp_path / "svm", str(tmp_path / "map.zarr"), out_of_fold=True
    )
    affinities = open_volume(str(tmp_path / "map.zarr:affinities"), argument="--out").read()
    assert affinities.min() < 0.4 < 0.6 < affinities.max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (8, 4)}, "--widths: a dawmr has atoms"),
        ({"iterations": 0}, "--iterations: at least 1"),
        ({"widths": (8, 4, 0), "loss": "malis"}, "--loss: a linear SVM"),
    ],
)
def test_impossible_networks_are_refused(
    changes: dict[str, Any], message: str, tissue: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        train(tissue, tmp_path / "model", **changes)
    assert not list(tmp_path.iterdir())
