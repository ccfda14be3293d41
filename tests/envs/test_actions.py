from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs import statistics as st
from envs.actions import LEAVE, MERGE, QUERY, REIMAGE, Process, act, can_query, n_to_image
from envs.asking_rollout import start_process
from envs.features import CONTACT_COLUMNS
from envs.human import Human, RecordedHuman, SimulatedHuman
from envs.instance import Instance
from envs.merge_state import FORBIDDEN, NODE, OPEN, SMALLEST, ordered_ends
from envs.prices import Prices
from envs.scorers import MeanBoundary
from envs.truth_rows import truth_table
from tests.envs.human_twin import answer_on
from tests.envs.merge_twin import Decision, MergeTwin, Pair
from tests.envs.random_tissue import SEEDS, Volume, random_labels, random_network, volumes

modest = settings(max_examples=40, deadline=None)
PRICES = Prices(merge=0.25, query=0.5, reimage=8.0)
NAMES: dict[Decision, int] = {
    "merge": MERGE,
    "leave": LEAVE,
    "yes": QUERY,
    "no": QUERY,
    "look": REIMAGE,
}


def name_of(process: Process, edge: int) -> Pair:
    """Name an edge by the smallest members of its ends."""
    merging = process.merging
    a, b = (int(merging.places[merging.links[2 * edge + k, NODE], SMALLEST]) for k in (0, 1))
    return min(a, b), max(a, b)


def edges_by_name(process: Process) -> dict[Pair, int]:
    return {
        name_of(process, int(edge)): int(edge)
        for edge in np.flatnonzero(process.merging.status == OPEN)
    }


def process_of(instance: Instance, human: Human) -> Process:
    return start_process(instance, MeanBoundary(0.0), human=human, prices=PRICES)


def draw_instance(volume: Volume, seed: int) -> Instance:
    """Add a truth with label 0, and a second look."""
    rng = np.random.default_rng(seed)
    boundaries = rng.integers(0, 256, volume.superpixels.shape, dtype=np.uint8)
    labels = random_labels(seed, volume.superpixels.shape, 3)
    labels[tuple(np.argwhere(volume.superpixels)[0])] = 1
    graph = volume.graph()
    return Instance(
        graph,
        truth_table(graph.ids, volume.superpixels, labels),
        volume._replace(boundaries=boundaries).graph(),
    )


@modest
@given(volumes(max_side=5, max_regions=14), SEEDS, hs.sampled_from([0.0, 0.5]))
def test_actions_do_what_they_do_to_sets_of_superpixels(
    volume: Volume, seed: int, error_rate: float
) -> None:
    """Act on random edges; clusters, contacts, sums, answers and costs are those of the twin."""
    instance = draw_instance(volume, seed)
    human = SimulatedHuman(error_rate, seed=seed)
    process, twin = process_of(instance, human), MergeTwin(instance.graph, random_network(0))
    twin.clear = instance.clear
    rng = np.random.default_rng(seed)
    n_voxels = int(instance.graph.regions[:, st.SIZE].sum())
    decisions: list[Decision] = ["merge", "leave", "yes", "look", "look"]
    while pairs := sorted(twin.open_pairs()):
        open_edges = edges_by_name(process)
        assert sorted(open_edges) == pairs
        pair = pairs[rng.integers(len(pairs))]
        edge, small = open_edges[pair], twin.smaller(pair)
        unseen = sorted(twin.members[small] - twin.imaged)
        n_left = int(instance.graph.regions[unseen, st.SIZE].sum())
        assert n_to_image(process.merging, edge) == n_left
        assert can_query(process, edge)
        decision = decisions[rng.integers(3 if not n_left else 5)]
        if decision == "yes":
            members = twin.members[pair[0]], twin.members[pair[1]]
            is_yes = answer_on(human, instance.graph, instance.truth, *members)
            decision = "yes" if is_yes else "no"
        outcome = act(process, MeanBoundary(0.0), NAMES[decision], edge)
        twin.do(pair, decision)
        assert (outcome.kept >= 0) == (decision in ("merge", "yes"))
        assert outcome.gain == 0 or outcome.kept >= 0
        expected = {"merge": 0.25, "yes": 0.5, "no": 0.5, "look": 8.0 * n_left / n_voxels}
        assert outcome.cost == pytest.approx(expected.get(decision, 0.0))
        merging = process.merging
        for other, of_pair in edges_by_name(process).items():
            contact = twin.contact_sums(other)[CONTACT_COLUMNS]
            np.testing.assert_array_equal(merging.contacts[of_pair], contact)
            for k in (0, 1):
                u = merging.links[2 * of_pair + k, NODE]
                sums = twin.region_sums(int(merging.places[u, SMALLEST]))
                np.testing.assert_array_equal(merging.regions[u], sums)
    n_left = int(process.merging.counters[2])
    assert n_left == len(twin.members)


