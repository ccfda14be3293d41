"""Predict boundary maps and affinities of a volume with actors that write their own blocks."""

from __future__ import annotations

import logging
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from agglo.boundaries.model_folder import BoundaryModel, read_model
from agglo.cluster import choose_device
from agglo.pool import ActorPool
from agglo.progress import progress
from agglo.volumes import (
    ArrayLayout,
    BlockHandle,
    BlockWriter,
    Volume,
    VoxelSize,
    check_output,
    open_volume,
)
from analysis.input_error import InputError
from predict import compute_device
from predict.blockwise import DEFAULT_BLOCK, plan_blocks, predict_regions
from predict.boundary_training import load_network
from predict.box import Box, whole
from predict.image_normalisation import ImageNormalisation, normalisation_for, require_image

AFFINITIES = "affinities"
"""Name of the affinities inside the output: `V.zarr:affinities`, (3, z, y, x)."""

logger = logging.getLogger(__name__)


class PredictionActor:
    """Predict blocks of one volume and write them where they belong."""

    def __init__(
        self,
        model: BoundaryModel,
        device: compute_device.DeviceName,
        image: Volume,
        normalisation: ImageNormalisation,
        parts: tuple[Box, ...] | None,
        output: BlockHandle,
        affinities: BlockHandle | None,
    ) -> None:
        """Take the model, and the part of each fold if the prediction is out of fold."""
        torch.set_num_threads(1)
        self.device = compute_device.choose_device(device)
        networks = [load_network(model.network, weights, self.device) for weights in model.weights]
        # Each region with the networks that predict it: everything by all, or a part by one.
        self.regions = [(whole(image.shape), networks)]
        if parts is not None:
            self.regions = [(part, [one]) for part, one in zip(parts, networks, strict=True)]
        self.image, self.normalisation = image, normalisation
        self.output, self.affinities = output, affinities

    def predict(self, block: Box) -> None:
        """Predict a block, whole cells of the output's grid, and write it."""
        options = {"normalisation": self.normalisation, "device": self.device}
        predicted = predict_regions(self.regions, self.image, block, **options)
        self.output.write(block.start, predicted[0])
        if self.affinities is None:
            self.output.write((0, *block.start), predicted[1:], AFFINITIES)
        else:
            self.affinities.write((0, *block.start), predicted[1:])


def predict_boundaries(
    image: str,
    model: Path | str,
    out: str,
    *,
    affinities: str | None = None,
    out_of_fold: bool = False,
    voxel_size_nm: VoxelSize | None = None,
    device: compute_device.DeviceName = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict a volume and write its boundary map, with the affinities nested in it.

    A volume that the model does not know is predicted by the mean of its folds. Of a volume that
    trained it each part can be predicted by the fold that saw none of the part's labels
    (`out_of_fold`), as whoever learns from the map needs it. A Ray session must have been joined.

    Args:
        image: address of the image.
        model: the model folder.
        out: address of the boundary map; the affinities are `OUT:affinities`.
        affinities: address of the affinities, if they are to be a volume of their own instead.
        out_of_fold: predict each part by the fold that did not see it.
        voxel_size_nm: for a file that states none.
        device: where to compute.
        overwrite: replace an output that exists.

    Returns:
        What was done: voxels, blocks, seconds, voxels per second, device, normalisation.

    Raises:
        InputError: see the sentence.
    """
    nested = (AFFINITIES,) if affinities is None else ()
    own = check_output(out, overwrite=overwrite, nested=nested).address
    if affinities is not None:
        other = check_output(affinities, argument="--affinities", overwrite=overwrite).address
        inner, outer = other.absolute(), own.absolute()
        if inner == outer or inner.path in outer.path.parents or outer.path in inner.path.parents:
            raise InputError(f"--affinities: {affinities} is also --out, or one lies in the other.")
    trained = read_model(model)
    volume = open_volume(image, argument="--image", voxel_size_nm=voxel_size_nm)
    require_image(volume)
    parts = trained.parts_of(volume)
    if out_of_fold:
        _require_out_of_fold(trained, parts, image, model)
    elif parts is not None:
        logger.warning(
            "%s trained this model; --out-of-fold makes a map that was not fitted to it", image
        )
    normalisation = normalisation_for(volume, trained.normalisation)
    if normalisation != trained.normalisation:
        logger.warning(
            "grey values of %s are unlike those the model was trained on; "
            "they are normalised by their own mean %.4g and deviation %.4g",
            *(image, normalisation.mean, normalisation.deviation),
        )
    chosen = choose_device(device)
    blocks = plan_blocks(whole(volume.shape), DEFAULT_BLOCK)
    started = time.perf_counter()
    options: dict[str, Any] = {
        "voxel_size_nm": volume.voxel_size_nm or trained.voxel_size_nm,
        "overwrite": overwrite,
        "attributes": {
            "model": str(Path(model).absolute()),
            "image": str(volume.address.absolute()),
            "out_of_fold": out_of_fold,
            "normalisation": [normalisation.mean, normalisation.deviation],
        },
    }
    layout = ArrayLayout((3, *volume.shape), np.float32)
    with ExitStack() as outputs:
        handle = None
        if affinities is not None:
            beside = BlockWriter(affinities, layout, argument="--affinities", **options)
            handle = outputs.enter_context(beside).handle
        nested_layouts = {AFFINITIES: layout} if affinities is None else {}
        main = ArrayLayout(volume.shape, np.float32)
        writer = outputs.enter_context(BlockWriter(out, main, nested=nested_layouts, **options))
        arguments = (
            *(trained, chosen, volume, normalisation),
            *(parts if out_of_fold else None, writer.handle, handle),
        )
        with (
            ActorPool(
                PredictionActor,
                arguments,
                n_actors=_n_actors(len(blocks), chosen),
                num_gpus=1 if chosen == "cuda" else 0,
            ) as pool,
            progress("predicting", len(blocks)) as bar,
        ):
            tasks = ((index, (block,)) for index, block in enumerate(blocks))
            pool.run("predict", tasks, on_result=lambda *_: bar.advance())
    seconds = time.perf_counter() - started
    n_voxels = whole(volume.shape).n_voxels
    return {
        "n_voxels": n_voxels,
        "n_blocks": len(blocks),
        "seconds": seconds,
        "voxels_per_second": n_voxels / seconds,
        "device": chosen,
        "out_of_fold": out_of_fold,
        "normalisation": [normalisation.mean, normalisation.deviation],
    }


def _require_out_of_fold(
    trained: BoundaryModel, parts: tuple[Box, ...] | None, image: str, model: Path | str
) -> None:
    if trained.n_folds < 2:
        raise InputError(
            f"--out-of-fold: {model} has a single fold, which has seen all of every volume."
        )
    if parts is None:
        known = ", ".join(f"{one.image} {one.shape}" for one in trained.volumes)
        raise InputError(
            f"--out-of-fold: {image} is none of the volumes that {model} was trained on ({known})."
        )


def _n_actors(n_blocks: int, device: str) -> int:
    """Return how many actors are of use: one for each CPU, or GPU, and no more than blocks."""
    resource = "GPU" if device == "cuda" else "CPU"
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max(1, min(n_blocks, sum(math.floor(node.get(resource, 0)) for node in nodes)))
