"""Rows: what came of a method on a case with a seed, each in a file of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agglo.json_file import write_json
from analysis.input_error import InputError
from benchmarks.accuracy.cases import Case
from benchmarks.accuracy.trial import Numbers

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a method.

    Attributes:
        case: name of the case.
        method: name of the method.
        seed: 0 for methods without chance.
        numbers: by name; empty on failure.
        failure: why there are none, in a sentence; empty if there are.
    """

    case: str
    method: str
    seed: int
    numbers: Numbers = field(default_factory=dict)
    failure: str = ""

    def __post_init__(self) -> None:
        if bool(self.numbers) == bool(self.failure):
            raise ValueError("a row has either numbers or a failure")


def seed_folder(out: Path, case: Case, seed: int) -> Path:
    """Return the folder of a case's rows and runs with a seed."""
    return out / "rows" / case.name / f"seed{seed}"


def read_row(out: Path, case: Case, method: str, seed: int) -> Row | None:
    """Return the row that is there, None if there is none."""
    path = seed_folder(out, case, seed) / f"{method}.json"
    return Row(**json.loads(path.read_text())) if path.exists() else None


def write_row(out: Path, case: Case, row: Row) -> None:
    """Keep a row with numbers, so that it is not made again."""
    folder = seed_folder(out, case, row.seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{row.method}.json", asdict(row), argument="--out")


def require_same(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder whose rows were made with other settings; note them in a new one.

    Raises:
        InputError: they differ.
    """
    path = out / SETTINGS_FILE
    if not path.exists():
        write_json(path, settings, argument="--out")
        return
    found = json.loads(path.read_text())
    differing = [
        f"{name} {found.get(name)}, not {value}"
        for name, value in settings.items()
        if found.get(name) != value
    ]
    if differing:
        raise InputError(f"--out: {out} holds rows with {', '.join(differing)}; choose another.")
