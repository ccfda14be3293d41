"""What a larger run will take: the shells of nodes counted by hand, and plans of made-up runs."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from agglo.blocks.measured_run import MeasuredRun
from agglo.blocks.plan import plan_run
from agglo.blocks.tree import BlockTree
from agglo.blocks.tree_growth import (
    depth_of_level,
    largest_shell,
    measured_depths,
    shell_of_level,
)
from analysis.input_error import InputError
from tests.agglo.made_up_run import made_up
from tests.agglo.small_volumes import agglo, make_tissue, save_quick_policy, write_tissue

TREES = some.builds(
    BlockTree,
    some.tuples(*[some.integers(1, 14)] * 3),
    some.tuples(*[some.integers(2, 6)] * 3),
)


def shells_counted(tree: BlockTree, level: int, depth: int) -> list[tuple[tuple[int, ...], int]]:
    """Count the voxels near open faces of every node, by its place on the grid."""
    edges = [edge << level for edge in tree.block_vox]
    found = []
    for place in np.ndindex(*tree.grid(level)):
        spans = [
            range(at * edge, min((at + 1) * edge, size))
            for at, edge, size in zip(place, edges, tree.shape, strict=True)
        ]
        n = 0
        for voxel in itertools.product(*spans):
            n += any(
                (span.start > 0 and at - span.start < depth)
                or (span.stop < size and span.stop - 1 - at < depth)
                for at, span, size in zip(voxel, spans, tree.shape, strict=True)
            )
        found.append((place, n))
    return found


@given(tree=TREES, level=some.integers(0, 2), depth=some.integers(0, 7))
def test_shells_are_those_counted_voxel_by_voxel(tree: BlockTree, level: int, depth: int) -> None:
    level = min(level, tree.n_levels - 1)
    counted = shells_counted(tree, level, depth)
    # Shells of opposite faces that meet are counted as all of the node.
    assert shell_of_level(tree, level, depth) == sum(n for _, n in counted)
    together: dict[tuple[int, ...], int] = {}
    for place, n in counted:
        parent = tuple(at // 2 for at in place)
        together[parent] = together.get(parent, 0) + n
    assert largest_shell(tree, level, depth) == max(together.values())


def test_the_depth_is_found_from_the_share_that_is_left() -> None:
    tree = BlockTree((256, 256, 256), (64, 64, 64))
    for level, depth in ((0, 5.5), (0, 20.0), (1, 17.25)):
        share = shell_of_level(tree, level, depth) / 256**3
        assert depth_of_level(tree, level, share) == pytest.approx(depth, abs=1e-6)
    assert depth_of_level(tree, 0, 1.0) == pytest.approx(64, rel=1e-4)  # open on one side only
    depths = measured_depths(tree, [1000, 700, 300])
    assert shell_of_level(tree, 0, depths[0]) == pytest.approx(0.7 * 256**3)
    assert shell_of_level(tree, 1, depths[1]) == pytest.approx(0.3 * 256**3)


def test_a_plan_is_what_a_run_with_the_same_costs_takes() -> None:
    measured = MeasuredRun.of_results(made_up((256, 256, 256)), source="run")
    assert measured.start_seconds == pytest.approx(8)
    shape = (512, 512, 1024)
    planned = {one.stage: one for one in plan_run(measured, shape, 2)}
    truth = MeasuredRun.of_results(made_up(shape), source="run")
    n_voxels = math.prod(shape)
    sums = planned["sums"]
    assert sums.tasks == truth.tree.n_blocks == 1024
    assert sums.wall_seconds == pytest.approx(n_voxels * 1e-6 / 2 + 3)
    assert sums.core_hours * 3600 == pytest.approx(n_voxels * 0.5e-6 + 2 * 1.5)
    assert (sums.peak_mb, sums.read_bytes, sums.written_bytes) == (300, 2 * n_voxels, 4 * n_voxels)
    pyramid = planned["pyramid"]
    assert pyramid.tasks == 128 + 16
    assert pyramid.written_bytes == pytest.approx(4 * n_voxels * (1 / 8 + 1 / 64))
    names = ["agglomeration, blocks", *(f"agglomeration, level {n}" for n in (1, 2, 3))]
    for level, name in enumerate([*names, "agglomeration, root"]):
        assert planned[name].clusters == pytest.approx(truth.largest_graphs[level], rel=1e-3)
        assert planned[name].tasks == truth.levels[level].tasks
        assert planned[name].written_bytes == pytest.approx(
            truth.levels[level].written_bytes, rel=1e-3
        )
        if level:
            assert planned[name].core_hours * 3600 == pytest.approx(
                truth.levels[level].cpu_seconds, rel=1e-3
            )
    root = planned["agglomeration, root"]
    assert root.peak_mb == pytest.approx(truth.levels[-1].peak_mb, rel=1e-3)
    assert root.wall_seconds == pytest.approx(truth.levels[-1].seconds, rel=1e-3)  # one at a time
    assert planned["start"].wall_seconds == pytest.approx(8)
    assert planned["end"].wall_seconds == pytest.approx(16, rel=1e-2)
    total = planned.pop("in total")
    assert total.wall_seconds == pytest.approx(sum(one.wall_seconds for one in planned.values()))
    assert total.peak_mb == max(one.peak_mb for one in planned.values())


def test_workers_share_the_blocks_and_not_the_root() -> None:
    measured = MeasuredRun.of_results(made_up((128, 128, 256)), source="run")
    one, many, most = (
        {stage.stage: stage for stage in plan_run(measured, (512, 512, 512), n)}
        for n in (1, 8, 10**6)
    )
    for name in ("superpixels", "segmentation"):
        warm = 3.0
        assert (one[name].wall_seconds - warm) / (many[name].wall_seconds - warm) == (
            pytest.approx(8)
        )
        assert most[name].wall_seconds == pytest.approx(64**3 * 1e-6 + warm)
    assert one["agglomeration, root"].wall_seconds == most["agglomeration, root"].wall_seconds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"blocks": [128, 128, 256]}, "is a run of a single block"),
        ({"stages": {}}, "does not hold the results of agglo segment --blocks"),
        ({"levels": 7}, "does not hold the results of agglo segment --blocks"),
    ],
)
def test_results_that_tell_nothing(change: dict[str, Any], said: str) -> None:
    results = made_up((128, 128, 256)) | change
    if change.get("stages") == {}:
        del results["seconds"]
    with pytest.raises(InputError, match=said):
        MeasuredRun.of_results(results, source="--measured: run.json")


def test_a_resumed_run_is_refused() -> None:
    results = made_up((128, 128, 256))
    results["stages"]["sums"]["tasks"] = 3
    with pytest.raises(InputError, match="was resumed: it did 3 of 16 blocks of the stage sums"):
        MeasuredRun.of_results(results, source="--measured: run.json")


def test_the_command_plans_from_results(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = tmp_path / "run.json", tmp_path / "plan.json"
    path.write_text(json.dumps(made_up((128, 128, 256))))
    said = agglo(
        capsys,
        *("plan", "--measured", path, "--shape", 512, 512, 512, "--workers", 4, "--json", out),
    )
    assert said.status == 0
    assert "512 × 512 × 512 voxels in blocks of 64 × 64 × 64, 4 workers" in said.out
    assert "agglomeration, root" in said.out
    results = json.loads(out.read_text())
    assert results["stages"][-1]["stage"] == "in total"
    assert results["lasting_bytes"] == pytest.approx(4 * 512**3 * (2 + 1 / 8 + 1 / 64))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--policy is needed, or --measured"),
        (("--measured", "none.json", "--shape", 9, 9, 9), "none.json cannot be read"),
        (("--measured", "none.json"), "--shape is needed with --measured"),
        (("--measured", "a", "--image", "b"), "--image is for a run made here"),
        (("--workers", 0), "--workers: at least one is needed, 0 asked for"),
        (("--measured", "run.json", "--shape", 9, 0, 9), "--shape: 9 0 9 voxels make no volume"),
        (("--measured", "list.json", "--shape", 9, 9, 9), "list.json holds no results"),
    ],
)
def test_wrong_arguments(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.json").write_text(json.dumps(made_up((128, 128, 256))))
    Path("list.json").write_text("[]")
    refused = agglo(capsys, "plan", *words)
    assert refused.status == 2
    assert said in refused.err


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_the_command_measures_the_middle_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tissue = make_tissue(2)
    save_quick_policy(tmp_path / "policy", tissue)
    source = write_tissue(tmp_path / "tissue.h5", tissue)
    out = tmp_path / "plan.json"
    words = ["plan", "--policy", tmp_path / "policy", "--workers", 3, "--actors", 1]
    words += ["--image", f"{source}:image", "--boundaries", f"{source}:boundaries[:,2:]"]
    refused = agglo(capsys, *words, "--crop", 16, 40, 40, "--blocks", 8, 20, 20)
    assert refused.status == 2
    assert "--crop: 16 × 40 × 40 voxels are more than the 16 × 38 × 40" in refused.err
    words[-1] = f"{source}:boundaries"
    refused = agglo(capsys, *words, "--crop", 8, 20, 20, "--blocks", 8, 20, 20)
    assert "--crop: 8 × 20 × 20 voxels are a single block" in refused.err
    (tmp_path / "scratch").mkdir()
    words += ["--crop", 16, 32, 32, "--blocks", 8, 16, 16, "--scratch", tmp_path / "scratch"]
    said = agglo(capsys, *words, "--json", out)
    assert said.status == 0, said.err
    results = json.loads(out.read_text())
    assert results["shape"] == [16, 40, 40]
    assert results["measured_shape"] == [16, 32, 32]
    stages = {one["stage"]: one for one in results["stages"]}
    assert stages["superpixels"]["tasks"] == 2 * 3 * 3
    assert stages["in total"]["core_hours"] > 0
    assert list((tmp_path / "scratch").iterdir()) == []
