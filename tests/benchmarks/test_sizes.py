from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.block_ledger import DONE_FILE
from agglo.phantom import PhantomConfig, make_phantom
from analysis.input_error import InputError
from benchmarks.sizes.__main__ import Arguments
from benchmarks.sizes.kills import Killer
from benchmarks.sizes.plans import show_plans
from benchmarks.sizes.runs import Place, kept
from benchmarks.sizes.scene import boundary_map, scene_block
from benchmarks.sizes.table import WHOLE, growth_of, show_growth, show_size, show_speedups
from benchmarks.sizes.training import show_training
from benchmarks.sizes.watch import run_command, watch
from tests.agglo.made_up_run import made_up

CONFIG = PhantomConfig(seed=3)


def test_a_scene_is_the_same_however_it_is_cut() -> None:
    image, boundaries, labels = scene_block(CONFIG, (5, -7, 20), (12, 20, 18))
    parts = scene_block(CONFIG, (9, -3, 26), (8, 9, 12))
    inside = (slice(4, 12), slice(4, 13), slice(6, 18))
    for part, whole in zip(parts, (image, boundaries, labels), strict=True):
        assert part.flags.c_contiguous
        np.testing.assert_array_equal(part, whole[inside])
    np.testing.assert_array_equal(labels, make_phantom(CONFIG, (5, -7, 20), (12, 20, 18)).labels)
    assert (image.dtype, boundaries.dtype, labels.dtype) == (np.uint8, np.uint8, np.uint64)


def test_the_map_is_how_dark_the_image_is() -> None:
    for grey, value in ((40, 255), (60, 255), (100, 153), (160, 0), (200, 0)):
        image = np.full((9, 9, 9), grey, np.uint8)
        assert (boundary_map(image, 60.0, 160.0) == value).all()


def stage(n_voxels: int, power: float) -> dict[str, float]:
    took = 1e-6 * n_voxels**power
    return {"tasks": 8, "seconds": took, "cpu_seconds": took / 2, "peak_mb": n_voxels**0.1}


def found(side: int, *, n_actors: int = 1) -> dict[str, Any]:
    """Return what a size took whose first stage grows with 1 and whose second with 1.1."""
    first = stage(side**3, 1.0)
    first["seconds"] /= n_actors
    memory = {"driver": 200.0, "actor": 1000.0 if side < 200 else 4000.0}
    run = {
        "stages": {"superpixels": first, "names": stage(side**3, 1.1)},
        "levels": [stage(side**3, 1.0)],
        "clusters": [50],
        "largest_graphs": [side**2],
        "n_superpixels": 50,
        "n_segments": 3,
        "n_blocks": 8,
        "whole_seconds": 1e-6 * side**3,
        "process_peak_mb": memory,
    }
    scores = {"vi": 1.0, "superpixel_vi": 2.0, "floor_vi": 0.5}
    other = {"seconds": 1.0, "process_peak_mb": memory}
    return {"phantom": other, "run": run, "evaluation": {"scores": scores, **other}}


def test_exponents_are_those_of_the_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert growth_of({128: found(128)}) == []
    rows = growth_of({side: found(side) for side in (100, 200)})
    by_name = {row["stage"]: row for row in rows}
    assert by_name["superpixels"]["seconds"] == pytest.approx(1.0)
    assert by_name["superpixels"]["peak_mb"] == pytest.approx(0.1)
    assert by_name["names"]["cpu_seconds"] == pytest.approx(1.1)
    assert by_name[WHOLE]["seconds"] == pytest.approx(1.0)
    assert by_name[WHOLE]["peak_mb"] == pytest.approx(2 / 3)  # 4 times in 8 times the voxels
    assert by_name["largest graph"]["clusters"] == pytest.approx(2 / 3)
    assert by_name["evaluation"]["seconds"] == pytest.approx(0.0)
    show_growth(rows)
    show_size(100, 1, found(100))
    said = capsys.readouterr().out
    assert "largest graph" in said
    assert "100³, 1 actors: 8 blocks, 50 superpixels, 3 segments; VI 1.000" in said


