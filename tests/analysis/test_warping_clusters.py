from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.warping_clusters import find_clusters, mismatch_clusters
from analysis.warping_error import warping_error
from analysis.warping_types import Mismatch
from tests.analysis.brute_topology import DUAL, ORDER, betti_numbers
from tests.analysis.components import components


def drawn(*rows: str) -> np.ndarray:
    """Interior of a section drawn with # for membrane."""
    return np.array([[pixel != "#" for pixel in row] for row in rows])


def warp_binary(truth: np.ndarray, proposal: np.ndarray, **options):
    return warping_error((~proposal).astype(np.float32), truth, **options)


def only(**counts: int) -> dict[str, int]:
    """All types of mismatch at 0 but the ones named."""
    return {kind.name.lower(): 0 for kind in Mismatch if kind} | counts


def kind_of(image: np.ndarray, cluster: np.ndarray, foreground: int) -> Mismatch:
    """The type of a cluster, from the objects before and after it is flipped."""
    flipped = image ^ cluster
    before = components(image, ORDER[foreground])
    after = components(flipped, ORDER[foreground])
    if image[cluster].all():
        whole = before == before[cluster][0]
        n_pieces = len(set(after[whole & flipped].tolist()))
        if n_pieces != 1:
            return Mismatch.SPLIT if n_pieces else Mismatch.OBJECT_DELETION
    else:
        inside = [set(before[(after == k) & image].tolist()) for k in np.unique(after[cluster])]
        if any(len(objects) > 1 for objects in inside):
            return Mismatch.MERGE
        if not all(inside):
            return Mismatch.OBJECT_ADDITION
    holes = [sum(betti_numbers(each, foreground)[1:]) for each in (image, flipped)]
    if holes[0] == holes[1]:
        return Mismatch.SHIFT
    return Mismatch.HOLE_ADDITION if holes[1] > holes[0] else Mismatch.HOLE_DELETION


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_equals_flipping_each_cluster_alone(data):
    foreground = data.draw(st.sampled_from([4, 8, 6, 26]))
    n_axes = 2 if foreground in (4, 8) else 3
    longest = 9 if n_axes == 2 else 5
    shape = data.draw(hnp.array_shapes(min_dims=n_axes, max_dims=n_axes, max_side=longest))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    image = rng.random(shape) < data.draw(st.sampled_from([0.3, 0.5, 0.7, 0.9]))
    left = rng.random(shape) < data.draw(st.sampled_from([0.05, 0.2, 0.5]))
    stacked = (image, left) if n_axes == 3 else (image[None], left[None])
    found = find_clusters(*stacked, foreground)
    ids = found.map.reshape(shape)
    np.testing.assert_array_equal(ids > 0, left)
    removed = components(image & left, ORDER[foreground])
    added = components(~image & left, ORDER[DUAL[foreground]])
    assert found.kinds.size == removed.max() + added.max()
    before = betti_numbers(image, foreground)
    for k in range(found.kinds.size):
        cluster = ids == k + 1
        assert len(np.unique(np.stack((removed[cluster], added[cluster])), axis=1).T) == 1
        changes = np.subtract(betti_numbers(image ^ cluster, foreground), before)
        assert (found.objects[k], found.tunnels[k], found.cavities[k]) == tuple(changes)
        assert found.kinds[k] == kind_of(image, cluster, foreground)
        assert found.sizes[k] == cluster.sum()
        assert tuple(found.places[k][-n_axes:]) == tuple(np.argwhere(cluster)[0])


def test_a_ring_drawn_into_an_object_is_a_split():
    truth = np.ones((9, 9), bool)
    proposal = truth.copy()
    proposal[2:7, 2:7] = False
    proposal[3:6, 3:6] = True
    result = warp_binary(truth, proposal)
    assert result.counts == only(hole_addition=16)
    clusters = mismatch_clusters(result)
    assert clusters.counts == only(split=1)
    assert (clusters.sizes.tolist(), clusters.places.tolist()) == ([16], [[0, 2, 2]])
    assert (clusters.objects.tolist(), clusters.tunnels.tolist()) == ([1], [1])
    back = mismatch_clusters(warp_binary(proposal, truth))
    assert back.counts == only(merge=1)


def test_two_cuts_are_two_splits():
    truth = np.ones((4, 11), bool)
    proposal = truth.copy()
    proposal[:, [3, 7]] = False
    result = warp_binary(truth, proposal)
    assert mismatch_clusters(result).counts == only(split=2)
    assert result.counts == only(split=2)


def test_a_broken_membrane_is_one_merger_however_long_the_gap():
    truth = drawn(*["...#..."] * 5)
    proposal = truth.copy()
    proposal[1:4] = True
    clusters = mismatch_clusters(warp_binary(truth, proposal))
    assert clusters.counts == only(merge=1)
    assert (clusters.sizes.tolist(), clusters.objects.tolist()) == ([3], [-1])


def test_two_gaps_in_one_membrane_are_two_mergers():
    truth = drawn(*["...#..."] * 5)
    proposal = truth.copy()
    proposal[[1, 3], 3] = True
    clusters = mismatch_clusters(warp_binary(truth, proposal))
    assert clusters.counts == only(merge=2)
    assert clusters.map[0, :, 3].tolist() == [0, 1, 0, 2, 0]


def test_holes_and_objects():
    solid, holed = np.ones((5, 5), bool), np.ones((5, 5), bool)
    holed[2, 2] = False
    assert mismatch_clusters(warp_binary(solid, holed)).counts == only(hole_addition=1)
    assert mismatch_clusters(warp_binary(holed, solid)).counts == only(hole_deletion=1)
    assert mismatch_clusters(warp_binary(~solid, ~holed)).counts == only(object_addition=1)
    assert mismatch_clusters(warp_binary(~holed, ~solid)).counts == only(object_deletion=1)


def test_sections_do_not_touch():
    truth = np.ones((2, 5, 5), bool)
    proposal = truth.copy()
    proposal[:, 2, 2] = False
    clusters = mismatch_clusters(warp_binary(truth, proposal))
    assert clusters.counts == only(hole_addition=2)
    assert clusters.places.tolist() == [[0, 2, 2], [1, 2, 2]]


def test_no_mismatch_no_cluster():
    truth = np.ones((3, 4), bool)
    for foreground in (4, 8):
        clusters = mismatch_clusters(warp_binary(truth, truth, foreground=foreground))
        assert clusters.counts == only()
        assert clusters.places.shape == (0, 3)
        assert not clusters.map.any()
