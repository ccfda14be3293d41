from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agglo.policy_file import FILE_NAME, Policy, load_policy, save_policy
from analysis.input_error import InputError
from envs.features import FEATURE_NAMES, N_FEATURES, N_SHAPE_FEATURES
from envs.merge_network import MergeNetwork, mean_boundary_network


def make_policy(n_features: int = N_FEATURES) -> Policy:
    rng = np.random.default_rng(0)
    shapes = ((n_features,), (n_features,), (2, n_features, 3), (2, 3), (2, 3, 2), (2, 2), (2, 2))
    network = MergeNetwork(*(rng.normal(size=s).astype(np.float32) for s in (*shapes, (2,))))
    return Policy(network, 0.25, 0.4, (40.0, 8.0, 8.0), {"volumes": ["a.h5:raw"], "rounds": 3})


def rewrite(
    path: Path, *, drop: str = "", about: dict[str, Any] | None = None, **arrays: Any
) -> None:
    """Change what is stored in a policy file."""
    with np.load(path) as stored:
        known = dict(stored)
    text = json.loads(str(known["about"]))
    known["about"] = np.array(json.dumps({**text, **(about or {})}))
    known.update(arrays)
    known.pop(drop, None)
    np.savez(path, **known)


@pytest.mark.parametrize("n_features", [N_FEATURES, N_SHAPE_FEATURES])
def test_a_policy_comes_back_as_it_was(tmp_path: Path, n_features: int) -> None:
    policy = make_policy(n_features)
    path = save_policy(tmp_path, policy)
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]
    for text in (str(tmp_path), str(path)):
        loaded = load_policy(text)
        for name, array in policy.network._asdict().items():
            assert getattr(loaded.network, name).tobytes() == array.tobytes()
        assert loaded.threshold == 0.25
        assert loaded.mean_boundary_threshold == 0.4
        assert loaded.voxel_size_nm == (40.0, 8.0, 8.0)
        assert loaded.provenance == policy.provenance


def test_a_policy_without_a_voxel_size(tmp_path: Path) -> None:
    policy = make_policy()
    save_policy(tmp_path, Policy(policy.network, 0.0, 0.5, None, {}))
    assert load_policy(str(tmp_path)).voxel_size_nm is None


def test_a_calibration_from_before_there_was_a_term_for_membrane(tmp_path: Path) -> None:
    path = save_policy(tmp_path, make_policy())
    rewrite(path, about={"error": {"slope": 2.0, "intercept": 0.5, "rms": 0.1, "n_shards": 8}})
    error = load_policy(str(path)).error
    assert error is not None
    assert error(0.3, 0.2) == pytest.approx(1.1)


def test_the_baseline_merges_by_mean_boundary_at_its_own_threshold() -> None:
    baseline = make_policy().baseline()
    for ours, expected in zip(baseline.network, mean_boundary_network(0.4), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert baseline.threshold == 0.0
    assert baseline.provenance["policy"] == "mean boundary"
    assert baseline.provenance["rounds"] == 3


def refusal(path: Path) -> str:
    """Return the sentence with which a policy is refused."""
    with pytest.raises(InputError) as caught:
        load_policy(str(path))
    sentence = str(caught.value)
    assert sentence.startswith("--policy: ")
    return sentence


def test_where_there_is_no_policy(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for path in (tmp_path / "run", tmp_path / "nothing"):
        assert refusal(path) == (
            f"--policy: {path} holds no trained policy (policy.npz); is its training finished?"
        )


def test_a_policy_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = save_policy(tmp_path, make_policy())
    whole = path.read_bytes()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"about": {"version": 2}}, "is of version 2, this agglo reads 1"),
        ({"about": {"features": list(FEATURE_NAMES[::-1])}}, "was trained on other features"),
        ({"about": {"features": None}}, "was trained on other features"),
        ({"about": {"voxel_size_nm": [1]}}, "is no whole policy file"),
        ({"about": {"voxel_size_nm": 8}}, "is no whole policy file"),
        ({"about": {"threshold": None}}, "is no whole policy file"),
        ({"about": {"threshold": "high"}}, "is no whole policy file"),
        ({"drop": "w2"}, "is no whole policy file: .*w2"),
        ({"drop": "about"}, "is no whole policy file: .*about"),
        ({"w2": np.zeros((2, 2), np.float32)}, "w1 and w2 have shapes"),
        ({"b3": np.array([np.nan, 0], np.float32)}, "b3 is not finite"),
        ({"mean": np.zeros(3, np.float32)}, "3 features are of no layout"),
        ({"w1": np.array("text")}, "is no whole policy file"),
    ]
    for change, words in cases:
        path.write_bytes(whole)
        rewrite(path, **change)
        with pytest.raises(InputError, match=f"--policy: .*{words}"):
            load_policy(str(path))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    for data in (b"", b"text", b"PK\x03\x04 and no more", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(data)
        assert "is no whole policy file" in refusal(path)
    np.savez(path, about=np.array({"version": 1}, dtype=object))
    assert "is no whole policy file" in refusal(path)
    np.savez(path, about=np.array("[1, 2]"))
    assert "is no whole policy file" in refusal(path)
    path.unlink()
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)
    assert "is no whole policy file" in refusal(path)


def test_damage_is_refused_wherever_it_lies(tmp_path: Path) -> None:
    policy = make_policy()
    path = save_policy(tmp_path, policy)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for n_kept in (*rng.integers(0, len(whole), 60), len(whole) - 1):
        path.write_bytes(whole[:n_kept])
        assert "is no whole policy file" in refusal(path)
    n_refused = 0
    for place in (
        *range(120),
        *rng.integers(0, len(whole), 600),
        *range(len(whole) - 900, len(whole)),
    ):
        data = bytearray(whole)
        data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            loaded = load_policy(str(path))
        except InputError:
            n_refused += 1
        else:  # a byte that carries nothing, such as a time
            for ours, expected in zip(loaded.network, policy.network, strict=True):
                assert ours.tobytes() == expected.tobytes()
            assert loaded.threshold == policy.threshold
    assert n_refused > 1000
