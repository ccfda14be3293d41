from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.blockwise import plan_blocks
from predict.box import Box, whole
from predict.texture_dictionary import TextureDictionary
from predict.texture_patch import TexturePatch


def _dictionary(patch: TexturePatch, n_atoms: int, seed: int = 0) -> TextureDictionary:
    """Return random filters, zero-mean or not."""
    rng = np.random.default_rng(seed)
    shape = (n_atoms, *patch.extent)
    grey, boundary = (rng.integers(-32767, 32768, shape).astype(np.int16) for _ in range(2))
    return TextureDictionary(patch, grey, boundary, 3e-6, 50.0, 60.0, 0.1, 400.0)


def _volumes(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, shape, np.uint8)
    boundaries = (rng.integers(0, 256, shape) * rng.integers(0, 2, shape)).astype(np.uint8)
    return image, boundaries


def _one_by_one(texture: TextureDictionary, image: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the channels by the formula, voxel by voxel; NaN where rounding could go both ways."""
    halo, step = texture.patch.halo_vox, texture.patch.dilation
    rim: Any = [(h, h) for h in halo]
    padded = [np.pad(v, rim, "reflect") for v in (image, edges)]
    wanted = np.empty((texture.n_channels, *image.shape))
    for at in np.ndindex(image.shape):
        cut = tuple(slice(p, p + 2 * h + 1, s) for p, h, s in zip(at, halo, step, strict=True))
        g, b = (v[cut].astype(float) for v in padded)
        g = (g - g.mean()) / math.sqrt(g.var() + texture.contrast_floor)
        b = (b - b.mean()) / texture.boundary_deviation
        for atom, (f, h) in enumerate(zip(texture.grey, texture.boundary, strict=True)):
            r = texture.step * ((f * g).sum() + (h * b).sum())
            for channel, signed in ((atom, r), (atom + len(texture.grey), -r)):
                steps = (signed - texture.threshold) * texture.scale
                is_between = abs(steps % 1 - 0.5) < 1e-6
                wanted[(channel, *at)] = np.nan if is_between else np.clip(round(steps), 0, 255)
    return wanted


@pytest.mark.parametrize(
    ("extent", "dilation"),
    [
        ((5, 5, 5), (2, 2, 2)),
        ((3, 5, 5), (1, 2, 2)),
        ((1, 3, 5), (1, 3, 1)),
        ((1, 1, 1), (1, 1, 1)),
    ],
)
def test_channels_are_those_of_the_formula(extent, dilation):
    texture = _dictionary(TexturePatch(extent, dilation), 3)
    image, edges = _volumes((5, 6, 7), 1)
    found = texture.channels(image, edges)
    wanted = _one_by_one(texture, image, edges)
    is_sure = ~np.isnan(wanted)
    assert is_sure.mean() > 0.99
    np.testing.assert_array_equal(found[is_sure], wanted[is_sure])
    assert found.dtype == np.uint8
    if math.prod(extent) > 1:
        assert 0 < np.count_nonzero(found) < found.size
        assert found.max() == 255
    else:  # a voxel less its mean
        assert not found.any()


def test_stripes_drawn_by_hand():
    # grey 90 110 90 110 … along x; the atom sees a voxel against its neighbours, of a patch of 3
    # with mean 96 2/3 or 103 1/3 and variance 88.9: with a floor of 11.1 the contrast is 10.
    image = np.broadcast_to(np.array([90, 110] * 4, np.uint8), (2, 3, 8))
    filters = np.array([-1, 2, -1], np.int16).reshape(1, 1, 1, 3)
    patch = TexturePatch((1, 1, 3), (1, 1, 1))
    floor = 100 - 800 / 9
    texture = TextureDictionary(patch, filters, 0 * filters, 0.5, floor, 1.0, 0.5, 10.0)
    nothing = np.zeros_like(image)
    found = texture.channels(image, nothing)
    # ±(2 · 110 − 90 − 90) / 10 · 0.5 = ±2, and (2 − 0.5) · 10 = 15
    np.testing.assert_array_equal(found[0], np.broadcast_to([0, 15] * 4, image.shape))
    np.testing.assert_array_equal(found[1], np.broadcast_to([15, 0] * 4, image.shape))
    # The same atom on the boundary map: (2 · 8 − 0 − 0) / 2 · 0.5 = 4, and (4 − 0.5) · 10 = 35.
    texture = replace(texture, grey=0 * filters, boundary=filters, boundary_deviation=2.0)
    line = np.zeros((1, 1, 6), np.uint8)
    line[..., 2] = 8
    found = texture.channels(np.zeros_like(line), line)
    np.testing.assert_array_equal(found[:, 0, 0], [[0, 0, 35, 0, 0, 0], [0, 15, 0, 15, 0, 0]])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_cut_changes_no_byte(data):
    extent, dilation = data.draw(
        st.sampled_from([((5, 5, 5), (2, 2, 2)), ((3, 5, 5), (1, 2, 2)), ((1, 3, 1), (2, 1, 4))])
    )
    shape = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    seed = data.draw(st.integers(0, 2**31))
    texture = _dictionary(TexturePatch(extent, dilation), data.draw(st.integers(1, 3)), seed)
    image, edges = _volumes(shape, seed)
    undivided = texture.channels(image, edges)
    for block in plan_blocks(whole(shape), data.draw(st.tuples(*[st.integers(2, 9)] * 3))):
        found = texture.channels(image, edges, block)
        np.testing.assert_array_equal(found, undivided[(slice(None), *block.slices)])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31))
def test_where_nothing_changes_there_is_no_texture(grey, edge, seed):
    texture = _dictionary(TexturePatch((3, 3, 3), (1, 2, 2)), 2, seed)
    texture = replace(texture, threshold=0.0)
    shape = (3, 4, 5)
    found = texture.channels(np.full(shape, grey, np.uint8), np.full(shape, edge, np.uint8))
    assert not found.any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 100))
def test_brightness_of_the_image_does_not_matter(seed, shift):
    texture = _dictionary(TexturePatch((3, 3, 3), (1, 2, 2)), 2, seed)
    image, edges = _volumes((3, 5, 5), seed)
    image //= 2
    brighter = (image + shift).astype(np.uint8)
    np.testing.assert_array_equal(texture.channels(brighter, edges), texture.channels(image, edges))


def test_the_largest_filters_do_not_overflow():
    patch = TexturePatch((5, 5, 5), (2, 2, 2))
    filters = np.full((1, *patch.extent), 32767, np.int16)
    filters[0, :2] = -32767
    texture = TextureDictionary(patch, filters, filters, 1e-6, 1.0, 100.0, 0.0, 10.0)
    image = np.zeros((9, 9, 9), np.uint8)
    image[4:] = 255
    middle = Box((4, 4, 4), (5, 5, 5))
    g = np.repeat([0.0, 0.0, 255.0, 255.0, 255.0], 25)
    f = filters.ravel().astype(float)
    r = (f * (g - g.mean())).sum() * (1 / math.sqrt(g.var() + 1) + 1 / 100) * 1e-6
    found = texture.channels(image, image, middle).ravel()
    assert found.tolist() == [round(10 * r), 0]


def test_a_digest_tells_all_that_matters():
    one = _dictionary(TexturePatch((3, 3, 3), (1, 2, 2)), 2)
    others = [
        replace(one, patch=TexturePatch((3, 3, 3), (2, 2, 2))),
        replace(one, grey=one.boundary),
        replace(one, boundary=one.grey),
        replace(one, grey=one.boundary, boundary=one.grey),
        *(replace(one, **{name: 7.0}) for name in ("step", "contrast_floor", "scale")),
        *(replace(one, **{name: 7.0}) for name in ("threshold", "boundary_deviation")),
    ]
    digests = {texture.digest() for texture in (one, *others)}
    assert len(digests) == 1 + len(others)
    assert replace(one, voxel_size_nm=(8.0, 8.0, 8.0)).digest() == one.digest()
    assert replace(one, grey=one.grey[:, ::-1][:, ::-1]).digest() == one.digest()


def test_bad_input():
    patch = TexturePatch((3, 3, 3), (1, 1, 1))
    texture = _dictionary(patch, 2)
    image, edges = _volumes((3, 4, 5), 0)
    with pytest.raises(InputError, match=r"boundaries must be a non-empty .* uint8.* float32"):
        texture.channels(image, edges.astype(np.float32))
    with pytest.raises(InputError, match=r"image must be a non-empty .* got shape \(4, 5\)"):
        texture.channels(image[0], edges[0])
    with pytest.raises(InputError, match=r"one shape, got \(3, 4, 5\) and \(3, 4, 4\)"):
        texture.channels(image, edges[..., :4])
    with pytest.raises(InputError, match=r"boundary must be int16 filters .* \(1, 3, 3, 3\)"):
        replace(texture, boundary=texture.boundary[:1])
    with pytest.raises(InputError, match=r"grey must be int16 filters .* float64"):
        replace(texture, grey=texture.grey * 1.0)
    with pytest.raises(InputError, match=r"step must be positive and finite, got nan"):
        replace(texture, step=math.nan)
    with pytest.raises(InputError, match=r"threshold must be at least 0 and finite, got -1"):
        replace(texture, threshold=-1.0)
    large = TexturePatch((7, 7, 7), (1, 1, 1))
    with pytest.raises(InputError, match=r"filters must sum to less than 2\^31 / 255"):
        replace(texture, patch=large, **dict.fromkeys(("grey", "boundary"), _full(large)))


def _full(patch: TexturePatch) -> np.ndarray:
    return np.full((1, *patch.extent), 32767, np.int16)
