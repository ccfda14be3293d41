from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.volumes import ArrayLayout, BlockHandle, BlockWriter, Volume, open_volume, write_volume
from agglo.volumes.layout import require_aligned
from analysis.input_error import InputError

SAMPLE = np.random.default_rng(5).integers(0, 1000, (20, 17, 9)).astype(np.uint64)
LAYOUT = ArrayLayout(SAMPLE.shape, np.uint64, chunk_vox=(4, 4, 4), shard_vox=(8, 8, 8))


def offsets(layout: ArrayLayout) -> list[tuple[int, ...]]:
    return list(
        itertools.product(*(range(0, n, g) for n, g in zip(layout.shape, layout.grid, strict=True)))
    )


def block_at(array: np.ndarray, offset: tuple[int, ...], layout: ArrayLayout) -> np.ndarray:
    return array[
        tuple(slice(begin, begin + g) for begin, g in zip(offset, layout.grid, strict=True))
    ]


def copy_block(handle: BlockHandle, volume: Volume, offset: tuple[int, ...]) -> int:
    """Write what a volume holds, from another process."""
    handle.write(offset, block_at(volume, offset, LAYOUT))  # type: ignore[arg-type]
    return os.getpid()


def read(text: object) -> np.ndarray:
    with open_volume(str(text), argument="--image") as volume:
        return volume.read()


def test_blocks_in_any_order_make_the_volume(tmp_path: Path):
    text = str(tmp_path / "v.zarr")
    with BlockWriter(text, LAYOUT, voxel_size_nm=(8, 8, 8), attributes={"n": 3}) as writer:
        for offset in reversed(offsets(LAYOUT)):
            assert not (tmp_path / "v.zarr").exists()
            writer.write(offset, block_at(SAMPLE, offset, LAYOUT))
    np.testing.assert_array_equal(read(text), SAMPLE)
    with open_volume(text, argument="--image") as volume:
        assert volume.voxel_size_nm == (8, 8, 8)
        assert volume.attributes == {"n": 3}
    stored = zarr.open_array(tmp_path / "v.zarr" / "0", mode="r")
    assert stored.shards == (8, 8, 8)
    assert stored.chunks == (4, 4, 4)
    assert os.listdir(tmp_path) == ["v.zarr"]


def test_processes_write_side_by_side(tmp_path: Path):
    np.save(tmp_path / "a.npy", SAMPLE)
    volume = open_volume(str(tmp_path / "a.npy"), argument="--image")
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=context) as pool,
        BlockWriter(str(tmp_path / "v.zarr"), LAYOUT, voxel_size_nm=None) as writer,
    ):
        done = [pool.submit(copy_block, writer.handle, volume, at) for at in offsets(LAYOUT)]
        assert os.getpid() not in {future.result() for future in done}
    np.testing.assert_array_equal(read(tmp_path / "v.zarr"), SAMPLE)


def test_a_handle_is_small(tmp_path: Path):
    with BlockWriter(
        str(tmp_path / "v.zarr"), ArrayLayout((1, 1, 1), "u1"), voxel_size_nm=None
    ) as w:
        assert len(pickle.dumps(w.handle)) < 1000
        pickle.loads(pickle.dumps(w.handle)).write((0, 0, 0), np.full((1, 1, 1), 7, np.uint8))
    assert read(tmp_path / "v.zarr").tolist() == [[[7]]]


