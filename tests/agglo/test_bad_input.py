"""Wrong input ends every command with status 2, one sentence, and nothing written."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from agglo.run_folder import RunFolder
from tests.agglo.small_volumes import (
    NAMES,
    SHAPE,
    Said,
    agglo,
    make_tissue,
    open_tissue,
    quick_config,
    quick_options,
    save_quick_policy,
    tree_of,
    volume_options,
    write_tissue,
)

COMMANDS = {
    "train": NAMES,
    "segment": ("image", "boundaries", "superpixels"),
    "superpixels": ("boundaries",),
    "evaluate": ("segmentation", "labels", "superpixels"),
    "evaluate map": ("boundaries", "labels"),
    "replay": NAMES,
}
"""The volumes that commands take."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whole volumes, damaged ones, a policy, and outputs that exist."""
    folder = tmp_path_factory.mktemp("bad input")
    tissue = make_tissue(1)
    n = np.float32(np.nan)
    write_tissue(
        folder / "whole.h5",
        tissue,
        segmentation=tissue.labels,
        narrow=np.ones((16, 40, 39), np.uint8),
        narrow_map=np.ones((16, 40, 39), np.float32),
        flat=np.ones((40, 40), np.uint8),
        affinities=np.full((3, *SHAPE), 0.5, np.float32),
        float_labels=tissue.labels.astype(np.float32),
        negative=tissue.labels.astype(np.int32) - 2,
        zero=np.zeros(SHAPE, np.uint8),
        one=np.full(SHAPE, 7, np.uint64),
        nan_map=np.where(tissue.boundaries > 0.95, n, tissue.boundaries),
        nan_image=np.where(tissue.image > 250, n, tissue.image),
        beyond=tissue.boundaries + np.float32(0.5),
        integer_map=tissue.superpixels,
        empty=np.zeros((0, 40, 40), np.uint8),
        empty_map=np.zeros((0, 40, 40), np.float32),
    )
    with h5py.File(folder / "whole.h5", "r+") as file:
        file["thick"] = tissue.labels
        file["thick"].attrs["voxel_size_nm"] = (40.0, 8.0, 8.0)
        file["words"] = np.array([b"a", b"b"])
        file.create_group("group")
    data = (folder / "whole.h5").read_bytes()
    (folder / "cut.h5").write_bytes(data[: len(data) // 2])
    (folder / "text.h5").write_text("no HDF5")
    np.save(folder / "map.npy", tissue.boundaries)
    (folder / "cut.npy").write_bytes((folder / "map.npy").read_bytes()[:-1000])
    (folder / "notes.txt").write_text("notes")
    (folder / "plain").mkdir()
    (folder / "plain" / "notes.txt").write_text("notes")
    save_quick_policy(folder / "run", tissue)
    return folder


def command_line(folder: Path, command: str, **instead: str) -> list[str]:
    """Write a command that is right but for the volumes named `instead`."""
    given = {name: text.replace("DIR", str(folder)) for name, text in instead.items()}
    words = [command.split()[0], *volume_options(folder / "whole.h5", *COMMANDS[command], **given)]
    if command in ("segment", "replay"):
        words += ["--policy", str(folder / "run")]
    if command == "train":
        words += [*quick_options(rounds=1), "--actors", "1"]
    if command.startswith("evaluate"):
        return [*words, "--json", f"{folder}/scores.json", "--pictures", f"{folder}/pictures"]
    suffix = {"train": "", "replay": ".npz"}.get(command, ".zarr")
    return [*words, "--out", f"{folder}/new{suffix}", "--json", f"{folder}/results.json"]


def assert_refused(said: Said, *words: str) -> None:
    """Check that a command ended with one sentence that has the words, and nothing else."""
    assert said.status == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    sentences = [line for line in said.err.splitlines() if not LOG_LINE.match(line)]
    assert len(sentences) == 1, said.err
    assert sentences[0].startswith("agglo: ")
    assert not re.search(r"[.;] [A-Z]", sentences[0]), "more than one sentence"
    for word in words:
        assert word in sentences[0]


LOG_LINE = re.compile(r"using the Ray session at hand: ")
"""What `agglo train` says before it begins."""

HEADERS = [
    # command, argument, address instead, what is said
    ("train", "labels", "DIR/whole.h5:narrow", "--labels has shape (16, 40, 39) and --image has"),
    ("train", "image", "DIR/whole.h5:narrow", "--boundaries has shape (16, 40, 40) and --image"),
    ("segment", "superpixels", "DIR/whole.h5:narrow", "--superpixels has shape (16, 40, 39)"),
    ("segment", "boundaries", "DIR/whole.h5:narrow_map", "--boundaries has shape (16, 40, 39)"),
    ("evaluate", "labels", "DIR/whole.h5:narrow", "--labels has shape (16, 40, 39)"),
    ("evaluate", "superpixels", "DIR/whole.h5:narrow", "--superpixels has shape (16, 40, 39)"),
    ("evaluate map", "boundaries", "DIR/whole.h5:narrow_map", "has shape (16, 40, 39)"),
    ("replay", "labels", "DIR/whole.h5:narrow", "--labels has shape (16, 40, 39)"),
    ("segment", "image", "DIR/whole.h5:flat", "--image has shape (40, 40), where the sizes"),
    ("superpixels", "boundaries", "DIR/whole.h5:flat", "shape (40, 40), where the axes z, y, x"),
    ("train", "boundaries", "DIR/whole.h5:affinities", "has shape (3, 16, 40, 40), where three"),
    ("segment", "boundaries", "DIR/whole.h5:affinities", "which is that of affinities (c, z, y, x"),
    ("superpixels", "boundaries", "DIR/whole.h5:affinities", "which is that of affinities"),
    ("evaluate map", "boundaries", "DIR/whole.h5:affinities", "which is that of affinities"),
    ("replay", "boundaries", "DIR/whole.h5:affinities", "which is that of affinities"),
    ("segment", "superpixels", "DIR/whole.h5:float_labels", "type float32, where superpixels are"),
    ("evaluate", "segmentation", "DIR/whole.h5:float_labels", "type float32, where labels are"),
    ("evaluate", "labels", "DIR/whole.h5:float_labels", "type float32, where labels are integers"),
    ("evaluate map", "labels", "DIR/whole.h5:float_labels", "type float32, where labels are"),
    ("superpixels", "boundaries", "DIR/whole.h5:nan_map", "values that are NaN or infinite"),
    ("segment", "boundaries", "DIR/whole.h5:nan_map", "values that are NaN or infinite"),
    ("segment", "image", "DIR/whole.h5:nan_image", "values that are NaN or infinite"),
    ("evaluate map", "boundaries", "DIR/whole.h5:nan_map", "values that are NaN or infinite"),
    ("superpixels", "boundaries", "DIR/whole.h5:beyond", "values from 0.5 to 1.5, where floats in"),
    ("segment", "boundaries", "DIR/whole.h5:beyond", "values from 0.5 to 1.5, where floats in"),
    ("evaluate map", "boundaries", "DIR/whole.h5:beyond", "values from 0.5 to 1.5, where floats"),
    ("superpixels", "boundaries", "DIR/whole.h5:integer_map", "type uint64, where boundaries are"),
    ("train", "image", "DIR/whole.h5:empty", "has shape (0, 40, 40), where three axes z, y, x"),
    ("segment", "superpixels", "DIR/whole.h5:empty", "--superpixels has shape (0, 40, 40)"),
    ("superpixels", "boundaries", "DIR/whole.h5:empty_map", "is empty: its shape is (0, 40, 40)"),
    ("evaluate", "labels", "DIR/whole.h5:empty", "--labels has shape (0, 40, 40)"),
    ("segment", "superpixels", "DIR/whole.h5:one", "holds one superpixel, 7, alone, where two"),
    ("segment", "superpixels", "DIR/whole.h5:zero", "holds nothing but 0, where two superpixels"),
    ("replay", "superpixels", "DIR/whole.h5:one", "holds one superpixel, 7, alone, where two"),
    ("segment", "superpixels", "DIR/whole.h5:negative", "negative values down to -2, where"),
    ("evaluate", "labels", "DIR/whole.h5:negative", "negative values down to -2, where labels"),
    ("evaluate", "segmentation", "DIR/whole.h5:negative", "negative values down to -2"),
    ("evaluate", "labels", "DIR/whole.h5:zero", "is 0 everywhere: no truth"),
    ("evaluate map", "labels", "DIR/whole.h5:zero", "is 0 everywhere: no truth"),
    ("train", "image", "DIR/whole.h5", "needs the name of a dataset, as in"),
    ("segment", "image", "DIR/whole.h5", "it holds affinities (3, 16, 40, 40) float32,"),
    ("superpixels", "boundaries", "DIR/whole.h5", "needs the name of a dataset, as in"),
    ("evaluate", "labels", "DIR/whole.h5", "needs the name of a dataset, as in"),
    ("train", "labels", "DIR/whole.h5:neurons", "has no dataset neurons; it holds affinities"),
    ("superpixels", "boundaries", "DIR/whole.h5:group", "is a group; the file holds"),
    ("segment", "image", "DIR/whole.h5:words", "has values of type |S1, no numbers"),
    ("train", "image", "DIR/cut.h5:image", "cannot be read: "),
    ("segment", "boundaries", "DIR/cut.h5:boundaries", "cannot be read: "),
    ("evaluate", "labels", "DIR/cut.h5:labels", "cannot be read: "),
    ("superpixels", "boundaries", "DIR/text.h5:boundaries", "cannot be read: "),
    ("superpixels", "boundaries", "DIR/cut.npy", "cannot be read: "),
    ("train", "superpixels", "DIR/nothing.zarr", "there is no file or folder DIR/nothing.zarr"),
    ("segment", "image", "DIR/nothing.h5:image", "there is no file or folder DIR/nothing.h5"),
    ("evaluate", "labels", "DIR/nothing.tif", "there is no file or folder DIR/nothing.tif"),
    ("superpixels", "boundaries", "DIR/notes.txt", "ends in .txt, which is none of .h5"),
    ("superpixels", "boundaries", "DIR/plain", "is a folder that is neither a Zarr nor has PNG"),
    ("superpixels", "boundaries", "DIR/whole.h5:boundaries[3:99]", "leaves it: the array has"),
    ("train", "labels", "DIR/whole.h5:thick", "--labels has voxels of (40.0, 8.0, 8.0) nm but"),
    ("segment", "superpixels", "DIR/whole.h5:thick", "has voxels of (40.0, 8.0, 8.0) nm but"),
    ("evaluate", "labels", "DIR/whole.h5:thick", "has voxels of (40.0, 8.0, 8.0) nm but"),
]


@pytest.mark.parametrize(("command", "argument", "address", "seen"), HEADERS)
def test_a_wrong_volume_is_refused(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    command: str,
    argument: str,
    address: str,
    seen: str,
) -> None:
    before = tree_of(folder)
    said = agglo(capsys, *command_line(folder, command, **{argument: address}))
    assert_refused(said, f"--{argument}", seen.replace("DIR", str(folder)))
    assert tree_of(folder) == before


@pytest.mark.parametrize("command", ["train", "segment", "superpixels", "evaluate"])
def test_a_voxel_size_that_contradicts_the_file_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, command: str
) -> None:
    before = tree_of(folder)
    said = agglo(capsys, *command_line(folder, command), "--voxel-size-nm", "40", "8", "8")
    assert_refused(said, "--voxel-size-nm: 40 8 8 contradicts 8 8 8, which ", "states itself")
    said = agglo(capsys, *command_line(folder, command), "--voxel-size-nm", "0", "8", "8")
    assert_refused(said, "--voxel-size-nm: (0.0, 8.0, 8.0) is not three positive numbers")
    assert tree_of(folder) == before


@pytest.mark.parametrize("command", ["segment", "superpixels", "replay"])
def test_an_output_that_exists_is_left_alone(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, command: str
) -> None:
    words = command_line(folder, command)
    out = tmp_path / Path(words[words.index("--out") + 1]).name
    words[words.index("--out") + 1] = str(out)
    words[words.index("--json") + 1] = str(tmp_path / "results.json")
    assert agglo(capsys, *words).status == 0
    before = tree_of(tmp_path)
    assert_refused(agglo(capsys, *words), "--out", str(out), "exists", "--overwrite")
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize(
    ("out", "seen"),
    [
        ("DIR/no/where.zarr", "there is no folder DIR/no to write it to"),
        ("DIR/plain", "what exists there is no Zarr"),
        ("DIR/new.h5", "names no dataset; write DIR/new.h5:NAME"),
        ("DIR/new.tif", "ends in .tif, but volumes are written as OME-Zarr"),
        ("DIR/whole.h5:image/new", "image is a dataset, which cannot hold others"),
        ("DIR/text.h5:new", "exists and is no HDF5 file"),
    ],
)
@pytest.mark.parametrize("command", ["segment", "superpixels"])
def test_a_place_that_cannot_be_written_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, command: str, out: str, seen: str
) -> None:
    before = tree_of(folder)
    words = command_line(folder, command)
    words[words.index("--out") + 1] = out.replace("DIR", str(folder))
    said = agglo(capsys, *words, "--overwrite")
    assert_refused(said, "--out: ", seen.replace("DIR", str(folder)))
    assert tree_of(folder) == before


