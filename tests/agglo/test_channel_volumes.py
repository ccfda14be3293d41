from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from agglo.blocks import measured_crop, stages, worker
from agglo.blocks.segmentation import segment_in_blocks
from agglo.policy_file import Policy, load_policy
from agglo.segmentation import load_tree
from agglo.training.known_channels import know_channels
from agglo.training.shard import Shard
from agglo.training.train import train_policy
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import VolumeSet, load_channels, load_instance, open_set, open_sets
from agglo.volumes import open_volume
from agglo.volumes.attributes import CHANNELS_OF, name_of_maker
from analysis.input_error import InputError
from envs.channel_sums import with_channels
from envs.channels import Channels
from envs.feature_groups import DEFAULT_GROUPS, GROUP_NAMES, group_of
from envs.feature_layout import FeatureLayout, feature_names
from envs.merge_network import mean_boundary_network
from tests.agglo.small_volumes import (
    NAMES,
    SHAPE,
    Tissue,
    agglo,
    make_tissue,
    quick_config,
    quick_options,
    volume_options,
    write_tissue,
)
from tests.agglo.test_blocks_segmentation import HerePool
from tests.agglo.training_runs import without_ray

MAPS = NAMES[:3]
CHANNELS = ("texture", "embedding")
LAYOUT = FeatureLayout(True, 2, True)


def with_hints(seed: int) -> tuple[Tissue, dict[str, npt.NDArray]]:
    """Make a tissue with a slab outside, and channels that know the neurons but for noise."""
    tissue = make_tissue(seed)
    tissue.superpixels[:8, :16, 24:] = 0
    rng = np.random.default_rng(seed)
    colours = rng.integers(40, 216, (3, int(tissue.labels.max()) + 1))
    clean = np.stack([colour[tissue.labels.astype(np.int64)] for colour in colours])
    noisy = np.clip(clean + rng.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
    texture = rng.integers(0, 256, (2, *SHAPE), np.uint8)
    return tissue, {"texture": texture, "embedding": noisy}


def write_hints(path: Path, seed: int) -> Path:
    tissue, channels = with_hints(seed)
    more: Any = channels
    write_tissue(path, tissue, **more)
    with h5py.File(path, "r+") as file:
        file["texture"].attrs[CHANNELS_OF] = "a dictionary"
        file["embedding"].attrs[CHANNELS_OF] = "a model"
        file["other"] = channels["texture"]
        file["other"].attrs[CHANNELS_OF] = "another one"
        file["three"] = np.concatenate([channels["texture"], channels["texture"][:1]])
        file["flat"] = channels["texture"][0]
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hints(tmp_path_factory.mktemp("hints") / "1.h5", 1)


def open_hints(path: Path, *groups: str) -> tuple[VolumeSet, tuple[int, int, int]]:
    channels: dict[str, Any] = {group: f"{path}:{group}" for group in groups or CHANNELS}
    image, boundaries, superpixels, labels = (f"{path}:{name}" for name in NAMES)
    return open_set(image, boundaries, superpixels, labels, None, **channels)


def looking_at(*groups: str, **changes: Any) -> TrainConfig:
    config = quick_config(rounds=1)
    learner = dataclasses.replace(config.learner, features=groups, **changes)
    return dataclasses.replace(config, learner=learner)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, path: Path) -> tuple[Path, Policy]:
    """A policy that looks at everything."""
    run = tmp_path_factory.mktemp("runs") / "run"
    volumes, shape = open_hints(path)
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        config = looking_at(*GROUP_NAMES)
        return run, train_policy([volumes], [shape], config, run, n_actors=1)


def test_channels_of_a_shard_are_those_of_the_cut_arrays(path: Path) -> None:
    """Where all volumes are crops, too; that of channels begins with theirs."""
    tissue, channels = with_hints(1)
    crop = "[2:15,:,10:]"
    image, boundaries, superpixels, labels = (f"{path}:{name}{crop}" for name in NAMES)
    own, other = f"{path}:texture[1:2,2:15,:,10:]", f"{path}:embedding[:,2:15,:,10:]"
    volumes, shape = open_set(
        *(image, boundaries, superpixels, labels, None), texture=own, embedding=other
    )
    assert shape == (13, 40, 30)
    instance = load_instance(volumes, Shard(0, (1, 3, 5), (11, 33, 27)))
    box = (slice(3, 13), slice(3, 33), slice(15, 37))
    cut = tissue.cut(*box)
    arrays = Channels(channels["texture"][1:2, *box], channels["embedding"][:, *box])
    expected = with_channels(cut.instance().graph, cut.superpixels, cut.boundaries, arrays)
    np.testing.assert_array_equal(instance.graph.regions, expected.regions)
    np.testing.assert_array_equal(instance.graph.contacts, expected.contacts)
    whole = load_channels(volumes)
    np.testing.assert_array_equal(whole.texture, channels["texture"][1:2, 2:15, :, 10:])
    np.testing.assert_array_equal(whole.embedding, channels["embedding"][:, 2:15, :, 10:])


