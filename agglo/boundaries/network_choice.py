"""Which network a boundary model is made of, and what else it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agglo.volumes import VoxelSize
from analysis.input_error import InputError
from predict.boundary_settings import Loss
from predict.convnet import ConvNetConfig
from predict.dawmr import DawmrConfig
from predict.unet import UNetConfig

Model = Literal["unet", "convnet", "dawmr"]

WIDTHS: dict[Model, tuple[int, ...]] = {
    "unet": (16, 32, 64),
    "convnet": (12, 12, 12),
    "dawmr": (128, 48, 200),
}
"""Channels of each level of a U-Net and of each hidden layer of a ConvNet by default; atoms of the
image and of each affinity, and hidden units, of a DAWMR network."""


@dataclass(frozen=True, slots=True)
class BoundaryConfig:
    """What a boundary model depends on, beside its volumes."""

    folds: int = 2
    """models trained; each leaves out one part of every volume, which it can predict out of fold"""
    minutes: float | None = 10.0
    """wall time of all folds together"""
    steps: int | None = None
    """steps of each fold (of a dawmr: of each of its iterations) instead of minutes, for a run that
    can be repeated exactly"""
    widths: tuple[int, ...] | None = None
    """channels of each level or hidden layer; None: 16 32 64 of a unet, 12 12 12 of a convnet; of a
    dawmr 128 48 200: atoms of the image and of each affinity, and hidden units (0: a linear SVM)"""
    iterations: int = 3
    """of a dawmr's recursion; from the second on it sees the affinities of the one before"""
    two_dimensional: bool = False
    """train on every section alone"""
    zero_is_membrane: bool | None = None
    """whether label 0 is membrane (else not labelled); None decides by what the labels touch"""
    embedding: int = 0
    """channels of a dense embedding that a unet predicts too, in which neurons differ from their
    neighbours; 0: none"""
    seed: int = 0
    """seed of initial weights, patches and augmentation"""


def network_for(
    model: Model, loss: Loss, size: VoxelSize, config: BoundaryConfig
) -> UNetConfig | ConvNetConfig | DawmrConfig:
    """Return the shape of the network.

    Args:
        model: kind of network.
        loss: what is minimised; a linear SVM has its own.
        size: of the voxels.
        config: widths, embedding, and whether sections stand alone.

    Raises:
        InputError: see the sentence.
    """
    if model not in WIDTHS:
        raise InputError(f"--model: it must be unet, convnet or dawmr, got {model!r}.")
    if config.embedding < 0:
        raise InputError(f"--embedding: it must not be negative, got {config.embedding}.")
    if config.embedding > 0 and model != "unet":
        raise InputError(f"--embedding: only a unet predicts one, --model is {model}.")
    widths = WIDTHS[model] if config.widths is None else config.widths
    flat = config.two_dimensional
    if model == "convnet":
        return ConvNetConfig.for_voxel_size(size, widths=widths, two_dimensional=flat)
    if model == "dawmr":
        if len(widths) != 3 or min(widths[:2]) < 1:
            raise InputError(
                "--widths: a dawmr has atoms of the image and of each affinity and hidden units, "
                f"got {widths}."
            )
        if config.iterations < 1:
            raise InputError(f"--iterations: at least 1 is needed, got {config.iterations}.")
        if loss != "bce" and widths[2] == 0:
            raise InputError(f"--loss: a linear SVM has its own, but {loss} was asked for.")
        return DawmrConfig.for_voxel_size(
            size,
            n_iterations=config.iterations,
            atoms=(widths[0], widths[1]),
            hidden=widths[2],
            two_dimensional=flat,
        )
    return UNetConfig.for_voxel_size(
        size, widths=widths, two_dimensional=flat, embedding=config.embedding
    )
