"""Tables on disk: named arrays in a file that is there whole or not at all."""

from __future__ import annotations

import io
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.volumes.source import DAMAGE
from agglo.volumes.staging import refusing_failed_writes
from agglo.whole_file import write_whole
from analysis.input_error import InputError


def write_shard(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write a shard and see it on the disk.

    Raises:
        FailedWriteError: where the disk does not take it.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    with refusing_failed_writes("--out", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getbuffer())


def read_shard(path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    """Read the named arrays of a shard, all of them if none is named.

    Raises:
        InputError: where it is missing or damaged.
    """
    with _refusing_damage(path), np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in names or stored.files}


def names_in_shard(path: Path) -> list[str]:
    """Return the names of the arrays of a shard, without reading them.

    Raises:
        InputError: where it is missing or damaged.
    """
    with _refusing_damage(path), np.load(path, allow_pickle=False) as stored:
        return list(stored.files)


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (*DAMAGE, MemoryError, tokenize.TokenError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"--out: the table {path} of the unfinished run cannot be read ({reason}); without "
            "--resume the run starts anew."
        ) from error
