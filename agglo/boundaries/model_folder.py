"""The folder of a boundary model: what it is, what it was trained on, and its weights.

A model folder is a run folder (`agglo.run_folder`: configuration, metrics.jsonl, checkpoints) to
which the end of the training adds `fold_0.pt`, `fold_1.pt`, … and, last, `model.json`. A folder
with a `model.json` is therefore whole.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from agglo.boundaries.network_description import Network, kind_of, network_of
from agglo.checkpoint_file import plain_value
from agglo.volumes.fingerprint import fingerprint
from agglo.whole_file import write_whole
from analysis.input_error import InputError
from predict.boundary_network import CHANNELS
from predict.box import Box, Triple
from predict.folds import fold_parts
from predict.image_normalisation import ImageNormalisation, Sliceable
from predict.unet import UNetConfig

MODEL_FILE = "model.json"

MODEL_VERSION = 5
"""Raised whenever an older reader would misunderstand the folder.

Version 1 had U-Nets only, trained with cross-entropy, and said neither; version 2 did not know
masks, types of images or DAWMR networks; networks of 2 and 3 had a `boundary`: null, or the rule by
which their boundary map was made of affinities; U-Nets of 4 and before had no embedding.
"""

READ_VERSIONS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """One volume that a model was trained on.

    Attributes:
        image: address of the image.
        labels: address of the labels.
        shape: z, y, x.
        fingerprint: of the image, see `fingerprint`.
        mask: address of the mask, None if there was none.
        dtype: of the image's voxels; None in folders that do not say.
    """

    image: str
    labels: str
    shape: Triple
    fingerprint: str
    mask: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class BoundaryModel:
    """A trained boundary model with all its folds.

    Attributes:
        network: shape of its networks.
        voxel_size_nm: z, y, x, of the volumes it was trained on.
        normalisation: of images like those it was trained on.
        volumes: what it was trained on.
        scores: of each fold, on the validation part of what that fold was trained on.
        weights: of each fold.
        loss: what was minimised.
        training: settings of the training of one fold (of a DAWMR network: of one iteration).
    """

    network: Network
    voxel_size_nm: tuple[float, float, float]
    normalisation: ImageNormalisation
    volumes: tuple[TrainedOn, ...]
    scores: tuple[dict[str, float], ...]
    weights: tuple[dict[str, torch.Tensor], ...]
    loss: str = "bce"
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def n_folds(self) -> int:
        """Return the number of folds."""
        return len(self.weights)

    @property
    def n_embedding(self) -> int:
        """Return the number of channels of each fold's embedding."""
        return self.network.embedding if isinstance(self.network, UNetConfig) else 0

    def parts_of(self, image: Sliceable) -> tuple[Box, ...] | None:
        """Return the part of a volume that each fold has not seen, None for a volume unseen."""
        seen = {volume.fingerprint for volume in self.volumes}
        if fingerprint(image) not in seen:
            return None
        depth, height, width = image.shape
        return fold_parts((depth, height, width), self.n_folds)


def write_model(folder: Path, model: BoundaryModel) -> None:
    """Add a trained model to its run folder, `model.json` last."""
    digests = []
    for fold, weights in enumerate(model.weights):
        buffer = io.BytesIO()
        torch.save(dict(weights), buffer)
        write_whole(folder / _weights_file(fold), buffer.getvalue())
        digests.append(hashlib.sha256(buffer.getvalue()).hexdigest())
    described = {
        "format": "agglo boundary model",
        "version": MODEL_VERSION,
        "network": {"kind": kind_of(model.network), **asdict(model.network)},
        "channels": CHANNELS,
        "loss": model.loss,
        "training": model.training,
        "voxel_size_nm": model.voxel_size_nm,
        "normalisation": asdict(model.normalisation),
        "volumes": [asdict(volume) for volume in model.volumes],
        "n_folds": model.n_folds,
        "fold_parts": [fold_parts(volume.shape, model.n_folds) for volume in model.volumes],
        "validation": model.scores,
        "weights_sha256": digests,
    }
    text = json.dumps(described, indent=2, default=plain_value) + "\n"
    write_whole(folder / MODEL_FILE, text.encode())


def read_model(path: Path | str, *, argument: str = "--model") -> BoundaryModel:
    """Read a model folder.

    Args:
        path: the folder.
        argument: the argument that named it, for sentences.

    Raises:
        InputError: there is no model, it is unfinished, of another version, or damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{argument}: there is no model folder {folder}.")
    file = folder / MODEL_FILE
    if not file.is_file():
        raise InputError(
            f"{argument}: {folder} has no {MODEL_FILE}; its training has not ended, or it is no "
            "model folder."
        )
    described = _read_description(file, argument)
    try:
        network = described["network"]
        if network.get("boundary") is not None:
            raise InputError(
                f"{argument}: {folder} is one of the models that made their boundary map of "
                "affinities; they must be trained again."
            )
        digests = described["weights_sha256"]
        return BoundaryModel(
            network=network_of(network),
            voxel_size_nm=_spacing(described["voxel_size_nm"]),
            normalisation=ImageNormalisation(**described["normalisation"]),
            volumes=tuple(
                TrainedOn(**{**volume, "shape": _triple(volume["shape"])})
                for volume in described["volumes"]
            ),
            scores=tuple(described["validation"]),
            weights=tuple(
                _read_weights(folder / _weights_file(fold), digest, argument)
                for fold, digest in enumerate(digests)
            ),
            loss=described.get("loss", "bce"),
            training=described.get("training", {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{argument}: {file} is damaged ({error!r}).") from error


def _read_description(file: Path, argument: str) -> dict[str, Any]:
    try:
        described = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{argument}: {file} cannot be read ({error}).") from error
    if not isinstance(described, dict) or described.get("format") != "agglo boundary model":
        raise InputError(f"{argument}: {file} does not describe a boundary model.")
    if described.get("version") not in READ_VERSIONS:
        raise InputError(
            f"{argument}: {file} has version {described.get('version')}, "
            f"but versions {READ_VERSIONS[0]} to {READ_VERSIONS[-1]} are read here."
        )
    return described


def _read_weights(file: Path, digest: str, argument: str) -> dict[str, torch.Tensor]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{argument}: {file} cannot be read ({error.strerror}).") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(
            f"{argument}: {file} of {len(data)} bytes is damaged, its checksum does not fit."
        )
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def _weights_file(fold: int) -> str:
    return f"fold_{fold}.pt"


def _triple(values: list[int]) -> Triple:
    z, y, x = values
    return z, y, x


def _spacing(values: list[float]) -> tuple[float, float, float]:
    z, y, x = values
    return z, y, x
