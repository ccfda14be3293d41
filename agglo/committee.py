"""Several policies as one, a policy file like others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from agglo.policy_file import FILE_NAME, Policy, load_policy, save_policy
from agglo.run_folder import CONFIG_FILE
from agglo.volumes.staging import refusing_failed_writes
from analysis.input_error import InputError
from envs.committee import committee
from envs.error_calibration import ErrorCalibration
from predict.anisotropy import same_voxel_size, words_of_size

NO_LOG_ODDS = ("fitted-q",)
"""Learners whose scores are amounts of return, which have no common scale with log odds."""


def make_committee(policies: Sequence[str], out: Path, *, overwrite: bool = False) -> Policy:
    """Write the policy whose logit is the mean of what each of several has above its threshold.

    Its baseline merges up to the mean of their mean-boundary thresholds, and it reads its own
    expectation of VI as they do in the mean.

    Args:
        policies: run folders or policy files, two at least.
        out: folder that gets `policy.npz`.
        overwrite: replace one that is there.

    Raises:
        InputError: see the sentence; nothing is written then.
    """
    if len(policies) < 2:
        raise InputError(f"--policies must name two or more, not {len(policies)}.")
    loaded = [load_policy(text, argument="--policies") for text in policies]
    _require_free(out, overwrite)
    _require_alike(policies, loaded)
    try:
        network = committee(
            [policy.network for policy in loaded], [policy.threshold for policy in loaded]
        )
    except ValueError as error:
        raise InputError(f"--policies: {error}.") from error
    sizes = [policy.voxel_size_nm for policy in loaded if policy.voxel_size_nm is not None]
    joined = Policy(
        network,
        0.0,
        sum(policy.mean_boundary_threshold for policy in loaded) / len(loaded),
        sizes[0] if sizes else None,
        {
            "policy": f"committee of {len(loaded)} policies",
            "threshold_from": "theirs",
            "members": [
                {"file": str(Path(text).absolute()), "threshold": own.threshold, **own.provenance}
                for text, own in zip(policies, loaded, strict=True)
            ],
        },
        _mean_calibration([policy.error for policy in loaded]),
        {
            group: made
            for policy in reversed(loaded)
            for group, made in policy.made_by.items()
            if made is not None
        },
    )
    with refusing_failed_writes("--out", out):
        out.mkdir(parents=True, exist_ok=True)
        save_policy(out, joined)
    return joined


def _require_free(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: {out} is a file, and a folder is wanted.")
    if (out / CONFIG_FILE).exists():
        raise InputError(f"--out: {out} is the folder of a training, which is not written to.")
    if (out / FILE_NAME).exists() and not overwrite:
        raise InputError(f"--out: {out} holds a policy already; --overwrite replaces it.")


def _require_alike(texts: Sequence[str], policies: Sequence[Policy]) -> None:
    """Refuse policies whose scores have no common scale, or that were made for other data."""
    for text, policy in zip(texts, policies, strict=True):
        learner = policy.provenance.get("config", {}).get("learner", {}).get("name")
        if learner in NO_LOG_ODDS:
            raise InputError(
                f"--policies: {text} is of the learner {learner}, whose scores are no log odds, so "
                "they have no mean with those of others."
            )
    for (text, policy), (other_text, other) in combinations(zip(texts, policies, strict=True), 2):
        n_seen, n_other = policy.network.n_features, other.network.n_features
        if n_seen != n_other:
            raise InputError(
                f"--policies: {text} looks at {n_seen} features and {other_text} at {n_other}; "
                "shape and channels must be looked at by all or by none (--features of agglo "
                "train)."
            )
        for group in policy.made_by.keys() & other.made_by.keys():
            made = {policy.made_by[group], other.made_by[group]} - {None}
            if len(made) > 1:
                raise InputError(
                    f"--policies: {text} and {other_text} were trained on channels of {group} that "
                    "different things made."
                )
        size, other_size = policy.voxel_size_nm, other.voxel_size_nm
        if size is not None and other_size is not None and not same_voxel_size(size, other_size):
            raise InputError(
                f"--policies: {text} was trained on voxels of {words_of_size(size)} nm (z y x) and "
                f"{other_text} on those of {words_of_size(other_size)} nm."
            )


def _mean_calibration(errors: Sequence[ErrorCalibration | None]) -> ErrorCalibration | None:
    """Return the mean of planes, None if one of the policies has none."""
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    slope, intercept, rms, n_shards, membrane = (
        sum(one) / len(known) for one in zip(*known, strict=True)
    )
    return ErrorCalibration(slope, intercept, rms, round(n_shards), membrane)
