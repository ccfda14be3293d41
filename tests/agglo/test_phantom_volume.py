from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label as components
from skimage.segmentation import watershed

from agglo.phantom import SYNAPSE_DTYPE, Phantom, PhantomConfig, make_phantom
from analysis.input_error import InputError


@pytest.fixture(scope="module")
def block() -> Phantom:
    return make_phantom(PhantomConfig(seed=3), (-40, 17, 5), (100, 100, 100))


def cut(phantom: Phantom, start: tuple[int, ...], shape: tuple[int, ...]) -> Phantom:
    where = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
    position = phantom.synapses["position"] - np.array(start)
    inside = np.all((position >= 0) & (position < np.array(shape)), axis=1)
    synapses = phantom.synapses[inside]
    synapses["position"] = position[inside]
    return Phantom(phantom.image[where], phantom.labels[where], phantom.boundaries[where], synapses)


def assert_same(a: Phantom, b: Phantom) -> None:
    assert np.array_equal(a.labels, b.labels)
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.boundaries, b.boundaries)
    assert np.array_equal(a.synapses, b.synapses)


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_block_equals_the_same_voxels_of_a_larger_one(block, data):
    shape = data.draw(st.tuples(*[st.integers(1, 30)] * 3))
    start = data.draw(st.tuples(*[st.integers(0, 100 - n) for n in shape]))
    offset = tuple(o + s for o, s in zip((-40, 17, 5), start, strict=True))
    assert_same(make_phantom(PhantomConfig(seed=3), offset, shape), cut(block, start, shape))


@given(
    st.integers(0, 2**63 - 1),
    st.tuples(*[st.integers(-(10**6), 10**6)] * 3),
    st.sampled_from([(8, 8, 8), (40, 8, 8), (5, 9, 7), (30, 30, 4)]),
)
@settings(max_examples=6, deadline=None)
def test_any_phantom_is_the_same_cut_or_made_alone(seed, offset, voxel_size):
    config = PhantomConfig(
        seed=seed, voxel_size_nm=voxel_size, tortuosity=1, synapses=0.5, bad_sections=0.5
    )
    whole = make_phantom(config, offset, (9, 26, 31))
    corner = tuple(o + s for o, s in zip(offset, (4, 9, 2), strict=True))
    assert_same(make_phantom(config, corner, (5, 17, 20)), cut(whole, (4, 9, 2), (5, 17, 20)))


def test_the_same_phantom_is_made_on_every_machine():
    phantom = make_phantom(PhantomConfig(seed=1), (1000, -1000, 0), (16, 16, 16))
    digest = hashlib.sha256()
    for array in (phantom.labels, phantom.image, phantom.boundaries):
        digest.update(np.ascontiguousarray(array).tobytes())
    assert digest.hexdigest()[:16] == "6bc5016e704dc25e"


def test_shapes_and_types(block):
    assert block.image.dtype == np.uint8
    assert block.labels.dtype == np.uint64
    assert block.boundaries.dtype == np.float32
    assert block.synapses.dtype == SYNAPSE_DTYPE
    assert block.image.shape == block.labels.shape == block.boundaries.shape == (100, 100, 100)
    assert block.labels.min() > 0
    assert block.labels.max() < 2**63
    assert block.boundaries.min() == 0
    assert 0.99 < block.boundaries.max() <= 1


def test_every_neurite_is_one_piece(block):
    _, labels = np.unique(block.labels, return_inverse=True)
    labels = labels.reshape(block.labels.shape)
    pieces = np.asarray(components(labels, connectivity=3, background=-1))
    _, first = np.unique(pieces, return_index=True)
    sizes, neurite = np.bincount(pieces.ravel())[1:], labels.ravel()[first]
    cut_off = np.zeros(len(sizes), dtype=bool)  # at the border, so perhaps connected outside
    for axis in range(3):
        for side in (0, -1):
            cut_off[np.unique(np.take(pieces, side, axis)) - 1] = True
    largest = np.zeros(labels.max() + 1, dtype=int)
    np.maximum.at(largest, neurite, sizes)
    stray = ~cut_off & (sizes < largest[neurite])
    assert sizes[stray].sum() < 1e-4 * labels.size


def test_neurites_are_many_and_of_all_sizes(block):
    sizes = np.unique(block.labels, return_counts=True)[1]
    assert 40 < len(sizes) < 200
    assert sizes.max() > 100 * np.percentile(sizes, 10)
    assert sizes.max() < 0.3 * block.labels.size
    assert 0.15 < np.mean(block.boundaries > 0.5) < 0.30


def test_boundaries_are_high_exactly_at_the_borders_of_labels(block):
    at_border = np.zeros(block.labels.shape, dtype=bool)
    for axis in range(3):
        lower = np.take(block.labels, np.arange(99), axis)
        upper = np.take(block.labels, np.arange(1, 100), axis)
        here = [slice(None)] * 3
        for side in (slice(0, 99), slice(1, 100)):
            here[axis] = side
            at_border[tuple(here)] |= lower != upper
    depth = np.asarray(ndimage.distance_transform_edt(~at_border))
    assert block.boundaries[at_border].mean() > 0.75
    assert np.mean(block.boundaries[at_border] < 0.2) < 0.02
    assert np.mean(block.boundaries[depth > 5] > 0.2) < 0.01


def test_membranes_are_dark_and_cytoplasm_is_bright(block):
    membrane = block.image[block.boundaries > 0.9].mean()
    inside = np.median(block.image[block.boundaries == 0])
    assert membrane < 110
    assert inside > 130
    very_dark = block.image[block.boundaries == 0] < 100
    assert 0.02 < very_dark.mean() < 0.25  # mitochondria


