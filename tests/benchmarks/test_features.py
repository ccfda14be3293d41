from __future__ import annotations

from pathlib import Path

import pytest

from agglo.training.volume_set import VolumeSet
from analysis.input_error import InputError
from benchmarks.accuracy import learned
from benchmarks.accuracy.cases import FIB25_HALVES, FIB25_HIGH, FIB25_LOW, Case
from benchmarks.accuracy.learned import feature_words
from benchmarks.accuracy.maps import Maps
from benchmarks.accuracy.rows import Row
from benchmarks.features import __main__ as main
from benchmarks.features import channels as module
from benchmarks.features.__main__ import (
    SETS,
    Arguments,
    figure_of,
    groups_of,
    name_of,
    rows_of,
    spread,
    values_of,
)
from benchmarks.features.channels import add_channels
from tests.benchmarks.recorded_commands import recorder

CASE = Case((FIB25_LOW,), FIB25_HIGH)


def volumes_of(name: str) -> VolumeSet:
    return VolumeSet(*(f"/{name}:{one}" for one in "ibsl"), voxel_size_nm=(10.0, 10.0, 10.0))


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """Record the commands instead of running them, and make what they would."""
    seen: list[list[str]] = []
    monkeypatch.setattr(module, "agglo", recorder(seen))
    return seen


