"""The whole way on a phantom volume made here: from an image to a measured segmentation.

Two blocks of one unbounded phantom, far apart: the first trains the boundary model and the merge
policy (on out-of-fold boundary maps), the second is segmented and measured. Nothing that is
reported was trained on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agglo.boundaries.network_choice import BoundaryConfig
from agglo.boundaries.prediction import predict_boundaries
from agglo.boundaries.training import train_boundaries
from agglo.cluster import ray_session
from agglo.evaluation import Evaluation, evaluate_boundaries, evaluate_segmentation
from agglo.phantom import PhantomConfig, make_phantom
from agglo.policy_file import Policy
from agglo.run_folder import RunFolder
from agglo.segmentation import segment_volume
from agglo.superpixels import make_superpixels
from agglo.training.train import train_policy
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import open_set
from agglo.volumes import write_volume
from analysis.input_error import InputError
from predict.watershed import WatershedConfig

logger = logging.getLogger(__name__)

FAR_VOX = 4096
"""Distance along z from the training block to the block reported on."""


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """What the demo makes and how long it trains."""

    train_vox: tuple[int, int, int] = (72, 160, 160)
    """training block (z, y, x)"""
    test_vox: tuple[int, int, int] = (72, 160, 160)
    """block that is segmented and reported on"""
    voxel_size_nm: tuple[float, float, float] = (8.0, 8.0, 8.0)
    """edges of a voxel (z, y, x)"""
    minutes: float = 1.5
    """wall time of boundary training, both folds together"""
    rounds: int = 5
    """on-policy rounds of the merge policy"""
    actors: int | None = None
    """rollout actors; one for each CPU if not given"""
    seed: int = 0
    """seed of the phantom and of all training"""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found on the block that was not trained on."""

    policy: Evaluation
    mean_boundary: Evaluation
    boundaries: Evaluation
    n_superpixels: int
    records: list[dict[str, Any]]
    seconds: dict[str, float]

    @property
    def share_closed(self) -> float:
        """Return the share of the way from superpixels to the floor that the policy went."""
        scores = self.policy.scores
        return (scores["superpixel_vi"] - scores["vi"]) / (
            scores["superpixel_vi"] - scores["floor_vi"]
        )

    def table_rows(self) -> list[tuple[Any, ...]]:
        """Return the rows of the table: superpixels, baseline, policy, floor."""
        policy, mean = self.policy.scores, self.mean_boundary.scores

        def row(name: str, scores: dict[str, float | int]) -> tuple[Any, ...]:
            keys = ("vi", "vi_split", "vi_merge", "adapted_rand_error", "n_segments")
            return (name, *(scores[key] for key in keys))

        return [
            ("superpixels", policy["superpixel_vi"], "", "", "", self.n_superpixels),
            row("mean boundary, threshold from training", mean),
            row("learned policy", policy),
            ("floor: superpixels by majority label", policy["floor_vi"], "", "", "", ""),
        ]


