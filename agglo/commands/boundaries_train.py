"""`agglo boundaries train`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agglo.boundaries.training import BoundaryConfig, Loss, Model, train_boundaries
from agglo.cluster import ray_session, require_lasting
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console, progress

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
    config: BoundaryConfig = field(default_factory=BoundaryConfig)
    """what the model depends on"""
    model: Model = "unet"
    """kind of network: a U-Net, or the classic ConvNet, which predicts affinities alone"""
    loss: Loss = "bce"
    """what is minimised: class-balanced cross-entropy, or it and then MALIS on affinities too"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute; auto takes a GPU where the cluster has one"""
    resume: bool = False
    """go on with an unfinished model"""
    overwrite: bool = False
    """replace a model that exists"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Train, printing a line an evaluation."""
        require_lasting(self.out)
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
                model=self.model,
                loss=self.loss,
                voxel_size_nm=self.voxel_size_nm,
                device=self.device,
                resume=self.resume,
                overwrite=self.overwrite,
                on_evaluation=on_evaluation,
            )
        console.print(f"boundary model of {trained.n_folds} folds in {self.out}")
        if self.json:
            write_json(self.json, {"folds": trained.n_folds, "evaluations": records})


def line_of(record: dict[str, Any]) -> str:
    """Say in a line what an evaluation found."""
    malis = f"MALIS {record['val_malis']:.4f}, " if "val_malis" in record else ""
    return (
        f"fold {record['fold']}, step {record['step']}, validation loss {record['val_loss']:.4f}, "
        f"{malis}AUC {record['val_auc']:.4f}, AP {record['val_ap']:.4f}, {record['seconds']:.0f} s"
    )
