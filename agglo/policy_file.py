"""A trained merge policy on disk: `policy.npz` in its run folder."""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agglo.volumes.source import DAMAGE
from agglo.whole_file import write_whole
from analysis.input_error import InputError
from envs.error_calibration import ErrorCalibration
from envs.feature_layout import feature_names
from envs.merge_network import MergeNetwork, checked_network, mean_boundary_network

FILE_NAME = "policy.npz"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Policy:
    """A merge policy and what it needs to be applied.

    Attributes:
        network: scores candidate merges; its logit is priority and stop.
        threshold: key from which on it merges.
        mean_boundary_threshold: mean boundary value up to which plain mean-boundary agglomeration
            merges, the best on the same training shards; the baseline.
        voxel_size_nm: of the training volumes, None if never stated.
        provenance: where it comes from, for people.
        error: what its own expectation of VI stands for; None if that was not measured.
        made_by: what made the channels it looks at, by group; None where that was not said.
    """

    network: MergeNetwork
    threshold: float
    mean_boundary_threshold: float
    voxel_size_nm: tuple[float, float, float] | None
    provenance: dict[str, Any]
    error: ErrorCalibration | None = None
    made_by: dict[str, str | None] = field(default_factory=dict)

    def baseline(self) -> Policy:
        """Return mean-boundary agglomeration at the threshold of the training shards."""
        return Policy(
            mean_boundary_network(self.mean_boundary_threshold),
            0.0,
            self.mean_boundary_threshold,
            self.voxel_size_nm,
            {"policy": "mean boundary", **self.provenance},
        )


def save_policy(folder: Path, policy: Policy) -> Path:
    """Write a policy into its run folder, whole or not at all."""
    about = {
        "version": FORMAT_VERSION,
        "features": list(feature_names(policy.network.n_features)),
        "threshold": policy.threshold,
        "mean_boundary_threshold": policy.mean_boundary_threshold,
        "voxel_size_nm": policy.voxel_size_nm,
        "provenance": policy.provenance,
        "error": None if policy.error is None else policy.error._asdict(),
        "made_by": policy.made_by,
    }
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **policy.network._asdict())
    path = folder / FILE_NAME
    write_whole(path, buffer.getvalue())
    return path


def load_policy(text: str, *, argument: str = "--policy") -> Policy:
    """Read the policy of a run folder, or the file itself.

    Raises:
        InputError: where there is none, it is damaged, or it sees other features than this version.
    """
    path = Path(text)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"{argument}: {text} holds no trained policy ({FILE_NAME}); is its training finished?"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            arrays = {name: stored[name] for name in MergeNetwork._fields}
        if about["version"] != FORMAT_VERSION:
            raise InputError(
                f"{argument}: {path} is of version {about['version']}, this agglo reads "
                f"{FORMAT_VERSION}."
            )
        network = checked_network(arrays)
        if about["features"] != list(feature_names(network.n_features)):
            raise InputError(f"{argument}: {path} was trained on other features than are computed.")
        size, error = about["voxel_size_nm"], about.get("error")  # files of old have none
        return Policy(
            network,
            float(about["threshold"]),
            float(about["mean_boundary_threshold"]),
            None if size is None else (float(size[0]), float(size[1]), float(size[2])),
            about["provenance"],
            None if error is None else ErrorCalibration(**error),
            about.get("made_by", {}),
        )
    except InputError:
        raise
    except (*DAMAGE, MemoryError, tokenize.TokenError, zipfile.BadZipFile) as error:
        reason = str(error).split(". ")[0].rstrip(".") or type(error).__name__
        raise InputError(f"{argument}: {path} is no whole policy file: {reason}.") from error