@pytest.mark.parametrize("name", ["v.zarr", "v.h5:maps/boundaries"])
def test_nested_volumes_and_hdf5(tmp_path: Path, name: str):
    channels = np.stack([SAMPLE, SAMPLE + 1, SAMPLE + 2]).astype(np.float32)
    nested = {"affinities": ArrayLayout(channels.shape, np.float32, (8, 8, 8))}
    text = str(tmp_path / name)
    with BlockWriter(text, LAYOUT, voxel_size_nm=(8, 8, 8), nested=nested) as writer:
        for offset in offsets(LAYOUT):
            writer.write(offset, block_at(SAMPLE, offset, LAYOUT))
        for offset in offsets(nested["affinities"]):
            writer.write(offset, block_at(channels, offset, nested["affinities"]), "affinities")
    np.testing.assert_array_equal(read(text), SAMPLE)
    other = f"{text}:affinities" if name == "v.zarr" else f"{tmp_path / 'v.h5'}:maps/affinities"
    np.testing.assert_array_equal(read(other), channels)
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("name", ["v.zarr", "v.h5:x"])
def test_another_writer_goes_on_with_what_was_begun(tmp_path: Path, name: str):
    text, places = str(tmp_path / name), offsets(LAYOUT)
    first = BlockWriter(text, LAYOUT, voxel_size_nm=(8, 8, 8), token="begun")
    for offset in places[:7]:
        first.write(offset, block_at(SAMPLE, offset, LAYOUT))
        first.handle.sync(offset, block_at(SAMPLE, offset, LAYOUT).shape)
    with pytest.raises(InputError, match="cannot be written: No such file"):
        first.handle.sync(places[7], block_at(SAMPLE, places[7], LAYOUT).shape)
    with pytest.raises(RuntimeError, match="7 of 18"):
        first.commit()
    second = BlockWriter(text, LAYOUT, voxel_size_nm=(8, 8, 8), token="begun", is_begun=True)
    for offset in places[7:]:
        second.write(offset, block_at(SAMPLE, offset, LAYOUT))
    (first.handle.folder / "0" / "c" / "0.1.partial").write_bytes(b"torn")
    second.commit()
    np.testing.assert_array_equal(read(text), SAMPLE)
    assert len(os.listdir(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_an_exception_leaves_nothing(tmp_path: Path):
    def fail() -> None:
        with BlockWriter(str(tmp_path / "v.zarr"), LAYOUT, voxel_size_nm=None) as writer:
            writer.write((0, 0, 0), SAMPLE[:8, :8, :8])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == []


def test_blocks_that_are_missing_are_noticed_and_zeros_are_blocks(tmp_path: Path):
    text = str(tmp_path / "v.zarr")
    writer = BlockWriter(text, LAYOUT, voxel_size_nm=None)
    for offset in offsets(LAYOUT)[1:]:
        writer.write(offset, np.zeros_like(block_at(SAMPLE, offset, LAYOUT)))
    with pytest.raises(RuntimeError, match="17 of 18 chunks or shards were written"):
        writer.commit()
    assert os.listdir(tmp_path) == []
    plain = ArrayLayout((5, 5, 5), np.uint8, (2, 2, 2))
    with BlockWriter(text, plain, voxel_size_nm=None) as writer:
        writer.write((0, 0, 0), np.zeros((5, 5, 5), np.uint8))
    assert not read(text).any()


def test_the_old_output_stays_until_the_new_one_is_whole(tmp_path: Path):
    text = str(tmp_path / "v.zarr")
    write_volume(text, SAMPLE, voxel_size_nm=None)
    with pytest.raises(InputError, match="exists already"):
        BlockWriter(text, LAYOUT, voxel_size_nm=None)
    with BlockWriter(text, LAYOUT, voxel_size_nm=None, overwrite=True) as writer:
        writer.write((0, 0, 0), SAMPLE + 1)
        np.testing.assert_array_equal(read(text), SAMPLE)
    np.testing.assert_array_equal(read(text), SAMPLE + 1)


@pytest.mark.parametrize("name", ["v.zarr", "v.h5:x"])
def test_an_output_that_appeared_meanwhile_is_not_replaced(tmp_path: Path, name: str):
    text = str(tmp_path / name)
    writer = BlockWriter(text, LAYOUT, voxel_size_nm=None)
    writer.write((0, 0, 0), SAMPLE)
    write_volume(text, SAMPLE + 1, voxel_size_nm=None)
    with pytest.raises(InputError, match="exists already"):
        writer.commit()
    np.testing.assert_array_equal(read(text), SAMPLE + 1)
    assert len(os.listdir(tmp_path)) == 1


def test_blocks_aligned_to_chunks_but_not_to_shards_are_refused(tmp_path: Path):
    writer = BlockWriter(str(tmp_path / "v.zarr"), LAYOUT, voxel_size_nm=None)
    for offset, shape in [
        ((4, 0, 0), (8, 8, 8)),  # a chunk border, no shard border
        ((0, 0, 0), (4, 8, 8)),  # half a shard
        ((0, 0, 0), (8, 8, 7)),
        ((0, 0, 16), (8, 8, 8)),  # leaves the volume
        ((0, -8, 0), (8, 8, 8)),
        ((0, 0, 0), (8, 8, 0)),
        ((0, 0), (8, 8)),
    ]:
        with pytest.raises(ValueError, match=r"not aligned|leaves the array|has not the 3 axes"):
            writer.write(offset, np.zeros(shape, np.uint64))
    with pytest.raises(ValueError, match="block of type int64 for an array of uint64"):
        writer.write((0, 0, 0), np.zeros((8, 8, 8), np.int64))
    writer.abort()
    assert os.listdir(tmp_path) == []


axis = st.tuples(st.integers(-2, 12), st.integers(0, 13), st.integers(1, 12), st.integers(1, 5))


@settings(deadline=None)
@given(st.lists(axis, min_size=3, max_size=3))
def test_aligned_means_that_no_cell_is_cut(axes):
    offset, block, shape, grid = zip(*axes, strict=True)
    is_aligned = True
    for begin, length, size, cell in axes:
        mine = set(range(begin, begin + length))
        cells = [set(range(at, min(at + cell, size))) for at in range(0, size, cell)]
        is_aligned &= bool(mine) and mine <= set(range(size))
        is_aligned &= all(c <= mine or not c & mine for c in cells)
    if is_aligned:
        require_aligned(offset, block, shape, grid)
    else:
        with pytest.raises(ValueError, match="block"):
            require_aligned(offset, block, shape, grid)


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.none() | st.tuples(*[st.integers(1, 4)] * 3),
)
def test_a_layout_fits_its_array(shape, chunk, factors):
    shard = None if factors is None else tuple(c * f for c, f in zip(chunk, factors, strict=True))
    layout = ArrayLayout(shape, np.uint8, chunk, shard)
    assert all(c <= n for c, n in zip(layout.chunks, shape, strict=True))
    assert all(g % c == 0 for g, c in zip(layout.grid, layout.chunks, strict=True))
    assert all(g - c < n for g, c, n in zip(layout.grid, layout.chunks, shape, strict=True))
    assert layout.n_files == len(offsets(layout))
    seen = np.zeros(shape, int)
    for slab in layout.slabs():
        begin = tuple(part.start for part in slab)
        require_aligned(begin, seen[slab].shape, shape, layout.grid)
        seen[slab] += 1
    assert (seen == 1).all()


def test_wrong_layouts_are_refused():
    for shape, dtype, chunk, shard in [
        ((3, 3), "u1", (1, 1, 1), None),
        ((3, 0, 3), "u1", (1, 1, 1), None),
        ((3, 3, 3), "O", (1, 1, 1), None),
        ((3, 3, 3), "u1", (0, 1, 1), None),
        ((3, 3, 3), "u1", (2, 2, 2), (3, 4, 4)),
        ((3, 3, 3), "u1", (2, 2, 2), (1, 4, 4)),
    ]:
        with pytest.raises(ValueError, match=r"shape|dtype|chunk_vox|shard_vox"):
            ArrayLayout(shape, dtype, chunk, shard)
