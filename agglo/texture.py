"""Channels of texture of a volume, made by actors that write their own blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.channel_blocks import ChannelRun
from agglo.eight_bits import EightBits
from agglo.texture_file import load_texture, require_free_texture, save_texture
from agglo.volumes import Kind, VoxelSize, check_output, open_matching, require_volume
from analysis.input_error import InputError
from predict.anisotropy import same_voxel_size, words_of_size
from predict.blockwise import DEFAULT_BLOCK
from predict.box import Box, Triple
from predict.texture_dictionary import TextureDictionary
from predict.texture_learning import learn_texture
from predict.texture_patch import TexturePatch

BLOCK_VOX: Triple = DEFAULT_BLOCK
"""What an actor makes at once: whole chunks of the output, 8 MB of 8 channels."""

LEARNED = "dictionary.npz"
"""What was learned, in the folder of the ledger, until the channels are whole."""


@dataclass(frozen=True, slots=True)
class TextureMaker:
    """Makes the channels of blocks of one image and its boundary map.

    Attributes:
        texture: the dictionary.
        image: (z, y, x).
        boundaries: of the same shape.
    """

    texture: TextureDictionary
    image: EightBits
    boundaries: EightBits

    @property
    def n_channels(self) -> int:
        """Return the number of channels: two an atom."""
        return self.texture.n_channels

    @property
    def made_by(self) -> str:
        """Return the digest of the dictionary."""
        return self.texture.digest()

    def channels(self, block: Box) -> npt.NDArray[np.uint8]:
        """Return the channels of a block, (2 · atoms, z, y, x)."""
        return self.texture.channels(self.image, self.boundaries, block)


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
    run = ChannelRun(
        "texture",
        out,
        volumes,
        size,
        {
            "dictionary": str(dictionary.absolute()),
            "content": None if known is None else known.digest(),
            "learned": [n_atoms, seed] if learn else None,
        },
        block_vox=BLOCK_VOX,
        resume=resume,
        overwrite=overwrite,
    )

    def begin(folder: Path) -> TextureMaker:
        texture = known
        if texture is None and not resume:
            texture = learn_texture(grey, edges, n_atoms, seed, voxel_size_nm=size)
            save_texture(folder / LEARNED, texture)
        elif texture is None:
            texture = load_texture(folder / LEARNED)
        return TextureMaker(texture, grey, edges)

    def end(maker: TextureMaker) -> None:
        if learn:
            save_texture(dictionary, maker.texture)

    results = run.write(begin, end)
    results["dictionary"] = results.pop("made_by")
    return results


_KINDS: dict[str, Kind] = {"--image": "image", "--boundaries": "boundaries"}


def _require_fitting(texture: TextureDictionary, dictionary: Path, size: VoxelSize | None) -> None:
    """Refuse a dictionary of voxels of another size, or whose patches have another shape."""
    trained = texture.voxel_size_nm
    if size is not None and trained is not None and not same_voxel_size(size, trained):
        raise InputError(
            f"--image has voxels of {words_of_size(size)} nm (z y x), but {dictionary} was learned "
            f"on voxels of {words_of_size(trained)} nm."
        )
    if TexturePatch.for_voxel_size(size) != texture.patch:
        stated = "states no voxel size"
        if size is not None:
            stated = f"has voxels of {words_of_size(size)} nm"
        raise InputError(
            f"--image {stated}, but the patches of {dictionary} have {texture.patch.extent} voxels "
            f"at distances of {texture.patch.dilation} (z y x), which is for voxels of another "
            "shape."
        )
