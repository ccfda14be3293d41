"""Channels of texture of a volume, made by actors that write their own blocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agglo.actor_room import actor_room
from agglo.block_ledger import BlockLedger
from agglo.eight_bits import EightBits
from agglo.pool import ActorPool
from agglo.progress import progress
from agglo.texture_file import load_texture, require_free_texture, save_texture
from agglo.volumes import (
    ArrayLayout,
    BlockHandle,
    BlockWriter,
    Kind,
    VoxelSize,
    check_output,
    open_matching,
    require_volume,
)
from agglo.volumes.attributes import CHANNELS_OF
from agglo.volumes.fingerprint import fingerprint
from agglo.volumes.staging import FailedWriteError
from analysis.input_error import InputError
from predict.augmentation import SAME_SIZE
from predict.blockwise import DEFAULT_BLOCK, plan_blocks
from predict.box import Box, Triple, whole
from predict.texture_dictionary import TextureDictionary
from predict.texture_learning import learn_texture
from predict.texture_patch import TexturePatch

BLOCK_VOX: Triple = DEFAULT_BLOCK
"""What an actor makes at once: whole chunks of the output, 8 MB of 8 channels."""

LEARNED = "dictionary.npz"
"""What was learned, in the folder of the ledger, until the channels are whole."""

logger = logging.getLogger(__name__)


class TextureActor:
    """Make the channels of blocks of one volume and write them where they belong."""

    def __init__(
        self,
        texture: TextureDictionary,
        image: EightBits,
        boundaries: EightBits,
        output: BlockHandle,
    ) -> None:
        self.texture, self.image, self.boundaries = texture, image, boundaries
        self.output = output

    def make(self, block: Box) -> None:
        """Make a block, whole cells of the output's grid, and see it on the disk."""
        channels = self.texture.channels(self.image, self.boundaries, block)
        self.output.write((0, *block.start), channels)
        self.output.sync((0, *block.start), channels.shape)


