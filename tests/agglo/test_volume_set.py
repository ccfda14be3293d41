from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from agglo.training.shard import Shard, cut_shards
from agglo.training.volume_set import load_instance, open_set
from agglo.volumes import write_volume
from analysis.input_error import InputError
from envs import statistics as st
from envs.instance import Instance
from envs.merge_network import mean_boundary_network
from envs.region_graph import build_region_graph
from envs.rollout import initial_decisions, play_episode
from envs.truth_rows import NO_TRUTH, truth_table
from tests.agglo.small_volumes import NAMES, SHAPE, make_tissue, open_tissue, write_tissue

TISSUE = make_tissue(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tissue(tmp_path / "tissue.h5", TISSUE)


def assert_same(ours: Instance, expected: Instance) -> None:
    for name in ("ids", "regions", "edges", "contacts"):
        np.testing.assert_array_equal(getattr(ours.graph, name), getattr(expected.graph, name))
    assert ours.graph.voxel_size_nm == expected.graph.voxel_size_nm
    for one, other in zip(ours.truth, expected.truth, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_set_states_addresses_that_hold_from_anywhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    volumes, shape = open_tissue(Path("tissue.h5"))
    assert shape == SHAPE
    expected = [*(f"{path}:{name}" for name in NAMES), (8.0, 8.0, 8.0)]
    assert volumes.stated() == expected
    assert volumes == (*expected, None, None)


def test_the_volumes_are_closed_again(path: Path) -> None:
    open_tissue(path)
    with pytest.raises(InputError):
        open_tissue(path, labels=f"{path}:nothing")
    opened = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if exists(n)]
    assert str(path) not in opened


def exists(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


def test_the_voxel_size_may_be_given(tmp_path: Path) -> None:
    path = write_tissue(tmp_path / "tissue.h5", TISSUE, voxel_size_nm=None)
    assert open_tissue(path)[0].voxel_size_nm is None
    assert open_tissue(path, (40, 8, 8))[0].voxel_size_nm == (40.0, 8.0, 8.0)


def test_voxel_sizes_may_differ_by_rounding_only(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["voxel_size_nm"] = (8.0000001, 8.0, 7.9999999)
    assert open_tissue(path)[0].voxel_size_nm == (8.0, 8.0, 8.0)
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["voxel_size_nm"] = (8.1, 8.0, 8.0)
    with pytest.raises(
        InputError, match=r"--labels has voxels of \(8.1, 8.0, 8.0\) nm but --image"
    ):
        open_tissue(path)
    with pytest.raises(InputError, match="--voxel-size-nm: 9 8 8 contradicts 8 8 8"):
        open_tissue(path, (9, 8, 8))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("image", np.zeros((16, 40, 39), np.uint8), r"^--boundaries has shape \(16, 40, 40\) and"),
        (
            "labels",
            np.zeros((16, 40, 39), np.uint8),
            r"^--labels has shape \(16, 40, 39\) and --im",
        ),
        ("boundaries", np.zeros((3, *SHAPE), np.float32), r"^--boundaries: .* shape \(3, 16, 40,"),
        (
            "superpixels",
            np.zeros((40, 40), np.uint8),
            r"^--superpixels: .* shape \(40, 40\), where",
        ),
        ("labels", np.zeros((0, 40, 40), np.uint8), r"^--labels: .* shape \(0, 40, 40\), where"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(
    path: Path, name: str, array: np.ndarray, message: str
) -> None:
    with h5py.File(path, "r+") as file:
        file["other"] = array
    with pytest.raises(InputError, match=message):
        open_tissue(path, **{name: f"{path}:other"})  # pyright: ignore[reportArgumentType]


def test_the_instance_of_a_shard_is_that_of_the_cut_arrays(path: Path) -> None:
    volumes, shape = open_tissue(path)
    shards = cut_shards([shape], (8, 20, 40))
    assert len(shards) == 4
    for shard in shards:
        assert_same(load_instance(volumes, shard), TISSUE.cut(*shard.box).instance())


def test_shards_of_a_volume_that_is_itself_a_crop(path: Path) -> None:
    volumes, shape = open_tissue(path, crop="[2:15,:,10:]")
    assert shape == (13, 40, 30)
    shard = Shard(0, (1, 3, 5), (11, 33, 27))
    cut = TISSUE.cut(slice(3, 13), slice(3, 33), slice(15, 37))
    assert_same(load_instance(volumes, shard), cut.instance())
    only_z, _ = open_tissue(path, crop="[2:15]")
    cut = TISSUE.cut(slice(3, 13), slice(3, 33), slice(5, 27))
    assert_same(load_instance(only_z, shard), cut.instance())


def test_volumes_of_other_formats_and_types(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", TISSUE.image)
    write_volume(
        str(tmp_path / "boundaries.zarr"),
        np.rint(255 * TISSUE.boundaries).astype(np.uint8),
        voxel_size_nm=(8, 8, 8),
    )
    np.save(tmp_path / "superpixels.npy", TISSUE.superpixels.astype(np.int16))
    np.save(tmp_path / "labels.npy", TISSUE.labels.astype(">u4"))
    image, superpixels, labels = (
        f"{tmp_path}/{name}.npy" for name in ("image", "superpixels", "labels")
    )
    volumes, shape = open_set(image, f"{tmp_path}/boundaries.zarr", superpixels, labels, None)
    assert volumes.voxel_size_nm == (8.0, 8.0, 8.0)
    assert_same(load_instance(volumes, cut_shards([shape], shape)[0]), TISSUE.instance())


def test_a_shard_without_truth_has_none(path: Path) -> None:
    volumes, _ = open_tissue(path)
    shard = Shard(0, (0, 0, 0), (4, 6, 6))
    assert not TISSUE.labels[shard.box].any()
    graph, truth, *_ = load_instance(volumes, shard)
    assert graph.n_regions > 1
    assert truth is NO_TRUTH


def test_superpixels_of_zero_are_no_regions(path: Path) -> None:
    superpixels = TISSUE.superpixels.copy()
    superpixels[:, :, ::4] = 0
    with h5py.File(path, "r+") as file:
        file["sparse"] = superpixels
    volumes, _ = open_tissue(path, superpixels=f"{path}:sparse")
    instance = load_instance(volumes, Shard(0, (0, 0, 0), SHAPE))
    graph = build_region_graph(
        superpixels, TISSUE.image, TISSUE.boundaries, voxel_size_nm=(8.0, 8.0, 8.0)
    )
    expected = Instance(graph, truth_table(graph.ids, superpixels, TISSUE.labels))
    assert_same(instance, expected)
    assert instance.truth.counts.sum() < TISSUE.labels.astype(bool).sum()


def test_a_shard_without_superpixels_is_played_without_effect(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["outside"] = np.zeros(SHAPE, np.uint8)
    volumes, _ = open_tissue(path, superpixels=f"{path}:outside")
    graph, truth, *_ = load_instance(volumes, Shard(0, (0, 0, 0), SHAPE))
    assert graph.n_regions == graph.n_edges == 0
    network = mean_boundary_network(0.5)
    episode = play_episode(graph, network, truth=truth, threshold=-np.inf, record_floor=-1.0)
    assert len(episode.merges) == len(episode.decisions) == 0
    features, gains = initial_decisions(graph, truth, network)
    assert features.shape == (0, network.n_features)
    assert gains.shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("labels", TISSUE.labels.astype(np.float32), "type float32, where labels are integers"),
        ("labels", TISSUE.labels.astype(np.int64) - 5, "negative values down to -4, where labels"),
        ("superpixels", TISSUE.superpixels / 2, "type float64, where labels are integers"),
        ("superpixels", -TISSUE.superpixels.astype(np.int32), "negative values down to -"),
        ("boundaries", TISSUE.boundaries * np.float32(2), r"values from 0 to .*, where floats in"),
        ("boundaries", np.where(TISSUE.boundaries > 0.9, np.nan, 0.5), "NaN or infinite"),
        ("boundaries", TISSUE.labels, "type uint64, where boundaries are floats"),
        ("image", np.where(TISSUE.image == 200, np.inf, 0.5), "NaN or infinite"),
    ],
)
def test_the_sentence_names_the_part_that_is_wrong(
    path: Path, name: str, array: np.ndarray, message: str
) -> None:
    with h5py.File(path, "r+") as file:
        file["other"] = array
    volumes, _ = open_tissue(path, **{name: f"{path}:other"})  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=rf"^--{name}: .*:other\[:16,:40,10:40\] .*{message}"):
        load_instance(volumes, Shard(0, (0, 0, 10), SHAPE))


def test_a_degraded_copy_differs_in_its_boundaries_alone(path: Path) -> None:
    volumes, shape = open_tissue(path)
    (shard,) = cut_shards([shape], shape)
    plain, one, again, other = (
        load_instance(volumes, shard._replace(copy=copy)) for copy in (0, 1, 1, 2)
    )
    assert_same(one, again)
    graphs = [instance.graph for instance in (plain, one, other)]
    for graph in graphs[1:]:
        np.testing.assert_array_equal(graph.edges, graphs[0].edges)
        for column in (st.SIZE, st.GREY, st.GREY_SQUARED, st.SURFACE):
            np.testing.assert_array_equal(graph.regions[:, column], graphs[0].regions[:, column])
    sums = [graph.contacts[:, st.FACE_MAX] for graph in graphs]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (sums[a] != sums[b]).mean() > 0.1
