"""Places of Zarr volumes at object stores and web servers, read through fsspec."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zarr.storage import FsspecStore

from analysis.input_error import InputError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

ON_DISK = "file://"
"""What a URL begins with that is a path."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*", re.DOTALL)
_ABOVE_ALL = re.compile(r"[^/]*//[^/]*")
"""The scheme with its host or bucket, which nothing lies above."""


def is_url(text: str) -> bool:
    """Tell whether a text begins with a scheme, as in ``s3://``."""
    return _URL.fullmatch(text) is not None


def require_on_disk(text: str, argument: str) -> str:
    """Return the address of an output on a disk, without the ``file://`` that it may begin with.

    Raises:
        InputError: where it is another URL.
    """
    path = text.removeprefix(ON_DISK)
    if is_url(path):
        raise InputError(
            f"{argument}: {text} is a URL, but an output is written to a disk; write it to a "
            f"folder and copy that"
        )
    return path


@dataclass(frozen=True, slots=True)
class Url:
    """The place of a Zarr, or of a node in it, with as much of a path as is needed.

    Attributes:
        text: the URL, without a slash at its end.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}") if name else self

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> Url:
        """The place above; itself where there is none."""
        if _ABOVE_ALL.fullmatch(self.text):
            return self
        return Url(self.text.rpartition("/")[0])

    def absolute(self) -> Url:
        """Return the same: a URL does not depend on the working directory."""
        return self

    def open_store(self, argument: str) -> FsspecStore:
        """Open what lies here for reading, with the credentials and options that fsspec finds.

        Raises:
            InputError: where the package for the scheme is not installed.
        """
        try:
            return _Store.from_url(self.text, read_only=True)
        except ImportError as error:
            raise InputError(
                f"{argument}: {self} needs a package that is not installed; "
                f"pip install 'agglo[remote]' installs it."
            ) from error


class _Store(FsspecStore):
    """A store whose failures are all an `OSError`, as those of a disk are."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        try:
            return await FsspecStore.get(self, key, prototype, byte_range)
        except OSError:
            raise
        except Exception as error:  # of aiohttp, botocore, google.auth: each scheme has its own
            raise OSError(f"{type(error).__name__}: {error}") from error