def drawn_instance() -> Instance:
    """Make three superpixels in a triangle, 3 and 7 and 9 of which 7 and 9 are one neuron."""
    superpixels = np.array([[[3, 3, 7, 7], [3, 3, 9, 9], [3, 3, 9, 9], [3, 3, 3, 3]]])
    labels = np.where(superpixels == 3, 5, 6)
    nothing = np.zeros(superpixels.shape, np.uint8)
    volume = Volume(superpixels, nothing, nothing)
    graph = volume.graph()
    clear = volume._replace(boundaries=np.full(superpixels.shape, 51, np.uint8)).graph()
    return Instance(graph, truth_table(graph.ids, superpixels, labels), clear)


def test_a_no_is_inherited_by_what_is_merged() -> None:
    process = process_of(drawn_instance(), SimulatedHuman())
    edges = edges_by_name(process)
    no = act(process, MeanBoundary(0.0), QUERY, edges[0, 1])
    assert (no.gain, no.cost, no.kept) == (0, 0.5, -1)
    yes = act(process, MeanBoundary(0.0), QUERY, edges[1, 2])
    # Two clusters of one neuron, 2 and 4 of 16 voxels, become one: the only error there is.
    assert yes.gain == pytest.approx((6 * np.log2(6) - 4 * np.log2(4) - 2 * np.log2(2)) / 16)
    assert yes.cost == 0.5
    assert edges_by_name(process) == {}  # 3 to 9 was open and is forbidden since 3 to 7 is
    assert (process.merging.status == FORBIDDEN).sum() == 1


def test_what_is_left_makes_room_for_an_open_contact() -> None:
    process = process_of(drawn_instance(), SimulatedHuman())
    edges = edges_by_name(process)
    act(process, MeanBoundary(0.0), LEAVE, edges[0, 1])
    act(process, MeanBoundary(0.0), MERGE, edges[1, 2])
    assert sorted(edges_by_name(process)) == [(0, 1)]


def test_the_smaller_region_is_imaged_again_with_its_contacts() -> None:
    process = process_of(drawn_instance(), SimulatedHuman())
    edges, merging = edges_by_name(process), process.merging
    edge = edges[0, 1]
    small, large = ordered_ends(merging.links, merging.places, merging.rows, merging.regions, edge)
    assert (merging.smallest[small], n_to_image(merging, edge)) == (1, 2)
    outcome = act(process, MeanBoundary(0.0), REIMAGE, edge)
    assert (outcome.gain, outcome.cost, outcome.kept) == (0, 8.0 * 2 / 16, -1)
    assert merging.regions[small, st.BOUNDARY] == 2 * 51
    assert merging.regions[large, st.BOUNDARY] == 0
    means = {pair: merging.contacts[e, st.FACE_MAX] for pair, e in edges.items()}
    assert means == {(0, 1): 51, (1, 2): 2 * 51, (0, 2): 0}
    assert n_to_image(merging, edge) == 0
    act(process, MeanBoundary(0.0), MERGE, edges[1, 2])  # of 6 voxels, 2 seen again
    (edge,) = edges_by_name(process).values()
    assert n_to_image(merging, edge) == 4
    assert act(process, MeanBoundary(0.0), REIMAGE, edge).cost == 8.0 * 4 / 16
    assert n_to_image(merging, edge) == 0


def test_who_has_no_answer_cannot_be_asked() -> None:
    pairs, answers = np.array([[3, 9]]), np.array([True])
    process = process_of(drawn_instance(), RecordedHuman(pairs, answers))
    edges = edges_by_name(process)
    assert {pair: bool(can_query(process, edge)) for pair, edge in edges.items()} == {
        (0, 1): False,
        (0, 2): True,
        (1, 2): False,
    }
    act(process, MeanBoundary(0.0), MERGE, edges[1, 2])
    (edge,) = edges_by_name(process).values()
    assert can_query(process, edge)
    assert act(process, MeanBoundary(0.0), QUERY, edge).kept >= 0


def test_without_a_second_look_there_is_nothing_to_image() -> None:
    process = process_of(drawn_instance()._replace(clear=None), SimulatedHuman())
    assert n_to_image(process.merging, 0) == 0
