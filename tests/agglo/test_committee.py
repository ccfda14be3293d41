from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agglo.cli import main as agglo
from agglo.committee import make_committee
from agglo.policy_file import FILE_NAME, Policy, load_policy, save_policy
from analysis.input_error import InputError
from envs.error_calibration import ErrorCalibration
from envs.features import N_FEATURES, N_SHAPE_FEATURES
from envs.merge_network import logit, pack
from tests.envs.random_tissue import random_network

CALIBRATIONS = (ErrorCalibration(1.0, 0.2, 0.1, 30, 2.0), ErrorCalibration(3.0, 0.0, 0.3, 33, 1.0))


def _policy(seed: int, *, n_features: int = N_FEATURES, learner: str = "aggregation") -> Policy:
    return Policy(
        random_network(seed, n_features=n_features, n_members=seed + 1),
        threshold=0.5 * seed,
        mean_boundary_threshold=0.25 + 0.5 * seed,
        voxel_size_nm=(10.0, 10.0, 10.0),
        provenance={"config": {"learner": {"name": learner}}, "seed": seed},
        error=CALIBRATIONS[seed % 2],
    )


def _write(folder: Path, *policies: Policy) -> list[str]:
    runs = []
    for n, policy in enumerate(policies):
        run = folder / f"run_{n}"
        run.mkdir()
        save_policy(run, policy)
        runs.append(str(run))
    return runs


def _score(policy: Policy, features: np.ndarray) -> float:
    packed = pack(policy.network)
    score = logit(packed, features, np.zeros(packed.n_scratch, np.float32))
    return float(score) - policy.threshold


def test_the_command_joins_policies(tmp_path: Path) -> None:
    members = [_policy(0), _policy(1)]
    runs = _write(tmp_path, *members)
    out, about = tmp_path / "joined", tmp_path / "about.json"
    agglo(["committee", "--policies", *runs, "--out", str(out), "--json", str(about)])
    joined = load_policy(str(out))
    for seed in range(5):
        features = np.random.default_rng(seed).standard_normal(N_FEATURES).astype(np.float32)
        expected = np.mean([_score(policy, features) for policy in members])
        assert _score(joined, features) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert joined.threshold == 0
    assert joined.mean_boundary_threshold == 0.5
    assert joined.voxel_size_nm == (10.0, 10.0, 10.0)
    assert joined.error == ErrorCalibration(2.0, 0.1, 0.2, 32, 1.5)
    assert joined.provenance["policy"] == "committee of 2 policies"
    assert [one["seed"] for one in joined.provenance["members"]] == [0, 1]
    numbers = json.loads(about.read_text())
    assert (numbers["n_policies"], numbers["n_networks"]) == (2, 3)


def test_a_committee_may_sit_in_another(tmp_path: Path) -> None:
    runs = _write(tmp_path, _policy(0), _policy(1))
    make_committee(runs, tmp_path / "joined")
    again = make_committee([str(tmp_path / "joined"), runs[0]], tmp_path / "again")
    assert len(again.network.b3) == 4


def test_without_all_calibrations_there_is_none(tmp_path: Path) -> None:
    runs = _write(tmp_path, _policy(0), replace(_policy(1), error=None))
    assert make_committee(runs, tmp_path / "joined").error is None


def test_channels_are_those_of_the_members(tmp_path: Path) -> None:
    members = [replace(_policy(0), made_by={"texture": made}) for made in (None, "masks", "masks")]
    runs = _write(tmp_path, *members)
    assert make_committee(runs, tmp_path / "joined").made_by == {"texture": "masks"}


def test_what_the_first_does_not_state_is_compared_among_the_others(tmp_path: Path) -> None:
    made = [replace(_policy(0), made_by={"texture": one}) for one in (None, "masks", "other")]
    with pytest.raises(InputError, match=r"run_1 and .*run_2 were trained on channels of texture"):
        make_committee(_write(tmp_path, *made), tmp_path / "joined")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (_policy(1, n_features=N_SHAPE_FEATURES), "looks at 41 features and .* at 57"),
        (_policy(1, learner="fitted-q"), "of the learner fitted-q, whose scores are no log odds"),
        (
            replace(_policy(1), voxel_size_nm=(40.0, 4.0, 4.0)),
            "voxels of 10 10 10 nm .* on those of 40 4 4 nm",
        ),
        (
            replace(_policy(1), made_by={"texture": "other"}),
            "channels of texture that different things made",
        ),
    ],
)
def test_policies_that_cannot_be_joined(tmp_path: Path, second: Policy, sentence: str) -> None:
    runs = _write(tmp_path, replace(_policy(0), made_by={"texture": "masks"}), second)
    with pytest.raises(InputError, match=f"^--policies: .*{sentence}"):
        make_committee(runs, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_where_a_committee_cannot_be_written(tmp_path: Path) -> None:
    runs = _write(tmp_path, _policy(0), _policy(1))
    with pytest.raises(InputError, match="--policies must name two or more, not 1"):
        make_committee(runs[:1], tmp_path / "joined")
    with pytest.raises(InputError, match=r"--policies: .*nowhere holds no trained policy"):
        make_committee([runs[0], str(tmp_path / "nowhere")], tmp_path / "joined")
    make_committee(runs, tmp_path / "joined")
    before = (tmp_path / "joined" / FILE_NAME).read_bytes()
    with pytest.raises(InputError, match=r"--out: .* holds a policy already; --overwrite"):
        make_committee(runs[::-1], tmp_path / "joined")
    assert (tmp_path / "joined" / FILE_NAME).read_bytes() == before
    make_committee(runs[::-1], tmp_path / "joined", overwrite=True)
    assert (tmp_path / "joined" / FILE_NAME).read_bytes() != before
    Path(runs[0], "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"--out: .* is the folder of a training"):
        make_committee(runs, Path(runs[0]), overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out: .*file is a file"):
        make_committee(runs, tmp_path / "file")
