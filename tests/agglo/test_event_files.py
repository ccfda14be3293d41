from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.event_files import EventFiles
from agglo.run_folder import RunFolder
from tests.agglo.event_scalars import scalars_in
from tests.agglo.small_volumes import agglo, quick_config, tree_of
from tests.agglo.training_runs import (
    assert_same_run,
    records,
    train_on,
    without_ray,
    write_tissues,
)


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without Ray."""
    without_ray(monkeypatch)


def scalars_of(record_list: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    return [
        (name, record["round"], float(np.float32(value)))
        for record in record_list
        for name, value in record.items()
        if name != "round"
    ]


def test_numbers_are_named_after_their_part_of_the_run(tmp_path: Path) -> None:
    events = EventFiles(tmp_path / "events", [{"round": 0, "vi": 0.5, "kept": [1, 2]}])
    events.add({"fold": 1, "step": 40, "val_loss": 0.25})
    events.add({"fold": 1, "iteration": 2, "step": 7, "val_loss": 3})
    events.close()
    assert scalars_in(tmp_path / "events") == [
        ("vi", 0, 0.5),
        ("fold_1/val_loss", 40, 0.25),
        ("fold_1/iteration_2/val_loss", 7, 3.0),
    ]


def test_a_run_that_is_set_back_has_no_step_twice(tmp_path: Path) -> None:
    """The third round was logged and not saved, so it is logged again, with another loss."""
    config = {"seed": 0}
    with RunFolder.create(tmp_path / "run", config, resume=False, overwrite=False) as run:
        run.write_events()
        for n in range(3):
            run.log({"round": n, "loss": 1.0 / (n + 1)})
            if n < 2:
                run.save_checkpoint(n, {})
    assert len(scalars_in(tmp_path / "run" / "tensorboard")) == 3
    with RunFolder.create(tmp_path / "run", config, resume=True, overwrite=False) as run:
        run.write_events()
        run.log({"round": 2, "loss": np.float64(0.125)})
    expected = [("loss", 0, 1.0), ("loss", 1, 0.5), ("loss", 2, 0.125)]
    assert scalars_in(tmp_path / "run" / "tensorboard") == expected


class Stop(Exception):
    """What ends a run from outside."""


@pytest.mark.usefixtures("serial")
def test_the_event_files_of_a_training_are_its_log(tmp_path: Path) -> None:
    """Interrupted, resumed with and without them, and what is learned stays as it is."""
    paths = [write_tissues(tmp_path) / "1.h5"]
    config = quick_config(rounds=2)

    def stop(record: dict[str, Any]) -> None:
        if record["round"] == 1:
            raise Stop

    with pytest.raises(Stop):
        train_on(paths, tmp_path / "run", config, tensorboard=True, on_round=stop)
    events = tmp_path / "run" / "tensorboard"
    assert scalars_in(events) == scalars_of(records(tmp_path / "run", without_time=False))
    train_on(paths, tmp_path / "run", config, tensorboard=True, resume=True)
    log = records(tmp_path / "run", without_time=False)
    assert len(log) == 3
    assert scalars_in(events) == scalars_of(log)
    train_on(paths, tmp_path / "plain", config)
    assert not (tmp_path / "plain" / "tensorboard").exists()
    assert_same_run(tmp_path / "run", tmp_path / "plain")
    # A finished run is given them afterwards.
    train_on(paths, tmp_path / "plain", config, tensorboard=True, resume=True)
    log = records(tmp_path / "plain", without_time=False)
    assert scalars_in(tmp_path / "plain" / "tensorboard") == scalars_of(log)


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--boundaries", "b.npy", "--superpixels", "c.npy"),
        ("boundaries", "train"),
    ],
)
def test_without_the_package_it_is_refused_before_any_work(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    volumes = ("--image", "a.npy", "--labels", "d.npy", "--out", tmp_path / "run")
    said = agglo(capsys, *command, *volumes, "--tensorboard")
    assert said == (
        2,
        "",
        "agglo: --tensorboard needs a package that is not installed; "
        "pip install 'agglo[tensorboard]' installs it.\n",
    )
    assert tree_of(tmp_path) == {}
