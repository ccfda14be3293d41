from __future__ import annotations

import numpy as np
import pytest

from analysis.input_error import InputError
from predict.image_normalisation import ImageNormalisation, measure_normalisation, normalisation_for


def test_small_volume_is_measured_whole():
    image = np.random.default_rng(0).integers(0, 255, (9, 20, 31), np.uint8)
    own = measure_normalisation(image)
    assert own.mean == pytest.approx(image.mean())
    assert own.deviation == pytest.approx(image.std())
    normalised = own.apply(image)
    assert normalised.dtype == np.float32
    assert abs(normalised.mean()) < 1e-4
    assert normalised.std() == pytest.approx(1, abs=1e-4)


def test_large_volume_is_sampled_in_whole_sections():
    image = np.broadcast_to(np.arange(200.0)[:, None, None], (200, 250, 250))
    own = measure_normalisation(image)
    assert own.mean == pytest.approx(99.5)
    assert own.deviation == pytest.approx(image.std(), rel=0.1)


def test_a_volume_like_the_training_volume_uses_the_model_constants():
    image = np.random.default_rng(0).normal(100, 30, (8, 40, 40))
    model = ImageNormalisation(110, 40)
    assert normalisation_for(image, model) == model


@pytest.mark.parametrize("factor", [257.0, 1 / 255])
def test_a_volume_of_another_range_uses_its_own(factor):
    image = np.random.default_rng(0).normal(100, 30, (8, 40, 40)) * factor
    model = ImageNormalisation(110, 40)
    assert normalisation_for(image, model) == measure_normalisation(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 4), 7, np.uint8), "image is constant: every voxel looked at is 7"),
        (np.zeros((4, 4)), r"\(z, y, x\) array, got shape \(4, 4\)"),
        (np.zeros((4, 4, 4), bool), "got dtype bool"),
        (np.array([[[0.0, np.nan]]]), "not finite"),
    ],
)
def test_bad_images(image, message):
    with pytest.raises(InputError, match=message):
        measure_normalisation(image)


def test_values_that_are_not_finite_are_refused_in_every_block():
    with pytest.raises(InputError, match="image has values that are not finite"):
        ImageNormalisation(0, 1).apply(np.array([1.0, np.inf]))
    with pytest.raises(InputError, match="positive deviation"):
        ImageNormalisation(0, 0)
