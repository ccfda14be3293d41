"""Outputs that appear under their name only when they are whole."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.input_error import InputError


class Staging:
    """A hidden temporary sibling of an output, which takes the output's place at the end.

    A symbolic link is followed, so that what it points to is replaced and not the link. A process
    that is killed leaves the sibling (``.NAME.….tmp``) behind; the output itself is then the old
    one, or, for a folder replaced in that very moment, lies beside it as ``.NAME.….old``.
    """

    def __init__(self, output: Path) -> None:
        self.output = Path(os.path.realpath(output))
        self._token = secrets.token_hex(6)
        self.path = self._sibling("tmp")

    def _sibling(self, suffix: str) -> Path:
        return self.output.with_name(f".{self.output.name}.{self._token}.{suffix}")

    def commit(self) -> None:
        """Bring the temporary file or folder to the disk and give it the output's name."""
        _sync(self.path)
        if self.path.is_dir() and self.output.exists():
            old = self._sibling("old")
            os.rename(self.output, old)
            try:
                os.rename(self.path, self.output)
            except OSError:
                os.rename(old, self.output)
                raise
            _sync_one(self.output.parent)
            shutil.rmtree(old)
        else:
            os.replace(self.path, self.output)
            _sync_one(self.output.parent)

    def discard(self) -> None:
        """Remove what was written; nothing where nothing was, or after `commit`."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if path.is_dir():
        for folder, _, names in os.walk(path, topdown=False):
            for name in names:
                _sync_one(Path(folder, name))
            _sync_one(Path(folder))
    else:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refusing_failed_writes(argument: str, output: object) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into one sentence.

    Raises:
        InputError: for every `OSError`.
    """
    try:
        yield
    except OSError as error:
        words = error.strerror or " ".join(str(error).split())
        raise InputError(f"{argument}: {output} cannot be written: {words}") from error