def test_a_policy_knows_what_it_looks_at(trained: tuple[Path, Policy], path: Path) -> None:
    run, policy = trained
    assert policy.network.n_features == LAYOUT.n_features
    assert (policy.network.scale > 0).all()
    loaded = load_policy(str(run))
    assert loaded.made_by == {"texture": "a dictionary", "embedding": "a model"}
    stated = json.loads((run / "config.json").read_text())["config"]["volumes"]
    assert stated == [
        [*(f"{path}:{name}" for name in NAMES), [8.0, 8.0, 8.0]]
        + [f"{path}:{name}" for name in CHANNELS]
    ]


def test_groups_that_are_not_named_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, path: Path, tmp_path: Path
) -> None:
    """And what the neurons' colours tell is learned from."""
    without_ray(monkeypatch)
    volumes, shape = open_hints(path)
    train_vi = {}
    for groups in (DEFAULT_GROUPS, ("texture",), ("embedding",)):
        run, config = tmp_path / "_".join(groups), looking_at(*groups, epochs=30)
        policy = train_policy([volumes], [shape], config, run, n_actors=1)
        names = feature_names(policy.network.n_features)
        for name, scale in zip(names, policy.network.scale.tolist(), strict=True):
            assert (scale > 0) == (group_of(name) in groups)
        last = (run / "metrics.jsonl").read_text().splitlines()[-1]
        train_vi[groups] = json.loads(last)["train_vi"]
    assert train_vi["embedding",] < train_vi["texture",] / 2


def segment_options(run: Path, path: Path, *groups: str, **instead: str) -> list[str]:
    words = ["segment", "--policy", str(run), *volume_options(path, *MAPS)]
    for group in groups or CHANNELS:
        words += [f"--{group}", instead.get(group, f"{path}:{group}")]
    return words


def test_any_cutting_is_the_run_in_memory(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trained: tuple[Path, Policy],
    tmp_path: Path,
) -> None:
    """With a block in which there is nothing, on a tissue that the policy has not seen."""
    run, policy = trained
    other = write_hints(tmp_path / "2.h5", 2)
    whole = tmp_path / "whole.zarr"
    assert agglo(capsys, *segment_options(run, other), "--out", whole).status == 0
    monkeypatch.setattr(stages, "ActorPool", HerePool)
    monkeypatch.setattr(HerePool, "n_before", None)
    texts: dict[str, Any] = {name: f"{other}:{name}" for name in (*MAPS, *CHANNELS)}
    out = str(tmp_path / "s.zarr")
    segment_in_blocks(policy, **texts, out=out, block_vox=(8, 16, 24), n_actors=1)
    segmentations = [open_volume(str(one), argument="--out").read() for one in (out, whole)]
    np.testing.assert_array_equal(segmentations[0], segmentations[1])
    assert 1 < len(np.unique(segmentations[0])) < 60
    one, two = (
        load_tree(tmp_path / f"{name}.merge_tree.npz", argument="--out") for name in ("s", "whole")
    )
    np.testing.assert_array_equal(one.merges, two.merges)
    np.testing.assert_array_equal(one.heights, two.heights)
    said = agglo(
        capsys,
        *("replay", *segment_options(run, other)[1:], "--out", tmp_path / "episode.npz"),
    )
    assert said.status == 0
    assert f"{len(np.unique(segmentations[0])) - 1}" in said.out


def test_a_plan_measures_the_sums_of_channels(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trained: tuple[Path, Policy],
    path: Path,
    tmp_path: Path,
) -> None:
    """Those of the middle, of the channels that an address names."""
    monkeypatch.setattr(stages, "ActorPool", HerePool)
    monkeypatch.setattr(HerePool, "n_before", None)
    monkeypatch.setattr(measured_crop, "ray_session", nullcontext)
    summed = []

    def with_notes(graph: Any, superpixels: Any, boundaries: Any, given: Channels, **how: Any):
        summed.append(given)
        return with_channels(graph, superpixels, boundaries, given, **how)

    monkeypatch.setattr(worker, "with_channels", with_notes)
    words = segment_options(trained[0], path, embedding=f"{path}:embedding[1:,1:]")[1:]
    words += ["--crop", "15", "32", "40", "--blocks", "15", "32", "20", "--actors", "1"]
    words += ["--json", str(tmp_path / "plan.json")]
    refused = agglo(capsys, "plan", *words, "--embedding", f"{path}:flat")
    assert (refused.status, "where c, z, y, x is expected" in refused.err) == (2, True)
    refused = agglo(capsys, "plan", *words, "--texture", f"{path}:three")
    assert (refused.status, "has 3 channels, but the policy" in refused.err) == (2, True)
    assert summed == []
    said = agglo(capsys, "plan", *words)
    assert said.status == 0, said.err
    _, channels = with_hints(1)
    first, second = sorted(summed, key=lambda given: given.texture.shape[-1])  # rims of 1 and 2
    np.testing.assert_array_equal(first.texture, channels["texture"][:, :15, 4:36, :21])
    np.testing.assert_array_equal(second.embedding, channels["embedding"][1:, 1:, 4:36, 18:])
    planned = json.loads((tmp_path / "plan.json").read_text())
    assert "sums" in {one["stage"] for one in planned["stages"]}


