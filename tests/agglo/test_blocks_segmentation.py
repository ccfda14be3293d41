"""Whole runs over blocks, with actors in this process and with Ray, against one run in memory."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from agglo.blocks import memory_budget, shard, stages, worker
from agglo.blocks import segmentation as module
from agglo.blocks.segmentation import segment_in_blocks
from agglo.blocks.tree import BlockTree
from agglo.policy_file import Policy, save_policy
from agglo.pool import ActorPool
from agglo.segmentation import load_tree, segment_volume
from agglo.volumes import open_volume, write_volume
from agglo.volumes.staging import FailedWriteError
from analysis.input_error import InputError
from envs.error_calibration import ErrorCalibration
from envs.halved_labels import halve_labels
from tests.agglo.small_volumes import (
    Tissue,
    agglo,
    make_tissue,
    save_quick_policy,
    volume_options,
    write_tissue,
)
from tests.agglo.web_server import serve

MAPS = ("image", "boundaries", "superpixels")
BLOCK = (8, 16, 24)
"""Two blocks along z, three along y, two along x, the last ones shorter."""


class HerePool:
    """Does the tasks in this process, in an order of its own, and something after the n-th."""

    n_before: int | None = None
    act: Callable[[], None]

    def __init__(self, actor_class: type, arguments: tuple, *, n_actors: int) -> None:
        self._actor = actor_class(*arguments)
        assert n_actors == 1

    def run(self, method: str, tasks: Iterable, *, on_result: Callable) -> list:
        """Do tasks."""
        results = []
        for key, arguments in sorted(tasks, key=lambda task: task[0] * 7 % 5):
            result = getattr(self._actor, method)(*arguments)
            on_result(key, result)
            results.append((key, result))
            if HerePool.n_before is not None:
                HerePool.n_before -= 1
                if HerePool.n_before == 0:
                    raise KeyboardInterrupt
        return results

    def pids(self) -> list[int]:
        """Return no process, as there is none to wait for."""
        return []

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    """Superpixels cross all faces of blocks; a corner block has none, nor has a slab in another."""
    tissue = make_tissue(2)
    superpixels = tissue.superpixels.copy()
    superpixels[:8, :16, 24:] = 0
    superpixels[10:12, 20:25] = 0
    return tissue._replace(superpixels=superpixels)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Policy]:
    folder = tmp_path_factory.mktemp("policies") / "run"
    policy = save_quick_policy(folder, make_tissue(1), threshold=0.25)
    policy = dataclasses.replace(policy, error=ErrorCalibration(0.1, 1.5, 0.1, 8, 2.0))
    save_policy(folder, policy)
    return folder, policy


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tissue: Tissue) -> Path:
    return write_tissue(tmp_path_factory.mktemp("tissue") / "tissue.h5", tissue)


@pytest.fixture(scope="module")
def at_once(
    tmp_path_factory: pytest.TempPathFactory, policy: tuple[Path, Policy], source: Path
) -> Path:
    """The segmentation made in memory."""
    out = tmp_path_factory.mktemp("whole") / "s.zarr"
    image, boundaries, superpixels = (f"{source}:{name}" for name in MAPS)
    segment_volume(policy[1], image, boundaries, superpixels, str(out))
    return out


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "ActorPool", HerePool)
    monkeypatch.setattr(HerePool, "n_before", None)


@pytest.fixture
def run(policy: tuple[Path, Policy], source: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Segment the tissue in blocks."""

    def run(**options: Any) -> dict[str, Any]:
        known: dict[str, Any] = {name: f"{source}:{name}" for name in MAPS}
        known |= {"out": str(tmp_path / "s.zarr"), "block_vox": BLOCK, "n_actors": 1}
        return segment_in_blocks(policy[1], **(known | options))

    return run


def assert_same(out: Path, expected: Path) -> None:
    """Compare segmentation, tree and doubts, bit for bit, and see that nothing else is left."""
    names = [out.with_suffix(kind).name for kind in (".merge_tree.npz", ".doubts.csv")]
    assert sorted(os.listdir(out.parent)) == sorted([out.name, *names])
    doubts = [path.with_suffix(".doubts.csv").read_bytes() for path in (out, expected)]
    assert doubts[0] == doubts[1]
    ours, theirs = (open_volume(str(path), argument="--out") for path in (out, expected))
    np.testing.assert_array_equal(ours.read(), theirs.read())
    assert ours.voxel_size_nm == theirs.voxel_size_nm
    assert ours.attributes["threshold"] == theirs.attributes["threshold"]
    trees = [
        load_tree(path.with_suffix(".merge_tree.npz"), argument="--tree")
        for path in (out, expected)
    ]
    for array in ("ids", "merges", "heights"):
        np.testing.assert_array_equal(*(getattr(tree, array) for tree in trees))


