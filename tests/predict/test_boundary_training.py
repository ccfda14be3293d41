from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from predict.augmentation import IntensityChange
from predict.blockwise import predict_volume
from predict.boundary_network import NetworkConfig
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import boundary_targets
from predict.boundary_training import (
    batch_with_contrast,
    best_evaluation,
    is_finished,
    start_training,
    train_boundary_network,
    train_interval,
)
from predict.compute_device import choose_device
from predict.convnet import ConvNetConfig
from predict.folds import split_volume
from predict.image_normalisation import measure_normalisation
from predict.training_patches import PatchSampler
from predict.training_volume import TrainingVolume
from predict.unet import UNetConfig

DEVICE = choose_device("cpu", bfloat16=False)
NETWORK = UNetConfig.for_voxel_size((8, 8, 8), widths=(8, 12))
FLAT = UNetConfig.for_voxel_size((50, 4, 4), widths=(8, 12), two_dimensional=True)
SETTINGS = BoundaryTraining(
    (8, 8, 8), steps=8, n_evaluations=4, batch_voxels=2 * 16**3, patch_voxels=16**3
)

CONVNET = ConvNetConfig.for_voxel_size((8, 8, 8), widths=(8, 8))
MALIS = replace(SETTINGS, loss="malis")
BLOTC = replace(SETTINGS, loss="blotc")