def run_demo(
    out: Path,
    config: DemoConfig,
    *,
    overwrite: bool = False,
    on_evaluation: Callable[[dict[str, Any]], None] = lambda record: None,
    on_round: Callable[[dict[str, Any]], None] = lambda record: None,
) -> DemoResult:
    """Make a phantom and go the whole way on it; every file stays in the folder.

    Args:
        out: folder for volumes, models and pictures.
        config: sizes, times, seed.
        overwrite: replace a folder that an earlier demo made.
        on_evaluation: told every evaluation of the boundary model.
        on_round: told every round of the merge policy.

    Raises:
        InputError: where the folder exists or cannot be written.
    """
    if out.exists() and not (overwrite and (out / "train").is_dir()):
        raise InputError(
            f"--out: {out} exists; --overwrite replaces what an earlier demo made."
            if not overwrite
            else f"--out: {out} was not made by a demo and is not overwritten."
        )
    for part in ("train", "test"):
        try:
            (out / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out: {out} cannot be made ({error.strerror}).") from error
    clock = _Clock()
    with ray_session():
        clock.begin("phantom")
        _write_phantom(out, config, overwrite)
        clock.begin("boundary training")
        train_boundaries(
            [f"{out}/train/image.zarr"],
            [f"{out}/train/neurons.zarr"],
            out / "boundary_model",
            BoundaryConfig(minutes=config.minutes, seed=config.seed),
            overwrite=overwrite,
            on_evaluation=on_evaluation,
        )
        clock.begin("boundary maps")
        for part in ("train", "test"):
            predict_boundaries(
                f"{out}/{part}/image.zarr",
                out / "boundary_model",
                f"{out}/{part}/boundaries.zarr",
                out_of_fold=part == "train",
                overwrite=overwrite,
            )
        clock.begin("superpixels")
        for part in ("train", "test"):
            make_superpixels(
                f"{out}/{part}/boundaries.zarr",
                f"{out}/{part}/superpixels.zarr",
                WatershedConfig(),
                voxel_size_nm=None,
                overwrite=overwrite,
            )
        clock.begin("policy training")
        policy = _train(out, config, overwrite, on_round)
    clock.begin("segmentation")
    n_superpixels = _segment(out, policy, overwrite)
    clock.begin("evaluation")
    found = {name: _evaluate(out, name) for name in ("policy", "mean_boundary")}
    of_map = evaluate_boundaries(
        f"{out}/test/boundaries.zarr",
        f"{out}/test/neurons.zarr",
        image=f"{out}/test/image.zarr",
        with_pictures=True,
    )
    for name, evaluation in (*found.items(), ("boundaries", of_map)):
        evaluation.save_pictures(out / "pictures" / name)
    clock.begin("")
    records = RunFolder.read(out / "policy").records()
    return DemoResult(
        found["policy"], found["mean_boundary"], of_map, n_superpixels, records, clock.seconds
    )


class _Clock:
    """Times stages and says them as they begin."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage = ""
        self._began = 0.0

    def begin(self, stage: str) -> None:
        """End the running stage and begin the next; an empty name begins none."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = now - self._began
        self._stage, self._began = stage, now
        if stage:
            logger.info("-- %s", stage)


def _write_phantom(out: Path, config: DemoConfig, overwrite: bool) -> None:
    """Make both blocks and write image and neurons."""
    phantom_config = PhantomConfig(seed=config.seed, voxel_size_nm=config.voxel_size_nm)
    for part, offset, shape in (
        ("train", (0, 0, 0), config.train_vox),
        ("test", (FAR_VOX, 0, 0), config.test_vox),
    ):
        phantom = make_phantom(phantom_config, offset, shape)
        for name, array in (("image", phantom.image), ("neurons", phantom.labels)):
            write_volume(
                f"{out}/{part}/{name}.zarr",
                array,
                voxel_size_nm=config.voxel_size_nm,
                overwrite=overwrite,
            )
        logger.info(
            "%s: %s voxels, %d neurites, %d synapses",
            part,
            " x ".join(map(str, shape)),
            len(np.unique(phantom.labels)),
            len(phantom.synapses),
        )


def _train(
    out: Path, config: DemoConfig, overwrite: bool, on_round: Callable[[dict[str, Any]], None]
) -> Policy:
    """Train the merge policy on the training block."""
    volumes, shape = open_set(
        f"{out}/train/image.zarr",
        f"{out}/train/boundaries.zarr",
        f"{out}/train/superpixels.zarr",
        f"{out}/train/neurons.zarr",
        None,
    )
    half = (config.train_vox[0], -(-config.train_vox[1] // 2), -(-config.train_vox[2] // 2))
    return train_policy(
        [volumes],
        [shape],
        TrainConfig(rounds=config.rounds, shard_vox=half, seed=config.seed),
        out / "policy",
        n_actors=config.actors,
        overwrite=overwrite and (out / "policy").exists(),
        on_round=on_round,
    )


def _segment(out: Path, policy: Policy, overwrite: bool) -> int:
    """Segment the block reported on by policy and baseline; return how many superpixels it has."""
    n_superpixels = 0
    for name, chosen in (("policy", policy), ("mean_boundary", policy.baseline())):
        results = segment_volume(
            chosen,
            f"{out}/test/image.zarr",
            f"{out}/test/boundaries.zarr",
            f"{out}/test/superpixels.zarr",
            f"{out}/test/{name}.zarr",
            overwrite=overwrite,
        )
        n_superpixels = results["n_superpixels"]
    return n_superpixels


def _evaluate(out: Path, name: str) -> Evaluation:
    """Measure one segmentation of the block reported on."""
    return evaluate_segmentation(
        f"{out}/test/{name}.zarr",
        f"{out}/test/neurons.zarr",
        superpixels=f"{out}/test/superpixels.zarr",
        image=f"{out}/test/image.zarr",
        with_pictures=True,
    )
