"""Channels of the parts of a case, made once and kept with the maps: texture, masks, an embedding.

What learns from labels sees the training side of a case and nothing else: the embedding is that of
a model of its own, trained as the boundary model of the case is, and out of fold on that side. The
dictionary of texture is learned from the first training part. Masks are those of the superpixels;
a policy looks at them as texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agglo.cli import main as agglo
from agglo.progress import messages
from agglo.training.volume_set import VolumeSet
from analysis.input_error import InputError
from benchmarks.accuracy.cases import Case
from benchmarks.accuracy.maps import Maps, voxel_size_words

MASKS = "masks"
"""Stands beside the groups of features: the group texture, of the channels of `agglo masks`."""

N_EMBEDDING = 8
"""Coordinates of an embedding."""


def add_channels(
    maps: Maps, case: Case, sets: Sequence[VolumeSet], groups: Sequence[str]
) -> list[VolumeSet]:
    """Return the volumes of a case with the channels of some groups of features.

    Args:
        maps: that made the boundary maps.
        case: whose parts are not cut from others.
        sets: of the training parts and of the test part.
        groups: of features, or `MASKS` in place of texture; channels are made if they are not
            there.
    """
    parts = [*case.train, case.test]
    if any(part.whole is not None or part.image is None for part in parts):
        raise InputError(
            f"--data: {case.title} has parts without an image, or cut from others, for which "
            "there are no channels."
        )
    folder = maps.out / "maps" / case.model_name
    made = list(sets)
    for n, (part, volumes) in enumerate(zip(parts, sets, strict=True)):
        if "texture" in groups:
            texture = folder / f"{part.name}_texture.zarr"
            _texture(volumes, folder / "dictionary.npz", texture, learn=n == 0)
            made[n] = made[n]._replace(texture=str(texture))
        if MASKS in groups:
            masks = folder / f"{part.name}_masks.zarr"
            _masks(volumes, masks)
            made[n] = made[n]._replace(texture=str(masks))
        if "embedding" in groups:
            model = folder / "embedding_model"
            _train(maps, case, list(sets), model)
            out = folder / f"{part.name}_embedding.zarr"
            _predict(volumes, model, out, is_seen=part in case.train)
            made[n] = made[n]._replace(embedding=f"{out}:embedding")
    return made


def _texture(volumes: VolumeSet, dictionary: Path, out: Path, *, learn: bool) -> None:
    if out.exists():
        return
    agglo(
        [
            *("texture", "--image", volumes.image, "--boundaries", volumes.boundaries),
            *("--dictionary", str(dictionary), "--out", str(out)),
            *["--learn"] * (learn and not dictionary.exists()),
            *voxel_size_words(volumes.voxel_size_nm or (1.0, 1.0, 1.0)),
        ]
    )


def _masks(volumes: VolumeSet, out: Path) -> None:
    if out.exists():
        return
    agglo(
        [
            *("masks", "--objects", volumes.superpixels, "--out", str(out)),
            *voxel_size_words(volumes.voxel_size_nm or (1.0, 1.0, 1.0)),
        ]
    )


def _train(maps: Maps, case: Case, sets: Sequence[VolumeSet], model: Path) -> None:
    if (model / "model.json").exists():
        return
    messages.print(f"embedding of {case.model_name}", markup=False)
    training = sets[: len(case.train)]
    agglo(
        [
            *("boundaries", "train", "--out", str(model), *maps.training_words),
            *("--embedding", str(N_EMBEDDING)),
            *("--image", *(one.image for one in training)),
            *("--labels", *(one.labels for one in training)),
            *voxel_size_words(case.test.voxel_size_nm),
            *["--resume"] * model.exists(),
        ]
    )


def _predict(volumes: VolumeSet, model: Path, out: Path, *, is_seen: bool) -> None:
    if out.exists():
        return
    agglo(
        [
            *("boundaries", "predict", "--model", str(model), "--out", str(out)),
            *("--image", volumes.image),
            *voxel_size_words(volumes.voxel_size_nm or (1.0, 1.0, 1.0)),
            *["--out-of-fold"] * is_seen,
        ]
    )
