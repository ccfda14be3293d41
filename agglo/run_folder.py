"""The folder a training run writes: configuration, log and checkpoints, whole after any crash."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from agglo.checkpoint_file import (
    SpoiltCheckpointError,
    load_checkpoint,
    plain_value,
    save_checkpoint,
)
from agglo.event_files import FOLDER as EVENT_FOLDER
from agglo.event_files import EventFiles
from agglo.whole_file import write_whole
from analysis.input_error import InputError

CONFIG_FILE, METRICS_FILE, LOCK_FILE = "config.json", "metrics.jsonl", "lock"
CHECKPOINT_FOLDER = "checkpoints"

KEPT_CHECKPOINTS = 3
"""Older ones are deleted; more than one is kept in case the disk spoils the last."""

_VERSIONED = ("agglo", "gymnasium", "numba", "numpy", "ray", "scikit-image", "scipy", "torch")
_METRICS_BYTES = "__metrics_bytes__"

logger = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """The state after a round, as it was given to `RunFolder.save_checkpoint`."""

    round_index: int
    state: dict[str, Any]


class RunFolder:
    """Write a run's records and checkpoints, or read them.

    `config.json` states the configuration with the code's commit and the package versions,
    `metrics.jsonl` has a line for every record, `checkpoints/` the states of the last rounds, and
    `tensorboard/`, where it is wanted, the records once more. A lock that ends with its process
    keeps a second writer out. Every file appears whole or not at all, the logs lose at most a
    half-written end.
    """

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        lock: int | None,
        *,
        is_new: bool = False,
        replaced: Path | None = None,
    ) -> None:
        """Take a folder that exists; see `create` and `read`."""
        self.path = path
        self.config = config
        self._lock = lock
        self._is_new = is_new
        self._replaced = replaced
        self._metrics: BinaryIO | None = None
        self._events: EventFiles | None = None
        if lock is not None:
            self._metrics = (path / METRICS_FILE).open("ab")

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_refused = kind is not None and issubclass(kind, InputError)
        if is_refused and self._is_new and not self.records() and not self._checkpoint_files():
            shutil.rmtree(self.path)
            if self._replaced is not None:
                self._replaced.rename(self.path)
                self._replaced = None
        self.close()

    @classmethod
    def create(
        cls, path: Path | str, config: dict[str, Any], *, resume: bool, overwrite: bool
    ) -> RunFolder:
        """Make a run folder for writing, or go on with one.

        A resumed folder is set back to its last readable checkpoint: records logged after it are
        cut off, because the rounds that made them are run again.

        Args:
            path: the folder.
            config: what determines the run, the seed among it; JSON values only.
            resume: go on with an existing folder of the same configuration.
            overwrite: replace an existing run folder; it is put back if the new run is refused
                before its first checkpoint.

        Raises:
            InputError: the folder exists, does not exist, is of another configuration, is no run
                folder, or is being written by another process.
        """
        path = Path(os.path.realpath(path))
        if resume and overwrite:
            raise InputError("--resume: it cannot be combined with --overwrite.")
        config = json.loads(json.dumps(config, default=plain_value))
        if resume:
            return cls._resume(path, config)
        if not path.exists():
            return cls._make(path, config)
        if not overwrite:
            raise InputError(f"--out: {path} exists; --resume goes on, --overwrite starts anew.")
        if not (path / CONFIG_FILE).is_file() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"--out: {path} is not a run folder and is not overwritten.")
        old_lock = _lock(path)
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        try:
            path.rename(old)
            try:
                return cls._make(path, config, replaced=old)
            except BaseException:
                old.rename(path)
                raise
        finally:
            os.close(old_lock)

    @classmethod
    def read(cls, path: Path | str) -> RunFolder:
        """Open a run folder for reading alone.

        Raises:
            InputError: there is no run folder at the path.
        """
        path = Path(path)
        return cls(path, _read_config(path, "--policy"), None)

    @classmethod
    def _make(
        cls, path: Path, config: dict[str, Any], *, replaced: Path | None = None
    ) -> RunFolder:
        new = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            (new / CHECKPOINT_FOLDER).mkdir(parents=True)
        except OSError as error:
            raise InputError(f"--out: {path} cannot be made ({error}).") from error
        try:
            lock = _lock(new)
            described = {"config": config, **_describe_code()}
            write_whole(new / CONFIG_FILE, (json.dumps(described, indent=2) + "\n").encode())
            new.rename(path)
        except BaseException:
            shutil.rmtree(new)
            raise
        return cls(path, config, lock, is_new=True, replaced=replaced)

    @classmethod
    def _resume(cls, path: Path, config: dict[str, Any]) -> RunFolder:
        known = _read_config(path, "--resume")
        difference = next(_differences(known, config, ""), None)
        if difference is not None:
            raise InputError(f"--resume: {path} is of another configuration, {difference}.")
        run = cls(path, config, _lock(path))
        try:
            described = json.loads((path / CONFIG_FILE).read_text())
            for change in _differences(described["versions"], _describe_code()["versions"], ""):
                logger.warning("the run was started with another version: %s", change)
            run._cut_metrics()
            for left_over in path.rglob(".*.tmp"):
                left_over.unlink()
        except BaseException:
            run.close()
            raise
        return run

    def close(self) -> None:
        """Close the files and give up the lock."""
        self._forget_replaced()
        if self._metrics is not None:
            self._metrics.close()
        if self._events is not None:
            self._events.close()
        if self._lock is not None:
            os.close(self._lock)
        self._metrics = self._lock = self._events = None

    def write_events(self) -> None:
        """Write the records, those that there are and those to come, for TensorBoard too.

        Raises:
            InputError: TensorBoard is not installed.
        """
        self._events = EventFiles(self.path / EVENT_FOLDER, self.records())

    def log(self, record: dict[str, Any]) -> None:
        """Append a record to the log and see it on the disk."""
        metrics = self._writable()
        line = json.dumps(record, default=plain_value) + "\n"
        metrics.write(line.encode())
        metrics.flush()
        os.fsync(metrics.fileno())
        if self._events is not None:
            self._events.add(json.loads(line))

    def records(self) -> list[dict[str, Any]]:
        """Return the log's records, less a half-written last one."""
        file = self.path / METRICS_FILE
        data = file.read_bytes() if file.is_file() else b""
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def save_checkpoint(self, round_index: int, state: dict[str, Any]) -> Path:
        """Save the state after a round; records logged until now belong to it.

        Args:
            round_index: the number of the round, from 0.
            state: arrays of any shape and plain dtype, and JSON values.
        """
        file = self.path / CHECKPOINT_FOLDER / f"round_{round_index:06d}.npz"
        save_checkpoint(file, {**state, _METRICS_BYTES: _size(self._writable())})
        for old in self._checkpoint_files()[KEPT_CHECKPOINTS:]:
            old.unlink()
        self._forget_replaced()
        return file

    def latest_checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint that is whole, or None; a spoilt one is skipped and said."""
        found = self._latest()
        return None if found is None else found[0]

    def _latest(self) -> tuple[Checkpoint, int] | None:
        for file in self._checkpoint_files():
            try:
                state = load_checkpoint(file)
            except SpoiltCheckpointError as error:
                logger.warning("a spoilt checkpoint is left out: %s", error)
                continue
            metrics_bytes = state.pop(_METRICS_BYTES)
            return Checkpoint(int(file.stem.removeprefix("round_")), state), metrics_bytes
        return None

    def _checkpoint_files(self) -> list[Path]:
        return sorted((self.path / CHECKPOINT_FOLDER).glob("round_*.npz"), reverse=True)

    def _cut_metrics(self) -> None:
        found = self._latest()
        n_bytes = 0 if found is None else found[1]
        metrics = self._writable()
        size = _size(metrics)
        if size < n_bytes:
            raise InputError(
                f"--resume: {self.path / METRICS_FILE} has {size} bytes, "
                f"but its last checkpoint was saved after {n_bytes}."
            )
        metrics.truncate(n_bytes)
        os.fsync(metrics.fileno())

    def _forget_replaced(self) -> None:
        """Delete the run that this one replaced."""
        if self._replaced is not None:
            shutil.rmtree(self._replaced)
            self._replaced = None

    def _writable(self) -> BinaryIO:
        if self._metrics is None:
            raise RuntimeError(f"the run folder {self.path} is not open for writing")
        return self._metrics


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _read_config(path: Path, argument: str) -> dict[str, Any]:
    file = path / CONFIG_FILE
    if not path.is_dir():
        raise InputError(f"{argument}: there is no run folder {path}.")
    try:
        return json.loads(file.read_text())["config"]
    except FileNotFoundError:
        raise InputError(f"{argument}: {path} is no run folder, it has no {CONFIG_FILE}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{argument}: {file} cannot be read ({error}).") from error


def _differences(known: Any, new: Any, name: str) -> Iterator[str]:
    """Yield every value that differs, by its dotted name, in the order of the new configuration."""
    if not (isinstance(known, dict) and isinstance(new, dict)):
        # Compared as text: NaN equals NaN, and 1 differs from 1.0 and from true.
        if json.dumps(known) != json.dumps(new):
            yield f"{name} was {json.dumps(known)} and is now {json.dumps(new)}"
        return
    for key in (*new, *(key for key in known if key not in new)):
        inner = f"{name}.{key}" if name else key
        if key not in known:
            yield f"{inner} was not set and is now {json.dumps(new[key])}"
        elif key not in new:
            yield f"{inner} was {json.dumps(known[key])} and is now not set"
        else:
            yield from _differences(known[key], new[key], inner)


def _lock(path: Path) -> int:
    """Lock a folder for this process; the lock ends with the process, however it ends."""
    descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 100).decode(errors="replace").strip()
        os.close(descriptor)
        raise InputError(f"--out: {path} is being written by {holder or 'a process'}.") from None
    os.truncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
    return descriptor


def _describe_code() -> dict[str, Any]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {"git_commit": _git_commit(), "versions": versions}


def _git_commit() -> str | None:
    """Return the commit of the checkout this code runs from, or None where it is installed."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None
