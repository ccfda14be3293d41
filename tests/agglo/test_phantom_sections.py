from __future__ import annotations

import numpy as np
import pytest

from agglo.phantom.config import PhantomConfig
from agglo.phantom.sections import BLURRED, GOOD, PALE, STREAKED, expose, section_effects


def effects(n: int, jitter: float, bad_rate: float, first: int = 0, seed: int = 5):
    gain, shift, kind = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    section_effects(seed, jitter, bad_rate, first, gain, shift, kind)
    return gain, shift, kind


def exposed(config: PhantomConfig, clean: np.ndarray, kind: int = GOOD, gain: float = 1.0):
    n = clean.shape[0]
    return expose(
        config, np.array([4, -3, 7]), clean.astype(np.float32), np.full(n, gain), np.zeros(n),
        np.full(n, kind, dtype=np.int64),
    )  # fmt: skip


def test_without_jitter_all_sections_are_alike():
    gain, shift, kind = effects(50, 0.0, 0.0)
    assert np.all(gain == 1)
    assert np.all(shift == 0)
    assert np.all(kind == GOOD)


def test_sections_vary_as_much_as_asked():
    gain, shift, kind = effects(4000, 3.0, 0.25)
    assert shift.std() == pytest.approx(3.0, rel=0.05)
    assert abs(shift.mean()) < 0.2
    for bad in (PALE, STREAKED, BLURRED):
        assert np.mean(kind == bad) == pytest.approx(0.25 / 3, abs=0.02)
    assert gain[kind == PALE].max() < 0.6 < gain[kind != PALE].min()


def test_sections_depend_on_their_global_index_alone():
    for whole, part in zip(effects(40, 2.0, 0.3, -10), effects(5, 2.0, 0.3, 3), strict=True):
        assert np.array_equal(whole[13:18], part)


def test_without_noise_the_image_is_rounded_and_clipped():
    clean = np.array([[[-5.0, 0.4, 0.6, 127.5, 254.6, 300.0]]])
    image = exposed(PhantomConfig(noise=0), clean)
    assert image.tolist() == [[[0, 0, 1, 128, 255, 255]]]


@pytest.mark.parametrize("voxel_size", [(8, 8, 8), (40, 8, 8)])
def test_noise_has_the_strength_asked_for_and_is_smooth_where_it_should_be(voxel_size):
    config = PhantomConfig(noise=12, voxel_size_nm=voxel_size)
    grain = exposed(config, np.full((40, 50, 60), 128.0)).astype(float) - 128
    assert grain.std() == pytest.approx(12, rel=0.03)
    assert abs(grain.mean()) < 0.3

    def alike(axis: int) -> float:
        a = np.take(grain, np.arange(39), axis)
        b = np.take(grain, np.arange(1, 40), axis)
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    assert alike(1) > 0.3
    assert alike(2) > 0.3
    if voxel_size[0] == 8:
        assert alike(0) > 0.3
    else:
        assert abs(alike(0)) < 0.03


def test_a_band_darkens_part_of_a_streaked_section():
    config = PhantomConfig(noise=0)
    image = exposed(config, np.full((1, 2000, 3), 150.0), STREAKED)
    dark = np.mean(image < 140)
    assert 0.03 < dark < 0.3
    assert np.mean(image == 150) > 0.6


def test_a_pale_section_loses_contrast_about_the_middle_grey():
    image = exposed(PhantomConfig(noise=0), np.array([[[78.0, 128.0, 178.0]]]), PALE, 0.4)
    assert image.tolist() == [[[108, 128, 148]]]
