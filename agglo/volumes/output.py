"""Where a command will write, checked before it begins to work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import h5py

from agglo.volumes.address import ZARR_NODE_FILES, Address
from agglo.volumes.source import refusing_damage
from analysis.input_error import InputError

MAIN = ""
"""Name of the volume that an output's address itself means, beside the nested ones."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output that may be written.

    Attributes:
        address: an OME-Zarr group or a dataset of an HDF5 file.
        argument: the argument that named it.
        overwrite: whether it may replace what is there.
        nested: names of further volumes written with it.
    """

    address: Address
    argument: str
    overwrite: bool
    nested: tuple[str, ...] = ()

    def dataset_names(self) -> dict[str, str]:
        """Return the datasets of an HDF5 output by volume: nested ones lie beside the main one."""
        main = self.address.dataset
        assert main is not None
        group = main.rpartition("/")[0]
        names = {MAIN: main} | {name: f"{group}/{name}".lstrip("/") for name in self.nested}
        if len(set(names.values())) < len(names):
            raise InputError(
                f"{self.argument}: {self.address} is the place of another volume written with it, "
                f"{main.rpartition('/')[2]}; choose another name"
            )
        return names

    def require_free(self) -> None:
        """Check that the output may be written now.

        Raises:
            InputError: where it exists and may not be replaced, or the folder around it does not
                exist or does not take it.
        """
        path = Path(os.path.realpath(self.address.file))
        if not path.parent.is_dir():
            raise self._refusal(f"there is no folder {path.parent} to write it to")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise self._refusal(f"the folder {path.parent} does not permit writing")
        if self.address.format == "hdf5":
            self._require_free_datasets(path)
        elif path.exists():
            self._require_overwrite()
            if not _may_be_replaced(path):
                raise self._refusal("what exists there is no Zarr, and is not replaced by one")

    def _require_free_datasets(self, path: Path) -> None:
        names = self.dataset_names().values()
        if not path.exists():
            return
        if not path.is_file() or not h5py.is_hdf5(path):
            raise self._refusal(f"{path} exists and is no HDF5 file that can be read")
        if not os.access(path, os.W_OK):
            raise self._refusal(f"the file {path} does not permit writing")
        with refusing_damage(self.argument, path), h5py.File(path, "r") as file:
            for name in names:
                self._require_free_dataset(file, name)

    def _require_free_dataset(self, file: h5py.File, name: str) -> None:
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            place = "/".join(parts[:depth])
            node = file.get(place)
            if node is None:
                return
            if depth < len(parts) and not isinstance(node, h5py.Group):
                raise self._refusal(f"{place} is a dataset, which cannot hold others")
            if depth == len(parts):
                self._require_overwrite(name)
                if not isinstance(node, h5py.Dataset):
                    raise self._refusal(f"{place} is a group, and is not replaced by a dataset")

    def _require_overwrite(self, name: str = "") -> None:
        if not self.overwrite:
            what = f"the dataset {name}" if name else "it"
            raise self._refusal(f"{what} exists already; --overwrite replaces it")

    def _refusal(self, words: str) -> InputError:
        return InputError(f"{self.argument}: {self.address} is refused: {words}")


def _may_be_replaced(path: Path) -> bool:
    """Tell whether this is a Zarr or an empty folder, and not somebody's home."""
    if not path.is_dir():
        return False
    return any((path / name).is_file() for name in ZARR_NODE_FILES) or not any(path.iterdir())


def check_output(
    text: str, *, argument: str = "--out", overwrite: bool, nested: tuple[str, ...] = ()
) -> Output:
    """Check where a volume is to be written, before any work is done for it.

    Args:
        text: the address: an OME-Zarr group, or ``FILE.h5:NAME``.
        argument: the argument that the text comes from.
        overwrite: whether what exists may be replaced.
        nested: names of further volumes that will be written with it.

    Raises:
        InputError: where it exists and may not be replaced, or the folder around it does not
            exist or does not permit writing.
    """
    address = Address.parse_output(text, argument=argument)
    output = Output(address, argument, overwrite, nested)
    output.require_free()
    return output
