from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.run_folder import RunFolder
from agglo.training.exploration import Decisions, explored
from agglo.training.gala import distinct
from agglo.training.learner import LEARNER_NAMES, LearnerConfig, Memory, Past
from agglo.training.learners import LEARNERS, make_learner, require_learner
from agglo.training.network_fit import fit_network, layers_of
from agglo.training.sign_classification import balanced_weights, classify, joined, labelled
from agglo.training.train_config import TrainConfig
from analysis.input_error import InputError
from envs.merge_network import MergeNetwork
from tests.agglo.small_volumes import (
    agglo,
    make_tissue,
    quick_config,
    volume_options,
)
from tests.agglo.training_runs import (
    assert_same_run,
    assert_volumes_remembered,
    records,
    train_on,
    without_ray,
    write_light_and_dark,
    write_tissues,
)
from tests.envs.random_tissue import random_network

FIT = LearnerConfig(hidden_1=6, hidden_2=4, batch=32, epochs=2)


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without Ray."""
    without_ray(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tissues(tmp_path_factory.mktemp("training"))


def config_of(name: str, **changes: Any) -> TrainConfig:
    """Return a quick run of a learner; flat takes no rounds."""
    rounds = {"rounds": TrainConfig().rounds} if name == "flat" else {"rounds": 3, "n_average": 3}
    config = quick_config(**{**rounds, **changes})
    return dataclasses.replace(config, learner=dataclasses.replace(config.learner, name=name))


def some_decisions(seed: int, n: int = 50, volume: int = 0) -> Decisions:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 41)).astype(np.float32)
    worths = rng.integers(-2, 3, n).astype(np.float64)
    return Decisions(features, worths, np.arange(n) < n // 2, volume)


def same_bits(first: MergeNetwork, second: MergeNetwork) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


@pytest.mark.usefixtures("serial")
@pytest.mark.parametrize("name", LEARNER_NAMES)
def test_every_learner_learns_and_resumes(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command's own segmentation of a volume that was not trained on."""
    config = config_of(name)
    paths = [folder / "1.h5", folder / "2.h5"]
    policy = train_on(paths, tmp_path / "whole", config)
    log = records(tmp_path / "whole")
    assert [record["round"] for record in log] == ([0] if name == "flat" else [0, 1, 2, 3])
    assert len(policy.network.w1) == min(3, len(log))
    assert log[-1]["train_vi"] < 0.6 * log[-1]["train_start_vi"]

    class Stop(Exception):
        pass

    def stop(record: dict[str, Any]) -> None:
        if record["round"] == min(1, len(log) - 1):
            raise Stop

    with pytest.raises(Stop):
        train_on(paths, tmp_path / "torn", config, on_round=stop)
    train_on(paths, tmp_path / "torn", config, resume=True)
    assert_same_run(tmp_path / "torn", tmp_path / "whole")

    maps = volume_options(folder / "3.h5", "image", "boundaries", "superpixels")
    out = tmp_path / "s.zarr"
    words = ("segment", "--policy", tmp_path / "whole", *maps, "--out", out)
    assert agglo(capsys, *words).status == 0
    truth = volume_options(folder / "3.h5", "labels", "superpixels")
    words = ("evaluate", "--segmentation", out, *truth, "--json", tmp_path / "e.json")
    assert agglo(capsys, *words).status == 0