def test_channels_are_made_once_and_see_the_training_side_alone(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    maps = Maps(Path("/data"), tmp_path, ("--steps", "7"), ("--views", "8"))
    sets = [volumes_of("low"), volumes_of("high")]
    made = add_channels(maps, CASE, sets, ("embedding", "grey", "texture"))
    folder = tmp_path / "maps" / "fib25_low"
    assert [one.texture for one in made] == [
        f"{folder}/fib25_{side}_texture.zarr" for side in ("low", "high")
    ]
    assert [one.embedding for one in made] == [
        f"{folder}/fib25_{side}_embedding.zarr:embedding" for side in ("low", "high")
    ]
    assert [one[:5] for one in made] == [one[:5] for one in sets]
    textures = [words for words in commands if words[0] == "texture"]
    assert ["--learn" in words for words in textures] == [True, False]
    (trained,) = (words for words in commands if words[1] == "train")
    assert trained[trained.index("--image") + 1 : trained.index("--labels")] == ["/low:i"]
    assert trained[trained.index("--steps") + 1] == "7"
    assert trained[trained.index("--embedding") + 1] == "8"
    predicted = [words for words in commands if words[1] == "predict"]
    assert ["--out-of-fold" in words for words in predicted] == [True, False]
    assert not any("--views" in words for words in predicted)
    commands.clear()
    assert add_channels(maps, CASE, sets, ("embedding", "texture")) == made
    assert not commands
    assert add_channels(maps, CASE, sets, ("grey", "shape")) == sets


def test_masks_are_those_of_the_superpixels_and_looked_at_as_texture(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    maps = Maps(Path("/data"), tmp_path, ())
    sets = [volumes_of("low"), volumes_of("high")]
    made = add_channels(maps, CASE, sets, ("grey", "masks"))
    folder = tmp_path / "maps" / "fib25_low"
    assert [one.texture for one in made] == [
        f"{folder}/fib25_{side}_masks.zarr" for side in ("low", "high")
    ]
    assert [one.embedding for one in made] == [None, None]
    assert [words[:3] for words in commands] == [
        ["masks", "--objects", f"/{side}:s"] for side in ("low", "high")
    ]
    assert all(words[-4:] == ["--voxel-size-nm", *["10.0"] * 3] for words in commands)
    commands.clear()
    assert add_channels(maps, CASE, sets, ("masks",)) == made
    assert not commands
    assert groups_of("grey+masks") == ("grey", "texture")
    assert name_of("flat", "grey+masks") == "flat_grey+masks"


def test_sets_with_masks_have_scenes_of_their_own(tmp_path: Path, monkeypatch) -> None:
    """Each policy is given the channels of its set, and the words of the command."""
    seen: list[tuple[str, object, object]] = []

    class Recorder:
        def __init__(self, name, words, features) -> None:
            self.name, self.features = name, features

        def __call__(self, trial) -> dict[str, float]:
            assert trial.train == ["low"]
            seen.append((self.name, self.features, trial.test))
            return {"vi": 1.0}

    made = {
        ("grey", "texture"): ["low", "high, texture"],
        ("grey", "masks"): ["low", "high, masks"],
    }
    monkeypatch.setattr(main.Maps, "prepare", lambda self, case: (["low"], "high"))
    monkeypatch.setattr(main, "add_channels", lambda maps, case, sets, groups: made[tuple(groups)])
    monkeypatch.setattr(main.Scene, "read", lambda volumes: volumes)
    monkeypatch.setattr(main, "REFERENCES", {})
    monkeypatch.setattr(main, "Trained", Recorder)
    features = ("grey", "grey+texture", "grey+masks")
    arguments = Arguments(out=tmp_path, features=features, learners=("flat",), seeds=(0,))
    policies = [("flat", one) for one in features]
    rows = rows_of(arguments, tmp_path, CASE, policies, lambda **_: None)
    assert [row.method for row in rows] == ["flat_grey", "flat_grey+texture", "flat_grey+masks"]
    assert seen == [
        ("flat_grey", ("grey",), "high, texture"),
        ("flat_grey+texture", ("grey", "texture"), "high, texture"),
        ("flat_grey+masks", ("grey", "texture"), "high, masks"),
    ]


def test_halves_have_no_channels(tmp_path: Path) -> None:
    first, second = FIB25_HALVES[0]
    maps = Maps(Path("/data"), tmp_path, ())
    sets = [volumes_of("first"), volumes_of("second")]
    with pytest.raises(InputError, match="parts without an image, or cut from others"):
        add_channels(maps, Case((first,), second), sets, ("texture",))


def test_a_policy_is_told_what_to_look_at_and_where() -> None:
    volumes = [volumes_of("a")._replace(texture="/a:t"), volumes_of("b")._replace(texture="/b:t")]
    assert feature_words(volumes, ()) == []
    assert feature_words(volumes, ("grey", "texture")) == [
        *("--features", "grey", "texture", "--texture", "/a:t", "/b:t")
    ]
    assert learned.Trained("default").features == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learners": ("best",)}, "--learners: 'best' is none of aggregation"),
        ({"features": ("grey+colour",)}, "--features: 'colour' is none of boundary"),
        (
            {"features": ("grey", "masks+grey+texture")},
            r"--features: masks\+grey\+texture has texture and masks, which .* name one of them",
        ),
        ({"seeds": ()}, "--steps, --views and the number of --seeds must be at least 1"),
    ],
)
def test_wrong_arguments_are_told(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Arguments(out=Path("out"), **given)


def test_numbers_are_gathered_by_learner_and_features() -> None:
    policies = [("flat", SETS[0]), ("gala", SETS[4]), ("gala", SETS[-1])]
    rows = [
        Row(CASE.name, name_of(*policy), seed, {"vi": n + seed, "adapted_rand_error": 0.1})
        for n, policy in enumerate(policies)
        for seed in (0, 1)
    ]
    rows += [Row(CASE.name, name, 0, {"vi": 0.5}) for name in ("floor", "greedy-oracle")]
    rows.append(Row(CASE.name, "mean-boundary", 0, {"vi": 2.0}))
    assert values_of(rows, name_of(*policies[1]), "vi") == [1.0, 2.0]
    assert policies[1][1] == "boundary+grey+geometry+shape"
    assert spread([1.0, 2.0]) == "1.500 ± 0.707"
    assert spread([1.0]) == "1.000"
    axis = figure_of(rows, policies, CASE.title).axes[0]
    shown = [label.get_text() for label in axis.get_yticklabels()]
    assert shown == ["flat: boundary", "gala: default+shape", "gala: all"]
