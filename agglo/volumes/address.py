"""Volume addresses: ``PATH[:DATASET]`` with an optional crop ``[z0:z1,y0:y1,x0:x1]`` at the end.

The path may be the URL of a Zarr, as in ``s3://bucket/em.zarr:raw``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agglo.volumes.crop import CROPPED, Crop, crop_text, parse_crop
from agglo.volumes.url import ON_DISK, Url, is_url, require_on_disk
from analysis.input_error import InputError

Format = Literal["hdf5", "zarr", "tiff", "slices", "npy"]

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
TIFF_SUFFIXES = (".tif", ".tiff")
SLICE_SUFFIXES = (".png", *TIFF_SUFFIXES)
ZARR_NODE_FILES = ("zarr.json", ".zarray", ".zgroup")

_WITH_DATASETS = ("hdf5", "zarr")
_OTHER_SUFFIXES = frozenset(
    (*SLICE_SUFFIXES, ".npy", ".npz", ".jpg", ".jpeg", ".n5", ".mrc", ".nrrd", ".nii", ".mat")
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a volume lies.

    Attributes:
        path: the file or folder, or the URL of a Zarr.
        dataset: the array inside an HDF5 file, or the node inside a Zarr; None for the path itself.
        format: how the path is read.
        crop: the part meant, one range an axis from the first; empty for the whole.
    """

    path: Path | Url
    dataset: str | None
    format: Format
    crop: Crop = ()

    def __post_init__(self) -> None:
        if self.dataset is not None and self.format not in _WITH_DATASETS:
            raise ValueError(f"a volume of format {self.format!r} has no datasets inside")
        if isinstance(self.path, Url) and self.format != "zarr":
            raise ValueError(f"a volume of format {self.format!r} is not read from a URL")

    @property
    def file(self) -> Path:
        """The path of a volume on a disk, as all outputs and all formats but Zarr are."""
        assert isinstance(self.path, Path)
        return self.path

    def __str__(self) -> str:
        dataset = "" if self.dataset is None else f":{self.dataset}"
        return f"{self.path}{dataset}{crop_text(self.crop)}"

    def absolute(self) -> Address:
        """Return the same address, independent of the working directory."""
        return dataclasses.replace(self, path=self.path.absolute())

    @classmethod
    def parse(cls, text: str, *, argument: str) -> Address:
        """Read the address of a volume that exists.

        A ``:`` or ``[`` may be part of a file's name: the longest beginning of the text that
        exists on disk is the path. A URL is not looked at here; its dataset follows ``.zarr:``.

        Raises:
            InputError: where nothing lies at the path, or nothing that is read here.
        """
        text = text.removeprefix(ON_DISK)
        if is_url(text):
            return cls._parse_url(text, argument)
        path, dataset, crop = _split_existing(text, argument)
        volume_format = _format_of(path, argument)
        if dataset is not None:
            dataset = _named(dataset, text, argument)
            if volume_format not in _WITH_DATASETS:
                raise InputError(
                    f"{argument}: {text} names a dataset, but {path} is "
                    f"{_NAMES[volume_format]}, which has none"
                )
        return cls(path, dataset, volume_format, crop)

    @classmethod
    def _parse_url(cls, text: str, argument: str) -> Address:
        cropped = CROPPED.fullmatch(text)
        rest = cropped["rest"] if cropped else text
        place, colon, dataset = rest.partition(".zarr:")
        url = Url((place + ".zarr" if colon else rest).rstrip("/"))
        suffix = Path(url.name.partition(":")[0]).suffix.lower()
        if suffix in HDF5_SUFFIXES or suffix in _OTHER_SUFFIXES:
            raise InputError(
                f"{argument}: {rest} ends in {suffix}, but at a URL only a Zarr is read; "
                f"copy the file to a disk"
            )
        crop = parse_crop(cropped["crop"], argument=argument, address=rest) if cropped else ()
        return cls(url, _named(dataset, text, argument) if colon else None, "zarr", crop)

    @classmethod
    def parse_output(cls, text: str, *, argument: str) -> Address:
        """Read the address of a volume to be written: an OME-Zarr group or ``FILE.h5:NAME``.

        Raises:
            InputError: where it is neither.
        """
        if not text.strip():
            raise InputError(f"{argument}: the address is empty")
        text = require_on_disk(text, argument)
        if CROPPED.fullmatch(text):
            raise InputError(f"{argument}: {text} ends in a crop, which an output cannot have")
        path, dataset = _split_at_suffix(text)
        suffix = path.suffix.lower()
        if suffix in HDF5_SUFFIXES:
            dataset = (dataset or "").strip("/")
            if not dataset:
                raise InputError(
                    f"{argument}: {text} names no dataset; write {path}:NAME for an HDF5 file"
                )
            return cls(path, dataset, "hdf5")
        if dataset is not None:
            raise InputError(
                f"{argument}: {text} names a dataset inside a Zarr, but an output is a whole "
                f"OME-Zarr group, such as {path}"
            )
        if suffix in _OTHER_SUFFIXES:
            raise InputError(
                f"{argument}: {text} ends in {path.suffix}, but volumes are written as OME-Zarr "
                f"groups (NAME.zarr) or into HDF5 files (FILE.h5:NAME)"
            )
        return cls(path, None, "zarr")


