"""Boundary maps, superpixels and blank images that the data do not hold, made once.

A boundary model sees the training side of a case and nothing else; parts of that side are predicted
out of fold. Everything lies in the folder `maps` of the benchmark under the name of its model, and
what lies there is not made again; a training that was cut short is gone on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agglo.cli import main as agglo
from agglo.progress import messages
from agglo.training.volume_set import VolumeSet
from agglo.volumes import open_volume, write_volume
from benchmarks.accuracy.cases import Case, Part, VoxelSize


def training_words(
    *budget: str, model: str = "unet", folds: int | None = None, widths: Sequence[int] = ()
) -> tuple[str, ...]:
    """Return arguments of `agglo boundaries train`, the same for all that share a folder of maps.

    Args:
        budget: how long it trains.
        model: kind of network.
        folds: as many as the command takes if None.
        widths: those of the command if empty.
    """
    return (
        *("--model", model, *budget),
        *(() if folds is None else ("--folds", str(folds))),
        *(("--widths", *map(str, widths)) if widths else ()),
    )


@dataclass(frozen=True, slots=True)
class Maps:
    """Where the data are, and how maps are made.

    Attributes:
        data_folder: folder of the data sets.
        out: folder of the benchmark.
        training_words: further arguments of `agglo boundaries train`, its budget among them.
        prediction_words: those of `agglo boundaries predict`.
    """

    data_folder: Path
    out: Path
    training_words: tuple[str, ...]
    prediction_words: tuple[str, ...] = ()

    def prepare(self, case: Case) -> tuple[list[VolumeSet], VolumeSet]:
        """Make what is missing; return the addresses of the training parts and of the test part."""
        sets = [self._volumes(case, part) for part in (*case.train, case.test)]
        return sets[:-1], sets[-1]

    def _volumes(self, case: Case, part: Part) -> VolumeSet:
        if part.whole is not None:
            return self._cut(part, self._volumes(Case((part.whole,), part.whole), part.whole))
        folder = self.out / "maps" / case.model_name
        boundaries = f"{folder}/{part.name}_boundaries.zarr"
        if part.boundaries is not None:
            boundaries = part.address(self.data_folder, part.boundaries)
        elif not Path(boundaries).exists():
            self._train(case, folder / "model")
            self._predict(case, part, folder / "model", boundaries)
        superpixels = f"{folder}/{part.name}_superpixels.zarr"
        if part.superpixels is not None:
            superpixels = part.address(self.data_folder, part.superpixels)
        elif not Path(superpixels).exists():
            agglo(
                [
                    *("superpixels", "--boundaries", boundaries, "--out", superpixels),
                    *voxel_size_words(part.voxel_size_nm),
                ]
            )
        labels = part.address(self.data_folder, part.labels)
        image = self._image(part, labels)
        return VolumeSet(image, boundaries, superpixels, labels, part.voxel_size_nm)

    def _cut(self, part: Part, whole: VolumeSet) -> VolumeSet:
        """Return the addresses of a part of a part whose maps are there."""
        crop = part.crop_of_whole
        labels = part.address(self.data_folder, part.labels)
        return VolumeSet(
            self._image(part, labels),
            f"{whole.boundaries}{crop}",
            f"{whole.superpixels}{crop}",
            labels,
            part.voxel_size_nm,
        )

    def _train(self, case: Case, model: Path) -> None:
        """Train the boundary model of a case, unless it is finished."""
        if (model / "model.json").exists():
            return
        messages.print(f"boundary model of {case.model_name}", markup=False)
        model.parent.mkdir(parents=True, exist_ok=True)
        images = [self._image(part, "") for part in case.train]
        labels = [part.address(self.data_folder, part.labels) for part in case.train]
        agglo(
            [
                *("boundaries", "train", "--out", str(model), *self.training_words),
                *("--image", *images, "--labels", *labels),
                *voxel_size_words(case.test.voxel_size_nm),
                *["--resume"] * model.exists(),
            ]
        )

    def _predict(self, case: Case, part: Part, model: Path, boundaries: str) -> None:
        """Predict a part, out of fold where the model trained on it."""
        agglo(
            [
                *("boundaries", "predict", "--model", str(model), "--out", boundaries),
                *self.prediction_words,
                *("--image", self._image(part, "")),
                *voxel_size_words(part.voxel_size_nm),
                *["--out-of-fold"] * (part in case.train),
            ]
        )

    def _image(self, part: Part, labels: str) -> str:
        """Return the address of the image, or of a blank one with the shape of the labels."""
        if part.image is not None:
            return part.address(self.data_folder, part.image)
        blank = self.out / "maps" / f"{part.name}_blank.zarr"
        if not blank.exists():
            blank.parent.mkdir(parents=True, exist_ok=True)
            shape = open_volume(labels, argument="--data-folder").shape
            write_volume(str(blank), np.zeros(shape, np.uint8), voxel_size_nm=part.voxel_size_nm)
        return str(blank)


def voxel_size_words(size: VoxelSize) -> list[str]:
    """Return the argument that states a voxel size."""
    return ["--voxel-size-nm", *map(str, size)]
