"""A tiny tissue as volumes on disk, and the command line called in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from agglo.cli import main
from agglo.policy_file import Policy, save_policy
from agglo.training.learner import LearnerConfig
from agglo.training.network_fit import fit_network, standardisation
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import VolumeSet, open_set
from agglo.volumes import VoxelSize
from envs.instance import Instance
from envs.merge_network import mean_boundary_network
from envs.region_graph import build_region_graph
from envs.rollout import initial_decisions
from envs.truth_rows import truth_table

SHAPE = (16, 40, 40)
NAMES = ("image", "boundaries", "superpixels", "labels")


class Tissue(NamedTuple):
    """Volumes of one shape (z, y, x): superpixels in neurons behind a noisy membrane map."""

    image: npt.NDArray
    boundaries: npt.NDArray
    superpixels: npt.NDArray
    labels: npt.NDArray

    def cut(self, *box: slice) -> Tissue:
        """Return a part of it."""
        return Tissue(*(array[box] for array in self))

    def instance(self) -> Instance:
        """Return the region graph and the contingency table."""
        graph = build_region_graph(
            self.superpixels, self.image, self.boundaries, voxel_size_nm=(8.0, 8.0, 8.0)
        )
        return Instance(graph, truth_table(graph.ids, self.superpixels, self.labels))


def make_tissue(
    seed: int,
    shape: tuple[int, int, int] = SHAPE,
    *,
    n_superpixels: int = 100,
    n_neurons: int = 7,
) -> Tissue:
    """Draw Voronoi superpixels, the neurons they belong to, and their noisy membranes.

    One superpixel reaches over two neurons, and a corner has no labels.
    """
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (n_superpixels, 3)) * shape
    centres = rng.uniform(0, 1, (n_neurons, 3)) * shape
    neuron = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = ((voxels[..., None, :] - points) ** 2).sum(-1)
    cell = distance.argmin(-1)
    labels = neuron[cell] + 1
    near, far = np.sort(np.sqrt(distance), axis=-1)[..., :2].transpose(3, 0, 1, 2)
    is_edge = far - near < 1.5
    padded = np.pad(labels, 1, mode="edge")
    around = [
        np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] != labels
        for axis in range(3)
        for step in (-1, 1)
    ]
    is_membrane = np.logical_or.reduce(around)
    boundaries = 0.15 + 0.2 * is_edge + 0.4 * is_membrane + 0.15 * rng.standard_normal(shape)
    boundaries = np.clip(boundaries, 0, 1).astype(np.float32)
    image = 255 * (1 - boundaries) + 12 * rng.standard_normal(shape)
    superpixels = cell + 1
    across = np.argwhere(labels[:, :, 1:] != labels[:, :, :-1])
    z, y, x = across[len(across) // 2]
    superpixels[superpixels == superpixels[z, y, x]] = superpixels[z, y, x + 1]
    labels[:4, :6, :6] = 0
    return Tissue(
        np.clip(image, 0, 255).astype(np.uint8),
        boundaries,
        superpixels.astype(np.uint64),
        labels.astype(np.uint64),
    )


def write_tissue(
    path: Path,
    tissue: Tissue,
    *,
    voxel_size_nm: tuple[float, float, float] | None = (8.0, 8.0, 8.0),
    **more: npt.NDArray,
) -> Path:
    """Write a tissue into an HDF5 file, one dataset a volume, and further datasets by name."""
    with h5py.File(path, "w") as file:
        for name, array in {**tissue._asdict(), **more}.items():
            file[name] = array
            if voxel_size_nm is not None:
                file[name].attrs["voxel_size_nm"] = voxel_size_nm
    return path


def volume_options(path: Path, *names: str, **instead: str) -> list[str]:
    """Return `--name path:name` for the named volumes (all four if none), or another address."""
    words = []
    for name in names or NAMES:
        words += [f"--{name}", instead.get(name, f"{path}:{name}")]
    return words


def open_tissue(
    path: Path, voxel_size_nm: VoxelSize | None = None, *, crop: str = "", **instead: str
) -> tuple[VolumeSet, tuple[int, int, int]]:
    """Open the four volumes `path:name`, or at another address, as a set with its shape."""
    image, boundaries, superpixels, labels = (
        instead.get(name, f"{path}:{name}") + crop for name in NAMES
    )
    return open_set(image, boundaries, superpixels, labels, voxel_size_nm)


def save_quick_policy(folder: Path, tissue: Tissue, *, threshold: float = 0.0) -> Policy:
    """Fit a network to the contacts of a tissue, without Ray, and save it as a policy."""
    graph, truth, *_ = tissue.instance()
    features, gains = initial_decisions(graph, truth, mean_boundary_network(0.0))
    mean, scale = standardisation(features)
    config = LearnerConfig(hidden_1=8, hidden_2=4, batch=32, epochs=30)
    network, _ = fit_network(features, gains[:, 0] > 0, mean, scale, config, seed=1)
    policy = Policy(network, threshold, 0.45, (8.0, 8.0, 8.0), {"config": "quick"})
    folder.mkdir(exist_ok=True)
    save_policy(folder, policy)
    return policy


def quick_config(**changes: Any) -> TrainConfig:
    """Return a small training run over 2 × 2 shards of a tissue, each as it is alone."""
    learner = LearnerConfig(hidden_1=16, hidden_2=8, batch=64, epochs=4)
    known: dict[str, Any] = {
        "rounds": 2,
        "scales": (1.0,),
        "shard_vox": (16, 20, 20),
        "learner": learner,
    }
    return TrainConfig(**{**known, **changes})


def quick_options(**changes: object) -> list[str]:
    """Return the options of `agglo train` that make `quick_config`."""
    known: dict[str, object] = {
        "rounds": 2,
        "scales": 1.0,
        "shard-vox": "16 20 20",
        "hidden-1": 16,
        "hidden-2": 8,
        "batch": 64,
        "epochs": 4,
    }
    options = {**known, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return [word for name, value in options.items() for word in (f"--{name}", *str(value).split())]


class Said(NamedTuple):
    """How a command ended: exit status, stdout and stderr."""

    status: int
    out: str
    err: str


def agglo(capsys: pytest.CaptureFixture[str], *words: object) -> Said:
    """Run `agglo WORDS` in this process."""
    capsys.readouterr()
    status = 0
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    return Said(status, out, err)


def tree_of(folder: Path) -> Mapping[str, str]:
    """Return everything in a folder: what each path is, with the hash of a file's bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }
