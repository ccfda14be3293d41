"""What a run over blocks has done so far, on disk, so that another process can go on with it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agglo.volumes.staging import FailedWriteError, Staging, new_token, refusing_failed_writes
from agglo.whole_file import write_whole
from analysis.input_error import InputError

LOCK_FILE, RUN_FILE, DONE_FILE = "lock", "run.json", "done"


logger = logging.getLogger(__name__)

ONLY = "blocks"
"""The stage of a run that has one."""


class BlockLedger:
    """List the tasks, stage by stage, whose files are safely written, beside the run's output.

    The hidden folder ``.NAME.KIND`` holds a lock that ends with its process, a description of the
    run, and a line for each task done; a run may keep files of its own in it. What is written so
    far of the outputs lies in temporary siblings; their names are in the description, so a new run
    knows what a dead one left. An actor that outlives its killed driver does no harm: the next run
    has other temporary names, and one that goes on writes the same blocks.
    """

    def __init__(
        self,
        output: Path,
        dataset: str | None,
        staged: Sequence[Path],
        *,
        kind: str = "prediction",
    ) -> None:
        """Lock the ledger of an output.

        Args:
            output: the output's file or folder.
            dataset: its dataset, if it is an HDF5 file.
            staged: files or folders that the run writes beside, `output` among them.
            kind: what the run makes, for sentences and the folder's name.

        Raises:
            InputError: another process is writing this output, or the folder permits no writing.
        """
        output = Path(os.path.realpath(output))
        name = output.name if dataset is None else f"{output.name}.{dataset.replace('/', '.')}"
        self.path = output.with_name(f".{name}.{kind}")
        self.token = ""
        self._kind = kind
        self._stages: dict[str, set[int]] = {}
        self._output, self._staged = output, [Path(os.path.realpath(path)) for path in staged]
        with refusing_failed_writes("--out", output):
            self._lock = self._take_lock()

    def __enter__(self) -> BlockLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def done(self) -> frozenset[int]:
        """Return the tasks done of a run that has one stage."""
        return self.done_in(ONLY)

    @property
    def n_done(self) -> int:
        """Return how many tasks are done, of all stages."""
        return sum(map(len, self._stages.values()))

    def done_in(self, stage: str) -> frozenset[int]:
        """Return the tasks of a stage that are done."""
        return frozenset(self._stages.get(stage, ()))

    def begin(self, description: dict[str, Any]) -> None:
        """Start anew; what a dead process left of this output is removed."""
        self._remove_staged()
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_FILE:
                path.unlink()
        self.token, self._stages = new_token(), {}
        described = {
            "run": description,
            "token": self.token,
            "staged": [str(path) for path in self._staged],
        }
        text = json.dumps(described, indent=2) + "\n"
        try:
            with refusing_failed_writes("--out", self._output):
                write_whole(self.path / RUN_FILE, text.encode())
        except InputError:
            self.remove()
            raise

    def resume(self, description: dict[str, Any]) -> None:
        """Take over what a dead process left.

        Raises:
            InputError: there is nothing to go on with, or it is of another run.
        """
        described = self._described()
        if described is None or not (self.path / DONE_FILE).is_file():
            self.remove()
            raise InputError(f"--resume: there is no unfinished {self._kind} of {self._output}.")
        known = described["run"]
        for name, value in description.items():
            if json.dumps(known.get(name)) != json.dumps(value):
                raise InputError(
                    f"--resume: the unfinished {self._kind} of {self._output} is another one, its "
                    f"{name} was {json.dumps(known.get(name))} and is now {json.dumps(value)}."
                )
        self.token = described["token"]
        if gone := [path for path in self._siblings(described) if not path.is_dir()]:
            raise InputError(
                f"--resume: {gone[0]}, the unfinished {self._kind} of {self._output}, is gone; "
                "without --resume it starts anew."
            )
        lines = (self.path / DONE_FILE).read_bytes()
        whole_lines = lines[: lines.rfind(b"\n") + 1]
        for line in whole_lines.decode().splitlines():
            stage, _, task = line.rpartition(" ")
            self._stages.setdefault(stage or ONLY, set()).add(int(task))
        os.truncate(self.path / DONE_FILE, len(whole_lines))

    def record(self, *tasks: int, stage: str = ONLY) -> None:
        """Note tasks whose files are on the disk; with none, that the outputs are laid out."""
        with refusing_failed_writes("--out", self._output), (self.path / DONE_FILE).open("ab") as f:
            f.write(b"".join(f"{stage} {task}\n".encode() for task in tasks))
            f.flush()
            os.fsync(f.fileno())
        self._stages.setdefault(stage, set()).update(tasks)

    def give_up(self, error: BaseException, n_tasks: int, out: str) -> None:
        """After an error, keep what `resume` can go on with and say so; else remove it.

        Nothing can be gone on with where nothing is done, or where the input was refused.

        Args:
            error: that ended a run of one stage.
            n_tasks: how many tasks the run has.
            out: address of the output, as it was given.
        """
        is_refused = isinstance(error, InputError) and not isinstance(error, FailedWriteError)
        if not self.done or (is_refused and len(self.done) < n_tasks):
            self.remove()
            return
        logger.warning(
            "%d of %d blocks of %s are kept; --resume goes on with them",
            *(len(self.done), n_tasks, out),
        )

    def remove(self) -> None:
        """Remove the ledger and all that is unfinished, and give up the lock."""
        self._remove_staged()
        shutil.rmtree(self.path)
        self.close()

    def close(self) -> None:
        """Give up the lock; what there is stays."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _take_lock(self) -> int | None:
        while True:
            self.path.mkdir(exist_ok=True)
            file = self.path / LOCK_FILE
            try:
                descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # removed by a run that has just ended
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 100).decode(errors="replace").strip()
                os.close(descriptor)
                raise InputError(
                    f"--out: {self._output} is being written by {holder or 'a process'}."
                ) from None
            if file.is_file() and os.path.samestat(os.fstat(descriptor), file.stat()):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
                return descriptor
            os.close(descriptor)

    def _described(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.path / RUN_FILE).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(f"--out: {self.path / RUN_FILE} is damaged ({error}).") from error

    @staticmethod
    def _siblings(described: dict[str, Any]) -> list[Path]:
        return [Staging(Path(path), described["token"]).path for path in described["staged"]]

    def _remove_staged(self) -> None:
        described = self._described()
        if described is not None:
            for path in described["staged"]:
                Staging(Path(path), described["token"]).discard()
