"""What no boundary model can be trained on ends with status 2, one sentence, and no file."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.agglo.small_volumes import Said, agglo, make_tissue, tree_of, write_tissue

pytestmark = pytest.mark.usefixtures("ray_local")

SHAPE = (16, 40, 40)
WORDS = ("--steps", "10", "--widths", "4", "4", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a volume that could be trained on, and others that could not."""
    folder = tmp_path_factory.mktemp("bad boundaries")
    tissue = make_tissue(1)
    labels, image = tissue.labels, tissue.image
    first_half = np.zeros(SHAPE, bool)
    first_half[:, :20] = True
    write_tissue(
        folder / "whole.h5",
        tissue,
        narrow=np.ones((16, 40, 39), np.uint8),
        channels=np.stack([image] * 3),
        section=image[0],
        constant=np.full(SHAPE, 9, np.uint8),
        nan_image=np.where(image > 250, np.float32(np.nan), image),
        words_of_truth=labels.astype(np.float32),
        negative=labels.astype(np.int32) - 2,
        zero=np.zeros(SHAPE, np.uint8),
        one=np.full(SHAPE, 7, np.uint64),
        one_in_half=np.where(first_half, 7, labels),
        only_half=np.where(first_half, 0, labels),
        second_half=~first_half,
        mask=np.ones(SHAPE, bool),
        nan_mask=np.where(image > 250, np.float32(np.nan), 1),
    )
    with h5py.File(folder / "whole.h5", "r+") as file:
        file["thick"] = image
        file["thick"].attrs["voxel_size_nm"] = (40.0, 8.0, 8.0)
        file["bare"], file["bare_labels"] = image, labels
    return folder


def _train(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    *more: str,
    image: str = "image",
    labels: str = "labels",
    mask: str | None = None,
) -> Said:
    def named(text: str) -> list[str]:
        return [f"{folder}/whole.h5:{name}" for name in text.split()]

    words = ["--image", *named(image), "--labels", *named(labels)]
    if mask is not None:
        words += ["--mask", *named(mask)]
    words += ["--out", f"{folder}/model", "--json", f"{folder}/results.json", *WORDS, *more]
    return agglo(capsys, "boundaries", "train", *words)


def _assert_refused(said: Said, logged: list[str], seen: str) -> None:
    """Check that a command ended with one sentence beside what it logged."""
    assert said.status == 2, said
    assert said.out == ""
    sentences = [line for line in said.err.splitlines() if line not in logged]
    assert len(sentences) == 1, said.err
    assert sentences[0].startswith("agglo: ")
    assert not re.search(r"[.;] [A-Z]", sentences[0]), "more than one sentence"
    assert seen in sentences[0]


CASES = [
    # options, what is said
    ({"image": "narrow"}, "--labels has shape (16, 40, 40) and --image has shape (16, 40, 39)"),
    ({"labels": "narrow"}, "--labels has shape (16, 40, 39) and --image has shape (16, 40, 40)"),
    ({"mask": "narrow"}, "--mask has shape (16, 40, 39) and --image has shape (16, 40, 40)"),
    ({"mask": "mask mask"}, "--mask must name one volume for each --image, or none at all; seen 2"),
    ({"image": "image image"}, "--image and --labels must name equally many volumes"),
    ({"image": "channels"}, "has shape (3, 16, 40, 40), where the axes z, y, x are expected"),
    ({"image": "section", "labels": "section"}, "has shape (40, 40), where the axes z, y, x are"),
    ({"image": "constant"}, "whole.h5:constant is constant: every voxel is 9"),
    ({"image": "nan_image"}, "values that are NaN or infinite"),
    ({"mask": "nan_mask"}, "values that are NaN or infinite"),
    ({"labels": "words_of_truth"}, "values of type float32, where labels are integers"),
    ({"labels": "negative"}, "negative values down to -2, where labels begin at 0"),
    ({"labels": "zero"}, "whole.h5:zero is 0, not labelled, everywhere"),
    ({"mask": "zero"}, "whole.h5:zero is 0 everywhere, which leaves nothing to learn"),
    ({"labels": "only_half", "mask": "one"}, "no labelled voxel in the part to train on"),
    ({"labels": "one"}, "labels have no boundary in the part to train on"),
    ({"labels": "one_in_half"}, "labels have no boundary in the part to train on"),
    ({"mask": "second_half"}, "labels have no labelled voxel in the part to train on"),
    ({"image": "image[3:3]", "labels": "labels[3:3]"}, "image[3:3] along axis 0 is empty"),
    ({"image": "image[3:9]"}, "--labels has shape (16, 40, 40) and --image has shape (6, 40, 40)"),
    ({"image": "image[3:99]"}, "along axis 0 leaves it: the array has"),
    ({"image": "nothing"}, "has no dataset nothing"),
    ({"image": "image thick", "labels": "labels labels"}, "has voxels of (40.0, 8.0, 8.0) nm"),
    ({"image": "bare", "labels": "bare_labels"}, "--voxel-size-nm is needed, because"),
    ({"image": "image[:2]", "labels": "labels[:2]"}, "labels leave only (2, "),
    (
        {"image": "image[4:5]", "labels": "labels[4:5]"},
        "is one section, shape (1, 40, 40); --two-dimensional trains on sections alone",
    ),
]


@pytest.mark.parametrize(("options", "seen"), CASES)
def test_what_cannot_be_learned_from_is_refused(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    folder: Path,
    options: dict[str, str],
    seen: str,
) -> None:
    before = tree_of(folder)
    _assert_refused(_train(capsys, folder, **options), caplog.messages, seen)
    assert tree_of(folder) == before


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        (("--folds", "0"), "--folds: at least 1 is needed, 0 asked for"),
        (("--folds", "9"), "to train on"),
        (("--model", "convnet", "--widths", *("4",) * 9), "but the network needs at least"),
        (("--widths", "0"), "widths"),
        (("--steps", "3"), "steps must be at least n_evaluations (10), got 3"),
        (("--minutes", "-1", "--steps", "None"), "minutes must be positive, got -1"),
        (("--voxel-size-nm", "9", "8", "8"), "--voxel-size-nm: 9 8 8 contradicts 8 8 8"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    folder: Path,
    more: tuple[str, ...],
    seen: str,
) -> None:
    before = tree_of(folder)
    _assert_refused(_train(capsys, folder, *more), caplog.messages, seen)
    assert tree_of(folder) == before
