"""Predict boundary maps, affinities and embeddings with actors that write their own blocks."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from agglo.block_ledger import BlockLedger
from agglo.boundaries.model_folder import MODEL_FILE, BoundaryModel, read_model
from agglo.boundaries.predicted_image import require_fitting_image
from agglo.boundaries.throughput import BlockWork, describe_throughput
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
from agglo.volumes.attributes import CHANNELS_OF
from agglo.volumes.fingerprint import fingerprint
from agglo.volumes.output import MAIN
from analysis.input_error import InputError
from predict import compute_device
from predict.augmentation import Symmetry
from predict.blockwise import choose_block, plan_blocks, predict_regions, read_box
from predict.boundary_network import CHANNELS
from predict.boundary_training import load_network
from predict.box import Box, whole
from predict.image_normalisation import ImageNormalisation
from predict.inference_network import for_inference
from predict.matrix_rate import count_flop, count_flop_per_voxel, measure_matrix_rate
from predict.views import choose_views

AFFINITIES = "affinities"
"""Name of the affinities inside the output: `V.zarr:affinities`, (3, z, y, x)."""

EMBEDDING = "embedding"
"""Name of the embedding inside the output, uint8: E channels out of fold, else E of each fold."""

MEASURED_EVERY_S = 20.0
"""An actor measures its matrix rate before its first block and each time it computed so long."""

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
        views: tuple[Symmetry, ...],
        output: BlockHandle,
        affinities: BlockHandle | None,
    ) -> None:
        """Take the model, the part of each fold if it is out of fold, and the views to average."""
        torch.set_num_threads(1)
        compute_device.keep_freed_memory()
        self.device = compute_device.choose_device(device)
        networks = [
            for_inference(load_network(model.network, weights, self.device), self.device)
            for weights in model.weights
        ]
        # Each region with the networks that predict it: everything by all, or a part by one.
        self.regions = [(whole(image.shape), networks)]
        if parts is not None:
            self.regions = [(part, [one]) for part, one in zip(parts, networks, strict=True)]
        self.image, self.normalisation, self.views = image, normalisation, views
        self.output, self.affinities = output, affinities
        self.compute_s, self.next_measured_s, self.matrix_rate = 0.0, 0.0, 0.0

    def predict(self, block: Box) -> BlockWork:
        """Predict a block, whole cells of the output's grid, and see it on the disk."""
        if self.compute_s >= self.next_measured_s:
            self.matrix_rate = measure_matrix_rate(self.device)
            self.next_measured_s = self.compute_s + MEASURED_EVERY_S
        started = self.device.clock_s()
        predicted = predict_regions(
            self.regions,
            self.image,
            block,
            normalisation=self.normalisation,
            device=self.device,
            views=self.views,
        )
        compute_s = self.device.clock_s() - started
        self.compute_s += compute_s
        beside, name = (
            (self.output, AFFINITIES) if self.affinities is None else (self.affinities, MAIN)
        )
        self.output.write(block.start, predicted[0])
        affinities, embedding = predicted[1 : len(CHANNELS)], predicted[len(CHANNELS) :]
        beside.write((0, *block.start), affinities, name)
        self.output.sync(block.start, block.shape)
        beside.sync((0, *block.start), affinities.shape, name)
        if len(embedding) > 0:
            grey = np.rint(255 * embedding).astype(np.uint8)
            self.output.write((0, *block.start), grey, EMBEDDING)
            self.output.sync((0, *block.start), grey.shape, EMBEDDING)
        who = f"process {os.getpid()} on {platform.node()}"
        return BlockWork(who, compute_s, self._flop(block), self.matrix_rate)

    def _flop(self, block: Box) -> int:
        total = 0
        for region, networks in self.regions:
            common = block.intersect(region)
            if common.n_voxels > 0:
                config = networks[0].config
                seen = read_box(config, common, self.views)
                n_predictions = len(networks) * len(self.views)
                total += n_predictions * count_flop(config, seen.shape)
        return total