def test_actors_are_compared_stage_by_stage() -> None:
    runs = {(100, n): found(100, n_actors=n) for n in (1, 2)}
    rows = show_speedups(runs)
    assert [(row["stage"], row["times as fast"]) for row in rows] == [
        ("superpixels", pytest.approx(2)),
        ("names", pytest.approx(1)),
    ]
    assert show_speedups({(100, 1): found(100)}) == []


def test_training_is_told_in_voxels_and_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = [
        {"decisions": 80, "rollout_seconds": 2.0, "seconds": 2.5},
        {"decisions": 300, "rollout_seconds": 3.0, "seconds": 4.0},
    ]
    memory = {"actor": 400.0, "driver": 300.0}
    row = {"n_shards": 8, "rounds": rounds, "seconds": 9.0, "process_peak_mb": memory}
    (line,) = show_training(200, {2: row})
    assert list(line.values()) == [2, 8, pytest.approx(4.0), 100.0, 1.5, 400.0, 300.0]
    assert "training on 200³" in capsys.readouterr().out


def test_a_size_is_planned_from_a_smaller_one(capsys: pytest.CaptureFixture[str]) -> None:
    alone = {"n_blocks": 1}
    runs = {
        side: made_up((side, side, side)) | {"n_blocks": (side // 64) ** 3} for side in (256, 512)
    }
    rows = show_plans({64: alone, **runs}, 1)
    assert {(row["from"], row["to"]) for row in rows} == {(256, 512)}
    by_stage = {row["stage"]: row for row in rows}
    for stage in ("superpixels", "routes", "agglomeration, root", "pyramid"):
        planned, taken = by_stage[stage]["planned"], by_stage[stage]["taken"]
        assert planned["cpu_seconds"] == pytest.approx(taken["cpu_seconds"], rel=1e-3)
        assert planned["peak_mb"] == pytest.approx(taken["peak_mb"], rel=1e-3)
    assert "512³ planned from 256³" in capsys.readouterr().out


def test_a_worker_and_then_the_driver_are_killed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    killer = Killer(tmp_path, 100)
    below = {5: "ray", 7: "actor", 8: "actor"}
    killer.look(1, below)
    for n_done in (10, 25, 30, 65, 70):
        (tmp_path / DONE_FILE).write_bytes(b"sums 1\n" * n_done)
        killer.look(1, {} if n_done == 10 else below)
    assert sent == [(7, signal.SIGKILL), (1, signal.SIGKILL)]
    assert killer.killed == [("worker", 25), ("driver", 65)]


def test_a_command_is_watched(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    words = ["-c", "import time; x = bytearray(b'1' * 150_000_000); time.sleep(1.5); print('said')"]
    watched = watch(words, log)
    assert watched.status == 0
    assert watched.seconds > 1.5
    assert log.read_text() == "said\n"
    if sys.platform == "linux":
        assert watched.peak_mb["driver"] > 140
    with pytest.raises(InputError, match=r"ended with status 3: wrong \("):
        run_command(["-c", "import sys; print('wrong'); sys.exit(3)"], log)


def test_rows_are_kept(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path / "policy", 64, 0, 1)
    (tmp_path / "rows").mkdir()
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"seconds": 2.5}

    assert kept(place, "128_1", make) == kept(place, "128_1", make) == {"seconds": 2.5}
    assert made == [1]


def test_wrong_arguments(tmp_path: Path) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"sizes": ()}, "--sizes: numbers from 1 on"),
        ({"actors": (0,)}, "--actors: numbers from 1 on"),
        ({"seams": 64}, "--seams: 64 is none of the --sizes"),
    )
    for options, said in cases:
        with pytest.raises(InputError, match=said):
            Arguments(tmp_path, **options)
