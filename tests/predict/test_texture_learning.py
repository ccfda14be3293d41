from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict import texture_learning
from predict.box import Box, whole
from predict.patch_dictionary import contrast_normalised, learn_dictionary
from predict.texture_learning import learn_texture

SHAPE = (24, 26, 28)


def _tissue(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw smooth noise; its dark places are the boundaries."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=SHAPE)
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    noise /= noise.std()
    image = np.clip(128 + 40 * noise, 0, 255).astype(np.uint8)
    return image, np.clip(-200 * noise - 100, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_atoms_are_the_phases_of_stripes(seed: int):
    # Stripes along x, two voxels dark and two bright, the boundary on the first dark one. A patch
    # looks at every second voxel: where x is even it sees the boundary come and go, where it is odd
    # none, and two voxels on everything is the other way round. So an atom is even or odd x, its
    # sign one of the two: each of the four channels lights up at one voxel in four.
    columns = np.arange(SHAPE[2])
    image = np.broadcast_to(np.where(columns % 4 < 2, 60, 180), SHAPE).astype(np.uint8)
    edges = np.broadcast_to(np.where(columns % 4 == 0, 200, 0), SHAPE).astype(np.uint8)
    texture = learn_texture(image, edges, 2, seed, n_patches=2000)
    found = texture.channels(image, edges, Box((8, 8, 8), (9, 10, 20)))
    np.testing.assert_array_equal(found, np.tile(found[:, :, :1, :4], (1, 1, 2, 3)))
    phases = [np.flatnonzero(channel).tolist() for channel in found[:, 0, 0, :4]]
    assert sorted(phases) == [[0], [1], [2], [3]]
    for (positive,), (negative,) in zip(phases[:2], phases[2:], strict=True):
        assert abs(positive - negative) == 2
    assert found.max(axis=(1, 2, 3)).min() > 200


def test_filters_are_those_of_the_patches_of_all_voxels(monkeypatch):
    # Places of the whole volume, every voxel of it once: then the patches are known.
    shape = (12, 12, 12)
    image, edges = (volume[:12, :12, :12].copy() for volume in _tissue(0))
    monkeypatch.setattr(texture_learning, "PLACE_VOX", (40, 40, 40))
    monkeypatch.setattr(texture_learning, "PATCHES_A_PLACE", 12**3)
    texture = learn_texture(image, edges, 3, 5, n_patches=12**3)
    rng = np.random.default_rng(5)
    rng.integers(0, shape)
    order = rng.permutation(12**3)
    windows = []
    for volume in (image, edges):
        padded = np.pad(volume, 4, "reflect").astype(np.float32)
        around = np.lib.stride_tricks.sliding_window_view(padded, (9, 9, 9))[..., ::2, ::2, ::2]
        windows.append(around.reshape(12**3, 125)[order])
    floor = 0.1 * float(np.var(windows[0].astype(float)))
    deviation = float(np.std(windows[1].astype(float)))
    seen = (windows[1] - windows[1].mean(axis=1, keepdims=True)) / np.float32(deviation)
    patches = np.concatenate([contrast_normalised(windows[0], floor), seen], axis=1)
    wanted = learn_dictionary(patches, 3, rng)
    assert texture.contrast_floor == pytest.approx(floor)
    assert texture.boundary_deviation == pytest.approx(deviation)
    filters = np.concatenate([texture.grey.reshape(3, 125), texture.boundary.reshape(3, 125)], 1)
    np.testing.assert_allclose(filters * texture.step, wanted, atol=1e-3 * np.abs(wanted).max())
    assert np.abs(filters).max() == 32767
    responses = np.abs(patches @ wanted.T)
    found = texture.channels(image, edges)
    expected = (responses > 0.5 + 0.5 / texture.scale).mean() / 2
    assert (found > 0).mean() == pytest.approx(expected, abs=0.002)
    assert 0 < (found == 255).mean() < 0.001


def test_the_same_seed_gives_the_same_filters_and_another_others():
    image, edges = _tissue(1)
    one, again, other = (learn_texture(image, edges, 2, seed, n_patches=800) for seed in (3, 3, 4))
    assert one.digest() == again.digest() != other.digest()
    assert one.voxel_size_nm is None


def test_patches_follow_the_voxel_size():
    image, edges = _tissue(2)
    size = (30.0, 6.0, 6.0)
    texture = learn_texture(image, edges, 2, 0, voxel_size_nm=size, n_patches=500)
    assert texture.grey.shape == (2, 3, 5, 5)
    assert texture.patch.dilation == (1, 2, 2)
    assert texture.voxel_size_nm == size
    assert texture.channels(image, edges).shape == (4, *SHAPE)


class _Watched:
    """An array that remembers the largest part ever read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.largest = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        self.largest = max(self.largest, self.array[key].size)
        return self.array[key]


def test_the_volume_is_never_read_whole():
    shape = (48, 48, 48)
    rng = np.random.default_rng(0)
    image, edges = (_Watched(rng.integers(0, 255, shape, np.uint8)) for _ in range(2))
    texture = learn_texture(image, edges, 1, 0, n_patches=1200)
    assert max(image.largest, edges.largest) <= 24**3
    texture.channels(image, edges, Box((8, 8, 8), (10, 12, 14)))
    assert max(image.largest, edges.largest) <= 24**3


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.integers(3, 6)] * 3), st.integers(0, 1000))
def test_volumes_smaller_than_a_patch_are_mirrored(shape, seed):
    rng = np.random.default_rng(seed)
    image, edges = (rng.integers(0, 255, shape, np.uint8) for _ in range(2))
    image.flat[0], edges.flat[0] = 255, 255
    texture = learn_texture(image, edges, 1, seed, n_patches=200)
    assert texture.channels(image, edges, whole(shape)).shape == (2, *shape)


def test_bad_input():
    image, edges = _tissue(0)
    for grey in (7, 251):
        with pytest.raises(InputError, match=f"image is constant: .* looked at is {grey}"):
            learn_texture(np.full(SHAPE, grey, np.uint8), edges, 2, 0)
    with pytest.raises(InputError, match="boundaries is constant: every voxel looked at is 0"):
        learn_texture(image, np.zeros(SHAPE, np.uint8), 2, 0, n_patches=500)
    with pytest.raises(InputError, match="n_atoms and n_patches must be positive, got 0 and 50000"):
        learn_texture(image, edges, 0, 0)
    with pytest.raises(InputError, match="image and boundaries must have one shape"):
        learn_texture(image[1:], edges, 2, 0)