@pytest.mark.usefixtures("here")
def test_the_expected_error_is_that_of_the_run_in_memory(
    run: Callable, policy: tuple[Path, Policy], source: Path, tmp_path: Path
) -> None:
    image, boundaries, superpixels = (f"{source}:{name}" for name in MAPS)
    whole = segment_volume(policy[1], image, boundaries, superpixels, str(tmp_path / "whole.zarr"))
    assert run()["expected_vi"] == whole["expected_vi"]
    assert whole["expected_vi"] > 1.5


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("block", [(16, 40, 40), (8, 20, 20), (6, 40, 8), BLOCK, (7, 21, 13)])
def test_any_cutting_is_the_run_in_memory(
    run: Callable, at_once: Path, tmp_path: Path, block: tuple[int, int, int]
) -> None:
    results = run(block_vox=block)
    assert_same(tmp_path / "s.zarr", at_once)
    tree = load_tree(tmp_path / "s.merge_tree.npz", argument="--tree")
    segmentation = open_volume(str(tmp_path / "s.zarr"), argument="--out").read()
    assert results["n_superpixels"] == len(tree.ids)
    assert results["n_segments"] == len(np.unique(segmentation)) - 1
    assert results["n_blocks"] == np.prod(-(-np.array((16, 40, 40)) // block))
    n_most = results["largest_graphs"]
    assert all(n <= len(tree.ids) for n in n_most)
    assert results["clusters"][0] == len(tree.ids)
    assert all(n >= most for n, most in zip(results["clusters"], n_most, strict=True))
    sums = results["stages"]["sums"]
    assert sums["tasks"] == results["n_blocks"]
    assert sums["voxels"] == segmentation.size
    assert sums["first_tasks"] == 1
    assert sums["peak_mb"] >= sums["idle_mb"] > 0
    levels = results["levels"]
    assert len(levels) == len(n_most)
    for key in ("tasks", "voxels", "written_bytes"):
        assert sum(work[key] for work in levels) == results["stages"]["agglomeration"][key]


@pytest.mark.usefixtures("here")
def test_a_tree_that_is_too_large_stays_in_shards(
    run: Callable, at_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either form takes the place of the other."""
    in_file, in_shards = ["s.doubts.csv", "s.merge_tree.npz", "s.zarr"], ["s.merge_tree", "s.zarr"]
    results = {}
    for largest, left in ((10, in_shards), (10**7, in_file), (10, in_shards), (10, in_shards)):
        monkeypatch.setattr(module, "LARGEST_TREE", largest)
        results = run(overwrite="s.zarr" in os.listdir(tmp_path))
        assert sorted(os.listdir(tmp_path)) == left
    folder = tmp_path / "s.merge_tree"
    assert results["merge_tree"] == str(folder)
    assert sorted(os.listdir(folder)) == sorted(f"{node}.npz" for node in range(15))
    shards = [dict(np.load(folder / f"{node}.npz")) for node in range(15)]
    heights, merges = (np.concatenate([one[n] for one in shards]) for n in ("heights", "merges"))
    tree = load_tree(at_once.with_name("s.merge_tree.npz"), argument="--tree")
    np.testing.assert_array_equal(np.sort(heights)[::-1], tree.heights)
    pairs = np.unique(tree.ids[tree.merges], axis=0)
    np.testing.assert_array_equal(np.unique(merges, axis=0), pairs)
    (tmp_path / "s.zarr").rename(tmp_path / "kept.zarr")
    with pytest.raises(InputError, match=r"the merge tree .*s.merge_tree exists"):
        run()


@pytest.mark.usefixtures("here")
def test_an_output_in_an_hdf5_file(run: Callable, at_once: Path, tmp_path: Path) -> None:
    run(out=f"{tmp_path}/o.h5:a/seg")
    names = ["o.a.seg.doubts.csv", "o.a.seg.merge_tree.npz", "o.h5"]
    assert sorted(os.listdir(tmp_path)) == names
    written, expected = (
        open_volume(text, argument="--out").read()
        for text in (f"{tmp_path}/o.h5:a/seg", str(at_once))
    )
    np.testing.assert_array_equal(written, expected)


@pytest.mark.usefixtures("here")
def test_an_interrupted_run_goes_on(
    run: Callable,
    at_once: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is stopped every few tasks, in every stage; no task is done twice."""
    done: list[tuple[str, int]] = []
    for name, task in worker.TASKS.items():

        def counted(job: Any, number: int, sources: Any, name=name, task=task) -> None:
            task(job, number, sources)
            done.append((name, number))

        monkeypatch.setitem(worker.TASKS, name, counted)
    for number in range(100):
        HerePool.n_before = 11
        try:
            run(resume=number > 0)
            break
        except KeyboardInterrupt:
            kept = f"{len(done)} finished tasks of {tmp_path / 's.zarr'} are kept; --resume goes"
            assert kept in caplog.text
    assert number == len(done) // 11 > 4
    assert len(done) == len(set(done)) == 12 * 3 + 1 + 2 * (12 + 2 + 1)
    assert_same(tmp_path / "s.zarr", at_once)


@pytest.mark.usefixtures("here")
def test_superpixels_are_made_on_the_way(
    run: Callable, policy: tuple[Path, Policy], source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a" / "s.zarr"
    out.parent.mkdir()
    HerePool.n_before = 7
    with pytest.raises(KeyboardInterrupt):
        run(superpixels=None, out=str(out))
    HerePool.n_before = None
    results = run(superpixels=None, out=str(out), resume=True)
    assert results["stages"]["superpixels"]["tasks"] == 5
    assert "homes" not in results["stages"]
    superpixels = open_volume(f"{out}:superpixels", argument="--superpixels")
    labels = superpixels.read()
    ids, first = np.unique(labels, return_index=True)
    np.testing.assert_array_equal(ids, first + 1)
    assert len(ids) == results["n_superpixels"] > results["n_segments"]
    for axis, edge in enumerate(BLOCK):  # superpixels end at the faces of blocks
        sides = [np.take(labels, at, axis) for at in (edge - 1, edge)]
        assert not np.intersect1d(*sides).size
    maps = (f"{source}:image", f"{source}:boundaries", f"{out}:superpixels")
    (tmp_path / "b").mkdir()
    segment_volume(policy[1], *maps, str(tmp_path / "b" / "s.zarr"))
    assert_same(out, tmp_path / "b" / "s.zarr")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("block", [BLOCK, (7, 21, 13), (8, 10, 40)])
def test_a_pyramid(
    run: Callable, at_once: Path, tmp_path: Path, block: tuple[int, int, int]
) -> None:
    """It is stopped in the pyramid's first level, and gone on with."""
    n_levels = BlockTree((16, 40, 40), block).n_levels
    n_blocks = BlockTree((16, 40, 40), block).n_blocks
    HerePool.n_before = n_blocks * 3 + 1 + 2 * (BlockTree((16, 40, 40), block).root + 1) + 1
    with pytest.raises(KeyboardInterrupt):
        run(block_vox=block, n_levels=n_levels)
    HerePool.n_before = None
    with pytest.raises(InputError, match="is another one, its levels was"):
        run(block_vox=block, n_levels=n_levels - 1, resume=True)
    results = run(block_vox=block, n_levels=n_levels, resume=True)
    assert 0 < results["stages"]["pyramid"]["tasks"] < 30
    assert_same(tmp_path / "s.zarr", at_once)
    labels, edge = open_volume(str(tmp_path / "s.zarr"), argument="--out").read(), 8.0
    for level in range(1, n_levels):
        labels, edge = halve_labels(labels), 2 * edge
        volume = open_volume(f"{tmp_path / 's.zarr'}:{level}", argument="--out")
        np.testing.assert_array_equal(volume.read(), labels)
        assert volume.voxel_size_nm == (edge, edge, edge)
    ome: Any = zarr.open_group(tmp_path / "s.zarr", mode="r").attrs["ome"]
    first, second = ome["multiscales"][0]["datasets"][:2]
    assert [one["type"] for one in first["coordinateTransformations"]] == ["scale"]
    assert second["coordinateTransformations"][1]["translation"] == [4.0, 4.0, 4.0]


@pytest.mark.usefixtures("here")
def test_resolutions_that_cannot_be(run: Callable, tmp_path: Path) -> None:
    for n_levels in (0, 4):
        with pytest.raises(InputError, match=f"--levels: from 1 to 3 .*, not {n_levels}"):
            run(n_levels=n_levels)
    with pytest.raises(InputError, match=r"--levels: .*o.h5:s has one resolution only"):
        run(n_levels=2, out=f"{tmp_path}/o.h5:s")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("here")
def test_a_chunk_that_cannot_be_read(
    run: Callable, at_once: Path, tissue: Tissue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a larger volume than this, it is mostly not in the sections that it is known by."""
    monkeypatch.setattr(module, "fingerprint", lambda volume: str(volume.shape))
    image = tmp_path / "em" / "image.zarr"
    image.parent.mkdir()
    write_volume(str(image), tissue.image, voxel_size_nm=(8.0, 8.0, 8.0))
    zarr.create_array(image / "0", data=tissue.image, chunks=(8, 16, 40), overwrite=True)
    out = tmp_path / "out" / "s.zarr"
    out.parent.mkdir()
    broken = image / "0" / "c" / "1" / "2" / "0"
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"--image: .*image.zarr cannot be read"):
        run(image=str(image), out=str(out))
    with pytest.raises(InputError, match=r"--image: .*image.zarr cannot be read"):
        run(image=str(image), out=str(out), resume=True)
    broken.write_bytes(data)
    results = run(image=str(image), out=str(out), resume=True)
    assert 0 < results["stages"]["sums"]["tasks"] < 12
    assert_same(out, at_once)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("n_written", "number"), [(5, errno.ENOSPC), (30, errno.EROFS), (60, errno.EIO)]
)
def test_a_disk_that_is_full_or_read_only(
    run: Callable,
    at_once: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_written: int,
    number: int,
) -> None:
    write, left = shard.write_whole, n_written

    def until_full(path: Path, data: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(number, os.strerror(number))
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(shard, "write_whole", until_full)
        with pytest.raises(FailedWriteError, match=f"cannot be written: {os.strerror(number)}"):
            run()
    run(resume=True)
    assert_same(tmp_path / "s.zarr", at_once)


def test_an_actor_that_does_not_see_the_output(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a node that does not share its file system; its tables would be lost."""

    class ElsewherePool(HerePool):
        def __init__(self, *arguments: Any, **how: Any) -> None:
            (staged,) = tmp_path.glob(".s.zarr.*.tmp")
            staged.rename(tmp_path / "elsewhere")
            super().__init__(*arguments, **how)

    monkeypatch.setattr(stages, "ActorPool", ElsewherePool)
    with pytest.raises(InputError, match=r"--out: .*s.zarr cannot be written: there is no folder"):
        run()


@pytest.mark.usefixtures("here")
def test_a_table_that_is_damaged(run: Callable, at_once: Path, tmp_path: Path) -> None:
    HerePool.n_before = 30
    with pytest.raises(KeyboardInterrupt):
        run()
    HerePool.n_before = None
    (table,) = tmp_path.glob(".s.zarr.segmentation/tables/routes/0.npz")
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"--out: the table .*routes/0.npz of the unfinished run"):
        run(resume=True)
    run()
    assert_same(tmp_path / "s.zarr", at_once)


@pytest.mark.usefixtures("here")
def test_only_the_same_run_goes_on(run: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--resume: there is no unfinished segmentation of"):
        run(resume=True)
    HerePool.n_before = 3
    with pytest.raises(KeyboardInterrupt):
        run()
    for name, options in {
        "blocks": {"block_vox": (8, 8, 8)},
        "threshold": {"threshold": 0.5},
        "watershed": {"superpixels": None},
    }.items():
        with pytest.raises(InputError, match=f"is another one, its {name} was"):
            run(resume=True, **options)


@pytest.mark.usefixtures("here")
def test_volumes_that_mean_nothing_as_a_whole(
    run: Callable, source: Path, tissue: Tissue, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.h5"
    with h5py.File(path, "w") as file:
        file["mask"] = (tissue.boundaries > 0.5).astype(np.uint8)
        file["dark"] = np.where(np.arange(40) < 39, tissue.boundaries > 0.5, 9).astype(np.uint8)
        file["alone"] = np.full(tissue.image.shape, 7, np.uint8)
        file["nothing"] = np.zeros(tissue.image.shape, np.uint8)
        file["channels"] = np.zeros((3, *tissue.image.shape), np.float32)
    with pytest.raises(InputError, match=r"--boundaries: .* has the values 0 and 1 as uint8"):
        run(boundaries=f"{path}:mask")
    run(boundaries=f"{path}:dark")  # 0 and 1 in most blocks, but not in all
    for name, seen in {"alone": "one superpixel alone", "nothing": "nothing but 0"}.items():
        with pytest.raises(InputError, match=f"wrong.h5:{name} holds {seen}"):
            run(superpixels=f"{path}:{name}", overwrite=True)
    with pytest.raises(InputError, match="that of affinities"):
        run(boundaries=f"{path}:channels", overwrite=True)
    names = ["s.doubts.csv", "s.merge_tree.npz", "s.zarr", "wrong.h5"]
    assert sorted(os.listdir(tmp_path)) == names


def test_wrong_arguments(
    capsys: pytest.CaptureFixture[str], policy: tuple[Path, Policy], source: Path, tmp_path: Path
) -> None:
    words = ["segment", "--policy", policy[0], "--out", tmp_path / "s.zarr"]
    maps = volume_options(source, *MAPS)
    for more, said in {
        ("--resume", *maps): "--resume goes with --blocks",
        ("--actors", "1", *maps): "--actors goes with --blocks",
        ("--levels", "2", *maps): "--levels goes with --blocks",
        ("--blocks", "8", "8", "8", "--memory-mb", "900", *maps): "one of them says how large",
        ("--memory-mb", "9", *maps): "--memory-mb: 9 MB do not hold the smallest block",
        (*maps[:4],): "--superpixels is needed, except with --blocks",
    }.items():
        result = agglo(capsys, *words, *more)
        assert result.status == 2
        assert said in result.err
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_the_command_on_ray(
    capsys: pytest.CaptureFixture[str],
    policy: tuple[Path, Policy],
    source: Path,
    at_once: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One actor; then two, one of which is killed."""
    out = tmp_path / "s.zarr"
    words = ["segment", "--policy", policy[0], *volume_options(source, *MAPS), "--out", out]
    words += ["--blocks", *BLOCK]
    refused = agglo(capsys, *words[:-3], 8, 0, 8)
    assert refused.status == 2
    assert "--blocks: (8, 0, 8) voxels make no block" in refused.err
    said = agglo(capsys, *words, "--actors", 1)
    assert said.status == 0
    assert "12 blocks" in said.out
    assert "agglomeration" in said.out
    assert_same(out, at_once)
    killed: list[int] = []

    class KilledPool(ActorPool):
        def run(self, method: str, tasks: Iterable, **how: Any) -> Any:
            if len(killed) < 2:
                killed.extend(pids := self.pids())
                os.kill(pids[0], signal.SIGKILL)
            return super().run(method, tasks, **how)

    monkeypatch.setattr(stages, "ActorPool", KilledPool)
    with caplog.at_level(logging.WARNING, "agglo"):
        assert agglo(capsys, *words, "--actors", 2, "--overwrite").status == 0
    assert len(killed) == 2
    assert "died" in caplog.text
    assert_same(out, at_once)
    monkeypatch.setattr(memory_budget, "STEP_VOX", 10)
    within = ["--memory-mb", f"{memory_budget.BASE_MB + 1}", "--actors", 1, "--overwrite"]
    said = agglo(capsys, *words[:-4], *within)
    assert said.status == 0
    assert "4 blocks" in said.out
    assert_same(out, at_once)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_actors_read_from_a_web_server(
    run: Callable[..., dict[str, Any]], tissue: Tissue, at_once: Path, tmp_path: Path
) -> None:
    """Each opens the URLs anew; what they make is written here, and not to a URL."""
    folder, out = tmp_path / "served", tmp_path / "out" / "s.zarr"
    folder.mkdir()
    out.parent.mkdir()
    for name in MAPS:
        array = getattr(tissue, name)
        write_volume(str(folder / f"{name}.zarr"), array, voxel_size_nm=(8.0, 8.0, 8.0))
    with serve(folder) as served:
        volumes = {name: f"{served.url}/{name}.zarr" for name in MAPS}
        with pytest.raises(InputError, match="is a URL, but an output is written to a disk"):
            run(**volumes, out=f"{served.url}/s.zarr")
        run(**volumes, out=str(out))
    assert_same(out, at_once)
