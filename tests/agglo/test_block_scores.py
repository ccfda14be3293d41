from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agglo import block_scores
from agglo.block_scores import (
    Sections,
    blocks_of,
    count_volumes,
    require_labels,
    sample_labels,
    sections_of,
    warp_labels,
)
from agglo.evaluation_result import WarpingOptions
from agglo.volumes import Volume, open_volume, write_volume
from analysis.border_zone import border_zone
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.label_borders import drop_borders, interior_mask, membrane_mask
from analysis.warping_clusters import mismatch_clusters
from analysis.warping_error import segmentation_warping_error
from tests.agglo.small_volumes import make_tissue

TISSUE = make_tissue(2)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the tissue into many blocks and slabs."""
    monkeypatch.setattr(block_scores, "BLOCK_VOX", (5, 16, 9))
    monkeypatch.setattr(block_scores, "SECTION_VOX", 3 * 40 * 40)


def opened(folder: Path, array: npt.NDArray, name: str = "v.npy") -> Volume:
    np.save(folder / name, array)
    return open_volume(f"{folder / name}", argument="--segmentation")


def pairs_of(table) -> list[tuple[int, int, int]]:
    return list(
        zip(
            table.segments[table.rows].tolist(),
            table.labels[table.cols].tolist(),
            table.counts.tolist(),
            strict=True,
        )
    )


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("tolerance", [0, 1, 3])
@pytest.mark.parametrize("in_plane", [False, True])
@pytest.mark.parametrize("ignore", [False, True])
def test_blocks_give_the_table_of_the_whole(
    tmp_path: Path, tolerance: int, in_plane: bool, ignore: bool
):
    segmentation = np.where(TISSUE.superpixels % 7 == 0, 0, TISSUE.superpixels)
    counts = count_volumes(
        {
            "--segmentation": opened(tmp_path, segmentation),
            "--superpixels": opened(tmp_path, TISSUE.superpixels, "s.npy"),
        },
        opened(tmp_path, TISSUE.labels, "l.npy"),
        border_tolerance=tolerance,
        in_plane=in_plane,
        ignore_zero=ignore,
    )
    truth = drop_borders(TISSUE.labels, tolerance, in_plane=in_plane)
    for name, array in (("--segmentation", segmentation), ("--superpixels", TISSUE.superpixels)):
        whole = contingency_table(array, truth, ignore_segmentation_zero=ignore)
        assert pairs_of(counts.tables[name]) == pairs_of(whole)
    assert counts.is_labelled


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.uint8, (4, 7, 6), elements=st.integers(0, 2)),
    st.integers(1, 3),
    st.booleans(),
    st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 6)),
)
def test_a_halo_makes_the_tolerance_exact(tmp_path_factory, labels, tolerance, in_plane, block):
    volume = opened(tmp_path_factory.mktemp("halo"), labels)
    expected = drop_borders(labels, tolerance, in_plane=in_plane)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_scores, "BLOCK_VOX", block)
        for box in blocks_of([volume]):
            truth = block_scores._read_truth(volume, box, tolerance, in_plane)
            np.testing.assert_array_equal(truth.counted, expected[box])


class Watched:
    """A volume that notes the largest part read at once."""

    def __init__(self, volume: Volume) -> None:
        self._volume, self.largest, self.n_read = volume, 0, 0

    def __getattr__(self, name: str):
        return getattr(self._volume, name)

    def __getitem__(self, key):
        part = self._volume[key]
        self.largest = max(self.largest, part.size)
        self.n_read += part.size
        return part


@pytest.mark.usefixtures("small_blocks")
def test_sections_are_warped_a_few_at_a_time(tmp_path: Path):
    proposal = TISSUE.labels.copy()
    proposal[9][proposal[9] == 3] = 4
    proposal[4, 10:20] = 5
    watched = Watched(opened(tmp_path, proposal))
    warped = warp_labels(
        watched,  # type: ignore
        opened(tmp_path, TISSUE.labels, "l.npy"),
        WarpingOptions(),
    )
    assert (watched.largest, watched.n_read) == (3 * 40 * 40, proposal.size)
    whole = segmentation_warping_error(proposal, TISSUE.labels, widen_vox=1)
    np.testing.assert_array_equal(warped.section_errors, whole.section_errors)
    assert warped.error == whole.error > 0
    z = warped.worst_section
    assert z == whole.section_errors.argmax()
    np.testing.assert_array_equal(warped.worst.mismatches[0], whole.mismatches[z])
    assert warped.worst.mismatches.shape == (1, 40, 40)
    assert warped.clusters == mismatch_clusters(whole).counts
    assert warped.clusters["merge"] > 0


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from([None, 1, 2.5]))
def test_volumes_and_sections_are_warped_as_asked_for(tmp_path_factory, data, reach):
    """A direct call on all of both arrays is the specification."""
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))
    arrays = hnp.arrays(np.uint8, shape, elements=st.integers(0, 2))
    proposal, truth = data.draw(arrays), data.draw(arrays)
    folder = tmp_path_factory.mktemp("warp")
    volumes = opened(folder, proposal), opened(folder, truth, "l.npy")
    for options, interior in (
        (WarpingOptions("sections", reach), interior_mask(truth, widen_vox=1)),
        (WarpingOptions("volume", reach), ~membrane_mask(truth)),
    ):
        in_sections = options.unit == "sections"
        mask = None if reach is None else border_zone(interior, reach, 4 if in_sections else 6)
        whole = segmentation_warping_error(
            proposal,
            truth,
            widen_vox=int(in_sections),
            foreground=4 if in_sections else 6,
            mask=mask,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block_scores, "SECTION_VOX", 2 * shape[1] * shape[2])
            warped = warp_labels(*volumes, options)
        np.testing.assert_array_equal(warped.section_errors, whole.section_errors)
        assert warped.clusters == mismatch_clusters(whole).counts
        z = warped.worst_section
        assert warped.worst.foreground == whole.foreground
        assert warped.worst.error == whole.section_errors[z]
        np.testing.assert_array_equal(warped.worst.warped[0], whole.warped[z])
        np.testing.assert_array_equal(warped.worst.mismatches[0], whole.mismatches[z])
        if mask is not None:
            assert not (mask[z] < (warped.worst.warped[0] != interior[z])).any()


@pytest.mark.usefixtures("small_blocks")
def test_blocks_and_slabs_cover_a_volume_once(tmp_path: Path):
    volume = opened(tmp_path, TISSUE.labels)
    tifffile.imwrite(tmp_path / "v.tif", TISSUE.labels.astype(np.uint16))
    paged = open_volume(f"{tmp_path / 'v.tif'}", argument="--labels")
    for boxes in (blocks_of([volume]), blocks_of([volume, paged]), sections_of(volume.shape)):
        seen = np.zeros(volume.shape, int)
        n_boxes = 0
        for box in boxes:
            seen[box] += 1
            n_boxes += 1
        assert (seen == 1).all()
        assert n_boxes > 5
    assert all(box[1:] == (slice(0, 40), slice(0, 40)) for box in blocks_of([volume, paged]))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["v.zarr", "v.tif"])
def test_sampling_reads_the_voxels_asked_for(tmp_path: Path, name: str):
    labels = np.random.default_rng(0).integers(0, 900, (9, 150, 70)).astype(np.uint16)
    if name == "v.tif":
        tifffile.imwrite(tmp_path / name, labels)
    else:
        write_volume(f"{tmp_path / name}", labels, voxel_size_nm=None)
    volume = open_volume(f"{tmp_path / name}", argument="--segmentation")
    voxels = np.random.default_rng(1).integers(0, labels.shape, (200, 3))
    np.testing.assert_array_equal(sample_labels(volume, voxels), labels[tuple(voxels.T)])
    assert sample_labels(volume, voxels[:0]).shape == (0,)


@pytest.mark.usefixtures("small_blocks")
def test_no_more_than_a_block_is_read_at_once(tmp_path: Path):
    segmentation = Watched(opened(tmp_path, TISSUE.superpixels))
    labels = Watched(opened(tmp_path, TISSUE.labels, "l.npy"))
    count_volumes({"--segmentation": segmentation}, labels, border_tolerance=2)  # type: ignore
    assert segmentation.largest == 5 * 16 * 9
    assert segmentation.n_read == TISSUE.labels.size
    assert labels.largest <= 9 * 20 * 13
    for z in (*range(16), 3):
        np.testing.assert_array_equal(Sections(segmentation)[z], TISSUE.superpixels[z])  # type: ignore
    assert segmentation.largest <= 3 * 40 * 40


def test_sections_keep_the_slab_read_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(block_scores, "SECTION_VOX", 4 * 40 * 40)
    watched = Watched(opened(tmp_path, TISSUE.labels))
    sections = Sections(watched)  # type: ignore
    assert sections.shape == TISSUE.labels.shape
    for z in range(16):
        np.testing.assert_array_equal(sections[z], TISSUE.labels[z])
    assert watched.n_read == TISSUE.labels.size
    np.testing.assert_array_equal(sections[15, 3:5, 7:], TISSUE.labels[15, 3:5, 7:])
    assert watched.n_read == TISSUE.labels.size
    np.testing.assert_array_equal(sections[2:4], TISSUE.labels[2:4])
    np.testing.assert_array_equal(sections[np.int64(1)], TISSUE.labels[1])


def test_no_labels_are_refused(tmp_path: Path):
    labels = TISSUE.labels.astype(np.int64)
    labels[15, 39, 39] = -4
    volume = opened(tmp_path, labels)
    require_labels(volume)
    with pytest.raises(InputError, match=r"--segmentation: .*v\.npy.* negative values down to -4"):
        count_volumes({"--segmentation": volume}, opened(tmp_path, TISSUE.labels, "l.npy"))
    for array, seen in ((labels.astype(float), "type float64"), (labels[0], r"shape \(40, 40\)")):
        with pytest.raises(InputError, match=seen):
            require_labels(opened(tmp_path, array, "w.npy"))
    assert not count_volumes({}, opened(tmp_path, 0 * TISSUE.labels, "z.npy")).is_labelled
