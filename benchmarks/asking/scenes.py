"""The volumes of the experiments: FIB-25 sections 0–79 to train on, 84–119 to report on.

A folder holds what benchmarks/fib25 writes, under its names, and what lies there is not made again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.boundaries.network_choice import BoundaryConfig
from agglo.boundaries.prediction import predict_boundaries
from agglo.boundaries.training import train_boundaries
from agglo.policy_file import Policy, load_policy
from agglo.superpixels import make_superpixels
from agglo.training.train import train_policy
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import open_set
from agglo.volumes import open_volume, require_volume, write_volume
from envs.instance import Instance
from envs.microscope import Damage, SimulatedMicroscope, damaged
from envs.region_graph import build_region_graph
from envs.truth_rows import truth_table
from predict.watershed import WatershedConfig

VOXEL_NM = (10.0, 10.0, 10.0)
PARTS = {"train": "[0:80]", "test": "[84:120]"}
PREFIX = {"train": "train_", "test": ""}


class Scene(NamedTuple):
    """Volumes that lie on each other: image uint8, boundaries float32, superpixels, labels."""

    image: npt.NDArray[np.uint8]
    boundaries: npt.NDArray[np.float32]
    superpixels: npt.NDArray[np.uint64]
    labels: npt.NDArray[np.uint64]

    def instance(self, second: Scene | None = None) -> Instance:
        """Build the episode's problem, with the graph of a second look where one is given."""
        graph, clear = (
            scene
            and build_region_graph(
                scene.superpixels, scene.image, scene.boundaries, voxel_size_nm=VOXEL_NM
            )
            for scene in (self, second)
        )
        assert graph is not None
        return Instance(graph, truth_table(graph.ids, self.superpixels, self.labels), clear)

    def quarters(self) -> list[Scene]:
        """Cut into four along y and x, as the policy's shards of scale 1 are."""
        _, n_y, n_x = self.labels.shape
        return [
            Scene(
                self.image[:, y : y + n_y // 2, x : x + n_x // 2],
                self.boundaries[:, y : y + n_y // 2, x : x + n_x // 2],
                self.superpixels[:, y : y + n_y // 2, x : x + n_x // 2],
                self.labels[:, y : y + n_y // 2, x : x + n_x // 2],
            )
            for y in (0, n_y // 2)
            for x in (0, n_x // 2)
        ]

    def badly_imaged(self, damage: Damage) -> Scene:
        """Return what bad imaging of a share of the volume shows; superpixels stay."""
        grey = damaged(
            self.image.astype(np.float32) / 255,
            replace(damage, gap_share=0.0, blur_vox=2 * damage.blur_vox),
        )
        return self._replace(
            image=np.rint(255 * grey).astype(np.uint8), boundaries=damaged(self.boundaries, damage)
        )

    def imaged_again(self, microscope: SimulatedMicroscope) -> Scene:
        """Return what the second look at all of it shows."""
        return self._replace(boundaries=microscope.look(self.superpixels, self.boundaries))

    def write(self, folder: Path) -> None:
        """Write image, boundaries, superpixels and labels for `agglo train`."""
        for name, volume in self._asdict().items():
            if not (folder / f"{name}.zarr").exists():
                write_volume(f"{folder}/{name}.zarr", volume, voxel_size_nm=VOXEL_NM)


def make_volumes(data: Path, out: Path, minutes: float, seed: int) -> dict[str, Scene]:
    """Train boundary models, predict both parts, make superpixels; read what is there already."""
    image, labels = f"{data}:raw", f"{data}:gt"
    if not all((out / f"{prefix}boundaries.zarr").exists() for prefix in PREFIX.values()):
        train_boundaries(
            [image + PARTS["train"]],
            [labels + PARTS["train"]],
            out / "model",
            BoundaryConfig(minutes=minutes, seed=seed),
            voxel_size_nm=VOXEL_NM,
            overwrite=True,
        )
    scenes = {}
    for part, crop in PARTS.items():
        boundaries = f"{out}/{PREFIX[part]}boundaries.zarr"
        superpixels = f"{out}/{PREFIX[part]}superpixels.zarr"
        if not Path(boundaries).exists():
            predict_boundaries(
                image + crop,
                out / "model",
                boundaries,
                out_of_fold=part == "train",
                voxel_size_nm=VOXEL_NM,
            )
        if not Path(superpixels).exists():
            make_superpixels(
                boundaries, superpixels, WatershedConfig(), voxel_size_nm=None, overwrite=False
            )
        scenes[part] = Scene(
            require_volume(open_volume(image + crop, argument="--data"), "--data", "image"),
            require_volume(open_volume(boundaries, argument="--out"), "--out", "boundaries"),
            require_volume(open_volume(superpixels, argument="--out"), "--out", "labels"),
            require_volume(open_volume(labels + crop, argument="--data"), "--data", "labels"),
        )
    return scenes


def train_or_load(texts: list[tuple[str, str, str, str]], folder: Path, seed: int) -> Policy:
    """Train a merge policy on volumes (image, boundaries, superpixels, labels), or read it."""
    if (folder / "policy.npz").exists():
        return load_policy(str(folder), argument="--out")
    sets = [open_set(*four, VOXEL_NM) for four in texts]
    return train_policy(
        [volumes for volumes, _ in sets],
        [shape for _, shape in sets],
        TrainConfig(seed=seed),
        folder,
        overwrite=folder.exists(),
    )