def predict_boundaries(
    image: str,
    model: Path | str,
    out: str,
    *,
    affinities: str | None = None,
    out_of_fold: bool = False,
    n_views: int = 1,
    voxel_size_nm: VoxelSize | None = None,
    device: compute_device.DeviceName = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict a volume and write its boundary map, with affinities and embedding nested in it.

    A volume that the model does not know is predicted by the mean of its folds. Of a volume that
    trained it each part can be predicted by the fold that saw none of the part's labels
    (`out_of_fold`), as whoever learns from the map needs it. The embedding, of a model that has
    one, is that of the fold then, and else those of all folds one after the other, whose
    coordinates have nothing to do with each other. A Ray session must have been joined.

    Args:
        image: address of the image.
        model: the model folder.
        out: address of the boundary map; the affinities are `OUT:affinities`, the embedding is
            `OUT:embedding`, and the attribute `channels_of` names the model it is of.
        affinities: address of the affinities, if they are to be a volume of their own instead.
        out_of_fold: predict each part by the fold that did not see it.
        n_views: predict the image and its mirror images and turns, so many, and take their mean;
            an embedding is that of the image as it is.
        voxel_size_nm: for a file that states none.
        device: where to compute.
        resume: go on with what an equal run has done that was killed or interrupted. The result
            is that of an undisturbed run, bit for bit.
        overwrite: replace an output that exists.

    Returns:
        What was done: voxels, blocks, seconds, device, normalisation, and what
        `describe_throughput` says.

    Raises:
        InputError: see the sentence.
    """
    trained = read_model(model)
    nested = (
        *((AFFINITIES,) if affinities is None else ()),
        *((EMBEDDING,) if trained.n_embedding > 0 else ()),
    )
    own = check_output(out, overwrite=overwrite, nested=nested).address
    addresses = [own]
    if affinities is not None:
        other = check_output(affinities, argument="--affinities", overwrite=overwrite).address
        inner, outer = other.absolute(), own.absolute()
        if inner == outer or inner.file in outer.file.parents or outer.file in inner.file.parents:
            raise InputError(f"--affinities: {affinities} is also --out, or one lies in the other.")
        addresses.append(other)
    volume = open_volume(image, argument="--image", voxel_size_nm=voxel_size_nm)
    normalisation = require_fitting_image(volume, trained, model)
    parts = trained.parts_of(volume)
    if out_of_fold:
        _require_out_of_fold(trained, parts, image, model)
    elif parts is not None:
        logger.warning(
            "%s trained this model; --out-of-fold makes a map that was not fitted to it", image
        )
    size = volume.voxel_size_nm or trained.voxel_size_nm
    views = choose_views(trained.network, size, n_views)
    chosen = choose_device(device)
    started = time.perf_counter()
    blocks = plan_blocks(whole(volume.shape), choose_block(volume.shape))
    description = {
        "image": str(volume.address.absolute()),
        "image_content": fingerprint(volume),
        "image_shape": volume.shape,
        "model_content": hashlib.sha256((Path(model) / MODEL_FILE).read_bytes()).hexdigest(),
        "out_of_fold": out_of_fold,
        "normalisation": [normalisation.mean, normalisation.deviation],
        "n_views": n_views,
        "voxel_size_nm": size,
        "device": chosen,
        "outputs": [str(address.absolute()) for address in addresses],
        "blocks": [len(blocks), *choose_block(volume.shape)],
    }
    attributes = {
        "model": str(Path(model).absolute()),
        **{
            name: description[name] for name in ("image", "out_of_fold", "n_views", "normalisation")
        },
    }
    n_embedding = trained.n_embedding * (1 if out_of_fold else trained.n_folds)
    if n_embedding > 0:
        attributes[CHANNELS_OF] = description["model_content"]
    options: dict[str, Any] = {
        "voxel_size_nm": description["voxel_size_nm"],
        "overwrite": overwrite,
        "attributes": attributes,
    }
    layout = ArrayLayout((3, *volume.shape), np.float32)
    main = ArrayLayout(volume.shape, np.float32)
    with BlockLedger(own.file, own.dataset, [one.file for one in addresses]) as ledger:
        writers: list[BlockWriter] = []
        (ledger.resume if resume else ledger.begin)(description)
        options |= {"token": ledger.token, "is_begun": resume}
        try:
            layouts = {AFFINITIES: layout} if affinities is None else {}
            if n_embedding > 0:
                layouts[EMBEDDING] = ArrayLayout((n_embedding, *volume.shape), np.uint8)
            writers.append(BlockWriter(out, main, nested=layouts, **options))
            if affinities is not None:
                writers.append(BlockWriter(affinities, layout, argument="--affinities", **options))
            ledger.record()
            handles = [writer.handle for writer in writers]
            arguments = (
                *(trained, chosen, volume, normalisation, parts if out_of_fold else None),
                views,
                *(handles[0], handles[1] if affinities is not None else None),
            )
            n_before = len(ledger.done)
            work = _predict_blocks(arguments, blocks, ledger, chosen)
            for writer in reversed(writers):
                writer.commit()
        except BaseException as error:
            ledger.give_up(error, len(blocks), out)
            raise
        ledger.remove()
    seconds = time.perf_counter() - started
    n_predictions = len(views) * (1 if out_of_fold else trained.n_folds)
    return {
        "n_voxels": whole(volume.shape).n_voxels,
        "n_blocks": len(blocks),
        "n_blocks_done_before": n_before,
        "seconds": seconds,
        **describe_throughput(
            work, blocks, n_predictions * count_flop_per_voxel(trained.network), seconds
        ),
        "device": chosen,
        "out_of_fold": out_of_fold,
        "n_views": n_views,
        "normalisation": [normalisation.mean, normalisation.deviation],
    }


def _predict_blocks(
    arguments: tuple[Any, ...], blocks: Sequence[Box], ledger: BlockLedger, device: str
) -> dict[int, BlockWork]:
    """Predict the blocks that the ledger does not list."""
    missing = [index for index in range(len(blocks)) if index not in ledger.done]
    if not missing:
        return {}
    with (
        ActorPool(
            PredictionActor,
            arguments,
            n_actors=_n_actors(len(missing), device),
            num_gpus=1 if device == "cuda" else 0,
        ) as pool,
        progress("predicting", len(blocks)) as bar,
    ):
        bar.advance(len(ledger.done))

        def on_result(index: int, _: BlockWork) -> None:
            ledger.record(index)
            bar.advance()

        tasks = ((index, (blocks[index],)) for index in missing)
        return dict(pool.run("predict", tasks, on_result=on_result))


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
