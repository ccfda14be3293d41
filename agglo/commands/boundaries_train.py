"""`agglo boundaries train`."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from agglo.boundaries.model_folder import BoundaryModel
from agglo.boundaries.network_choice import BoundaryConfig, Model
from agglo.boundaries.network_description import kind_of
from agglo.boundaries.training import train_boundaries
from agglo.cluster import ray_session, require_lasting
from agglo.commands.options import VoxelSizeNm
from agglo.event_files import require_tensorboard
from agglo.json_file import write_json
from agglo.progress import console, progress
from predict.boundary_settings import Loss

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """Train a boundary model, with its folds.

    Example: agglo boundaries train --image em.h5:raw --labels em.h5:neurons --out model
    --voxel-size-nm 8 8 8 --minutes 10
    """

    image: tuple[str, ...]
    """images to train on"""
    labels: tuple[str, ...]
    """their neurons"""
    out: Path
    """model folder"""
    mask: tuple[str, ...] = ()
    """one for each image, or none: where it is 0 nothing is known, whatever the label"""
    config: BoundaryConfig = field(default_factory=BoundaryConfig)
    """what the model depends on"""
    model: Model = "unet"
    """kind of network: a U-Net, the classic ConvNet, or DAWMR (unsupervised features and a
    perceptron, again and again on its own affinities)"""
    loss: Loss = "bce"
    """what is minimised: class-balanced cross-entropy of boundary map and affinities, or it and
    then MALIS on the affinities too, or it against labels whose borders may move (BLOTC)"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute; auto takes a GPU where the cluster has one"""
    resume: bool = False
    """go on with an unfinished model"""
    overwrite: bool = False
    """replace a model that exists"""
    tensorboard: bool = False
    """write the records to OUT/tensorboard as event files too (extra `tensorboard`)"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Train, printing a line an evaluation."""
        require_lasting(self.out)
        if self.tensorboard:
            require_tensorboard()
        records: list[dict[str, Any]] = []
        with ray_session(), progress("boundaries") as bar:

            def on_evaluation(record: dict[str, Any]) -> None:
                records.append(record)
                logger.info("%s", line_of(record))
                bar.advance(loss=record["val_loss"])

            trained = train_boundaries(
                self.image,
                self.labels,
                self.out,
                self.config,
                masks=self.mask,
                model=self.model,
                loss=self.loss,
                voxel_size_nm=self.voxel_size_nm,
                device=self.device,
                resume=self.resume,
                overwrite=self.overwrite,
                tensorboard=self.tensorboard,
                on_evaluation=on_evaluation,
            )
        console.print(f"boundary model of {trained.n_folds} folds in {self.out}")
        if self.json:
            write_json(self.json, results_of(trained, self.config, records))


def results_of(
    trained: BoundaryModel, config: BoundaryConfig, records: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what `--json` says of a training.

    Args:
        trained: the model.
        config: what it depends on, beside its volumes.
        records: its evaluations, in the order in which they were made.
    """
    return {
        "model": kind_of(trained.network),
        "loss": trained.loss,
        "training": trained.training,
        "config": asdict(config),
        "voxel_size_nm": trained.voxel_size_nm,
        "volumes": [asdict(volume) for volume in trained.volumes],
        "folds": trained.n_folds,
        "scores": list(trained.scores),
        "evaluations": records,
    }


def line_of(record: dict[str, Any]) -> str:
    """Say in a line what an evaluation found."""
    part = f"fold {record['fold']}"
    if "iteration" in record:
        part += f", iteration {record['iteration'] + 1}"
    malis = f"MALIS {record['val_malis']:.4f}, " if "val_malis" in record else ""
    embedding = f"embedding {record['val_embedding']:.4f}, " if "val_embedding" in record else ""
    warping = f"warping {record['val_warping']:.4f}, " if "val_warping" in record else ""
    return (
        f"{part}, step {record['step']}, validation loss {record['val_loss']:.4f}, {malis}{warping}"
        f"{embedding}"
        f"AUC {record['val_auc']:.4f}, AP {record['val_ap']:.4f}, {record['seconds']:.0f} s"
    )
