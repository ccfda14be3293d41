"""The warping error of whole volumes: `warping_error` with foreground 6 and 26."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from analysis.connectivity import Connectivity
from analysis.input_error import InputError
from analysis.label_borders import membrane_mask
from analysis.simple_points_3d import simple_voxels
from analysis.warping_clusters import mismatch_clusters
from analysis.warping_error import segmentation_warping_error, warping_error, warping_sweep
from analysis.warping_types import Mismatch
from tests.analysis.brute_topology import betti_numbers

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def walled(*sections: int, shape=(7, 5, 5)) -> np.ndarray:
    """Interior of a volume with walls of membrane through whole sections."""
    interior = np.ones(shape, bool)
    interior[list(sections)] = False
    return interior


def warp_volume(truth: np.ndarray, proposal: np.ndarray, foreground: Connectivity = 6, **options):
    boundaries = (~proposal).astype(np.float32)
    return warping_error(boundaries, truth, foreground=foreground, **options)


def only(**counts: int) -> dict[str, int]:
    """All types of mismatch at 0 but the ones named."""
    return {kind.name.lower(): 0 for kind in Mismatch if kind} | counts


@pytest.mark.parametrize("foreground", [6, 26])
def test_a_shifted_wall_is_no_error(foreground):
    result = warp_volume(walled(3), walled(4), foreground)
    assert result.error == 0
    np.testing.assert_array_equal(result.warped, walled(4))
    assert warp_volume(walled(3), walled(2), foreground).error == 0
    assert warp_volume(walled(2, 3), walled(4, 5), foreground).error == 0
    assert warp_volume(walled(2, 3), walled(5, 6), foreground).error > 0


@pytest.mark.parametrize("foreground", [6, 26])
def test_a_bridge_of_one_voxel_is_one_merge(foreground):
    proposal = walled(3)
    proposal[3, 2, 2] = True
    result = warp_volume(walled(3), proposal, foreground)
    assert result.counts == only(merge=1)
    assert result.mismatches[3, 2, 2] == Mismatch.MERGE
    assert result.error == 1 / 175
    assert result.section_errors.tolist() == [0, 0, 0, 1 / 25, 0, 0, 0]
    np.testing.assert_array_equal(result.warped, walled(3))


def test_a_gap_in_a_wall_costs_its_area_and_is_one_merger():
    proposal = walled(2, 3)
    proposal[2:4, 1:3, 1:4] = True
    result = warp_volume(walled(2, 3), proposal)
    assert result.counts == only(merge=6)
    clusters = mismatch_clusters(result)
    assert clusters.counts == only(merge=1)
    assert (clusters.objects[0], clusters.tunnels[0], clusters.cavities[0]) == (-1, 0, 0)


def test_two_whole_objects_merged():
    assert warp_volume(walled(3), walled()).counts == only(merge=25)


def test_a_wall_through_an_object_costs_one_split_voxel():
    result = warp_volume(walled(), walled(3))
    assert result.counts == only(split=1)
    assert warp_volume(walled(), walled(2, 4)).counts == only(split=2)
    assert mismatch_clusters(warp_volume(walled(), walled(2, 4))).counts == only(split=2)


def test_cavities():
    hollow = walled()
    hollow[3, 2, 2] = False
    added, deleted = warp_volume(walled(), hollow), warp_volume(hollow, walled())
    assert (added.counts, deleted.counts) == (only(hole_addition=1), only(hole_deletion=1))
    changes = [mismatch_clusters(result).cavities.tolist() for result in (added, deleted)]
    assert changes == [[1], [-1]]


def test_a_closed_shell_inside_an_object_is_a_split():
    shell = walled()
    shell[1:6, 1:4, 1:4] = False
    shell[2:5, 2, 2] = True
    clusters = mismatch_clusters(warp_volume(walled(), shell))
    assert clusters.counts == only(split=1)
    assert mismatch_clusters(warp_volume(shell, walled())).counts == only(merge=1)


def test_tunnels():
    # A tunnel bored through costs its length, less what may recede; closed it costs one voxel.
    bored = walled()
    bored[:, 2, 2] = False
    added, deleted = warp_volume(walled(), bored), warp_volume(bored, walled())
    assert (added.counts, deleted.counts) == (only(hole_addition=1), only(hole_deletion=7))
    assert mismatch_clusters(added).tunnels.tolist() == [1]
    assert mismatch_clusters(deleted).tunnels.tolist() == [-1]


def test_a_handle():
    truth = walled(2, 3, 4)
    truth[2:5, 0, 0] = True
    handle = truth.copy()
    handle[2:5, 4, 4] = True
    result = warp_volume(truth, handle)
    assert result.counts == only(hole_addition=1)
    assert mismatch_clusters(result).tunnels.tolist() == [1]


def test_objects():
    empty = np.zeros((5, 5, 5), bool)
    ball = empty.copy()
    ball[1:4, 1:4, 1:4] = True
    added, deleted = warp_volume(empty, ball), warp_volume(ball, empty)
    assert (added.counts, deleted.counts) == (only(object_addition=27), only(object_deletion=1))
    assert mismatch_clusters(added).counts == only(object_addition=1)


def test_a_diagonal_contact_keeps_objects_apart_for_6_only():
    truth = np.zeros((2, 4, 4), bool)
    truth[:, :2, :2] = truth[:, 2:, 2:] = True
    bridged = truth.copy()
    bridged[:, 1, 2] = True
    assert warp_volume(truth, truth).error == 0
    assert warp_volume(truth, bridged).counts == only(merge=2)
    assert warp_volume(truth, bridged, 26).error == 0
    corner = np.zeros((4, 4, 4), bool)
    corner[:2, :2, :2] = corner[2:, 2:, 2:] = True
    bridged = corner.copy()
    bridged[1, 1, 2] = bridged[1, 2, 2] = True
    assert warp_volume(corner, bridged).counts == only(merge=1)


def test_membrane_on_the_outer_faces_is_a_shifted_border():
    assert warp_volume(walled(), walled(0)).error == 0
    notched = walled()
    notched[0, 2, 2] = notched[6, 0, 0] = notched[3, 4, 1] = False
    assert warp_volume(walled(), notched).error == 0


def test_a_merger_along_z_is_seen_in_the_volume_only():
    proposal = walled(3)
    proposal[3] = True
    by_section = warp_volume(walled(3), proposal, 4)
    assert by_section.counts == only(object_addition=25)
    assert warp_volume(walled(3), proposal, 6).counts == only(merge=25)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_volume_of_one_section_is_warped_like_the_section(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    truth = data.draw(hnp.arrays(bool, shape))
    levels = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 4)))
    boundary = (levels / 4).astype(np.float64)
    section = warping_error(boundary, truth, 0.6)
    volume = warping_error(boundary[None], truth[None], 0.6, foreground=6)
    np.testing.assert_array_equal(volume.warped, section.warped)
    assert volume.error == section.error


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_warp_keeps_topology_and_only_mends(data):
    foreground = data.draw(st.sampled_from([6, 26]))
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
    truth, proposal = (data.draw(hnp.arrays(bool, shape)) for _ in range(2))
    result = warp_volume(truth, proposal, foreground)
    assert betti_numbers(result.warped, foreground) == betti_numbers(truth, foreground)
    left = result.warped != proposal
    np.testing.assert_array_equal(result.mismatches != 0, left)
    assert not (left & (truth == proposal)).any()
    assert not (left & simple_voxels(result.warped, foreground)).any()
    assert result.error == pytest.approx(left.mean())


def test_segmentations_are_compared_as_volumes():
    labels = np.repeat([1, 2], [4, 6])[:, None, None] * np.ones((1, 6, 6), int)
    shifted = np.repeat([7, 3], [5, 5])[:, None, None] * np.ones((1, 6, 6), int)
    far = np.repeat([7, 3], [7, 3])[:, None, None] * np.ones((1, 6, 6), int)
    assert segmentation_warping_error(shifted, labels, foreground=6).error == 0
    assert segmentation_warping_error(far, labels, foreground=6).error > 0
    assert segmentation_warping_error(far, labels, foreground=6, widen_vox=1).error == 0
    merged = segmentation_warping_error(np.ones_like(labels), labels, foreground=6)
    assert merged.counts == only(merge=36)


def test_segmentations_of_sections_with_diagonals_joined():
    labels = np.array([[1, 1, 1, 1, 2, 2, 2, 2]] * 3)
    for widen_vox in (0, 1):
        result = segmentation_warping_error(
            np.ones_like(labels), labels, foreground=8, widen_vox=widen_vox
        )
        assert result.counts == only(merge=3)


@pytest.mark.parametrize("foreground", [4, 6])
def test_order_in_memory_and_write_protection_do_not_matter(foreground):
    rng = np.random.default_rng(5)
    truth = ndimage.gaussian_filter(rng.random((6, 7, 8)), 1) < 0.5
    boundary = rng.random(truth.shape)
    mask = rng.random(truth.shape) < 0.8
    expected = warping_error(boundary, truth, foreground=foreground, mask=mask)
    boundary, truth = np.asfortranarray(boundary), np.asfortranarray(truth)
    mask = np.asfortranarray(mask)
    for array in (boundary, truth, mask):
        array.flags.writeable = False
    result = warping_error(boundary, truth, foreground=foreground, mask=mask)
    assert expected.error > 0
    np.testing.assert_array_equal(result.warped, expected.warped)
    np.testing.assert_array_equal(result.mismatches, expected.mismatches)


def test_a_sweep_of_a_volume():
    rng = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(rng.random((8, 12, 12)), 1) < 0.55
    boundary = np.where(truth, rng.random(truth.shape) * 0.8, 0.2 + rng.random(truth.shape) * 0.8)
    sweep = warping_sweep(boundary, truth, (0.3, 0.5, 0.7), foreground=26)
    results = [warping_error(boundary, truth, t, foreground=26) for t in (0.3, 0.5, 0.7)]
    assert sweep.errors.tolist() == [result.error for result in results]
    assert sweep.best.foreground == 26


def test_real_neurons():
    file = DATA / "fib25_medulla" / "train.h5"
    if not file.exists():
        pytest.skip(f"no {file}")
    with h5py.File(file) as volume:
        labels = np.asarray(volume["gt"])[:40, :100, :100]
        grey = np.asarray(volume["raw"])[:40, :100, :100].astype(np.float32) / 255
    interior = ~membrane_mask(labels)
    assert segmentation_warping_error(labels, labels, foreground=6).error == 0
    smooth = 1 - ndimage.gaussian_filter(grey, 1.5)
    result = warping_error(smooth, interior, 0.5, foreground=6)
    wrong = np.mean((smooth < 0.5) != interior)
    assert 0 < result.split_merge_error < result.error < 0.2 * wrong
    clusters = mismatch_clusters(result)
    assert clusters.sizes.sum() == np.count_nonzero(result.mismatches)
    assert betti_numbers(result.warped, 6) == betti_numbers(interior, 6)


def test_wrong_input_is_refused():
    flat = np.ones((3, 3), bool)
    with pytest.raises(InputError, match=r"interior must have axes \(z, y, x\) for foreground 6"):
        warping_error(np.zeros((3, 3)), flat, foreground=6)
    with pytest.raises(InputError, match="foreground must be 4, 8, 6 or 26, but is 5"):
        warping_error(np.zeros((3, 3)), flat, foreground=5)  # pyright: ignore[reportArgumentType]
    huge = np.broadcast_to(False, (2048, 1024, 1024))
    with pytest.raises(InputError, match=r"interior must have fewer than 2³¹ voxels.*\(2048, 10"):
        warping_error(huge, huge, foreground=6)
