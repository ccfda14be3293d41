"""A dictionary of texture on disk: one file, `dictionary.npz`."""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
from pathlib import Path

import numpy as np

from agglo.volumes.source import DAMAGE
from agglo.volumes.staging import refusing_failed_writes
from agglo.whole_file import write_whole
from analysis.input_error import InputError
from predict.anisotropy import validate_voxel_size
from predict.texture_dictionary import TextureDictionary
from predict.texture_patch import TexturePatch

FORMAT_VERSION = 1
KIND = "texture dictionary"

_NUMBERS = ("step", "contrast_floor", "boundary_deviation", "threshold", "scale")


def save_texture(path: Path, texture: TextureDictionary, *, argument: str = "--dictionary") -> None:
    """Write a dictionary, whole or not at all.

    Raises:
        FailedWriteError: where the disk does not take it.
    """
    about = {
        "kind": KIND,
        "version": FORMAT_VERSION,
        "dilation": texture.patch.dilation,
        "voxel_size_nm": texture.voxel_size_nm,
        **{name: getattr(texture, name) for name in _NUMBERS},
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        about=np.array(json.dumps(about)),
        grey=texture.grey,
        boundary=texture.boundary,
    )
    with refusing_failed_writes(argument, path):
        write_whole(path, buffer.getvalue())


def load_texture(path: Path, *, argument: str = "--dictionary") -> TextureDictionary:
    """Read a dictionary.

    Raises:
        InputError: where there is none, it is damaged, or the file is something else.
    """
    if not path.is_file():
        raise InputError(f"{argument}: there is no file {path}; --learn makes one.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            grey, boundary = stored["grey"], stored["boundary"]
        if about.get("kind") != KIND:
            raise ValueError("it holds something else")
        if about["version"] != FORMAT_VERSION:
            raise ValueError(
                f"it has version {about['version']}, this agglo reads {FORMAT_VERSION}"
            )
        size = about["voxel_size_nm"]
        z, y, x = map(int, about["dilation"])
        patch = TexturePatch(grey.shape[1:], (z, y, x))
        return TextureDictionary(
            patch=patch,
            grey=grey,
            boundary=boundary,
            voxel_size_nm=None if size is None else validate_voxel_size(size),
            **{name: float(about[name]) for name in _NUMBERS},
        )
    except (*DAMAGE, MemoryError, tokenize.TokenError, zipfile.BadZipFile) as error:
        reason = str(error).split(". ")[0].rstrip(".") or type(error).__name__
        raise InputError(f"{argument}: {path} is no whole {KIND}: {reason}.") from error


def require_free_texture(
    path: Path, output: Path, *, overwrite: bool, argument: str = "--dictionary"
) -> None:
    """Check where a dictionary is to be written, before any work is done for it.

    Args:
        path: of the dictionary.
        output: file or folder that its channels go to.
        overwrite: whether a dictionary that exists may be replaced.
        argument: that named it.

    Raises:
        InputError: where it exists and may not be replaced, or is in the way of the channels.
    """
    if output.resolve() in (path.resolve(), *path.resolve().parents):
        raise InputError(f"{argument}: {path} is also --out, or lies in it.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{argument}: there is no folder {path.absolute().parent} to write to.")
    if not path.exists():
        return
    if not overwrite:
        raise InputError(f"{argument}: {path} exists already; --overwrite replaces it.")
    try:
        load_texture(path, argument=argument)
    except InputError as error:
        raise InputError(f"{error} It is not replaced by one.") from error