@pytest.mark.parametrize("name", ["gala", "policy-gradient"])
def test_neither_actors_nor_order_change_a_bit(
    folder: Path,
    tmp_path: Path,
    ray_local: None,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Two actors, and none: played in this process in the reverse order of tasks."""
    paths = [folder / "1.h5", folder / "2.h5"]
    config = config_of(name, rounds=2)
    train_on(paths, tmp_path / "two", config, n_actors=2)
    without_ray(monkeypatch)
    train_on(paths, tmp_path / "none", config)
    assert_same_run(tmp_path / "two", tmp_path / "none")


@pytest.mark.usefixtures("serial")
def test_flat_is_the_first_round_of_aggregation(folder: Path, tmp_path: Path) -> None:
    paths = [folder / "1.h5"]
    train_on(paths, tmp_path / "flat", config_of("flat"))
    train_on(paths, tmp_path / "aggregation", config_of("aggregation", rounds=1, n_average=1))
    (flat,), (first, _) = (records(tmp_path / name) for name in ("flat", "aggregation"))
    assert flat == first
    checkpoint = RunFolder.read(tmp_path / "flat").latest_checkpoint()
    assert checkpoint is not None
    assert not any(key.startswith("memory_") for key in checkpoint.state), "nothing to remember"


@pytest.mark.usefixtures("serial")
def test_what_is_remembered_shows_in_the_number_of_decisions(folder: Path, tmp_path: Path) -> None:
    numbers = {}
    for name in ("aggregation", "lash", "gala"):
        train_on([folder / "1.h5"], tmp_path / name, config_of(name))
        numbers[name] = [record["decisions"] for record in records(tmp_path / name)]
    assert (np.diff(numbers["aggregation"]) > 0).all()
    assert (np.diff(numbers["gala"]) > 0).all()
    assert max(numbers["lash"][1:]) < numbers["aggregation"][1]


def test_lash_learns_from_its_last_episodes_alone() -> None:
    learner = make_learner(dataclasses.replace(FIT, name="lash"), 0.5, -1.0)
    assert learner.start_label == "rand"
    first = learner.learn(Past({}, []), [some_decisions(1)], 3)
    second = learner.learn(Past(first.memory, [first.network]), [some_decisions(2)], 4)
    known = labelled([some_decisions(2)], FIT)
    expected, _ = fit_network(known["features"], known["is_good"], *first.network[:2], FIT, 4)
    assert first.memory == second.memory == {}
    assert same_bits(second.network, expected)


def test_the_experts_episodes_of_aggregation_do_only_what_is_right() -> None:
    """And decide every contact, where the policy's own merge wrongly and end at its floor."""
    instance = make_tissue(3).instance()
    network = random_network(5)
    learner = make_learner(FIT, 0.5, -1.0)
    assert learner.exploration is not None
    assert learner.strict_exploration is not None
    own = explored(instance, network, learner.exploration, 7)
    expert = explored(instance, network, learner.strict_exploration, 7)
    assert (own.worths[own.is_merged] < 0).any()
    assert (expert.worths[expert.is_merged] > 0).all()
    assert (expert.worths[~expert.is_merged] <= 0).all()
    assert (expert.worths < 0).sum() > (own.worths[~own.is_merged] < 0).sum()
    for name in set(LEARNER_NAMES) - {"aggregation"}:
        other = make_learner(dataclasses.replace(FIT, name=name), 0.5, -1.0)
        assert other.strict_exploration is None


def test_gala_learns_from_every_decision_once() -> None:
    learner = make_learner(dataclasses.replace(FIT, name="gala"), 0.5, -1.0)
    assert learner.exploration is not None
    assert (learner.exploration.execution, learner.exploration.label) == ("truth", "majority")
    assert learner.exploration.floor == -np.inf, "the queue is worked through to its end"
    first = learner.learn(Past({}, []), [some_decisions(1), some_decisions(1)], 3)
    past = Past(first.memory, [first.network])
    again = learner.learn(past, [some_decisions(1)], 4)
    other = learner.learn(past, [some_decisions(2)], 4)
    n, n_other = ((some_decisions(seed).worths != 0).sum() for seed in (1, 2))
    assert first.record["decisions"] == again.record["decisions"] == n
    assert other.record["decisions"] == n + n_other
    both = joined(labelled([some_decisions(1)], FIT), labelled([some_decisions(2)], FIT))
    expected = classify(both, [first.network], FIT, 4)
    assert same_bits(other.network, expected.network)


def test_equal_features_of_another_label_are_another_decision() -> None:
    features = np.array([[1, 2], [3, 4], [1, 2], [1, 2], [0, 9]], np.float32)
    is_good = np.array([True, True, True, False, False])
    kept = distinct({"features": features, "is_good": is_good})
    np.testing.assert_array_equal(kept["features"], features[[0, 1, 3, 4]])
    np.testing.assert_array_equal(kept["is_good"], is_good[[0, 1, 3, 4]])


def balance(*, classes: bool = False, volumes: bool = False) -> LearnerConfig:
    return dataclasses.replace(FIT, balance_classes=classes, balance_volumes=volumes)


def weights_of(decisions: Memory, *, classes: bool = False, volumes: bool = False) -> list[float]:
    weights = balanced_weights(decisions, balance(classes=classes, volumes=volumes))
    assert weights is not None
    assert weights.dtype == np.float32
    return weights.tolist()


def test_weights_are_those_of_a_calculation_by_hand() -> None:
    """Volume 0 has good, good, bad and good, volume 1 has bad and bad, volume 4 good and bad."""
    decisions = {
        "is_good": np.array([1, 1, 0, 1, 0, 0, 1, 0], np.bool_),
        "volumes": np.array([0, 0, 0, 0, 1, 1, 4, 4], np.int32),
    }
    assert balanced_weights(decisions, balance()) is None
    assert weights_of(decisions, classes=True) == [1] * 8
    third = 8 / 3
    assert weights_of(decisions, volumes=True) == pytest.approx(
        [third / 4] * 4 + [third / 2] * 4, rel=1e-6
    )
    # Good: 2 for each of two volumes. Bad: 4/3 for each of three.
    good, bad = 2 / 3, 4 / 3
    assert weights_of(decisions, classes=True, volumes=True) == pytest.approx(
        [good, good, bad, good, bad / 2, bad / 2, 2, bad], rel=1e-6
    )
    rare = {**decisions, "is_good": np.arange(8) == 5}
    assert weights_of(rare, classes=True) == pytest.approx([4 / 7] * 5 + [4] + [4 / 7] * 2)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=60),
    st.sampled_from([(True, False), (False, True), (True, True)]),
)
def test_what_is_balanced_has_equal_weight(
    drawn: list[tuple[bool, int]], balanced: tuple[bool, bool]
) -> None:
    """Against every share worked out on its own."""
    is_good, volumes = (np.array(column) for column in zip(*drawn, strict=True))
    decisions = {"is_good": is_good, "volumes": volumes}
    classes, by_volume = balanced
    weights = np.array(weights_of(decisions, classes=classes, volumes=by_volume))
    assert weights.sum() == pytest.approx(len(drawn), rel=1e-5)
    kinds = {good if classes else None for good, _ in drawn}
    for kind in kinds:
        of_kind = np.full(len(drawn), True) if kind is None else is_good == kind
        share = len(drawn) / len(kinds)
        assert weights[of_kind].sum() == pytest.approx(share, rel=1e-5)
        places = set(volumes[of_kind].tolist()) if by_volume else set()
        for volume in places:
            inside = weights[of_kind & (volumes == volume)]
            assert inside.sum() == pytest.approx(share / len(places), rel=1e-5)
            assert len(set(inside.tolist())) == 1


