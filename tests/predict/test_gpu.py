"""What a GPU computes beside the CPU; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from predict.blockwise import predict_volume
from predict.boundary_settings import BoundaryTraining
from predict.boundary_training import load_network, start_training, train_boundary_network
from predict.compute_device import choose_device
from predict.convnet import ConvNetConfig
from predict.folds import split_volume
from predict.image_normalisation import measure_normalisation
from predict.training_volume import TrainingVolume
from predict.unet import UNetConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

UNET = UNetConfig.for_voxel_size((8, 8, 8), widths=(8, 12))
WITH_EMBEDDING = UNetConfig.for_voxel_size((8, 8, 8), widths=(8, 12), embedding=4)
CONVNET = ConvNetConfig.for_voxel_size((8, 8, 8), widths=(8, 8))
SETTINGS = BoundaryTraining(
    (8, 8, 8), steps=40, n_evaluations=4, batch_voxels=2 * 16**3, patch_voxels=16**3
)


def _volume() -> TrainingVolume:
    """Draw blocks of 8 voxels whose walls are dark, under noise."""
    rng = np.random.default_rng(3)
    places = np.indices((24, 40, 32)) // 8
    labels = (1 + 20 * places[0] + 4 * places[1] + places[2]).astype(np.int32)
    wall = ndimage.grey_erosion(labels, 3) != labels
    image = 170.0 - 90 * wall + rng.normal(0, 12, labels.shape)
    image = image.clip(0, 255).astype(np.uint8)
    split = split_volume(image.shape, 2, 0)
    return TrainingVolume(image, labels, measure_normalisation(image), False, split)


@pytest.mark.parametrize("network", [UNET, WITH_EMBEDDING, CONVNET])
def test_a_gpu_predicts_what_a_cpu_does(network):
    volume = _volume()
    weights = start_training(network, SETTINGS, [volume])["network"]
    predicted = []
    for name in ("cpu", "cuda"):
        device = choose_device(name, bfloat16=False)
        predicted.append(
            predict_volume(
                [load_network(network, weights, device)],
                volume.image,
                normalisation=volume.normalisation,
                device=device,
            )
        )
    # A GPU multiplies float32 with 10 bits of mantissa in convolutions.
    np.testing.assert_allclose(predicted[0], predicted[1], atol=5e-3)
    assert predicted[0].std() > 0.01


@pytest.mark.parametrize(
    ("network", "loss"),
    [(UNET, "bce"), (UNET, "malis"), (UNET, "blotc"), (WITH_EMBEDDING, "bce"), (CONVNET, "bce")],
)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_gpu_trains_to_the_same_weights_again_and_learns(network, loss, bfloat16):
    settings = replace(SETTINGS, loss=loss)
    device = choose_device("cuda", bfloat16=bfloat16)
    runs = [train_boundary_network(network, settings, [_volume()], device)[1] for _ in range(2)]
    first, second = (run["average"] for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [record["val_loss"] for record in runs[0]["evaluations"]]
    assert losses[-1] < losses[0]