class Spy:
    """An array that remembers which voxels were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.read = np.zeros(array.shape, bool)

    def __getitem__(self, key):
        self.read[key] = True
        return self.array[key]


def _cells(shape, n_cells: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw Voronoi cells with dark walls: image uint8, labels int32."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, np.int32)
    seeds[tuple(rng.integers(0, extent, n_cells) for extent in shape)] = np.arange(1, n_cells + 1)
    nearest = ndimage.distance_transform_edt(
        seeds == 0, return_distances=False, return_indices=True
    )
    assert isinstance(nearest, np.ndarray)
    labels = seeds[tuple(nearest)]
    walls = boundary_targets(labels, zero_is_membrane=False, in_section=False).target[0]
    image = 170 - 90 * ndimage.gaussian_filter(walls, 0.5) + rng.normal(0, 12, shape)
    return image.clip(0, 255).astype(np.uint8), labels


def _volume(shape=(24, 40, 32), fold=0, n_folds=2) -> TrainingVolume:
    image, labels = _cells(shape, 40, seed=3)
    split = split_volume(image.shape, n_folds, fold)
    return TrainingVolume(image, labels, measure_normalisation(image), False, split)


def _train(training: BoundaryTraining, network: NetworkConfig = NETWORK, **options):
    return train_boundary_network(network, training, [_volume()], DEVICE, **options)


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_the_walls_it_has_not_seen():
    training = replace(SETTINGS, steps=80, n_evaluations=2)
    records = []
    network, state = _train(training, on_evaluation=lambda record, _: records.append(record))
    assert [record["step"] for record in records] == [40, 80]
    assert records[-1]["val_auc"] > 0.9
    assert records[-1]["val_loss"] < records[0]["val_loss"]
    volume = _volume()
    assert volume.split.held_out is not None
    part = volume.split.held_out
    predicted = predict_volume(
        [network], volume.image, normalisation=volume.normalisation, device=DEVICE, region=part
    )
    target, known = boundary_targets(
        np.asarray(volume.labels[part.slices]), zero_is_membrane=False, in_section=False
    )
    for channel in range(4):
        seen = known[channel]
        assert score_boundaries(predicted[channel][seen], target[channel][seen] > 0).auc > 0.85
    assert state["step"] == 80


def test_an_embedding_learns_beside_the_walls_and_does_not_choose_the_weights():
    records = []
    config = replace(NETWORK, embedding=4)
    training = replace(SETTINGS, steps=80)
    network, state = _train(training, config, on_evaluation=lambda one, _: records.append(one))
    assert network.n_embedding == 4
    assert records[-1]["val_embedding"] < 0.9 * records[0]["val_embedding"]
    assert best_evaluation(state)["val_ap"] == max(record["val_ap"] for record in records)
    assert best_evaluation(state)["val_auc"] > 0.9
    assert "val_embedding" not in _train(SETTINGS)[1]["evaluations"][0]


def test_malis_is_added_in_the_second_half_and_learns_the_affinities():
    records = []
    training = replace(MALIS, steps=80, n_evaluations=4, malis_weight=1.0, malis_most=1.0)
    network, state = _train(training, on_evaluation=lambda record, _: records.append(record))
    plain = _train(replace(training, structured_start=0.99))[1]["evaluations"]
    assert records[1]["loss"] == plain[1]["loss"]
    assert records[2]["loss"] > plain[2]["loss"] + 0.1  # a term more
    assert records[-1]["val_auc"] > 0.85
    assert records[-1]["val_malis"] < records[0]["val_malis"]
    best = max(record["val_ap"] for record in records[2:])
    assert state["best_network"].keys() == network.state_dict().keys()
    assert best_evaluation(state)["val_ap"] == best


def test_a_malis_run_is_resumed_to_the_same_weights():
    states = []
    whole_run, _ = _train(MALIS, on_evaluation=lambda _, state: states.append(state))
    resumed, _ = _train(MALIS, state=states[2])
    assert _equal(whole_run.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("network", [NETWORK, CONVNET], ids=["padded", "valid"])
def test_blotc_warps_in_the_second_half_and_lowers_the_loss(network):
    records = []
    training = replace(BLOTC, steps=60, patch_voxels=12**3)
    _, state = _train(training, network, on_evaluation=lambda record, _: records.append(record))
    plain = _train(replace(training, loss="bce"), network)[1]["evaluations"]
    assert [record["structured"] for record in records] == [0, 0, 1, 1]
    assert records[1]["loss"] == plain[1]["loss"]
    assert records[2]["loss"] != plain[2]["loss"]
    assert records[-1]["loss"] < records[0]["loss"]
    best = min(record["val_warping"] for record in records[2:])
    assert best_evaluation(state)["val_warping"] == best
    assert best_evaluation(state)["val_auc"] > 0.8


def test_blotc_costs_less_than_cross_entropy_on_the_same_steps():
    """Until the first step the runs are one, and labels only come nearer."""
    training = replace(BLOTC, steps=1, n_evaluations=1, structured_start=0.0)
    warped = _train(training)[1]["evaluations"][0]
    plain = _train(replace(training, loss="bce"))[1]["evaluations"][0]
    assert warped["loss"] < plain["loss"]
    assert "structured" not in plain


def test_a_blotc_run_is_resumed_to_the_same_weights():
    states = []
    network, final = _train(BLOTC, on_evaluation=lambda _, state: states.append(state))
    buffer = io.BytesIO()
    torch.save(states[2], buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    resumed, resumed_state = _train(BLOTC, state=saved)
    assert _equal(network.state_dict(), resumed.state_dict())
    assert _equal(final["network"], resumed_state["network"])
    assert _equal(final["average"], resumed_state["average"])
    assert not _equal(final["network"], final["average"])


@pytest.mark.parametrize("loss", ["bce", "blotc"])
def test_sections_labelled_alone_train_a_flat_network(loss):
    image, labels = _cells((6, 48, 48), 40, seed=2)
    split = split_volume(image.shape, 2, 0)
    volume = TrainingVolume(image, labels, measure_normalisation(image), False, split)
    training = replace(SETTINGS, voxel_size_nm=(50, 4, 4), loss=loss)
    _, state = train_boundary_network(FLAT, training, [volume], DEVICE)
    assert np.isfinite([record["val_loss"] for record in state["evaluations"]]).all()
    if loss == "blotc":
        assert state["evaluations"][-1]["structured"] == 1
        assert 0 < state["evaluations"][-1]["val_warping"] < 1


@pytest.mark.parametrize("loss", ["bce", "malis"])
def test_a_classic_network_learns_too(loss):
    training = replace(SETTINGS, steps=40, n_evaluations=2, loss=loss, patch_voxels=12**3)
    _, state = _train(training, CONVNET)
    assert best_evaluation(state)["val_auc"] > 0.8


def test_a_valid_network_gets_larger_patches():
    sampler = PatchSampler(CONVNET, SETTINGS, [_volume((40, 60, 80))])
    assert CONVNET.lost_vox == (6, 6, 6)
    assert sampler.patch_shape == (16 + 12,) * 3
    image, labels = _cells((12, 40, 40), 10, seed=0)
    thin = TrainingVolume(
        image, labels, measure_normalisation(image), False, split_volume(image.shape, 2, 0)
    )
    with pytest.raises(InputError, match=r"but the network needs at least \(13, 13, 13\)"):
        PatchSampler(CONVNET, SETTINGS, [thin])


def test_same_seed_same_weights_and_resuming_changes_nothing():
    whole_run, final = _train(SETTINGS)
    saved = []

    def save(_, state):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        saved.append(buffer.getvalue())

    _train(SETTINGS, on_evaluation=save)
    middle = torch.load(io.BytesIO(saved[1]), weights_only=True)
    assert len(middle["evaluations"]) == 2
    resumed, resumed_state = _train(SETTINGS, state=middle)
    assert _equal(whole_run.state_dict(), resumed.state_dict())
    assert _equal(final["network"], resumed_state["network"])
    other_seed, _ = _train(replace(SETTINGS, seed=1))
    other_fold, _ = _train(SETTINGS, fold=1)
    assert not _equal(whole_run.state_dict(), other_seed.state_dict())
    assert not _equal(whole_run.state_dict(), other_fold.state_dict())


def test_an_interval_leaves_its_state_as_it_was():
    volumes = [_volume()]
    state = start_training(NETWORK, SETTINGS, volumes)
    before = {name: tensor.clone() for name, tensor in state["network"].items()}
    first = train_interval(state, NETWORK, SETTINGS, volumes, DEVICE)
    second = train_interval(state, NETWORK, SETTINGS, volumes, DEVICE)
    assert _equal(before, state["network"])
    assert state["step"] == 0
    assert _equal(first["network"], second["network"])
    assert not _equal(before, first["network"])


def test_by_the_clock():
    training = replace(SETTINGS, steps=None, minutes=0.01, n_evaluations=2)
    _, state = _train(training)
    assert len(state["evaluations"]) == 2
    assert state["step"] >= 2
    assert state["seconds"] >= 0.6


def test_it_stops_when_validation_gets_no_better():
    training = replace(SETTINGS, patience=2)

    def finished(precisions):
        return is_finished({"evaluations": [{"val_ap": ap} for ap in precisions]}, training)

    assert not finished([])
    assert not finished([0.1, 0.3, 0.2])
    assert finished([0.1, 0.3, 0.2, 0.25])  # four intervals are all
    assert finished([0.3, 0.1, 0.2])
    assert finished([0.3, 0.3, 0.3])
    assert not finished([0.1, 0.2, 0.3])


def test_the_phase_of_the_structured_loss_outranks_the_one_before():
    training = replace(MALIS, steps=9, n_evaluations=9, patience=2)
    before = [{"val_ap": 0.9 - 0.1 * k, "structured": 0.0} for k in range(4)]
    assert not is_finished({"evaluations": before}, training)
    assert best_evaluation({"evaluations": before}) is before[0]
    during = [{"val_ap": ap, "val_malis": 1 - ap, "structured": 1.0} for ap in (0.5, 0.6, 0.4)]
    state = {"evaluations": before + during}
    assert best_evaluation(state) is during[1]
    assert not is_finished(state, training)
    assert is_finished({"evaluations": before + during + during[-1:]}, training)
    warped = [{"val_ap": 0.1, "val_warping": w, "structured": 1.0} for w in (0.5, 0.4, 0.6)]
    assert best_evaluation({"evaluations": before + warped}) is warped[1]


def test_the_evaluated_weights_are_the_running_mean_of_the_steps():
    training = replace(SETTINGS, steps=4, averaging=0.15)
    states = [start_training(NETWORK, training, [_volume()])]
    _train(training, state=states[0], on_evaluation=lambda _, state: states.append(state))
    for step, (before, after) in enumerate(itertools.pairwise(states), start=1):
        keep = min(0.15, step / (step + 10))
        for name, weight in after["network"].items():
            if weight.is_floating_point():
                expected = keep * before["average"][name] + (1 - keep) * weight
                torch.testing.assert_close(after["average"][name], expected)
            else:
                assert torch.equal(after["average"][name], weight)
    last = _train(replace(training, averaging=0.0))[1]
    assert _equal(last["network"], last["average"])


def test_patches_without_contrast_are_left_out():
    image, labels = _cells((6, 48, 48), 40, seed=2)
    split = split_volume(image.shape, 2, 0)
    volume = TrainingVolume(image, labels, measure_normalisation(image), False, split)
    missing = IntensityChange(bad_patches=1.0, bad_sections=0.9)
    training = replace(
        SETTINGS, voxel_size_nm=(50, 4, 4), intensity=missing, batch_voxels=9 * 16**3
    )
    sampler = PatchSampler(FLAT, training, [volume])
    rng = np.random.default_rng(0)
    n_kept = []
    for _ in range(8):
        image_part, target, known, parts = batch_with_contrast(sampler, rng, DEVICE)
        assert (image_part.amax((1, 2, 3, 4)) > image_part.amin((1, 2, 3, 4))).all()
        assert len(image_part) == len(target) == len(known) == len(parts)
        n_kept.append(len(image_part))
    assert min(n_kept) < sampler.n_patches
    black = np.zeros_like(image)
    silent = replace(
        training, intensity=IntensityChange(noise=0.0, bad_patches=0.0), batch_voxels=1
    )
    blank = PatchSampler(FLAT, silent, [replace(volume, image=black)])
    with pytest.raises(InputError, match="image is constant in the part to train on: 100 batches"):
        batch_with_contrast(blank, rng, DEVICE)


def test_the_kept_weights_are_those_of_the_highest_precision():
    states = []
    network, _ = _train(SETTINGS, on_evaluation=lambda _, state: states.append(state))
    precisions = [state["evaluations"][-1]["val_ap"] for state in states]
    assert _equal(network.state_dict(), states[int(np.argmax(precisions))]["average"])


@pytest.mark.parametrize("fold", [0, 1])
def test_no_held_out_label_is_ever_read(fold):
    plain = _volume(fold=fold)
    labels = Spy(np.asarray(plain.labels))
    volume = replace(plain, labels=labels)
    train_boundary_network(NETWORK, SETTINGS, [volume], DEVICE, fold=fold)
    assert plain.split.held_out is not None
    assert not labels.read[plain.split.held_out.slices].any()
    for box in plain.split.validation:
        assert labels.read[box.slices].all()


def test_training_patches_do_not_touch_the_validation_part():
    plain = _volume()
    labels = Spy(np.asarray(plain.labels))
    sampler = PatchSampler(NETWORK, SETTINGS, [replace(plain, labels=labels)])
    for _ in range(40):
        sampler.batch(np.random.default_rng(0))
    assert labels.read.any()
    for box in plain.split.validation:
        assert not labels.read[box.slices].any()


def test_patches_fit_thin_parts_and_keep_exchanged_axes_equal():
    image, labels = _cells((10, 60, 80), 40, seed=1)
    normalisation = measure_normalisation(image)
    volume = TrainingVolume(image, labels, normalisation, False, split_volume(image.shape, 2, 0))
    cube = PatchSampler(NETWORK, SETTINGS, [volume])
    assert cube.patch_shape == (8, 8, 8)
    assert cube.n_patches == 16
    thick = replace(SETTINGS, voxel_size_nm=(24, 4, 4))
    network = UNetConfig.for_voxel_size((24, 4, 4), widths=(4, 4))
    assert PatchSampler(network, thick, [volume]).patch_shape == (5, 28, 28)
    flat = PatchSampler(FLAT, replace(SETTINGS, voxel_size_nm=(50, 4, 4)), [volume])
    assert flat.patch_shape == (1, 36, 36)


def test_class_weights_follow_the_balance():
    volumes = [_volume()]
    for balance in (0.0, 0.5, 1.0):
        weights = start_training(NETWORK, replace(SETTINGS, balance=balance), volumes)[
            "class_weights"
        ].numpy()
        if balance == 0:
            np.testing.assert_allclose(weights, 1)
            continue
        rare = weights[:, 1] / weights[:, 0]
        assert rare[0] > 1.2  # walls are rarer than the inside …
        assert (rare[1:] < 0.8).all()  # … and cut edges rarer than whole ones
        if balance == 1:
            frequency = 1 / (1 + rare)
            np.testing.assert_allclose(weights[:, 1] * frequency, 0.5, atol=1e-5)


def test_bad_volumes():
    volume = _volume()
    with pytest.raises(InputError, match=r"same shape, got \(24, 40, 32\) and \(23, 40, 32\)"):
        replace(volume, labels=np.asarray(volume.labels)[1:])
    with pytest.raises(InputError, match="labels have no boundary in the part to train on"):
        start_training(NETWORK, SETTINGS, [replace(volume, labels=np.ones((24, 40, 32), int))])
    with pytest.raises(InputError, match="labels have no labelled voxel"):
        start_training(NETWORK, SETTINGS, [replace(volume, labels=np.zeros((24, 40, 32), int))])
    image, labels = _cells((3, 40, 40), 10, seed=0)
    thin = TrainingVolume(
        image, labels, measure_normalisation(image), False, split_volume(image.shape, 2, 0)
    )
    with pytest.raises(InputError, match=r"but the network needs at least \(4, 4, 4\)"):
        start_training(NETWORK, SETTINGS, [thin])
