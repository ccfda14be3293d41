"""The doubtful decisions of a segmentation as a table: `SEG.doubts.csv`, what weighs most first."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agglo.whole_file import write_whole
from analysis.input_error import InputError
from envs.expected_error import Doubts

COLUMNS = (
    *("rank", "is_merged", "p_same", "stakes_bits", "loss_bits"),
    *("superpixel_a", "superpixel_b", "z_vox", "y_vox", "x_vox"),
)
"""p_same is the policy's probability that two clusters, named by their smallest superpixels, are
one neuron; stakes the VI between the right decision and the wrong one, loss the part of it that is
expected to be lost; the place is the centroid of the smaller cluster."""

MOST_ROWS = 10_000
"""More than anybody will look at."""


def doubts_path_of(tree_path: Path) -> Path:
    """Return where the doubts lie beside a merge tree: `SEG.doubts.csv`."""
    return tree_path.with_name(tree_path.name.replace(".merge_tree.npz", ".doubts.csv"))


def save_doubts(
    path: Path, doubts: Doubts, ids: npt.NDArray[np.uint64], merges: npt.NDArray[np.int32]
) -> None:
    """Write the heaviest doubts, whole or not at all.

    Args:
        path: the file.
        doubts: of a merge tree.
        ids: (R,) uint64, its superpixels.
        merges: (M, 2) int32, its merges.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for k in range(min(len(doubts.merge), MOST_ROWS)):
        a, b = ids[merges[doubts.merge[k]]]
        numbers = (doubts.p_same[k], doubts.stakes[k], doubts.loss[k])
        place = (f"{x:.1f}" for x in doubts.centre_vox[k])
        table.writerow(
            (k + 1, int(doubts.is_made[k]), *(f"{x:.6g}" for x in numbers), a, b, *place)
        )
    try:
        write_whole(path, text.getvalue().encode())
    except OSError as error:
        raise InputError(f"--out: {path} cannot be written ({error.strerror}).") from error