def test_a_damaged_policy_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    file = tmp_path / "run" / "policy.npz"
    whole = file.read_bytes()
    before = tree_of(folder)
    for command in ("segment", "replay"):
        words = command_line(folder, command)
        words[words.index("--policy") + 1] = str(tmp_path / "run")
        for data in (whole[:-1], whole[:300], b"", b"text", whole[:500] + whole[520:]):
            file.write_bytes(data)
            assert_refused(agglo(capsys, *words), f"--policy: {file} is no whole policy file: ")
        file.unlink()
        sentence = f"--policy: {tmp_path / 'run'} holds no trained policy (policy.npz)"
        assert_refused(agglo(capsys, *words), sentence)
    assert tree_of(folder) == before


@pytest.mark.parametrize("threshold", ["nan", "inf"])
def test_a_threshold_is_a_number(
    capsys: pytest.CaptureFixture[str], folder: Path, threshold: str
) -> None:
    before = tree_of(folder)
    said = agglo(capsys, *command_line(folder, "segment"), "--threshold", threshold)
    assert_refused(said, f"--threshold must be a finite number, not {threshold}")
    assert tree_of(folder) == before


def test_unequal_numbers_of_volumes_are_refused(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    before = tree_of(folder)
    words = command_line(folder, "train")
    more = [*words[: words.index("--image") + 1], f"{folder}/whole.h5:image"]
    said = agglo(capsys, *more, *words[words.index("--image") + 1 :])
    assert_refused(said, "--image, --boundaries, ", "equally many volumes", "seen 2, 1, 1 and 1")
    none = ["train", *(f"--{name}" for name in NAMES), "--out", f"{folder}/new"]
    assert_refused(agglo(capsys, *none), "one or more; seen 0, 0, 0 and 0")
    assert tree_of(folder) == before


IN_ACTORS = [
    ("boundaries", "DIR/whole.h5:nan_map", "--boundaries", "NaN or infinite"),
    ("boundaries", "DIR/whole.h5:beyond", "--boundaries", "values from 0.5 to 1.5"),
    ("labels", "DIR/whole.h5:float_labels", "--labels", "type float32, where labels are integers"),
    ("labels", "DIR/whole.h5:negative", "--labels", "negative values down to -2"),
    ("labels", "DIR/whole.h5:zero", "--labels", "have 0 contacts of superpixels with labels"),
    ("superpixels", "DIR/whole.h5:one", "--superpixels", "have 0 contacts of superpixels"),
]


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(("argument", "address", "named", "seen"), IN_ACTORS)
def test_what_only_an_actor_sees_leaves_no_run_folder(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    argument: str,
    address: str,
    named: str,
    seen: str,
) -> None:
    before = tree_of(folder)
    said = agglo(capsys, *command_line(folder, "train", **{argument: address}))
    assert_refused(said, named, seen)
    assert tree_of(folder) == before


@pytest.mark.usefixtures("ray_local")
def test_a_run_that_exists_is_left_alone(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    """Refused without --overwrite, of another configuration, or without room for its actors."""
    volumes, shape = open_tissue(folder / "whole.h5")
    config = quick_config(rounds=1)
    stated = {"train": dataclasses.asdict(config), "volumes": [list(volumes)], "shapes": [shape]}
    out = tmp_path / "run"
    with RunFolder.create(out, stated, resume=False, overwrite=False) as run:
        run.log({"round": 0})
    before = tree_of(tmp_path)
    words = [word.replace(f"{folder}/new", str(out)) for word in command_line(folder, "train")]
    words[words.index("--json") + 1] = str(tmp_path / "results.json")
    many = [*words, "--actors", "99"]
    other_volume = [word.replace("whole.h5:image", "whole.h5:zero") for word in words]
    cases = [
        (words, f"--out: {out} exists; --resume goes on, --overwrite starts anew"),
        ([*words, "--seed", "1", "--resume"], "another configuration, train.seed was 0 and is now"),
        ([*words, "--batch", "9", "--resume"], "train.learner.batch was 64 and is now 9"),
        ([*other_volume, "--resume"], 'whole.h5:image", "'),
        ([*words, "--resume", "--overwrite"], "--resume: it cannot be combined with --overwrite"),
        (many, "--actors: 99 of 1 CPU and 0 GPU each were asked for, but the cluster has 2 CPUs"),
        ([*many, "--overwrite"], "--actors: 99 of 1 CPU"),
        ([*words, "--actors", "0", "--overwrite"], "--actors must be at least 1, not 0"),
        ([*words, "--validation-shards", "4"], "--validation-shards must leave a shard to train"),
        ([*words, "--shard-vox", "0", "9", "9"], "--shard-vox must be three positive numbers"),
        (
            [*words, "--scales", "2", "--validation-shards", "1", "--overwrite"],
            "--scales 2.0 leave no shard to train on: each meets one of the 1 that are kept out",
        ),
        ([*words, "--out", f"{folder}/plain", "--overwrite"], "is not a run folder and is not ov"),
        ([*words, "--out", f"{folder}/none", "--resume"], "--resume: there is no run folder"),
    ]
    for given, seen in cases:
        assert_refused(agglo(capsys, *given), seen)
        assert tree_of(tmp_path) == before
