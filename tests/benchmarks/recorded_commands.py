"""Commands that are recorded instead of being run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def recorder(seen: list[list[str]]) -> Callable[[list[str]], None]:
    """Return what stands in for `agglo`: it notes the words and makes the files they name."""

    def command(words: list[str]) -> None:
        seen.append(words)
        out = Path(words[words.index("--out") + 1])
        out.mkdir(parents=True, exist_ok=True)
        if words[1] == "train":
            (out / "model.json").touch()
        if "--learn" in words:
            Path(words[words.index("--dictionary") + 1]).touch()

    return command
