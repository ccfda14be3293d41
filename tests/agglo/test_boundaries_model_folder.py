from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agglo.boundaries.model_folder import (
    MODEL_FILE,
    BoundaryModel,
    TrainedOn,
    fingerprint,
    read_model,
    write_model,
)
from analysis.input_error import InputError
from predict.boundary_network import CHANNELS
from predict.box import Box
from predict.convnet import ConvNetConfig
from predict.dawmr import DawmrConfig
from predict.image_normalisation import ImageNormalisation
from predict.unet import BoundaryUNet, UNetConfig

NETWORK = UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6))


def _image(seed: int = 0, shape=(4, 6, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def _model() -> BoundaryModel:
    torch.manual_seed(0)
    return BoundaryModel(
        network=NETWORK,
        voxel_size_nm=(30.0, 6.0, 6.0),
        normalisation=ImageNormalisation(120.5, 30.25),
        volumes=(TrainedOn("/a.h5:raw", "/a.h5:gt", (4, 6, 20), fingerprint(_image())),),
        scores=({"val_auc": 0.9}, {"val_auc": 0.8}),
        weights=tuple(BoundaryUNet(NETWORK).state_dict() for _ in range(2)),
    )


def test_what_is_written_is_read(tmp_path: Path):
    model = _model()
    write_model(tmp_path, model)
    again = read_model(tmp_path)
    assert replace(again, weights=()) == replace(model, weights=())
    for known, found in zip(model.weights, again.weights, strict=True):
        assert known.keys() == found.keys()
        assert all(torch.equal(known[name], found[name]) for name in known)
    described = json.loads((tmp_path / MODEL_FILE).read_text())
    assert described["fold_parts"][0] == [[[0, 0, 0], [4, 6, 10]], [[0, 0, 10], [4, 6, 20]]]


def test_loss_and_channels_are_kept(tmp_path: Path):
    write_model(tmp_path, replace(_model(), loss="malis"))
    assert read_model(tmp_path).loss == "malis"
    described = json.loads((tmp_path / MODEL_FILE).read_text())
    assert described["version"] == 5
    assert described["channels"] == list(CHANNELS)
    assert "boundary" not in described["network"]


def test_an_embedding_is_kept(tmp_path: Path):
    network = replace(NETWORK, embedding=3)
    model = replace(_model(), network=network, weights=(network.build().state_dict(),))
    write_model(tmp_path, model)
    again = read_model(tmp_path)
    assert again.network == network
    assert again.n_embedding == 3
    assert _model().n_embedding == 0
    again.network.build().load_state_dict(again.weights[0])


def test_a_convnet_is_kept(tmp_path: Path):
    network = ConvNetConfig.for_voxel_size((30, 6, 6), widths=(3, 4))
    model = replace(_model(), network=network, weights=(network.build().state_dict(),))
    write_model(tmp_path, model)
    assert read_model(tmp_path).network == network
    file = tmp_path / MODEL_FILE
    file.write_text(file.read_text().replace('"convnet"', '"forest"'))
    with pytest.raises(InputError, match=r"model.json is damaged .*network of kind 'forest'"):
        read_model(tmp_path)


def test_a_folder_of_version_1_is_read(tmp_path: Path):
    model = _model()
    write_model(tmp_path, model)
    file = tmp_path / MODEL_FILE
    described = json.loads(file.read_text())
    del described["network"]["kind"], described["network"]["embedding"]
    del described["channels"], described["loss"]
    file.write_text(json.dumps({**described, "version": 1}))
    again = read_model(tmp_path)
    assert replace(again, weights=()) == replace(model, weights=())


NETWORKS = {
    "unet": NETWORK,
    "convnet": ConvNetConfig.for_voxel_size((30, 6, 6), widths=(3, 4)),
    "dawmr": DawmrConfig.for_voxel_size((30, 6, 6), n_iterations=1, atoms=(2, 1), hidden=3),
}


def _of_version(folder: Path, version: int, kind: str, rule: dict | None) -> BoundaryModel:
    """Write a model as versions did that said how its boundary map was made."""
    network = NETWORKS[kind]
    model = replace(_model(), network=network, weights=(network.build().state_dict(),))
    write_model(folder, model)
    file = folder / MODEL_FILE
    described = json.loads(file.read_text())
    described["network"]["boundary"] = rule
    described["network"].pop("embedding", None)
    file.write_text(json.dumps({**described, "version": version}))
    return model


@pytest.mark.parametrize(
    ("version", "kind"), [(2, "unet"), (2, "convnet"), (3, "unet"), (3, "convnet"), (3, "dawmr")]
)
def test_earlier_models_with_a_boundary_channel_are_read(tmp_path: Path, version: int, kind: str):
    model = _of_version(tmp_path, version, kind, None)
    again = read_model(tmp_path)
    assert replace(again, weights=()) == replace(model, weights=())


@pytest.mark.parametrize("version", [2, 3])
def test_earlier_models_of_affinities_alone_are_refused(tmp_path: Path, version: int):
    _of_version(tmp_path, version, "unet", {"take": "least", "in_section": True})
    with pytest.raises(
        InputError,
        match=r"^--model: .* made their boundary map of affinities; they must be trained again\.$",
    ):
        read_model(tmp_path)


def test_parts_are_known_by_the_content_of_a_volume():
    model = _model()
    assert model.parts_of(_image()) == (
        Box((0, 0, 0), (4, 6, 10)),
        Box((0, 0, 10), (4, 6, 20)),
    )
    assert model.parts_of(_image(seed=1)) is None
    assert model.parts_of(_image().reshape(4, 20, 6)) is None


def test_fingerprint_is_of_the_values_not_of_the_bytes_on_disk():
    image = _image().astype(np.uint16)
    assert fingerprint(image) == fingerprint(image.astype(">u2"))
    changed = image.copy()
    changed[2, 3, 4] += 1
    assert fingerprint(changed) != fingerprint(image)


def _damage(folder: Path, what: str) -> None:
    file = folder / MODEL_FILE
    described = json.loads(file.read_text())
    if what == "unfinished":
        file.unlink()
    elif what == "version":
        file.write_text(json.dumps({**described, "version": 99}))
    elif what == "other":
        file.write_text("[1, 2]")
    elif what == "half_json":
        file.write_text(file.read_text()[:100])
    elif what == "missing_key":
        del described["normalisation"]
        file.write_text(json.dumps(described))
    elif what == "half_weights":
        weights = folder / "fold_1.pt"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif what == "no_weights":
        (folder / "fold_0.pt").unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("unfinished", "--model: .* has no model.json; its training has not ended"),
        ("version", "has version 99, but versions 1 to 5 are read here"),
        ("other", "does not describe a boundary model"),
        ("half_json", "model.json cannot be read"),
        ("missing_key", "model.json is damaged .*normalisation"),
        ("half_weights", "fold_1.pt of 1000 bytes is damaged, its checksum does not fit"),
        ("no_weights", "fold_0.pt cannot be read"),
    ],
)
def test_damaged_folders(tmp_path: Path, what: str, message: str):
    write_model(tmp_path, _model())
    _damage(tmp_path, what)
    with pytest.raises(InputError, match=message):
        read_model(tmp_path)


def test_no_folder(tmp_path: Path):
    with pytest.raises(InputError, match="--model: there is no model folder"):
        read_model(tmp_path / "nothing")
