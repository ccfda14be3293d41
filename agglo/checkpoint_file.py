"""A checkpoint on disk: arrays and JSON values in one `.npz` with a checksum, without pickle."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.whole_file import write_whole

_SCALARS, _DIGEST = "__scalars__", "__sha256__"


class SpoiltCheckpointError(Exception):
    """A checkpoint file that is not what was written."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all.

    Args:
        path: the file.
        state: arrays of any shape and any dtype but object, and JSON values.
    """
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    scalars = {name: value for name, value in state.items() if name not in arrays}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"state: {name} has dtype {array.dtype}, which is not stored")
    text = json.dumps(scalars, default=plain_value)
    arrays[_SCALARS] = np.frombuffer(text.encode(), np.uint8)
    arrays[_DIGEST] = np.frombuffer(_digest(arrays), np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a state.

    Raises:
        SpoiltCheckpointError: the file is cut short, damaged, or not a checkpoint.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if arrays.pop(_DIGEST).tobytes() != _digest(arrays):
            raise SpoiltCheckpointError(f"{path}: its checksum does not fit")
        scalars = json.loads(arrays.pop(_SCALARS).tobytes())
    except (
        *(OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, RuntimeError),
        *(AttributeError, MemoryError, zipfile.BadZipFile, zlib.error),
    ) as error:
        raise SpoiltCheckpointError(f"{path}: {type(error).__name__}, {error}") from error
    return {**scalars, **arrays}


def plain_value(value: Any) -> Any:
    """Turn NumPy values and paths into JSON ones; the `default` of `json.dumps`."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value: {value!r}")


def _digest(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.digest()
