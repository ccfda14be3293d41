from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.run_folder import KEPT_CHECKPOINTS, RunFolder
from analysis.input_error import InputError

ROOT = Path(__file__).parents[2]
CONFIG = {"seed": 3, "train": {"rounds": 4, "noise": 0.5, "shard_vox": [8, 8, 8]}, "image": "a.h5"}


def create(path: Path, config: dict[str, Any] = CONFIG, **how: bool) -> RunFolder:
    return RunFolder.create(path, config, **{"resume": False, "overwrite": False, **how})


def play_rounds(run: RunFolder, last: int, *, crash_after_log: int | None = None) -> None:
    """Run a toy training whose state depends on all rounds before."""
    checkpoint = run.latest_checkpoint()
    start, state = (0, np.zeros(3)) if checkpoint is None else (checkpoint[0] + 1, checkpoint[1])
    weights = state if isinstance(state, np.ndarray) else state["weights"]
    for n in range(start, last):
        weights = np.sin(weights + n)
        run.log({"round": n, "loss": weights[0], "weights": weights})
        if n == crash_after_log:
            return
        run.save_checkpoint(n, {"weights": weights, "best": float(weights.max())})


def test_a_new_folder_states_what_was_run(tmp_path: Path) -> None:
    with create(tmp_path / "deep" / "run", {**CONFIG, "out": Path("x"), "rate": np.float64(0.1)}):
        pass
    described = json.loads((tmp_path / "deep" / "run" / "config.json").read_text())
    assert described["config"] == {**CONFIG, "out": "x", "rate": 0.1}
    assert described["versions"]["numpy"] == np.__version__
    assert set(described) == {"config", "git_commit", "versions"}
    if (ROOT / ".git").exists() and described["git_commit"] is not None:
        assert len(described["git_commit"].removesuffix("+changes")) == 40
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["run"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    with create(tmp_path / "whole") as run:
        play_rounds(run, 5)
    with create(tmp_path / "torn") as run:
        # Round 3 was logged and not saved.
        play_rounds(run, 5, crash_after_log=3)
    with create(tmp_path / "torn", resume=True) as run:
        assert [record["round"] for record in run.records()] == [0, 1, 2]
        play_rounds(run, 5)
    whole, torn = (RunFolder.read(tmp_path / name) for name in ("whole", "torn"))
    assert (whole.path / "metrics.jsonl").read_bytes() == (torn.path / "metrics.jsonl").read_bytes()
    last, expected = torn.latest_checkpoint(), whole.latest_checkpoint()
    assert last is not None
    assert expected is not None
    assert last.round_index == expected.round_index == 4
    np.testing.assert_array_equal(last.state["weights"], expected.state["weights"])
    assert last.state["best"] == expected.state["best"]
    assert len(list((torn.path / "checkpoints").iterdir())) == KEPT_CHECKPOINTS


def test_a_spoilt_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with create(tmp_path / "run") as run:
        play_rounds(run, 3)
        expected = run.records()
        last = sorted((run.path / "checkpoints").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-100])
    (last.parent / ".round_000003.npz.1.tmp").write_bytes(b"half")
    with create(tmp_path / "run", resume=True) as run:
        checkpoint = run.latest_checkpoint()
        assert checkpoint is not None
        assert checkpoint.round_index == 1
        assert run.records() == expected[:2]
        assert "a spoilt checkpoint is left out" in caplog.text
        play_rounds(run, 3)
        assert run.records() == expected
        assert not list(last.parent.glob(".*"))


