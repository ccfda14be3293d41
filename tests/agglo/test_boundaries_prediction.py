from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from agglo.block_ledger import BlockLedger
from agglo.boundaries import prediction as module
from agglo.boundaries.model_folder import BoundaryModel, TrainedOn, write_model
from agglo.boundaries.prediction import predict_boundaries
from agglo.boundaries.throughput import BlockWork, describe_throughput
from agglo.pool import ActorPool
from agglo.volumes import open_volume
from agglo.volumes.fingerprint import fingerprint
from analysis.input_error import InputError
from predict.box import Box
from predict.image_normalisation import ImageNormalisation
from predict.unet import UNetConfig
from tests.agglo.small_volumes import agglo
from tests.agglo.test_train_deaths import descendants, end

ROOT = Path(__file__).parents[2]
SHAPE = (64, 64, 384)
N_BLOCKS = 6
BLOCK = (64, 64, 64)


def _write_model(folder: Path, config: UNetConfig, size: tuple, *, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    folder.mkdir()
    seen = np.random.default_rng(9).integers(0, 255, (4, 6, 20), np.uint8)
    volumes = (TrainedOn("/gone.h5:raw", "/gone.h5:gt", (4, 6, 20), fingerprint(seen)),)
    model = BoundaryModel(
        network=config,
        voxel_size_nm=size,
        normalisation=ImageNormalisation(127.0, 73.0),
        volumes=(replace(volumes[0], dtype="uint8"),),
        scores=({},),
        weights=(config.build().state_dict(),),
    )
    write_model(folder, model)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models for cubic voxels and one for sections alone, and images."""
    folder = tmp_path_factory.mktemp("prediction")
    size = (8.0, 8.0, 8.0)
    config = UNetConfig.for_voxel_size(size, widths=(4, 6))
    _write_model(folder / "model", config, size)
    _write_model(folder / "other", config, size, seed=1)
    flat = UNetConfig.for_voxel_size((50.0, 4.0, 4.0), widths=(4, 6), two_dimensional=True)
    _write_model(folder / "flat", flat, (50.0, 4.0, 4.0))
    rng = np.random.default_rng(0)
    images = {
        "raw": rng.integers(0, 255, SHAPE, np.uint8),
        "large": rng.integers(0, 255, (64, 384, 512), np.uint8),
        "sections": rng.integers(0, 255, (4, 64, 64), np.uint8),
        "bare": rng.integers(0, 255, (64, 64, 64), np.uint8),
        "single": rng.integers(0, 255, (1, 64, 64), np.uint8),
        "thin": rng.integers(0, 255, (64, 4, 64), np.uint8),
        "colours": rng.integers(0, 255, (3, 64, 64, 64), np.uint8),
        "constant": np.full((64, 64, 64), 7, np.uint8),
        "wide": rng.integers(0, 60000, (64, 64, 64), np.uint16),
    }
    with h5py.File(folder / "images.h5", "w") as file:
        for name, image in images.items():
            file[name] = image
            if name != "bare":
                size = (50, 4, 4) if name == "sections" else (8, 8, 8)
                file[name].attrs["voxel_size_nm"] = np.array(size, float)
    return folder


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "choose_block", lambda shape: BLOCK)


def _read(out: Path | str) -> list[np.ndarray]:
    text = str(out)
    inner = f"{text}:affinities" if text.endswith(".zarr") else text.replace(":map", ":affinities")
    return [open_volume(one, argument="--image").read() for one in (text, inner)]


def _assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


class CutPool(ActorPool):
    """Does something when the third block is in."""

    act: Callable[[CutPool], None]
    pools: list[CutPool] = []  # noqa: RUF012

    def run(self, method: str, tasks: Iterable, **how: Any) -> Any:
        """Run the tasks until then."""
        on_result, n_done, pids = how["on_result"], 0, self.pids()

        def then(key: Any, result: Any) -> None:
            nonlocal n_done
            on_result(key, result)
            n_done += 1
            if n_done == 3:
                type(self).act(pids)  # type: ignore[arg-type]

        return super().run(method, tasks, on_result=then)


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def undisturbed(folder: Path, ray_local: None) -> list[np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "choose_block", lambda shape: BLOCK)
        out = folder / "whole.zarr"
        result = predict_boundaries(f"{folder}/images.h5:raw", folder / "model", str(out))
    assert result["n_blocks"] == N_BLOCKS
    assert 0 < result["share_of_matrix_rate"]
    assert result["executed_flop_per_voxel"] > result["flop_per_voxel"] > 0
    assert result["voxels_per_compute_second"] > 0
    assert sorted(path.name for path in folder.glob(".*")) == []
    return _read(out)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["map.zarr", "maps.h5:map"])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    folder: Path,
    undisturbed: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
):
    out = str(tmp_path / name)

    def predict(model: str = "model", image: str = "raw", **options: Any) -> dict[str, Any]:
        return predict_boundaries(f"{folder}/images.h5:{image}", folder / model, out, **options)

    with pytest.raises(InputError, match="--resume: there is no unfinished prediction of"):
        predict(resume=True)
    assert os.listdir(tmp_path) == []

    monkeypatch.setattr(CutPool, "act", staticmethod(_interrupt), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(module, "ActorPool", CutPool)
        with caplog.at_level(logging.WARNING, "agglo"), pytest.raises(KeyboardInterrupt):
            predict()
    assert f"3 of {N_BLOCKS} blocks of {out} are kept; --resume goes on" in caplog.text
    (ledger,) = tmp_path.glob(".*.prediction")
    with pytest.raises(InputError, match=r"--resume: .* is another one, its model_content was"):
        predict("other", resume=True)
    with pytest.raises(InputError, match=r"--resume: .* is another one, its image was"):
        predict(image="large", resume=True)
    with (ledger / "done").open("ab") as file:  # as a crash leaves it
        file.write(b"5")
    (staged,) = tmp_path.glob(".*.tmp")
    (staged / "0" / "c" / "0.123.partial").write_bytes(b"torn")
    result = predict(resume=True)
    assert result["n_blocks_done_before"] == 3
    _assert_same(_read(out), undisturbed)
    (left,) = os.listdir(tmp_path)
    assert not list(Path(tmp_path, left).rglob("*.partial"))


@pytest.mark.usefixtures("small_blocks")
def test_without_resume_a_run_starts_anew_and_no_living_run_is_touched(
    folder: Path, undisturbed: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "map.zarr"
    monkeypatch.setattr(CutPool, "act", staticmethod(_interrupt), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(module, "ActorPool", CutPool)
        with pytest.raises(KeyboardInterrupt):
            predict_boundaries(f"{folder}/images.h5:raw", folder / "other", str(out))
    (ledger,) = tmp_path.glob(".*.prediction")
    left = sorted(os.listdir(tmp_path))
    with (ledger / "lock").open("rb") as lock:  # as a living run holds it
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"--out: .* is being written by process \d+ on"):
            predict_boundaries(f"{folder}/images.h5:raw", folder / "model", str(out))
        assert sorted(os.listdir(tmp_path)) == left
    result = predict_boundaries(f"{folder}/images.h5:raw", folder / "model", str(out))
    assert result["n_blocks_done_before"] == 0
    _assert_same(_read(out), undisturbed)
    assert os.listdir(tmp_path) == ["map.zarr"]


@pytest.mark.usefixtures("small_blocks")
def test_killed_actors_change_nothing(
    folder: Path, undisturbed: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    killed: list[int] = []

    def kill(pids: list[int]) -> None:
        killed.extend(pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(CutPool, "act", staticmethod(kill), raising=False)
    monkeypatch.setattr(module, "ActorPool", CutPool)
    predict_boundaries(f"{folder}/images.h5:raw", folder / "model", str(tmp_path / "map.zarr"))
    assert len(killed) == 2
    _assert_same(_read(tmp_path / "map.zarr"), undisturbed)
    assert os.listdir(tmp_path) == ["map.zarr"]


@pytest.mark.slow
def test_a_killed_driver_goes_on_to_the_same_bits(folder: Path, tmp_path: Path, ray_local: None):
    image, out = f"{folder}/images.h5:large", tmp_path / "map.zarr"
    predict_boundaries(image, folder / "model", str(tmp_path / "whole.zarr"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_ADDRESS": "local", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
    words = ["boundaries", "predict", "--image", image, "--model", str(folder / "model")]
    command = [sys.executable, "-m", "agglo.cli", *words, "--out", str(out)]
    done = tmp_path / ".map.zarr.prediction" / "done"
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        started: list[int] = []
        try:
            deadline = time.monotonic() + 200
            while not done.exists() or done.read_bytes().count(b"\n") < 2:
                assert process.poll() is None, (tmp_path / "said").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            started = list(descendants(process.pid))
        finally:
            process.kill()
            process.wait()
            end(started)
    assert started
    n_done = done.read_bytes().count(b"\n")
    assert 2 <= n_done < 12, "killed in mid-run"
    assert not out.exists()
    result = tmp_path / "result.json"
    again = subprocess.run(
        [*command, "--resume", "--json", str(result)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(result.read_text())["n_blocks_done_before"] == n_done
    _assert_same(_read(out), _read(tmp_path / "whole.zarr"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("image", "model", "sentence"),
    [
        (
            "raw",
            "flat",
            r"--image: .*raw has voxels of 8 8 8 nm \(z y x\), but .*flat was trained on voxels of "
            "50 4 4 nm",
        ),
        ("sections", "model", r"has voxels of 50 4 4 nm \(z y x\), but .* on voxels of 8 8 8 nm"),
        ("colours", "model", r"has shape \(3, 64, 64, 64\), but .* takes 1 channel"),
        (
            "single",
            "model",
            r"is a single section, but .* looks at \d+ sections; .*--two-dimension",
        ),
        (
            "thin",
            "model",
            r"has 4 voxels along y, but .* looks at \d+, of which at least a quarter",
        ),
        ("constant", "model", "image is constant: every voxel looked at is 7"),
    ],
)
def test_an_image_that_a_model_is_not_for_is_refused(
    folder: Path,
    tmp_path: Path,
    ray_local: None,
    capsys: pytest.CaptureFixture[str],
    image: str,
    model: str,
    sentence: str,
):
    words = ["--image", f"{folder}/images.h5:{image}", "--model", folder / model]
    said = agglo(capsys, "boundaries", "predict", *words, "--out", tmp_path / "map.zarr")
    assert said.status == 2
    (line,) = [line for line in said.err.splitlines() if line.startswith("agglo:")]
    assert re.search(sentence, line)
    assert os.listdir(tmp_path) == []


def test_views_are_averaged_and_too_many_refused(
    folder: Path, tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
):
    words = ["--image", f"{folder}/images.h5:bare", "--model", folder / "model"]
    maps = []
    for views in (1, 8):
        out = tmp_path / f"{views}.zarr"
        said = agglo(capsys, "boundaries", "predict", *words, "--out", out, "--views", views)
        assert said.status == 0
        maps.append(_read(out)[0])
    assert 1e-4 < np.abs(maps[1] - maps[0]).mean() < 0.1
    assert open_volume(str(tmp_path / "8.zarr"), argument="--image").attributes["n_views"] == 8
    said = agglo(
        capsys, "boundaries", "predict", *words, "--out", tmp_path / "m.zarr", "--views", 0
    )
    assert said.status == 2
    assert "--views: this model and voxels of (8.0, 8.0, 8.0) nm have 1 to 48 views" in said.err
    assert sorted(os.listdir(tmp_path)) == ["1.zarr", "8.zarr"]


def test_model_and_image_errors_found_on_the_way_leave_nothing(
    folder: Path, tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
):
    def refused(image: str, model: Path) -> str:
        words = ["--image", image, "--model", model, "--out", tmp_path / "map.zarr"]
        said = agglo(capsys, "boundaries", "predict", *words)
        assert said.status == 2
        return said.err

    model = tmp_path / "model"
    model.mkdir()
    described = json.loads((folder / "model" / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(described | {"version": 99}))
    assert "has version 99, but versions 1" in refused(f"{folder}/images.h5:raw", model)
    described["network"]["boundary"] = {"take": "least", "in_section": False}
    (model / "model.json").write_text(json.dumps(described | {"version": 3}))
    said = refused(f"{folder}/images.h5:raw", model)
    assert "made their boundary map of affinities; they must be trained again." in said
    holes = np.random.default_rng(0).normal(127, 73, (64, 64, 384)).astype(np.float32)
    holes[3, 4, 5] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    assert "not finite" in refused(str(tmp_path / "holes.npy"), folder / "model")
    assert sorted(os.listdir(tmp_path)) == ["holes.npy", "model"]


def test_an_image_unlike_those_trained_on_is_warned_of(
    folder: Path, tmp_path: Path, ray_local: None, caplog: pytest.LogCaptureFixture
):
    def warned(image: str) -> str:
        caplog.clear()
        out = str(tmp_path / "map.zarr")
        with caplog.at_level(logging.WARNING, "agglo"):
            predict_boundaries(f"{folder}/images.h5:{image}", folder / "model", out, overwrite=True)
        return caplog.text

    assert "was trained on" not in warned("raw")
    text = warned("wide")
    assert re.search(r"wide is uint16 of mean 3\.?\d*e?\+?\d* and deviation", text)
    assert "was trained on uint8 of mean 127 and deviation 73; it is normalised by its own" in text
    text = warned("bare")
    assert "states no voxel size; that of" in text
    assert "is assumed, 8 8 8 nm (z y x)" in text
    copied = open_volume(str(tmp_path / "map.zarr"), argument="--image")
    assert copied.voxel_size_nm == (8, 8, 8)


def test_throughput_is_summed_over_the_blocks_of_this_run():
    blocks = tuple(Box((0, 0, x), (10, 10, x + 10)) for x in (0, 10, 20))
    work = {1: BlockWork("a", 2.0, 3e6, 4e6), 2: BlockWork("b", 3.0, 5e6, 2e6)}
    found = describe_throughput(work, blocks, 1000.0, 20.0)
    assert found == {
        "voxels_per_second": 100,
        "flop_per_voxel": 1000,
        "compute_seconds": 5,
        "voxels_per_compute_second": 400,
        "executed_flop_per_voxel": 4000,
        "matrix_rate_flops": {"per_actor": 14e6 / 5, "all_actors": 6e6},
        "share_of_matrix_rate": 8 / 14,
        "useful_share_of_matrix_rate": 2 / 14,
    }
    nothing = describe_throughput({}, blocks, 1000.0, 20.0)
    assert nothing == {"voxels_per_second": 0, "flop_per_voxel": 1000}


def test_ledgers_of_two_datasets_of_a_file_are_two(tmp_path: Path):
    path = tmp_path / "maps.h5"
    with BlockLedger(path, "a/b", [path]) as one, BlockLedger(path, "c", [path]) as other:
        for ledger in (one, other):
            ledger.begin({"n": 1})
            ledger.record()
            ledger.record(3, 4)
        assert one.token != other.token
        with pytest.raises(InputError, match="is being written by process"):
            BlockLedger(path, "a/b", [path])
        one.remove()
    assert os.listdir(tmp_path) == [".maps.h5.c.prediction"]
    with (
        BlockLedger(path, "c", [path]) as other,
        pytest.raises(InputError, match="its n was 1 and is now 2"),
    ):
        other.resume({"n": 2})
    with BlockLedger(path, "c", [path]) as other, pytest.raises(InputError, match="is gone"):
        other.resume({"n": 1})