@pytest.mark.parametrize("name", ["aggregation", "lash", "gala", "flat"])
def test_learners_fit_with_the_weights_of_what_they_learn_from(name: str) -> None:
    """Classes and volumes of this round, and of all rounds where those are remembered."""
    config = dataclasses.replace(balance(classes=True, volumes=True), name=name)
    learner = make_learner(config, 0.5, -1.0)
    before = [some_decisions(1, 40), some_decisions(2, 90, volume=2)]
    now = [some_decisions(3, 30, volume=2), some_decisions(4, 60, volume=1)]
    first = learner.learn(Past({}, []), before, 3)
    second = learner.learn(Past(first.memory, [first.network]), now, 4)
    met = before + now if name in ("aggregation", "gala") else now
    known = labelled(met, config)
    assert known["volumes"].tolist() == [
        decisions.volume for decisions in met for _ in range((decisions.worths != 0).sum())
    ]
    plain = (known["features"], known["is_good"], *first.network[:2], FIT, 4)
    weights = balanced_weights(known, config)
    assert same_bits(second.network, fit_network(*plain, weights=weights)[0])
    assert not same_bits(second.network, fit_network(*plain)[0])


@pytest.mark.usefixtures("serial")
def test_decisions_know_their_volume(tmp_path: Path) -> None:
    config = config_of("aggregation", rounds=1, scales=(1.0, 2.0), episodes=1)
    learner = dataclasses.replace(config.learner, balance_volumes=True)
    config = dataclasses.replace(config, strict_episodes=1, degraded_copies=1, learner=learner)
    train_on(write_light_and_dark(tmp_path), tmp_path / "run", config)
    assert_volumes_remembered(tmp_path / "run")


def test_volumes_are_remembered_where_they_are_balanced_alone() -> None:
    for is_balanced in (False, True):
        learner = make_learner(balance(volumes=is_balanced), 0.5, -1.0)
        memory = learner.learn(Past({}, []), [some_decisions(1)], 3).memory
        assert ("volumes" in memory) == is_balanced