_NAMES: dict[Format, str] = {
    "hdf5": "an HDF5 file",
    "zarr": "a Zarr",
    "tiff": "a TIFF file",
    "slices": "a folder of slices",
    "npy": "a NumPy file",
}


def _named(dataset: str, text: str, argument: str) -> str:
    """Return the name of a dataset without slashes around it."""
    name = dataset.strip("/")
    if not name:
        raise InputError(f"{argument}: {text} names no dataset after the colon")
    return name


def _split_existing(text: str, argument: str) -> tuple[Path, str | None, Crop]:
    if not text.strip():
        raise InputError(f"{argument}: the address is empty")
    if _exists(text):
        return Path(text), None, ()
    cropped = CROPPED.fullmatch(text)
    rest = cropped["rest"] if cropped else text
    path: Path | None = None
    dataset: str | None = None
    if _exists(rest):
        path = Path(rest)
    else:
        for colon in reversed([i for i, letter in enumerate(rest) if letter == ":"]):
            if _exists(rest[:colon]):
                path, dataset = Path(rest[:colon]), rest[colon + 1 :]
                break
    if path is None:
        missing, _ = _split_at_suffix(rest)
        raise InputError(f"{argument}: there is no file or folder {missing}")
    crop = parse_crop(cropped["crop"], argument=argument, address=rest) if cropped else ()
    return path, dataset, crop


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # a name too long for the file system, or with a null in it
        return False


def _split_at_suffix(text: str) -> tuple[Path, str | None]:
    """Split at the first colon that follows the suffix of a format with datasets."""
    for colon in (i for i, letter in enumerate(text) if letter == ":"):
        if text[:colon].lower().endswith((*HDF5_SUFFIXES, ".zarr")):
            return Path(text[:colon]), text[colon + 1 :]
    return Path(text), None


def _format_of(path: Path, argument: str) -> Format:
    if path.is_dir():
        return _folder_format(path, argument)
    suffix = path.suffix.lower()
    if suffix in HDF5_SUFFIXES:
        return "hdf5"
    if suffix in TIFF_SUFFIXES:
        return "tiff"
    if suffix == ".npy":
        return "npy"
    if suffix == ".zarr":
        raise InputError(f"{argument}: {path} is a file where a Zarr is a folder")
    raise InputError(
        f"{argument}: {path} ends in {path.suffix or 'no suffix'}, which is none of "
        f"{', '.join((*HDF5_SUFFIXES, '.zarr', *TIFF_SUFFIXES, '.npy'))}"
    )


def _folder_format(path: Path, argument: str) -> Format:
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise InputError(f"{argument}: {path} cannot be listed: {error.strerror}") from error
    if any(name in names for name in ZARR_NODE_FILES):
        return "zarr"
    if any(Path(name).suffix.lower() in SLICE_SUFFIXES for name in names):
        return "slices"
    seen = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing"
    raise InputError(
        f"{argument}: {path} is a folder that is neither a Zarr nor has PNG or TIFF slices; "
        f"it holds {seen}"
    )
