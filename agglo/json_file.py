"""Write a command's results as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agglo.whole_file import write_whole
from analysis.input_error import InputError


def check_json(path: Path, *, argument: str = "--json") -> None:
    """Check where results are to be written, before any work is done for them.

    Raises:
        InputError: where there is a folder, or no folder to write to.
    """
    if path.is_dir():
        raise InputError(f"{argument}: {path} is a folder, where a file is expected.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{argument}: there is no folder {path.absolute().parent} to write to.")


def write_json(path: str | Path, results: dict[str, Any], *, argument: str = "--json") -> None:
    """Write results to a file, whole or not at all.

    Raises:
        InputError: where the file cannot be written.
    """
    try:
        write_whole(Path(path), (json.dumps(results, indent=2) + "\n").encode())
    except OSError as error:
        raise InputError(f"{argument}: {path} cannot be written ({error.strerror}).") from error