def test_without_any_checkpoint_a_resumed_run_begins_anew(tmp_path: Path) -> None:
    with create(tmp_path / "run") as run:
        play_rounds(run, 1, crash_after_log=0)
    with create(tmp_path / "run", resume=True) as run:
        assert run.latest_checkpoint() is None
        assert run.records() == []


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    with create(tmp_path / "run") as run:
        play_rounds(run, 2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    whole = metrics.read_bytes()
    for n_cut in range(1, len(whole.splitlines(keepends=True)[-1])):
        metrics.write_bytes(whole[:-n_cut])
        records = RunFolder.read(tmp_path / "run").records()
        assert [record["round"] for record in records] == [0]
    metrics.write_bytes(whole + b'{"round": 2, "lo')
    with create(tmp_path / "run", resume=True) as run:
        run.log({"round": 2})
        assert [record["round"] for record in run.records()] == [0, 1, 2]
    metrics.write_bytes(whole[:-1])
    (tmp_path / "run" / "checkpoints" / "round_000000.npz").unlink()
    with pytest.raises(InputError, match=r"--resume: .*metrics.jsonl has .* bytes, but its last"):
        create(tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("config", "difference"),
    [
        ({**CONFIG, "seed": 4}, "seed was 3 and is now 4."),
        ({**CONFIG, "seed": 3.0}, "seed was 3 and is now 3.0."),
        (
            {**CONFIG, "train": {**CONFIG["train"], "noise": 0.25, "rounds": 9}},
            "train.rounds was 4 and is now 9.",
        ),
        ({**CONFIG, "image": ["a.h5"]}, 'image was "a.h5" and is now ["a.h5"].'),
        ({**CONFIG, "z": None}, "z was not set and is now null."),
        ({"seed": 3, "train": CONFIG["train"]}, 'image was "a.h5" and is now not set.'),
    ],
)
def test_another_configuration_is_not_resumed(
    tmp_path: Path, config: dict[str, Any], difference: str
) -> None:
    create(tmp_path / "run").close()
    with pytest.raises(InputError) as caught:
        create(tmp_path / "run", config, resume=True)
    assert str(caught.value) == (
        f"--resume: {tmp_path / 'run'} is of another configuration, {difference}"
    )


def test_a_configuration_is_equal_to_itself_after_a_round_trip(tmp_path: Path) -> None:
    config = {"size": (1, 2), "limit": float("nan"), "rate": np.float32(0.1), 1: {"a": Path("b")}}
    create(tmp_path / "run", config).close()
    create(tmp_path / "run", config, resume=True).close()


def test_what_exists_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with create(path) as run:
        play_rounds(run, 1)
        (path / "report.html").write_text("old")
    with pytest.raises(InputError, match=r"--out: .*run exists; --resume goes on, --overwrite"):
        create(path)
    with pytest.raises(InputError, match="--resume: it cannot be combined with --overwrite"):
        create(path, resume=True, overwrite=True)
    assert RunFolder.read(path).latest_checkpoint() is not None
    with create(path, {"seed": 5}, overwrite=True) as run:
        assert run.records() == []
        assert run.latest_checkpoint() is None
        assert not (path / "report.html").exists()
    assert RunFolder.read(path).config == {"seed": 5}
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_is_no_run_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("text")
    (tmp_path / "file").write_text("text")
    for name in ("thesis", "file"):
        with pytest.raises(InputError, match="is not a run folder and is not overwritten"):
            create(tmp_path / name, overwrite=True)
    with pytest.raises(InputError, match=r"--resume: .*thesis is no run folder, it has no config"):
        create(tmp_path / "thesis", resume=True)
    with pytest.raises(InputError, match=r"--resume: there is no run folder .*nothing\."):
        create(tmp_path / "nothing", resume=True)
    with pytest.raises(InputError, match=r"--policy: there is no run folder .*nothing\."):
        RunFolder.read(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"--out: .*inside cannot be made"):
        create(tmp_path / "file" / "inside")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "text"
    create(tmp_path / "run").close()
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"--resume: .*config.json cannot be read"):
        create(tmp_path / "run", resume=True)


def test_wrong_input_found_before_the_first_round_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no contacts"), create(tmp_path / "run"):
        raise InputError("--superpixels: no contacts.")
    assert list(tmp_path.iterdir()) == []
    run = create(tmp_path / "run")
    run.log({"round": 0})
    run.__exit__(InputError)
    assert len(RunFolder.read(tmp_path / "run").records()) == 1


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    create(tmp_path / "run").close()
    run = RunFolder.read(tmp_path / "run")
    with pytest.raises(RuntimeError, match="not open for writing"):
        run.log({})
    with pytest.raises(RuntimeError, match="not open for writing"):
        run.save_checkpoint(0, {})


def test_two_writers_exclude_each_other_and_a_killed_one_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "run"
    script = f"""
import sys
from agglo.run_folder import RunFolder
run = RunFolder.create({str(path)!r}, {CONFIG!r}, resume=False, overwrite=False)
run.log({{"round": 0}})
print("ready", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(InputError, match=f"run is being written by process {process.pid}"):
                create(path, CONFIG, **how)
        assert len(RunFolder.read(path).records()) == 1
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    create(path, resume=True).close()
    create(path, overwrite=True).close()


def test_an_overwritten_run_is_put_back_when_the_new_one_is_refused(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", {"a": 1}, resume=False, overwrite=False) as run:
        run.log({"round": 0})
        run.save_checkpoint(0, {"x": 1})
    before = (tmp_path / "run" / "config.json").read_bytes()

    def refused() -> None:
        with RunFolder.create(tmp_path / "run", {"a": 2}, resume=False, overwrite=True):
            raise InputError("--labels: float.")

    with pytest.raises(InputError, match="float"):
        refused()
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert RunFolder.read(tmp_path / "run").latest_checkpoint() is not None
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with RunFolder.create(tmp_path / "run", {"a": 2}, resume=False, overwrite=True) as run:
        run.save_checkpoint(0, {"x": 2})
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert RunFolder.read(tmp_path / "run").config == {"a": 2}