def test_every_synapse_lies_at_a_contact_of_its_two_neurites(block):
    assert 8 < len(block.synapses) < 100
    dark = []
    for pre, post, position in block.synapses:
        assert pre != post
        assert block.labels[tuple(position)] == pre
        if np.all((position > 0) & (position < 99)):
            around = [
                block.labels[tuple(position + s * step)]
                for step in np.eye(3, dtype=int)
                for s in (-1, 1)
            ]
            assert post in around
        dark.append(block.image[tuple(position)])
    assert np.mean(dark) < 80
    order = [tuple(p) for p in block.synapses["position"]]
    assert order == sorted(order)


def test_no_synapses_are_made_at_rate_zero():
    assert len(make_phantom(PhantomConfig(synapses=0), (0, 0, 0), (40, 40, 40)).synapses) == 0


def test_voxel_size_samples_the_same_world():
    fine = make_phantom(PhantomConfig(seed=6), (40, -20, 8), (24, 20, 32))
    coarse = make_phantom(
        PhantomConfig(seed=6, voxel_size_nm=(16, 16, 16)), (20, -10, 4), (12, 10, 16)
    )
    thick = make_phantom(PhantomConfig(seed=6, voxel_size_nm=(32, 8, 8)), (10, -20, 8), (6, 20, 32))
    assert np.array_equal(fine.labels[::2, ::2, ::2], coarse.labels)
    assert np.array_equal(fine.boundaries[::2, ::2, ::2], coarse.boundaries)
    assert np.array_equal(fine.labels[::4], thick.labels)


def test_oblique_membranes_fade_in_thick_sections():
    def contrast(voxel_size) -> tuple[float, float]:
        config = PhantomConfig(
            seed=2, voxel_size_nm=voxel_size, noise=0, section_jitter=0, mitochondria=0, tubules=0,
            synapses=0, faint_membranes=0, bad_sections=0,
        )  # fmt: skip
        phantom = make_phantom(config, (0, 0, 0), (20, 64, 64))
        grey = phantom.image[phantom.boundaries > 0.9]
        return float(grey.mean()), float(grey.std())

    thin, thin_spread = contrast((8, 8, 8))
    thick, thick_spread = contrast((40, 8, 8))
    assert thick > thin + 4
    assert thick_spread > thin_spread


def test_fewer_neurites_at_a_wider_spacing():
    wide = make_phantom(PhantomConfig(seed=3, node_spacing_nm=224), (0, 0, 0), (48, 48, 48))
    narrow = make_phantom(PhantomConfig(seed=3, node_spacing_nm=112), (0, 0, 0), (48, 48, 48))
    assert 2 * len(np.unique(wide.labels)) < len(np.unique(narrow.labels))


def test_the_sparsest_phantom_labels_everything():
    config = PhantomConfig(seed=9, density=0.4, branching=0, calibre_spread=0.55, tortuosity=1)
    assert make_phantom(config, (0, 0, 0), (48, 48, 48)).labels.min() > 0


def test_a_plain_watershed_splits_neurites_and_merges_a_few(block):
    smooth = ndimage.gaussian_filter(block.image.astype(np.float32), 1.0)
    darkness = np.clip((140 - smooth) / 60, 0, 1)
    inside = ndimage.gaussian_filter(ndimage.distance_transform_edt(darkness < 0.35), 1.0)
    peaks = (ndimage.maximum_filter(inside, 5) == inside) & (inside > 1.5)
    seeds = np.empty(peaks.shape, dtype=np.int32)
    ndimage.label(peaks, np.ones((3, 3, 3)), output=seeds)
    superpixels = watershed(darkness, seeds)
    truth = np.unique(block.labels, return_inverse=True)[1].reshape(block.labels.shape)
    table = np.zeros((superpixels.max() + 1, truth.max() + 1))
    np.add.at(table, (superpixels.ravel(), truth.ravel()), 1)
    p = table / table.sum()

    def entropy(q: np.ndarray) -> float:
        return float(-np.sum(q[q > 0] * np.log2(q[q > 0])))

    split = entropy(p) - entropy(p.sum(axis=0))
    merge = entropy(p) - entropy(p.sum(axis=1))
    assert split > 2.0
    assert 0.1 < merge < 0.8
    impure = table.max(axis=1) < 0.9 * table.sum(axis=1)
    assert table[impure].sum() < 0.4 * table.sum()


@pytest.mark.parametrize(
    ("offset", "shape", "message"),
    [
        ((0, 0, 0), (4, 0, 4), "shape must be positive along every axis, got (4, 0, 4)."),
        ((0, 0, 0), (4, -1, 4), "shape must be positive along every axis, got (4, -1, 4)."),
        ((0, 0, 0), (4, 4), "shape must be three integers z, y, x, got (4, 4)."),
        ((0, 0.5, 0), (4, 4, 4), "offset must be three integers z, y, x, got (0, 0.5, 0)."),
        (
            (0, 0, 10**8),
            (4, 4, 4),
            "offset must keep the block within (7340032, 7340032, 7340032) voxels of the origin, "
            "got offset (0, 0, 100000000) and shape (4, 4, 4).",
        ),
    ],
)
def test_wrong_blocks_are_refused(offset, shape, message):
    with pytest.raises(InputError) as caught:
        make_phantom(PhantomConfig(), offset, shape)
    assert str(caught.value) == message
