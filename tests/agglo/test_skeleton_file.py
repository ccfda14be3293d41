from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agglo.skeleton_file import read_skeleton
from analysis.input_error import InputError

SWC = """# a neuron of two trees
 5 2  10 20 30  1.0 -1
1 2 10.0 20.0 34.0 0.5 5   # a child that stands after its parent
7 0 10 23 34 0.5 1

2 0 0 0 0 1 -1
"""


def test_swc_drawn_by_hand(tmp_path: Path):
    path = tmp_path / "42.swc"
    path.write_text(SWC)
    skeleton = read_skeleton(path, argument="--skeletons", unit_nm=8.0)
    assert skeleton.name == "42"
    assert (skeleton.nodes_nm / 8).tolist() == [[30, 20, 10], [34, 20, 10], [34, 23, 10], [0, 0, 0]]
    assert skeleton.edges.tolist() == [[1, 0], [2, 1]]
    assert skeleton.length_nm == 8 * 7


def test_node_and_edge_arrays_are_z_y_x(tmp_path: Path):
    nodes, edges = np.array([[1, 2, 3], [4, 6, 3]]), np.array([[0, 1]], np.uint8)
    np.savez(tmp_path / "a.npz", nodes=nodes, edges=edges)
    skeleton = read_skeleton(tmp_path / "a.npz", argument="--skeletons")
    assert skeleton.nodes_nm.tolist() == nodes.tolist()
    assert skeleton.length_nm == 5


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.swc", "", "a.swc has no nodes"),
        ("a.swc", "# nothing\n", "a.swc has no nodes"),
        ("a.swc", "1 0 0 0 0 1\n", "line 1 of .*a.swc is '1 0 0 0 0 1', where the 7 numbers"),
        ("a.swc", "1 0 0 0 x 1 -1\n", "line 1 of .* where the 7 numbers of SWC"),
        ("a.swc", "1 0 0 0 nan 1 -1\n", "line 1 of .* where the 7 numbers of SWC"),
        ("a.swc", "1 0 0 0 0 1 -1\n1 0 0 0 1 1 -1\n", "has two nodes of number 1"),
        ("a.swc", "1 0 0 0 0 1 -1\n2 0 0 0 1 1 9\n", "lacks the node 9, .* the parent of 2"),
        ("a.npz", "text", "a.npz cannot be read"),
        ("a.txt", "text", "ends in .txt, which is neither .swc nor .npz"),
    ],
)
def test_a_file_that_is_no_skeleton_is_refused(tmp_path: Path, name: str, text: str, message: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"--skeletons: .*{message}"):
        read_skeleton(tmp_path / name, argument="--skeletons")


def test_arrays_that_are_none_are_refused(tmp_path: Path):
    path = tmp_path / "a.npz"
    nodes = np.zeros((2, 3))
    for edges, message in (
        (np.array([[0.0, 1]]), "edges of type float64"),
        (np.array([[0, 5]]), "must join nodes 0 … 1"),
    ):
        np.savez(path, nodes=nodes, edges=edges)
        with pytest.raises(InputError, match=message):
            read_skeleton(path, argument="--skeletons")
    np.savez(path, nodes=nodes)
    with pytest.raises(InputError, match="has no array edges"):
        read_skeleton(path, argument="--skeletons")


def test_a_missing_file_and_a_wrong_unit_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no\.swc cannot be read \(No such file"):
        read_skeleton(tmp_path / "no.swc", argument="--skeletons")
    for unit in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="the unit must be a positive number of nm"):
            read_skeleton(tmp_path / "a.swc", argument="--skeletons", unit_nm=unit)
