"""Three membrane maps of ISBI 2012 in one table: smoothed image, trained model, eroded truth.

Run from the root: python -m benchmarks.metrics.membranes --out FOLDER

The model is trained on sections 0–9 and everything is reported on sections 10–19. Thresholds are
chosen on sections 0–9 (the model's on its out-of-fold map), by V-Rand thinned; the eroded truth is
a mask, cut at 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from scipy import ndimage

from agglo.cli import main as agglo
from agglo.evaluation import evaluate_boundaries
from agglo.volumes import open_volume, write_volume
from analysis.input_error import InputError
from benchmarks.metrics.label_volumes import DATA

VOXEL_SIZE_NM = (50.0, 4.0, 4.0)
TRAIN, TEST = "[0:10]", "[10:20]"
SMOOTHING_PX = 2.0
EROSION_PX = 2


@dataclass(frozen=True)
class Arguments:
    """Measure three membrane maps."""

    out: Path
    """folder for maps, model, pictures and the numbers; must not exist"""
    data: Path = DATA / "isbi2012_membrane" / "train.h5"
    """the sections with their labels"""
    minutes: float = 3.0
    """training time of the model, both folds together"""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.metrics.membranes")
    out, data = arguments.out, arguments.data
    if out.exists():
        raise InputError(f"--out: {out} exists.")
    out.mkdir(parents=True)
    size = [str(edge) for edge in VOXEL_SIZE_NM]
    write_smoothed_images(data, out)
    write_eroded_truth(data, out)
    agglo(
        [
            *("boundaries", "train", "--out", f"{out}/model", "--minutes", str(arguments.minutes)),
            *("--image", f"{data}:raw{TRAIN}", "--labels", f"{data}:segments2d{TRAIN}"),
            *("--voxel-size-nm", *size),
        ]
    )
    predict = ["boundaries", "predict", "--model", f"{out}/model", "--voxel-size-nm", *size]
    agglo([*predict, "--image", f"{data}:raw{TEST}", "--out", f"{out}/trained_model.zarr"])
    agglo(
        [
            *(*predict, "--image", f"{data}:raw{TRAIN}", "--out-of-fold"),
            *("--out", f"{out}/train_trained_model.zarr"),
        ]
    )
    names = ("smoothed_image", "trained_model", "eroded_truth")
    thresholds = [
        evaluate_boundaries(f"{out}/train_{name}.zarr", f"{data}:segments2d{TRAIN}").scores
        for name in names[:2]
    ]
    agglo(
        [
            *("evaluate", "--boundaries", *(f"{out}/{name}.zarr" for name in names)),
            *("--labels", f"{data}:segments2d{TEST}", "--image", f"{data}:raw{TEST}"),
            *("--threshold", *(f"{scores['threshold']:g}" for scores in thresholds), "0.5"),
            *("--voxel-size-nm", *size),
            *("--pictures", f"{out}/pictures", "--json", f"{out}/membranes.json"),
        ]
    )


def write_smoothed_images(data: Path, out: Path) -> None:
    """Write the inverted image, smoothed in plane, scaled by grey values of the training part."""
    parts = {
        name: ndimage.gaussian_filter(
            open_volume(f"{data}:raw{crop}", argument="--data").read().astype(np.float32),
            (0.0, SMOOTHING_PX, SMOOTHING_PX),
        )
        for name, crop in (("train_", TRAIN), ("", TEST))
    }
    dark, bright = np.percentile(parts["train_"], (1, 99))
    for name, smooth in parts.items():
        map_of_it = np.clip((bright - smooth) / (bright - dark), 0, 1).astype(np.float32)
        write_volume(f"{out}/{name}smoothed_image.zarr", map_of_it, voxel_size_nm=VOXEL_SIZE_NM)


def write_eroded_truth(data: Path, out: Path) -> None:
    """Write a mask of the true membrane, widened in plane at the cost of the interiors."""
    interior = open_volume(f"{data}:interior{TEST}", argument="--data").read() > 0
    eroded = ndimage.binary_erosion(
        interior, np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]), EROSION_PX, border_value=1
    )
    write_volume(
        f"{out}/eroded_truth.zarr",
        (1 - np.asarray(eroded)).astype(np.float32),
        voxel_size_nm=VOXEL_SIZE_NM,
    )


if __name__ == "__main__":
    main()
