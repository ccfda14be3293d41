from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy import ndimage

from agglo.boundaries import network_training
from agglo.boundaries import training as module
from agglo.boundaries.model_folder import BoundaryModel, read_model
from agglo.boundaries.network_choice import BoundaryConfig
from agglo.boundaries.prediction import predict_boundaries
from agglo.boundaries.training import train_boundaries
from agglo.pool import ActorPool
from agglo.volumes import open_volume, write_volume
from agglo.volumes.attributes import CHANNELS_OF
from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from analysis.label_borders import border_mask
from predict.blockwise import predict_volume
from predict.boundary_settings import BoundaryTraining
from predict.boundary_training import load_network
from predict.compute_device import choose_device
from predict.folds import fold_parts
from tests.agglo.event_scalars import scalars_in
from tests.agglo.small_volumes import agglo

pytestmark = pytest.mark.usefixtures("ray_local", "small_steps")

CONFIG = BoundaryConfig(steps=40, widths=(6, 8), seed=3)
SHAPE = (16, 36, 28)


def _cells(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    seeds = np.zeros(SHAPE, np.int32)
    seeds[tuple(rng.integers(0, extent, 40) for extent in SHAPE)] = np.arange(1, 41)
    nearest = ndimage.distance_transform_edt(
        seeds == 0, return_distances=False, return_indices=True
    )
    assert isinstance(nearest, np.ndarray)
    labels = seeds[tuple(nearest)]
    image = 170 - 90 * ndimage.gaussian_filter(border_mask(labels).astype(float), 0.5)
    return (image + rng.normal(0, 12, SHAPE)).clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def small_steps() -> Iterator[None]:
    """Train with steps of fewer voxels than pays on real volumes, and evaluate less often."""
    with pytest.MonkeyPatch.context() as patch:
        quick = partial(BoundaryTraining, batch_voxels=2 * 16**3, n_evaluations=4)
        patch.setattr(module, "BoundaryTraining", quick)
        yield


@pytest.fixture(scope="module")
def volume(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("volume") / "cells.h5"
    image, labels = _cells(0)
    with h5py.File(path, "w") as file:
        file["raw"], file["gt"] = image, labels
        file["other"], file["gt_float"] = _cells(1)[0], labels.astype(np.float32)
        for name in file:
            file[name].attrs["voxel_size_nm"] = (8.0, 8.0, 8.0)
        file["bare"], file["short"] = image, labels[1:]
        file["coarse"] = image
        file["coarse"].attrs["voxel_size_nm"] = (16.0, 16.0, 16.0)
    return path


@pytest.fixture(scope="module")
def trained(volume: Path, small_steps: None, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "model"
    _train(volume, out)
    return out


def _train(volume: Path, out: Path, config: BoundaryConfig = CONFIG, **options) -> BoundaryModel:
    return train_boundaries([f"{volume}:raw"], [f"{volume}:gt"], out, config, **options)


def _equal(first: BoundaryModel, second: BoundaryModel) -> bool:
    return all(
        torch.equal(a[name], b[name])
        for a, b in zip(first.weights, second.weights, strict=True)
        for name in a
    )


def test_a_model_folder_is_whole_and_says_what_it_is(trained: Path, volume: Path):
    model = read_model(trained)
    assert model.n_folds == 2
    assert model.voxel_size_nm == (8, 8, 8)
    assert model.volumes[0].image == f"{volume}:raw"
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert {record["fold"] for record in records} == {0, 1}
    assert {"step", "loss", "val_loss", "val_auc", "val_ap", "seconds"} <= set(records[0])
    assert all(score["val_auc"] > 0.8 for score in model.scores)


def test_a_model_folder_that_says_nothing_of_masks_is_read(trained: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    described = json.loads(file.read_text())
    for record in described["volumes"]:
        assert record.pop("mask") is None
    file.write_text(json.dumps(described))
    assert read_model(tmp_path / "model").volumes == read_model(trained).volumes


def test_one_section_with_a_mask_from_the_command_line(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    image, labels = _cells(0)
    known = np.zeros((1, *SHAPE[1:]), np.uint8)
    known[:, :, 4:] = 1
    wrong = np.where(known == 0, np.indices(known.shape).sum(0) % 2 + 1, labels[5:6])
    for name, array in (("image", image[5:6]), ("labels", wrong), ("mask", known)):
        np.save(tmp_path / f"{name}.npy", array)
    words = [
        word
        for name in ("image", "labels", "mask")
        for word in (f"--{name}", tmp_path / f"{name}.npy")
    ]
    said = agglo(
        capsys,
        *("boundaries", "train", *words, "--voxel-size-nm", 50, 4, 4, "--two-dimensional"),
        *("--folds", 1, "--steps", 20, "--widths", 6, 8, "--device", "cpu"),
        *("--out", tmp_path / "model", "--json", tmp_path / "results.json"),
    )
    assert said.status == 0, said.err
    model = read_model(tmp_path / "model")
    assert model.volumes[0].mask == str(tmp_path / "mask.npy")
    assert model.network.two_dimensional
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["model"], results["loss"], results["folds"]) == ("unet", "bce", 1)
    assert results["config"]["steps"] == 20
    assert results["config"]["two_dimensional"]
    assert results["voxel_size_nm"] == [50, 4, 4]
    [record] = results["volumes"]
    assert record == json.loads((tmp_path / "model" / "model.json").read_text())["volumes"][0]
    assert record["mask"] == model.volumes[0].mask
    assert [evaluation["step"] for evaluation in results["evaluations"]] == [5, 10, 15, 20]
    best = max(results["evaluations"], key=lambda evaluation: evaluation["val_ap"])
    assert [{"fold": 0, **score} for score in results["scores"]] == [best]


def test_out_of_fold_and_mean_predictions(trained: Path, volume: Path, tmp_path: Path):
    model = read_model(trained)
    image = open_volume(f"{volume}:raw", argument="--image").read()
    labels = open_volume(f"{volume}:gt", argument="--labels").read()
    device = choose_device("cpu")
    networks = [load_network(model.network, weights, device) for weights in model.weights]
    options = {"normalisation": model.normalisation, "device": device}
    for out_of_fold in (True, False):
        out = tmp_path / f"map_{out_of_fold}.zarr"
        result = predict_boundaries(f"{volume}:raw", trained, str(out), out_of_fold=out_of_fold)
        assert result["n_voxels"] == image.size
        boundaries = open_volume(str(out), argument="--boundaries")
        affinities = open_volume(f"{out}:affinities", argument="--boundaries")
        assert boundaries.voxel_size_nm == (8, 8, 8)
        assert boundaries.attributes["out_of_fold"] == out_of_fold
        found = np.concatenate([boundaries.read()[None], affinities.read()])
        if out_of_fold:
            expected = np.concatenate(
                [
                    predict_volume([networks[fold]], image, region=part, **options)
                    for fold, part in enumerate(fold_parts(SHAPE, 2))
                ],
                axis=2,  # the parts lie side by side along y, the longest axis
            )
        else:
            expected = predict_volume(networks, image, **options)
        np.testing.assert_allclose(found, expected, atol=0.02)
        assert score_boundaries(found[0], border_mask(labels)).auc > 0.8


def test_an_embedding_is_trained_and_written_beside(volume: Path, tmp_path: Path):
    model = _train(volume, tmp_path / "model", replace(CONFIG, steps=8, embedding=3))
    records = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").open()]
    assert all(record["val_embedding"] > 0 for record in records)
    image = open_volume(f"{volume}:raw", argument="--image").read()
    device = choose_device("cpu")
    networks = [load_network(model.network, weights, device) for weights in model.weights]
    options = {"normalisation": model.normalisation, "device": device}
    alone = [predict_volume([network], image, **options) for network in networks]
    (first, second) = fold_parts(SHAPE, 2)
    parted = np.concatenate(
        [alone[0][:, *first.slices], alone[1][:, *second.slices]],
        axis=2,  # the parts lie side by side along y, the longest axis
    )
    digest = hashlib.sha256((tmp_path / "model" / "model.json").read_bytes()).hexdigest()
    for name, inner, expected, out_of_fold in (
        ("map.zarr", "map.zarr:embedding", parted[4:], True),
        ("map.h5:map", "map.h5:embedding", np.concatenate([one[4:] for one in alone]), False),
    ):
        out = str(tmp_path / name)
        predict_boundaries(
            f"{volume}:raw", tmp_path / "model", out, out_of_fold=out_of_fold, n_views=2
        )
        found = open_volume(str(tmp_path / inner), argument="--image")
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found.read() / 255, expected, atol=0.02)
        assert found.attributes[CHANNELS_OF] == digest
        assert expected.std((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize(
    ("model", "embedding", "sentence"),
    [
        ("unet", -1, r"--embedding: it must not be negative, got -1\."),
        ("convnet", 2, r"--embedding: only a unet predicts one, --model is convnet\."),
        ("dawmr", 2, r"--embedding: only a unet predicts one, --model is dawmr\."),
    ],
)
def test_an_embedding_that_no_network_makes_is_refused(
    volume: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    embedding: int,
    sentence: str,
):
    words = ["--image", f"{volume}:raw", "--labels", f"{volume}:gt", "--out", tmp_path / "model"]
    said = agglo(
        capsys, *("boundaries", "train", *words, "--model", model, "--embedding", embedding)
    )
    assert said.status == 2
    assert re.search(sentence, said.err)
    assert not (tmp_path / "model").exists()


def test_malis_trains_a_boundary_channel_too_and_affinities_go_where_they_are_wanted(
    volume: Path, tmp_path: Path
):
    model = _train(volume, tmp_path / "model", replace(CONFIG, folds=1, steps=8), loss="malis")
    again = read_model(tmp_path / "model")
    assert _equal(model, again)
    assert again.loss == "malis"
    assert "val_malis" in again.scores[0]
    out, beside = tmp_path / "map.zarr", tmp_path / "affinities.zarr"
    predict_boundaries(f"{volume}:raw", tmp_path / "model", str(out), affinities=str(beside))
    boundaries = open_volume(str(out), argument="--boundaries")
    affinities = open_volume(str(beside), argument="--boundaries")
    assert affinities.shape == (3, *SHAPE)
    assert affinities.attributes["model"] == boundaries.attributes["model"]
    device = choose_device("cpu")
    network = load_network(model.network, model.weights[0], device)
    image = open_volume(f"{volume}:raw", argument="--image").read()
    expected = predict_volume([network], image, normalisation=model.normalisation, device=device)
    np.testing.assert_allclose(boundaries.read(), expected[0], atol=0.02)
    np.testing.assert_allclose(affinities.read(), expected[1:], atol=0.02)
    with pytest.raises(InputError):
        open_volume(f"{out}:affinities", argument="--boundaries")
    with pytest.raises(InputError, match=r"--affinities: .* is also --out"):
        predict_boundaries(
            f"{volume}:raw", tmp_path / "model", str(out), affinities=str(out), overwrite=True
        )
    with pytest.raises(InputError, match=r"--affinities: .*exists"):
        predict_boundaries(
            f"{volume}:raw", tmp_path / "model", str(tmp_path / "b.zarr"), affinities=str(beside)
        )
    assert not (tmp_path / "b.zarr").exists()


def test_a_convnet_is_trained_and_applied_alike(volume: Path, tmp_path: Path):
    config = BoundaryConfig(steps=8, folds=1, widths=(4, 4), seed=3)
    model = _train(volume, tmp_path / "model", config, model="convnet")
    predict_boundaries(f"{volume}:raw", tmp_path / "model", str(tmp_path / "map.zarr"))
    found = open_volume(str(tmp_path / "map.zarr"), argument="--boundaries").read()
    device = choose_device("cpu")
    network = load_network(model.network, model.weights[0], device)
    image = open_volume(f"{volume}:raw", argument="--image").read()
    expected = predict_volume([network], image, normalisation=model.normalisation, device=device)
    np.testing.assert_allclose(found, expected[0], atol=0.02)
    with pytest.raises(
        InputError, match="--model: it must be unet, convnet or dawmr, got 'forest'"
    ):
        _train(volume, tmp_path / "other", config, model="forest")


def test_a_volume_of_another_range_is_predicted_alike(trained: Path, volume: Path, tmp_path: Path):
    model = read_model(trained)
    image = open_volume(f"{volume}:other", argument="--image").read()
    np.save(tmp_path / "unit.npy", image.astype(np.float32) / 255)
    predict_boundaries(str(tmp_path / "unit.npy"), trained, str(tmp_path / "unit.zarr"))
    found = open_volume(str(tmp_path / "unit.zarr"), argument="--boundaries")
    assert found.voxel_size_nm == (8, 8, 8)  # that of the model, as the file states none
    device = choose_device("cpu")
    networks = [load_network(model.network, weights, device) for weights in model.weights]
    same = predict_volume(networks, image, normalisation=model.normalisation, device=device)
    assert np.corrcoef(found.read().ravel(), same[0].ravel())[0, 1] > 0.95


def test_an_interrupted_run_is_resumed_to_the_same_model(
    volume: Path, trained: Path, tmp_path: Path
):
    class Interruption(Exception):
        pass

    def stop(record: dict) -> None:
        if record["fold"] == 1 and record["step"] > 9:
            raise Interruption

    cut = tmp_path / "cut"
    with pytest.raises(Interruption):
        _train(volume, cut, on_evaluation=stop)
    with pytest.raises(InputError, match="its training has not ended"):
        read_model(cut)
    with pytest.raises(InputError, match="--resume goes on, --overwrite starts anew"):
        _train(volume, cut)
    with pytest.raises(InputError, match=r"--resume: .* is of another configuration, seed was 3"):
        _train(volume, cut, replace(CONFIG, seed=4), resume=True)
    _train(volume, cut, resume=True, tensorboard=True)
    assert _equal(read_model(trained), read_model(cut))
    lines = [(folder / "metrics.jsonl").read_text() for folder in (trained, cut)]
    steps = [[(r["fold"], r["step"]) for r in map(json.loads, text.splitlines())] for text in lines]
    assert steps[0] == steps[1]
    losses = [scalar for scalar in scalars_in(cut / "tensorboard") if "val_loss" in scalar[0]]
    assert [(f"fold_{f}/val_loss", step) for f, step in steps[1]] == [
        (tag, step) for tag, step, _ in losses
    ]


def test_a_killed_actor_costs_an_interval_and_nothing_else(
    volume: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    killed: list[int] = []

    class Killing(ActorPool):
        def run(self, method: str, tasks, *, on_result: Callable | None = None):
            if not killed:
                killed.append(self.pids()[0])
                threading.Timer(0.05, lambda: os.kill(killed[0], signal.SIGKILL)).start()
            return super().run(method, tasks, on_result=on_result)

    monkeypatch.setattr(network_training, "ActorPool", Killing)
    again = _train(volume, tmp_path / "again")
    assert killed
    assert _equal(read_model(trained), again)


def test_bad_input(volume: Path, trained: Path, tmp_path: Path):
    out = tmp_path / "model"

    def refuse(images: list[str], labels: list[str], message: str, **options) -> None:
        with pytest.raises(InputError, match=message):
            train_boundaries(
                [f"{volume}:{name}" for name in images],
                [f"{volume}:{name}" for name in labels],
                out,
                **{"config": CONFIG, **options},
            )
        assert not out.exists()

    refuse(["raw"], [], "--image and --labels must name equally many volumes.* 1 and 0")
    refuse(["raw"], ["short"], "--labels has shape .* and --image has shape")
    refuse(["raw"], ["gt_float"], "--labels: .* has values of type float32")
    refuse(["raw", "coarse"], ["gt", "gt"], "one model needs equal voxels")
    refuse(["bare"], ["bare"], "--voxel-size-nm is needed")
    refuse(["raw"], ["gt"], "labels leave only .* to train on", config=replace(CONFIG, folds=30))
    refuse(["raw"], ["gt"], "--folds: at least 1", config=replace(CONFIG, folds=0))
    refuse(["raw"], ["gt"], "device", device="tpu")
    refuse(["raw"], ["gt"], "loss must be bce.* got 'hinge'", loss="hinge")
    with pytest.raises(InputError, match=r"--out: .*exists"):
        _train(volume, trained)

    map_ = str(tmp_path / "map.zarr")
    with pytest.raises(InputError, match=r"--out-of-fold: .*other is none of the volumes"):
        predict_boundaries(f"{volume}:other", trained, map_, out_of_fold=True)
    with pytest.raises(InputError, match="--model: there is no model folder"):
        predict_boundaries(f"{volume}:raw", tmp_path / "none", map_)
    constant = tmp_path / "constant.npy"
    np.save(constant, np.full(SHAPE, 9, np.uint8))
    with pytest.raises(InputError, match="image is constant"):
        predict_boundaries(str(constant), trained, map_)
    holes = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    holes[3, 4, 5] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    with pytest.raises(InputError, match="not finite"):
        predict_boundaries(str(tmp_path / "holes.npy"), trained, map_)
    assert not Path(map_).exists()
    assert not list(tmp_path.glob(".map*"))
    write_volume(map_, np.zeros(SHAPE, np.float32), voxel_size_nm=None)
    with pytest.raises(InputError, match="--overwrite replaces it"):
        predict_boundaries(f"{volume}:other", trained, map_)