def make_texture(
    image: str,
    boundaries: str,
    dictionary: Path,
    out: str,
    *,
    learn: bool = False,
    n_atoms: int = 4,
    seed: int = 0,
    voxel_size_nm: VoxelSize | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the channels of texture of a volume, (2 · atoms, z, y, x) uint8.

    They have the attribute `CHANNELS_OF`. A Ray session must have been joined.

    Args:
        image: address of the image.
        boundaries: address of its boundary map.
        dictionary: file of the dictionary.
        out: address of the channels.
        learn: learn the dictionary from this volume and write it; else it is read.
        n_atoms: of a dictionary that is learned; there are twice as many channels.
        seed: of a dictionary that is learned.
        voxel_size_nm: for files that state none.
        resume: go on with what an equal run has done that was killed or interrupted.
        overwrite: replace an output that exists, and a dictionary if one is learned.

    Returns:
        What was done: voxels, blocks, seconds, channels and the dictionary's digest.

    Raises:
        InputError: see the sentence; nothing is left then but what `resume` can go on with.
    """
    own = check_output(out, overwrite=overwrite).address
    if learn and n_atoms < 1:
        raise InputError(f"--atoms must be at least 1, not {n_atoms}.")
    if learn:
        require_free_texture(dictionary, own.file, overwrite=overwrite or resume)
    known = None if learn else load_texture(dictionary)
    volumes, size = open_matching({"--image": image, "--boundaries": boundaries}, voxel_size_nm)
    for name, kind in _KINDS.items():
        if len(volumes[name].shape) != 3 or 0 in volumes[name].shape:
            require_volume(volumes[name], name, kind)
    if known is not None:
        _require_fitting(known, dictionary, size)
    grey, edges = (EightBits(volumes[name], kind) for name, kind in _KINDS.items())
    started = time.perf_counter()
    blocks = plan_blocks(whole(grey.shape), BLOCK_VOX)
    description = {
        "volumes": {
            name: [str(volume.address.absolute()), fingerprint(volume)]
            for name, volume in volumes.items()
        },
        "dictionary": str(dictionary.absolute()),
        "content": None if known is None else known.digest(),
        "learned": [n_atoms, seed] if learn else None,
        "voxel_size_nm": size,
        "blocks": [len(blocks), *BLOCK_VOX],
    }
    with BlockLedger(own.file, own.dataset, [own.file], kind="texture") as ledger:
        (ledger.resume if resume else ledger.begin)(description)
        try:
            texture = known
            if texture is None and not resume:
                texture = learn_texture(grey, edges, n_atoms, seed, voxel_size_nm=size)
                save_texture(ledger.path / LEARNED, texture)
            elif texture is None:
                texture = load_texture(ledger.path / LEARNED)
            writer = BlockWriter(
                out,
                ArrayLayout((texture.n_channels, *grey.shape), np.uint8),
                voxel_size_nm=size,
                overwrite=overwrite,
                attributes={
                    CHANNELS_OF: texture.digest(),
                    **{name[2:]: str(v.address.absolute()) for name, v in volumes.items()},
                },
                token=ledger.token,
                is_begun=resume,
            )
            ledger.record()
            n_before = len(ledger.done)
            _make_blocks((texture, grey, edges, writer.handle), blocks, ledger)
            if learn:
                save_texture(dictionary, texture)
            writer.commit()
        except BaseException as error:
            is_refused = isinstance(error, InputError) and not isinstance(error, FailedWriteError)
            if not ledger.done or (is_refused and len(ledger.done) < len(blocks)):
                ledger.remove()
            else:
                logger.warning(
                    "%d of %d blocks of %s are kept; --resume goes on with them",
                    *(len(ledger.done), len(blocks), out),
                )
            raise
        ledger.remove()
    return {
        "n_voxels": whole(grey.shape).n_voxels,
        "n_blocks": len(blocks),
        "n_blocks_done_before": n_before,
        "n_channels": texture.n_channels,
        "dictionary": texture.digest(),
        "seconds": time.perf_counter() - started,
    }


_KINDS: dict[str, Kind] = {"--image": "image", "--boundaries": "boundaries"}


def _make_blocks(arguments: tuple[Any, ...], blocks: Sequence[Box], ledger: BlockLedger) -> None:
    """Make the blocks that the ledger does not list, with an actor for each CPU at most."""
    missing = [index for index in range(len(blocks)) if index not in ledger.done]
    if not missing:
        return
    n_actors = max(1, min(len(missing), int(actor_room(1, 0))))
    with (
        ActorPool(TextureActor, arguments, n_actors=n_actors) as pool,
        progress("texture", len(blocks)) as bar,
    ):
        bar.advance(len(ledger.done))

        def on_result(index: int, _: None) -> None:
            ledger.record(index)
            bar.advance()

        tasks = ((index, (blocks[index],)) for index in missing)
        pool.run("make", tasks, on_result=on_result)


def _require_fitting(texture: TextureDictionary, dictionary: Path, size: VoxelSize | None) -> None:
    """Refuse a dictionary of voxels of another size, or whose patches have another shape."""
    trained = texture.voxel_size_nm
    if size is not None and trained is not None:
        pairs = zip(size, trained, strict=True)
        if any(max(pair) >= SAME_SIZE * min(pair) for pair in pairs):
            raise InputError(
                f"--image has voxels of {_words(size)} nm (z y x), but {dictionary} was learned "
                f"on voxels of {_words(trained)} nm."
            )
    if TexturePatch.for_voxel_size(size) != texture.patch:
        stated = "states no voxel size" if size is None else f"has voxels of {_words(size)} nm"
        raise InputError(
            f"--image {stated}, but the patches of {dictionary} have {texture.patch.extent} voxels "
            f"at distances of {texture.patch.dilation} (z y x), which is for voxels of another "
            "shape."
        )


def _words(size: VoxelSize) -> str:
    return " ".join(f"{edge:g}" for edge in size)
