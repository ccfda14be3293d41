from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.input_error import InputError
from analysis.topological_numbers import neighbourhood_code, topological_numbers
from tests.analysis.brute_topology import DUAL, blocks_of, numbers_of_blocks


def number_by_graph(block: np.ndarray, connectivity: int) -> int:
    """A topological number from the definition, by a graph of the voxels of one block."""
    reach = {6: 1, 26: 3}[connectivity]
    steps = {voxel: sum(abs(i - 1) for i in voxel) for voxel in np.ndindex(3, 3, 3)}
    near = [v for v in steps if block[v] and 1 <= steps[v] <= (2 if connectivity == 6 else 3)]
    graph = nx.Graph()
    graph.add_nodes_from(near)
    for first in near:
        for second in near:
            apart = [abs(i - j) for i, j in zip(first, second, strict=True)]
            if first < second and max(apart) == 1 and sum(apart) <= reach:
                graph.add_edge(first, second)
    pieces = nx.connected_components(graph)
    return sum(any(steps[v] <= reach for v in piece) for piece in pieces)


def test_drawn_by_hand():
    line = np.zeros((3, 3, 5), bool)
    line[1, 1, 1:4] = True
    inside, outside = topological_numbers(line, 6)
    assert inside[1, 1, 1:4].tolist() == [1, 2, 1]
    assert outside[1, 1, 1:4].tolist() == [1, 1, 1]
    sheet = np.zeros((3, 3, 3), bool)
    sheet[1] = True
    assert [int(n[1, 1, 1]) for n in topological_numbers(sheet, 26)] == [1, 2]
    assert [int(n[1, 1, 1]) for n in topological_numbers(np.ones((3, 3, 3), bool), 6)] == [1, 0]
    corners = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0]], bool)
    assert [int(n[1, 1]) for n in topological_numbers(corners, 4)] == [0, 1]
    assert [int(n[1, 1]) for n in topological_numbers(corners, 8)] == [3, 3]


def test_equal_the_definition_by_graphs():
    rng = np.random.default_rng(1)
    for density in (0.2, 0.5, 0.8):
        for _ in range(30):
            block = rng.random((3, 3, 3)) < density
            for foreground in (6, 26):
                inside, outside = topological_numbers(block, foreground)
                assert inside[1, 1, 1] == number_by_graph(block, foreground)
                assert outside[1, 1, 1] == number_by_graph(~block, DUAL[foreground])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_equal_the_definition_by_labels(data):
    foreground = data.draw(st.sampled_from([4, 8, 6, 26]))
    n_axes = 2 if foreground in (4, 8) else 3
    image = data.draw(
        hnp.arrays(bool, hnp.array_shapes(min_dims=n_axes, max_dims=n_axes, max_side=6))
    )
    inside, outside = topological_numbers(image, foreground)
    blocks = blocks_of(image)
    expected = numbers_of_blocks(blocks, foreground), numbers_of_blocks(~blocks, DUAL[foreground])
    np.testing.assert_array_equal(inside.reshape(-1), expected[0])
    np.testing.assert_array_equal(outside.reshape(-1), expected[1])


def test_sections_are_taken_one_by_one():
    stack = np.random.default_rng(2).random((3, 6, 7)) < 0.5
    for foreground in (4, 8):
        whole = topological_numbers(stack, foreground)
        for z in range(3):
            part = topological_numbers(stack[z], foreground)
            np.testing.assert_array_equal(whole[0][z], part[0])
            np.testing.assert_array_equal(whole[1][z], part[1])


def test_code_has_a_bit_for_each_neighbour():
    for place in np.ndindex(3, 3, 3):
        volume = np.zeros((3, 3, 3), np.uint8)
        volume[place] = 1
        bit = 9 * place[0] + 3 * place[1] + place[2]
        assert neighbourhood_code(volume, 1, 1, 1) == (0 if bit == 13 else 1 << bit)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="image must be bool"):
        topological_numbers(np.zeros((2, 2, 2)), 6)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="image must have axes"):
        topological_numbers(np.zeros((2, 2), bool), 26)
