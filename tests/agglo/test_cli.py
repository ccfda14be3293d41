from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agglo import cli
from agglo.commands import superpixels
from agglo.volumes import write_volume
from analysis.input_error import InputError
from tests.agglo.small_volumes import agglo, tree_of

ROOT = Path(__file__).parents[2]
NAMES = [" ".join(name) for name in cli.COMMANDS]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    said = agglo(capsys, *words)
    assert said.status == 0
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].startswith("usage: agglo COMMAND")
    for name, does in cli.COMMANDS.items():
        assert any(line.split() == [*name, *does.split()] for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_has_an_example_that_it_takes(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    said = agglo(capsys, *name.split(), "--help")
    assert said.status == 0
    assert said.err == ""
    assert said.out.startswith(f"usage: agglo {name} ")
    for option in ("--seed", "--json", "--help"):
        assert option in said.out
    module = importlib.import_module(f"agglo.commands.{name.replace(' ', '_')}")
    example = " ".join(module.Command.__doc__.split("Example: ")[1].split("\n\n")[0].split())
    assert example.startswith(f"agglo {name}")
    assert " ".join(example.split()[:4]) in " ".join(said.out.split())
    assert isinstance(cli._parse(shlex.split(example)[1:]), module.Command)


def test_the_overview_comes_without_loading_what_works() -> None:
    script = "import sys, agglo.cli; agglo.cli.main([]); print(sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    for heavy in ("ray", "torch", "numba", "h5py", "matplotlib", "tyro"):
        assert f"'{heavy}'" not in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["trian"],
        ["boundaries"],
        ["boundaries", "eat"],
        ["--verbose"],
        ["Train", "--out", "x"],
        [""],
    ],
)
def test_an_unknown_command_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    said = agglo(capsys, *words)
    assert said.status == 2
    assert said.out == ""
    expected = f"agglo: '{' '.join(words[:2])}' is no command; there are {', '.join(NAMES)}.\n"
    assert said.err == expected


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["superpixels", "--boundaries", "a.npy", "--out", "b.zarr", "--size", "3"], "--size"),
        (["superpixels", "--boundaries", "a.npy"], "--out"),
        (["superpixels", "--boundaries", "--out", "b.zarr"], "--boundaries"),
        (
            ["superpixels", "--boundaries", "a.npy", "--out", "b", "--min-size-vox", "x"],
            "--min-size",
        ),
        (["superpixels", "--boundaries", "a.npy", "--out", "b", "--threshold", "7"], "threshold"),
        (["evaluate", "--labels", "a.npy", "--voxel-size-nm", "8", "8"], "--voxel-size-nm"),
    ],
)
def test_wrong_options_are_refused_by_name(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = agglo(capsys, *words)
    assert said.status == 2
    assert said.out == ""
    assert named in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--rounds", "0"),
        ("--episodes", "0"),
        ("--n-average", "-1"),
        ("--noise", "-0.5"),
        ("--noise", "nan"),
        ("--record-floor", "0.5"),
        ("--seed", "-1"),
        ("--batch", "0"),
        ("--learning-rate", "0"),
    ],
)
def test_settings_of_the_training_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    volumes = "--image a --boundaries b --superpixels c --labels d --out run"
    said = agglo(capsys, "train", *volumes.split(), option, value)
    assert said.status == 2
    assert f"{option} must " in " ".join(said.err.replace("│", " ").split())


def test_a_refusal_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("--boundaries: it\n  is broken.")

    monkeypatch.setattr(superpixels, "make_superpixels", refuse)
    said = agglo(capsys, "superpixels", "--boundaries", "a", "--out", "b")
    assert said == (2, "", "agglo: --boundaries: it is broken.\n")


def test_an_interrupt_is_no_wrong_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(superpixels, "make_superpixels", stop)
    said = agglo(capsys, "superpixels", "--boundaries", "a", "--out", "b")
    assert said == (1, "", "agglo: interrupted; what was finished is kept\n")


def test_a_defect_of_ours_shows_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(superpixels, "make_superpixels", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        agglo(capsys, "superpixels", "--boundaries", "a", "--out", "b")


def test_the_exit_status_of_the_process(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boundaries = rng.uniform(0, 1, (4, 12, 12)).astype(np.float32)
    np.save(tmp_path / "map.npy", boundaries)
    words = ["superpixels", "--boundaries", "map.npy", "--out", "s.zarr", "--voxel-size-nm"]
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agglo.cli import main; main()"
    for size, status in ((["40", "4", "4"], 0), (["0", "4", "4"], 2), (["40", "4", "4"], 2)):
        result = subprocess.run(
            [sys.executable, "-c", script, *words, *size],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == status, result.stderr
        assert ("Traceback" in result.stderr) == (status == 1)
        assert "\x1b" not in result.stdout + result.stderr
        assert len(result.stderr.splitlines()) == (status == 2)
    assert {name.split("/")[0] for name in tree_of(tmp_path)} == {"map.npy", "s.zarr"}


@pytest.mark.parametrize(
    ("json", "message"),
    [(".", "--json: . is a folder"), ("no/where.json", "--json: there is no folder ")],
)
def test_where_the_results_go_is_checked_before_the_work(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    json: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume("map.zarr", np.full((3, 5, 5), 0.5, np.float32), voxel_size_nm=None)
    before = tree_of(tmp_path)
    words = ("superpixels", "--boundaries", "map.zarr", "--out", "s.zarr", "--json", json)
    said = agglo(capsys, *words)
    assert said.status == 2
    assert said.err.startswith(f"agglo: {message}")
    assert tree_of(tmp_path) == before
