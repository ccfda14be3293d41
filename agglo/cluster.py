"""The Ray session: join the cluster that is there, or start one on this machine."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import ray

from analysis.input_error import InputError

CONNECT_TIMEOUT_S = 5.0
"""An address that takes no connection for so long is taken for dead; Ray itself waits minutes."""

Device = Literal["cpu", "cuda"]

logger = logging.getLogger(__name__)


@contextmanager
def ray_session(*, n_cpus: int | None = None) -> Iterator[None]:
    """Join the Ray cluster that is found and start a local one where there is none.

    Looked for in this order: a session this process is already in; the address in `RAY_ADDRESS`,
    which Ray sets for a submitted job; a head node started on this machine by `ray start` with
    its default folder. Local sessions of other programs are left alone. Which it was, and what
    the cluster has, is logged. Only what was started or joined here is left again at the end.

    The runtime environment is the job's, so actors of `ray job submit --working-dir .` import
    the project from the submitted folder. An actor gets as many threads as it has CPUs.

    Args:
        n_cpus: CPUs of a local cluster; all of the machine's if None. A cluster that is joined
            has its own.

    Raises:
        InputError: `RAY_ADDRESS` cannot be used, or nothing can be reached there.
    """
    if n_cpus is not None and n_cpus < 1:
        raise InputError(f"n_cpus: at least one CPU is needed, {n_cpus} asked for.")
    if ray.is_initialized():
        logger.info("using the Ray session at hand: %s", describe_resources())
        yield
        return
    address = _find_address()
    if address is None:
        environment = _start(n_cpus)
        logger.info("started Ray on this machine: %s", describe_resources())
    else:
        environment = _join(address)
        logger.info("joined the Ray cluster at %s: %s", address, describe_resources())
    try:
        yield
    finally:
        ray.shutdown()
        _restore(environment)


def require_lasting(path: Path, *, argument: str = "--out") -> None:
    """Refuse a relative output in a submitted job, whose folder is a copy that Ray deletes.

    Raises:
        InputError: the path is relative and this process is the driver of a submitted job.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not path.is_absolute():
        raise InputError(
            f"{argument}: {path} is relative, and the folder of a submitted job is a copy that is "
            f"deleted with it; an absolute path is needed."
        )


def describe_resources() -> str:
    """Say in one line what the cluster of this session has."""
    resources = ray.cluster_resources()
    numbers = (
        (resources.get("CPU", 0), "CPU"),
        (resources.get("GPU", 0), "GPU"),
        (sum(node["Alive"] for node in ray.nodes()), "node"),
    )
    cpus, gpus, nodes = (f"{n:g} {name}{'' if n == 1 else 's'}" for n, name in numbers)
    return f"{cpus}, {gpus} on {nodes}"


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """Choose where torch works in actors, and log the choice with its reason.

    Args:
        wanted: "auto" takes the GPU where the cluster has one that this torch can use.

    Raises:
        InputError: "cuda" is wanted and there is none, or another word was given.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device: auto, cpu or cuda is expected, not {wanted!r}.")
    if wanted == "cpu":
        logger.info("device: cpu, as asked for")
        return "cpu"
    obstacle = _obstacle_to_cuda()
    if obstacle is None:
        logger.info("device: cuda")
        return "cuda"
    if wanted == "cuda":
        raise InputError(f"--device: cuda was asked for, but {obstacle}.")
    logger.info("device: cpu, because %s", obstacle)
    return "cpu"


def _obstacle_to_cuda() -> str | None:
    if ray.cluster_resources().get("GPU", 0) < 1:
        return f"the Ray cluster has no GPU ({describe_resources()})"
    import torch

    if torch.version.cuda is None:
        return f"the installed torch {torch.__version__} is built without CUDA"
    return None


def _find_address() -> str | None:
    """Return the address of a running cluster, or None where one has to be started."""
    address = os.environ.get("RAY_ADDRESS", "")
    if "://" in address:
        raise InputError(
            f"RAY_ADDRESS: {address} is no address a program can join, host:port is; "
            "with http:// use `ray job submit`."
        )
    if address == "local":
        return None
    if address and address != "auto":
        if not _answers(address):
            raise InputError(
                f"RAY_ADDRESS: nothing answers at {address}; "
                "start Ray there, or unset the variable to work on this machine alone."
            )
        return address
    # `ray start` leaves the address here and a killed head node never removes it.
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    file = Path(folder) / "ray" / "ray_current_cluster"
    address = file.read_text().strip() if file.is_file() else ""
    return address if address and _answers(address) else None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def _start(n_cpus: int | None) -> dict[str, str | None]:
    """Start Ray on this machine and return the environment variables to be restored.

    A local cluster asks for a token, and Ray would write a lasting one to the home folder, after
    which `ray start` demands it and `ray job submit` does not give it. One made here for this
    process alone leaves no trace. `OMP_NUM_THREADS` is hidden from the workers, so that Ray sets
    it to the CPUs of each actor.
    """
    changed: dict[str, str | None] = {"OMP_NUM_THREADS": None}
    if not _has_token() and "RAY_AUTH_MODE" not in os.environ:
        changed["RAY_AUTH_TOKEN"] = _process_token()
    environment = {name: os.environ.get(name) for name in (*changed, "RAY_AUTH_MODE")}
    _restore(changed)
    try:
        # Without the dashboard Ray starts in 4 seconds instead of 7.
        ray.init(
            address="local",
            num_cpus=n_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except BaseException:
        _restore(environment)
        raise
    return environment


def _join(address: str) -> dict[str, str | None]:
    """Join a running cluster and return the environment variables to be restored.

    A token at hand is offered even where `RAY_AUTH_MODE` is not set: a cluster that asks for one
    is refused otherwise (after 20 seconds), and one that does not takes no offence.
    """
    environment = {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE")}
    if _has_token() and "RAY_AUTH_MODE" not in os.environ:
        _offer_token()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        _restore(environment)
        raise InputError(
            f"RAY_ADDRESS: the Ray cluster at {address} could not be joined ({error}); "
            "RAY_AUTH_MODE and the token must be its head's, and this machine one of its nodes."
        ) from error
    return environment


def _has_token() -> bool:
    return (
        bool(os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"))
        or (Path.home() / ".ray" / "auth_token").is_file()
    )


def _offer_token() -> None:
    """Switch this process to token mode.

    Ray reads `RAY_AUTH_MODE` once, when it is imported, and refreshes it only for clusters that
    it finds by itself; there is no public way to ask for it.
    """
    from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

    os.environ["RAY_AUTH_MODE"] = "token"
    Config.initialize("")


@functools.cache
def _process_token() -> str:
    """Make one token for all local sessions of this process, as Ray caches the first it sees."""
    return secrets.token_hex(32)


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
