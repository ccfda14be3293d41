"""Skeletons in files: SWC, and node and edge arrays in NumPy's `.npz`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agglo.volumes.source import DAMAGE
from analysis.input_error import InputError
from analysis.run_length import Skeleton

_SWC_COLUMNS = 7
"""Number, type, x, y, z, radius, number of the parent (−1 for a root)."""


def read_skeleton(path: Path, *, argument: str, unit_nm: float = 1.0) -> Skeleton:
    """Read a skeleton; its name is that of the file, several trees in it are one neuron.

    Args:
        path: SWC (Cannon et al., J. Neurosci. Methods 1998; coordinates x, y, z), or `.npz` with
            the arrays `nodes` (N, 3), z, y, x, and `edges` (E, 2), indices of nodes.
        argument: the argument that named the file, for sentences.
        unit_nm: nanometres of the file's unit of length.

    Raises:
        InputError: where it cannot be read or is none of these.
    """
    if not (np.isfinite(unit_nm) and unit_nm > 0):
        raise InputError(f"{argument}: the unit must be a positive number of nm, not {unit_nm}.")
    if path.suffix.lower() == ".npz":
        nodes, edges = _read_arrays(path, argument)
    elif path.suffix.lower() == ".swc":
        nodes, edges = _read_swc(path, argument)
    else:
        raise InputError(
            f"{argument}: {path} ends in {path.suffix or 'no suffix'}, which is neither .swc nor "
            f".npz."
        )
    try:
        return Skeleton(path.stem, nodes * unit_nm, edges)
    except InputError as error:
        raise InputError(f"{argument}: {path}: {error}") from error


def _read_swc(path: Path, argument: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Read the nodes, z, y, x, and the edges from each node to its parent."""
    rows: list[list[float]] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                words = line.split("#", 1)[0].split()
                if words:
                    rows.append(_numbers(words, f"{argument}: line {number} of {path}"))
    except OSError as error:
        raise InputError(f"{argument}: {path} cannot be read ({error.strerror}).") from error
    if not rows:
        raise InputError(f"{argument}: {path} has no nodes.")
    table = np.array(rows)
    ids, parents = table[:, 0].astype(np.int64), table[:, 6].astype(np.int64)
    order = np.argsort(ids, kind="stable")
    twice = np.flatnonzero(np.diff(ids[order]) == 0)
    if twice.size:
        raise InputError(f"{argument}: {path} has two nodes of number {ids[order][twice[0]]}.")
    children = np.flatnonzero(parents >= 0)
    place = np.minimum(np.searchsorted(ids[order], parents[children]), ids.size - 1)
    found = order[place]
    missing = np.flatnonzero(ids[found] != parents[children])
    if missing.size:
        child = children[missing[0]]
        raise InputError(
            f"{argument}: {path} lacks the node {parents[child]}, which is the parent of "
            f"{ids[child]}."
        )
    return table[:, [4, 3, 2]], np.stack([children, found], axis=1).astype(np.int64)


def _numbers(words: list[str], line: str) -> list[float]:
    """Read a line of SWC."""
    try:
        numbers = [float(word) for word in words[:_SWC_COLUMNS]]
    except ValueError:
        numbers = []
    if len(numbers) < _SWC_COLUMNS or not np.isfinite(numbers).all():
        raise InputError(
            f"{line} is {' '.join(words)[:80]!r}, where the {_SWC_COLUMNS} numbers of SWC (number, "
            f"type, x, y, z, radius, parent) are expected."
        )
    return numbers


def _read_arrays(
    path: Path, argument: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Read the arrays `nodes` and `edges`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("nodes", "edges") if name in file}
    except (*DAMAGE, zipfile.BadZipFile) as error:
        words = " ".join(str(error).split())
        raise InputError(f"{argument}: {path} cannot be read: {words[:300]}.") from error
    for name in ("nodes", "edges"):
        if name not in arrays:
            raise InputError(f"{argument}: {path} has no array {name}.")
    nodes, edges = arrays["nodes"], arrays["edges"]
    if nodes.dtype.kind not in "iuf" or edges.dtype.kind not in "iu":
        raise InputError(
            f"{argument}: {path} has nodes of type {nodes.dtype} and edges of type {edges.dtype}, "
            f"where numbers and integers are expected."
        )
    return nodes.astype(np.float64), edges.astype(np.int64)