@pytest.mark.usefixtures("serial")
def test_balancing_changes_the_policy_where_there_is_something_to_balance(
    folder: Path, tmp_path: Path
) -> None:
    both = [folder / "1.h5", folder / "2.h5"]
    bits = {}
    for name, paths, config in (
        ("none", both, balance()),
        ("classes", both, balance(classes=True)),
        ("volumes", both, balance(volumes=True)),
        ("one", both[:1], balance()),
        ("one of one", both[:1], balance(volumes=True)),
    ):
        learner = dataclasses.replace(config, name="flat")
        run = dataclasses.replace(config_of("flat"), learner=learner)
        network = train_on(paths, tmp_path / name, run).network
        bits[name] = b"".join(array.tobytes() for array in network)
    assert len({bits[name] for name in ("none", "classes", "volumes")}) == 3
    assert bits["one"] == bits["one of one"], "a single volume has all of the weight"


@pytest.mark.parametrize("name", [name for name in LEARNER_NAMES if name != "flat"])
def test_a_round_without_decisions_leaves_the_network(name: str) -> None:
    learner = make_learner(dataclasses.replace(FIT, name=name), 0.5, -1.0)
    first = learner.learn(Past({}, []), [some_decisions(1)], 3)
    nothing = Decisions(np.zeros((0, 41), np.float32), np.zeros(0), np.zeros(0, np.bool_))
    if name in ("aggregation", "gala"):  # they remember round 0 and fit it again
        return
    lesson = learner.learn(Past(first.memory, [first.network]), [nothing], 4)
    assert same_bits(lesson.network, first.network)
    assert lesson.record["decisions"] == 0


def test_there_is_a_learner_for_every_name() -> None:
    assert tuple(LEARNERS) == LEARNER_NAMES
    for name in LEARNER_NAMES:
        config = config_of(name)
        require_learner(config.learner, config)
        assert (config.make_learner().exploration is None) == (name == "flat")
        assert config.n_rounds == (1 if name == "flat" else 4)
        for label in LEARNERS[name].labels:
            learner = make_learner(LearnerConfig(name=name, label=label), 0.5, -1.0)
            assert learner.start_label == label


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (
        ("--learner", "sarsa"),
        "--learner must be one of aggregation, lash, gala, flat, fitted-q, policy-gradient, not "
        "sarsa.",
    ),
    (
        ("--learner", "flat", "--rounds", "3"),
        "--rounds does not belong to --learner flat, but to aggregation, lash, gala, fitted-q, "
        "policy-gradient.",
    ),
    (
        ("--learner", "policy-gradient", "--noise", "1"),
        "--noise does not belong to --learner policy-gradient, but to aggregation, lash, gala, "
        "fitted-q.",
    ),
    (
        ("--learner", "gala", "--record-floor", "-2"),
        "--record-floor does not belong to --learner gala, but to aggregation, lash, fitted-q.",
    ),
    (
        ("--learner", "fitted-q", "--label", "vi"),
        "--label does not belong to --learner fitted-q, but to aggregation, lash, gala, flat.",
    ),
    (
        ("--return-steps", "2"),
        "--return-steps does not belong to --learner aggregation, but to fitted-q, "
        "policy-gradient.",
    ),
    (
        ("--learner", "fitted-q", "--balance-classes"),
        "--balance-classes does not belong to --learner fitted-q, but to aggregation, lash, gala, "
        "flat.",
    ),
    (
        ("--learner", "policy-gradient", "--balance-volumes"),
        "--balance-volumes does not belong to --learner policy-gradient, but to aggregation, lash, "
        "gala, flat.",
    ),
    (
        ("--learner", "flat", "--validation-shards", "2", "--choose-round"),
        "--choose-round does not belong to --learner flat, but to aggregation, lash, gala, "
        "fitted-q, policy-gradient.",
    ),
    (
        ("--label", "majority"),
        "--label must be one of vi, rand for --learner aggregation, not majority.",
    ),
    (
        ("--learner", "fitted-q", "--return-steps", "0"),
        "--return-steps must be at least 1, not 0.",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED)
def test_what_no_learner_takes_is_refused(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    given: tuple[str, ...],
    sentence: str,
) -> None:
    """In one sentence, before Ray is started and anything written."""
    words = ["train", *volume_options(folder / "1.h5"), "--out", tmp_path / "run"]
    said = agglo(capsys, *words, *given)
    assert said == (2, "", f"agglo: {sentence}\n")
    assert not list(tmp_path.iterdir())


def test_python_is_refused_the_same(folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(noise=2.0, learner=LearnerConfig(name="flat"))
    with pytest.raises(InputError, match="--noise does not belong to --learner flat"):
        train_on([folder / "1.h5"], tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_a_network_of_several_members_is_not_trained_further() -> None:
    with pytest.raises(ValueError, match="network has 2 members"):
        layers_of(random_network(0, n_members=2))