@pytest.mark.parametrize(("command", "out"), [("segment", "s.zarr"), ("replay", "s.npz")])
def test_the_baseline_looks_at_no_channels(
    capsys: pytest.CaptureFixture[str],
    trained: tuple[Path, Policy],
    path: Path,
    tmp_path: Path,
    command: str,
    out: str,
) -> None:
    """Not even at those that are given, which need not be there."""
    words = segment_options(trained[0], path, texture="nowhere.zarr")[1:]
    assert agglo(capsys, command, *words, "--baseline", "--out", tmp_path / out).status == 0


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    ("groups", "instead", "message"),
    [
        (["texture"], {}, "--embedding is needed: the policy looks at embedding."),
        (["embedding"], {}, "--texture is needed: the policy looks at texture."),
        (CHANNELS, {"texture": "three"}, "three has 3 channels, but the policy looks at 2."),
        (
            CHANNELS,
            {"texture": "other"},
            "other holds channels of another one, but the policy was trained on channels of a dict",
        ),
        (CHANNELS, {"texture": "flat"}, "has shape (16, 40, 40), where channels (c, z, y, x) are"),
    ],
)
def test_channels_that_do_not_fit_the_policy(
    capsys: pytest.CaptureFixture[str],
    trained: tuple[Path, Policy],
    path: Path,
    tmp_path: Path,
    groups: list[str],
    instead: dict[str, str],
    message: str,
) -> None:
    addresses = {group: f"{path}:{name}" for group, name in instead.items()}
    words = segment_options(trained[0], path, *groups, **addresses)
    for more in ([], ["--blocks", "8", "16", "24"]):
        said = agglo(capsys, *words, "--out", tmp_path / "s.zarr", *more)
        assert said.status == 2
        assert message in said.err.replace("\n", " ")
        assert not list(tmp_path.iterdir())


def test_a_policy_without_channels_takes_none(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    from agglo.policy_file import save_policy

    save_policy(tmp_path, Policy(mean_boundary_network(0.3), 0.0, 0.3, None, {}))
    said = agglo(capsys, *segment_options(tmp_path, path), "--out", tmp_path / "s.zarr")
    assert (said.status, "--texture was given, but the policy looks at no" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "grey", "texture"], "texture needs volumes of channels, so --texture must"),
        (["--texture", "{}:texture"], "--texture was given, but --features do not name texture."),
        (
            ["--features", "texture", "--texture", "{}:texture", "{}:texture"],
            "--texture must name as many volumes as --image, 1, or none; seen 2.",
        ),
        (
            ["--features", "texture", "--texture", "{}:flat"],
            "has shape (16, 40, 40), where four axes c, z, y, x",
        ),
        (
            ["--features", "texture", "--texture", "{}:texture", "--degraded-copies", "1"],
            "--degraded-copies: there are no channels of damaged boundary maps",
        ),
    ],
)
@pytest.mark.usefixtures("ray_local")
def test_training_without_the_channels_it_needs(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    given = [word.format(path) for word in words]
    said = agglo(
        capsys,
        *("train", *volume_options(path), "--out", tmp_path / "run", *quick_options(), *given),
    )
    assert said.status == 2
    assert message in said.err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_channels_of_two_kinds_are_not_learned_from_together(path: Path) -> None:
    image, boundaries, superpixels, labels = ([f"{path}:{name}"] * 2 for name in NAMES)
    four = (image, boundaries, superpixels, labels)
    textures = [f"{path}:texture", f"{path}:other"]
    sets, _ = open_sets(*four, None, texture=textures)
    with pytest.raises(InputError, match="2 channels of a dictionary and 2 channels of another on"):
        know_channels(sets, ("texture",))
    assert know_channels(sets, ("grey",)).made_by == {}
    sets, _ = open_sets(*four, None, embedding=[f"{path}:embedding", f"{path}:embedding[:1]"])
    known = know_channels(sets, ("embedding",))
    assert (known.n_texture, known.made_by) == (0, {"embedding": "a model"})


def test_digests_are_short_in_sentences_and_names_are_whole() -> None:
    assert name_of_maker("0123456789abcdef" * 4) == "0123456789ab"
    masks = "masks 160 nm in 3 shells, voxels of 10 10 10 nm"
    assert name_of_maker(masks) == masks
