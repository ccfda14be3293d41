from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from agglo.blocks.tree import BlockTree
from analysis.input_error import InputError
from benchmarks.cuttings.__main__ import main
from benchmarks.cuttings.cut import blocks_of, parse_cutting, random_blocks


@pytest.mark.parametrize("shape", [(512, 512, 512), (36, 250, 250)])
@pytest.mark.parametrize("text", ["2x2x2", "3x1x5", "4x4x4", "1x1x1"])
def test_so_many_blocks_along_each_axis(shape: tuple[int, int, int], text: str) -> None:
    parts = parse_cutting(text)
    block = blocks_of(shape, parts)
    BlockTree(shape, block).chunk_vox()
    assert tuple(-(-np.array(shape) // block)) == parts


def test_random_blocks_can_be_written() -> None:
    rng = np.random.default_rng(0)
    drawn = {random_blocks((36, 250, 250), rng) for _ in range(20)}
    assert len(drawn) > 10
    for block in drawn:
        BlockTree((36, 250, 250), block).chunk_vox()


@pytest.mark.parametrize("text", ["3x1", "3x0x5", "3x-1x5", "axbxc", ""])
def test_no_cutting(text: str) -> None:
    with pytest.raises(InputError, match="--cuttings: parts along z, y, x as in 3x1x5"):
        parse_cutting(text)


def test_more_parts_than_voxels_allow() -> None:
    with pytest.raises(InputError, match="--cuttings: 5 voxels cannot be cut into 4 blocks"):
        blocks_of((5, 5, 5), (1, 1, 4))


@pytest.mark.parametrize("shape", [(4, 5), (1, 2, 3, 4), (0, 4, 4)])
def test_no_volume(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    shape: tuple[int, ...],
) -> None:
    """Told in a sentence, before anything is made."""
    path = tmp_path / "volume.npy"
    np.save(path, np.zeros(shape, np.uint64))
    words = ["--policy", "run", "--out", f"{tmp_path}/out"]
    for name in ("image", "boundaries", "superpixels"):
        words += [f"--{name}", str(path)]
    monkeypatch.setattr(sys, "argv", ["cuttings", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"has shape {shape}, where three axes z, y, x that are not empty are expected." in said
    assert [file.name for file in tmp_path.iterdir()] == ["volume.npy"]
