from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from agglo.checkpoint_file import load_checkpoint, save_checkpoint
from agglo.policy_file import FILE_NAME, Policy
from agglo.recording_file import load_recording, save_recording
from agglo.replay import CLOSE_UP_VOX, N_CLOSE_UPS, record_episode, summary_of
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.recording import Gains, Recording, View
from analysis.replay import clusters_after, error_curve, labels_after, most_harmful, most_useful
from analysis.segmentation_scores import score_segmentation
from envs.merge_network import mean_boundary_network
from envs.merge_tree import MergeTree, relabel
from envs.rollout import play_episode
from tests.agglo.small_volumes import (
    Tissue,
    agglo,
    make_tissue,
    save_quick_policy,
    tree_of,
    volume_options,
    write_tissue,
)

POLICY = Policy(
    mean_boundary_network(0.45), 0.0, 0.45, (8.0, 8.0, 8.0), {"policy": "mean boundary"}
)


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return make_tissue(3)


@pytest.fixture(scope="module")
def recording(tissue: Tissue) -> Recording:
    return record_episode(POLICY, *tissue)


def assert_equal(first: Any, second: Any) -> None:
    """Compare two recordings, or parts of them, value by value and dtype by dtype."""
    if isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    elif isinstance(first, Recording | View | Gains):
        assert type(first) is type(second)
        for field in dataclasses.fields(first):
            assert_equal(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            assert_equal(first[name], second[name])
    else:
        assert first == second


def segmentation_after(recording: Recording, tissue: Tissue, n_merges: int) -> npt.NDArray:
    clusters = recording.ids[clusters_after(recording, n_merges)]
    return relabel(tissue.superpixels, recording.ids, clusters)


def faces_between(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> npt.NDArray:
    """Return (F, 3), the centres of all voxel faces between two masks, found axis by axis."""
    centres = []
    for axis in range(3):
        for one, other in ((first, second), (second, first)):
            n = one.shape[axis]
            touches = one.take(range(n - 1), axis) & other.take(range(1, n), axis)
            centres.append(np.argwhere(touches) + 0.5 * (np.arange(3) == axis))
    return np.concatenate(centres)


def test_the_recording_is_the_episode_of_the_policy(tissue: Tissue, recording: Recording) -> None:
    graph, truth, *_ = tissue.instance()
    episode = play_episode(graph, POLICY.network, truth=truth, threshold=-np.inf)
    np.testing.assert_array_equal(recording.merges, episode.merges)
    np.testing.assert_array_equal(recording.heights, episode.heights)
    tree = MergeTree.of_episode(graph.ids, episode)
    for threshold in (0.0, 0.1, -0.2):
        n_merges = recording.n_merges_at(threshold)
        expected = relabel(tissue.superpixels, graph.ids, tree.cut(threshold))
        np.testing.assert_array_equal(segmentation_after(recording, tissue, n_merges), expected)
    curve = error_curve(recording)
    np.testing.assert_allclose([curve.vi[0], curve.vi[-1]], episode.vi, atol=1e-9)
    np.testing.assert_allclose([curve.rand_index[0], curve.rand_index[-1]], episode.rand, atol=1e-9)
    sizes = [np.count_nonzero(tissue.superpixels == name) for name in recording.ids.tolist()]
    assert recording.sizes_vox.tolist() == sizes


def test_errors_are_those_of_the_segmentation_so_far(tissue: Tissue) -> None:
    labels = tissue.labels.copy()
    labels[np.isin(tissue.superpixels, (2, 30))] = 0  # superpixels of which nothing is known
    recording = record_episode(POLICY, *tissue[:3], labels)
    curve = error_curve(recording)
    for n in (0, 1, recording.n_merges // 2, recording.n_policy_merges, recording.n_merges):
        table = contingency_table(segmentation_after(recording, tissue, n), labels)
        expected = score_segmentation(table)
        found = (curve.vi[n], curve.vi_split[n], curve.vi_merge[n], curve.rand_index[n])
        wanted = (expected.vi, expected.vi_split, expected.vi_merge, expected.rand_index)
        np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_merge_lies_in_its_largest_contact(tissue: Tissue, recording: Recording) -> None:
    for n in np.linspace(0, recording.n_merges - 1, 12).astype(int).tolist():
        clusters = clusters_after(recording, n)
        sides = [np.flatnonzero(clusters == name) for name in recording.merges[n]]
        contacts = []
        for u in recording.ids[sides[0]]:
            for v in recording.ids[sides[1]]:
                faces = faces_between(tissue.superpixels == u, tissue.superpixels == v)
                contacts.append((-len(faces), min(u, v), max(u, v), faces))
        assert recording.contact_faces[n] == -sum(contact[0] for contact in contacts)
        largest = min(contacts, key=lambda contact: contact[:3])[3]
        np.testing.assert_allclose(recording.places_vox[n], largest.mean(axis=0))


def test_the_place_of_a_merge_drawn_by_hand() -> None:
    # Superpixel 1 touches 2 with two faces at x = 0.5 and 3 with three at y = 1.5, z = 0.
    superpixels = np.array([[[1, 2, 2], [1, 2, 2], [3, 3, 3]]], np.uint64)
    superpixels[0, 0, 0] = 1
    map_ = np.where(superpixels == 3, 0.9, 0.1).astype(np.float32)
    image = np.zeros(superpixels.shape, np.uint8)
    found = record_episode(POLICY, image, map_, superpixels)
    assert found.merges.tolist() == [[0, 1], [0, 2]]
    assert found.contact_faces.tolist() == [2, 3]
    # Of 3's contacts with 1 (one face) and 2 (two faces) the larger one counts.
    assert found.places_vox.tolist() == [[0.0, 0.5, 0.5], [0.0, 1.5, 1.5]]
    assert found.n_policy_merges == 1
    assert found.gains is None
    assert found.view.truth is None
    assert "vi" not in summary_of(found)


def test_the_section_is_kept_as_it_is(tissue: Tissue) -> None:
    found = record_episode(POLICY, *tissue, section=2)
    view = found.view
    assert (view.section, view.corner_vox) == (2, (0, 0))
    np.testing.assert_array_equal(view.image, tissue.image[2])
    np.testing.assert_array_equal(view.boundaries, tissue.boundaries[2])
    np.testing.assert_array_equal(view.truth, tissue.labels[2])
    np.testing.assert_array_equal(labels_after(found, view, 0), tissue.superpixels[2])
    assert record_episode(POLICY, *tissue).view.section == len(tissue.image) // 2


def test_close_ups_lie_around_the_merges_worth_a_look() -> None:
    wide = make_tissue(5, (4, 40, CLOSE_UP_VOX + 40), n_superpixels=90, n_neurons=12)
    hollow = wide.superpixels.copy()
    hollow[:, :3] = 0
    found = record_episode(POLICY, wide.image, wide.boundaries, hollow, wide.labels)
    shown = {*most_harmful(found, N_CLOSE_UPS), *most_useful(found, N_CLOSE_UPS)}
    assert shown
    assert shown <= found.close_ups.keys()
    assert len({view.corner_vox for view in found.close_ups.values()}) > 1
    for merge, view in found.close_ups.items():
        assert view.image.shape == (40, CLOSE_UP_VOX)
        z, _, x = found.places_vox[merge]
        assert abs(view.section - z) <= 0.5
        top, left = view.corner_vox
        assert top == 0
        assert left <= x <= left + CLOSE_UP_VOX
        window = (view.section, slice(None), slice(left, left + CLOSE_UP_VOX))
        np.testing.assert_array_equal(view.image, wide.image[window])
        np.testing.assert_array_equal(view.truth, wide.labels[window])
        np.testing.assert_array_equal(labels_after(found, view, 0), hollow[window])


def test_an_episode_without_contacts() -> None:
    superpixels = np.array([[[1, 0, 2]]], np.uint64)
    map_ = np.zeros(superpixels.shape, np.float32)
    found = record_episode(POLICY, map_, map_, superpixels, superpixels)
    assert (found.n_merges, found.n_policy_merges, found.close_ups) == (0, 0, {})
    assert summary_of(found)["vi"] == 0


def test_unfit_arguments_are_refused(tissue: Tissue) -> None:
    with pytest.raises(InputError, match=r"--section must lie in 0 … 15, but is 16\."):
        record_episode(POLICY, *tissue, section=16)
    with pytest.raises(InputError, match="--threshold must be a finite number, not nan"):
        record_episode(POLICY, *tissue, threshold=np.nan)
    with pytest.raises(InputError, match=r"labels .* are 0 wherever there are superpixels"):
        record_episode(POLICY, *tissue._replace(labels=np.zeros_like(tissue.labels)))


@pytest.mark.parametrize("has_truth", [True, False])
def test_a_recording_comes_back_as_it_was(tmp_path: Path, tissue: Tissue, has_truth: bool) -> None:
    labels = tissue.labels if has_truth else None
    policy = dataclasses.replace(POLICY, voxel_size_nm=(40.0, 4.0, 4.0) if has_truth else None)
    before = record_episode(policy, *tissue[:3], labels)
    save_recording(tmp_path / "e.npz", before)
    assert [path.name for path in tmp_path.iterdir()] == ["e.npz"]
    assert_equal(load_recording(tmp_path / "e.npz"), before)


def test_a_recording_that_exists_is_refused(tmp_path: Path, recording: Recording) -> None:
    path = tmp_path / "e.npz"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"--out: .*e\.npz exists; --overwrite replaces it\."):
        save_recording(path, recording)
    assert path.read_text() == "mine"
    save_recording(path, recording, overwrite=True)
    assert_equal(load_recording(path).merges, recording.merges)
    with pytest.raises(InputError, match="is a folder, where a file"):
        save_recording(tmp_path, recording, overwrite=True)
    with pytest.raises(InputError, match="there is no folder"):
        save_recording(tmp_path / "no" / "e.npz", recording)


def test_a_failed_writing_leaves_what_was_there(
    tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.npz"
    save_recording(path, recording)
    before = tree_of(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        save_recording(path, dataclasses.replace(recording, threshold=9.0), overwrite=True)
    assert tree_of(tmp_path) == before


def test_a_damaged_recording_is_refused(tmp_path: Path, recording: Recording) -> None:
    path = tmp_path / "e.npz"
    save_recording(path, recording)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = []
    for place in rng.integers(0, len(whole), 60).tolist():
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        try:
            assert_equal(load_recording(path), recording)  # a bit that nothing reads
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 50
    assert all(words.startswith(f"EPISODE: {path} is no whole") for words in refusals)
    for length in (0, 1, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is no whole recording"):
            load_recording(path)


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, recording: Recording) -> None:
    path = tmp_path / "e.npz"
    with pytest.raises(InputError, match="--episode: there is no file"):
        load_recording(path, argument="--episode")
    save_checkpoint(path, {"round": 3})
    with pytest.raises(InputError, match="is no recording of an episode"):
        load_recording(path)
    np.savez(path, merges=recording.merges)
    with pytest.raises(InputError, match="is no whole recording"):
        load_recording(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 99}, "is of version 99, this agglo reads 1"),
        ({"merges": np.zeros((5, 2), np.int32)}, "contradicts itself: heights must have the shape"),
        ({"ids": None}, "contradicts itself"),
        ({"views": {}}, "contradicts itself"),
        ({"views": {"-1": [3]}}, "contradicts itself"),
        ({"policy": None, "starts": [1.0]}, "contradicts itself"),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused(
    tmp_path: Path, recording: Recording, changes: dict[str, Any], words: str
) -> None:
    path = tmp_path / "e.npz"
    save_recording(path, recording)
    save_checkpoint(path, {**load_checkpoint(path), **changes})
    with pytest.raises(InputError, match=words):
        load_recording(path)


def test_the_command_records_what_segment_and_evaluate_say(
    tmp_path: Path, tissue: Tissue, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_tissue(tmp_path / "em.h5", tissue)
    policy = save_quick_policy(tmp_path / "run", tissue)
    volumes = volume_options(file, "image", "boundaries", "superpixels")
    labels = volume_options(file, "labels")
    for baseline in ((), ("--baseline",)):
        out, results = tmp_path / "e.npz", tmp_path / "e.json"
        said = agglo(
            *(capsys, "replay", "--policy", tmp_path / "run", *volumes, *labels, *baseline),
            *("--out", out, "--json", results, "--section", 1, "--overwrite"),
        )
        assert said.status == 0, said.err
        found = json.loads(results.read_text())
        recording = load_recording(out)
        assert found == summary_of(recording)
        assert recording.view.section == 1
        assert recording.voxel_size_nm == (8.0, 8.0, 8.0)
        seg = f"{tmp_path}/seg.zarr"
        segmented = agglo(
            *(capsys, "segment", "--policy", tmp_path / "run", *volumes, *baseline),
            *("--out", seg, "--overwrite"),
        )
        assert segmented.status == 0, segmented.err
        measured = agglo(
            *(capsys, "evaluate", "--segmentation", seg, *labels),
            *("--json", tmp_path / "s.json"),
        )
        assert measured.status == 0, measured.err
        scores = json.loads((tmp_path / "s.json").read_text())
        for name in ("vi", "vi_split", "vi_merge", "rand_index"):
            assert found[name] == pytest.approx(scores[name], abs=1e-9)
        assert found["n_segments"] == scores["n_segments"]
        assert recording.policy == ("mean boundary" if baseline else "learned policy")
    assert policy.threshold == 0.0


def test_the_command_needs_no_labels_and_obeys_its_threshold(
    tmp_path: Path, tissue: Tissue, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_tissue(tmp_path / "em.h5", tissue)
    save_quick_policy(tmp_path / "run", tissue)
    volumes = volume_options(file, "image", "boundaries", "superpixels")
    words = (capsys, "replay", "--policy", tmp_path / "run", *volumes, "--out", tmp_path / "e.npz")
    assert agglo(*words, "--threshold", "-1e9").status == 0
    recording = load_recording(tmp_path / "e.npz")
    assert recording.gains is None
    assert recording.n_policy_merges == recording.n_merges == len(recording.ids) - 1


def test_wrong_input_is_one_sentence_and_writes_nothing(
    tmp_path: Path, tissue: Tissue, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_tissue(tmp_path / "em.h5", tissue, short=tissue.labels[1:])
    save_quick_policy(tmp_path / "run", tissue)
    volumes = volume_options(file, "image", "boundaries", "superpixels")
    before = tree_of(tmp_path)
    words = ("replay", "--policy", tmp_path / "run", *volumes, "--out", tmp_path / "e.npz")
    for more, sentence in (
        (("--section", 16), "--section must lie in 0 … 15, but is 16."),
        (("--section", -1), "--section must lie in 0 … 15, but is -1."),
        (("--labels", f"{file}:short"), "--labels has shape (15, 40, 40)"),
        (("--threshold", "nan"), "--threshold must be a finite number"),
        (("--policy", tmp_path / "none"), "holds no trained policy"),
        (("--out", tmp_path / "run" / FILE_NAME), "exists; --overwrite replaces it."),
    ):
        said = agglo(capsys, *words, *more)
        assert said.status == 2
        assert sentence in said.err
        assert said.err.count("\n") == 1
        assert tree_of(tmp_path) == before
