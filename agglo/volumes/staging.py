"""Outputs that appear under their name only when they are whole."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.input_error import InputError


class FailedWriteError(InputError):
    """A disk that is full, a folder that does not permit writing, and the like."""


def new_token() -> str:
    """Draw a word that no other temporary sibling has in its name."""
    return secrets.token_hex(6)


class Staging:
    """A hidden temporary sibling of an output, which takes the output's place at the end.

    A symbolic link is followed, so that what it points to is replaced and not the link. A process
    that is killed leaves the sibling (``.NAME.….tmp``) behind; the output itself is then the old
    one, or, for a folder replaced in that very moment, lies beside it as ``.NAME.….old``.

    Args:
        output: what it will become.
        token: part of its name, so that it can be found again; drawn anew if None.
    """

    def __init__(self, output: Path, token: str | None = None) -> None:
        self.output = Path(os.path.realpath(output))
        self._token = new_token() if token is None else token
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
            sync_file(self.output.parent)
            shutil.rmtree(old)
        else:
            os.replace(self.path, self.output)
            sync_file(self.output.parent)

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
                sync_file(Path(folder, name))
            sync_file(Path(folder))
    else:
        sync_file(path)


def sync_file(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refusing_failed_writes(argument: str, output: object) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into one sentence.

    Raises:
        FailedWriteError: for every `OSError`.
    """
    try:
        yield
    except OSError as error:
        words = error.strerror or " ".join(str(error).split())
        raise FailedWriteError(f"{argument}: {output} cannot be written: {words}") from error
