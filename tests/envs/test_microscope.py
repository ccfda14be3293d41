from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from envs.actions import REIMAGE
from envs.asking import Asking
from envs.asking_rollout import play_asking_episode
from envs.hashing import gaussian
from envs.merge_network import mean_boundary_network
from envs.microscope import (
    Damage,
    GivenMicroscope,
    SimulatedMicroscope,
    damaged,
    damaged_blocks,
)
from envs.prices import Prices
from envs.region_graph import build_region_graph
from envs.rollout import play_episode
from tests.envs.random_tissue import SEEDS, cell_instance, cell_labels


def random_map(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_a_look_adds_noise_that_is_a_function_of_seed_superpixel_and_position() -> None:
    superpixels = np.array([[[7, 7, 9]], [[0, 9, 9]]])
    boundaries = np.full((2, 1, 3), 0.5, np.float32)
    seen = SimulatedMicroscope(0.1, seed=3).look(superpixels, boundaries)
    for (z, y, x), superpixel in np.ndenumerate(superpixels):
        noise = 0.1 * gaussian(np.uint64(3), np.uint64(superpixel), z * 2**42 + y * 2**21 + x)
        assert seen[z, y, x] == pytest.approx(min(max(0.5 + noise, 0), 1), abs=1e-6)
    assert (SimulatedMicroscope(0.0).look(superpixels, boundaries) == boundaries).all()


def test_noise_has_its_standard_deviation_and_stays_within_0_and_1() -> None:
    superpixels = cell_labels(np.random.default_rng(0), 24, 20)
    seen = SimulatedMicroscope(0.05, seed=1).look(superpixels, np.full((24, 24, 24), 0.5))
    assert abs(seen.mean() - 0.5) < 0.002
    assert abs(seen.std() - 0.05) < 0.002
    seen = SimulatedMicroscope(2.0).look(superpixels, np.full((24, 24, 24), 0.5))
    assert seen.min() == 0
    assert seen.max() == 1


@settings(max_examples=40, deadline=None)
@given(
    SEEDS, st.tuples(*3 * [st.integers(0, 4)]), st.tuples(*3 * [st.integers(1, 4)]), st.booleans()
)
def test_a_part_looked_at_alone_agrees_with_the_whole(seed, origin, size, is_given) -> None:
    rng = np.random.default_rng(seed)
    superpixels = rng.integers(0, 6, (8, 8, 8))
    boundaries = random_map(seed, (8, 8, 8))
    microscope = (
        GivenMicroscope(random_map(seed + 1, (8, 8, 8)))
        if is_given
        else SimulatedMicroscope(0.2, seed)
    )
    box = tuple(slice(o, o + n) for o, n in zip(origin, size, strict=True))
    whole = microscope.look(superpixels, boundaries)
    part = microscope.look(superpixels[box], boundaries[box], origin_vox=origin)
    assert (part == whole[box]).all()
    # What else there is makes no difference to a region.
    others = np.where(superpixels == 3, 3, 5)
    assert (microscope.look(others, boundaries)[superpixels == 3] == whole[superpixels == 3]).all()


@settings(max_examples=40, deadline=None)
@given(
    SEEDS,
    st.tuples(*3 * [st.integers(1, 12)]),
    st.floats(0, 1),
    st.tuples(*3 * [st.integers(1, 5)]),
)
def test_damage_strikes_its_share_of_the_blocks_and_nothing_else(seed, shape, share, block) -> None:
    boundaries = random_map(seed, shape)
    damage = Damage(share=share, block_vox=block, gap_vox=2, grain_vox=1.0, seed=seed)
    is_struck = damaged_blocks(shape, damage)
    n_blocks = n_struck = 0
    for z in range(0, shape[0], block[0]):
        for y in range(0, shape[1], block[1]):
            for x in range(0, shape[2], block[2]):
                one = is_struck[z : z + block[0], y : y + block[1], x : x + block[2]]
                assert one.all() or not one.any()
                n_blocks += 1
                n_struck += one.all()
    assert n_struck == round(share * n_blocks)
    seen = damaged(boundaries, damage)
    assert (seen[~is_struck] == boundaries[~is_struck]).all()
    assert seen.dtype == np.float32
    assert 0 <= seen.min()
    assert seen.max() <= 1


def test_gaps_take_membranes_blur_widens_them_and_noise_has_its_strength() -> None:
    boundaries = np.zeros((24, 24, 24), np.float32)
    boundaries[12] = 1
    none = Damage(share=1.0, gap_share=0.0, blur_vox=0.0, noise=0.0)
    assert (damaged(boundaries, none) == boundaries).all()
    assert not damaged(boundaries, replace(none, gap_share=1.0)).any()
    some = damaged(boundaries, replace(none, gap_share=0.5, gap_vox=4))[12]
    cells = some.reshape(6, 4, 6, 4).mean(axis=(1, 3))
    assert set(np.unique(cells)) == {0.0, 1.0}
    blurred = damaged(boundaries, replace(none, blur_vox=2.0))
    assert blurred[12].max() < 0.25
    assert blurred[10].min() > 0.1
    grey = damaged(np.full((24, 24, 24), 0.5), replace(none, noise=0.1, grain_vox=1.0))
    assert abs(grey.std() - 0.1) < 0.005
    assert np.corrcoef(grey[1:].ravel(), grey[:-1].ravel())[0, 1] > 0.6


def test_damage_is_a_function_of_its_seed() -> None:
    boundaries = random_map(0, (16, 16, 16))
    damages = [Damage(share=0.5, block_vox=(4, 4, 4), gap_vox=2, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (damaged(boundaries, damage) for damage in damages)
    assert (first == again).all()
    assert (
        damaged_blocks((16, 16, 16), damages[0]) != damaged_blocks((16, 16, 16), damages[2])
    ).any()
    assert (first != other).any()


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_a_look_gives_an_episode_its_second_look_and_costs_its_share_of_the_voxels(seed) -> None:
    volume, instance = cell_instance(seed)
    clean = volume.boundaries / np.float32(255)
    seen = SimulatedMicroscope(0.2, seed).look(volume.superpixels, clean)
    clear = build_region_graph(volume.superpixels, volume.image, seen)
    episode = play_asking_episode(
        instance._replace(clear=clear),
        mean_boundary_network(-1.0),
        asking=Asking(reimage="random", reimage_level=1.0),
        prices=Prices(reimage=2.0),
    )
    assert len(episode.merges) == 0
    assert episode.n_imaged <= (volume.superpixels > 0).sum()
    assert -episode.rewards.sum() == pytest.approx(2 * episode.n_imaged / volume.superpixels.size)
    assert (episode.kinds == REIMAGE).sum() < instance.graph.n_regions
    policy = mean_boundary_network(0.5)
    never = play_asking_episode(instance._replace(clear=clear), policy)
    assert (never.merges == play_episode(instance.graph, policy).merges).all()


@pytest.mark.parametrize(
    ("superpixels", "boundaries", "origin", "message"),
    [
        (
            np.ones((2, 2, 2)),
            np.zeros((2, 2, 2)),
            (0, 0, 0),
            "superpixels must be integer labels, not float64",
        ),
        (np.ones((2, 2, 2), int), np.zeros((2, 2, 3)), (0, 0, 0), "boundaries has shape (2, 2, 3)"),
        (np.ones((2, 2, 2), int), np.full((2, 2, 2), 1.5), (0, 0, 0), "seen 1.5 to 1.5"),
        (np.ones((2, 2, 2), int), np.full((2, 2, 2), np.nan), (0, 0, 0), "seen nan to nan"),
        (np.ones((2, 2, 2), int), np.zeros((2, 2, 2), int), (0, 0, 0), "float map, not int64"),
        (np.ones((2, 2, 2), int), np.zeros((2, 2, 2)), (0, -1, 0), "seen (0, -1, 0)"),
    ],
)
def test_a_look_at_what_is_no_map_is_refused(superpixels, boundaries, origin, message) -> None:
    with pytest.raises(InputError) as caught:
        SimulatedMicroscope().look(superpixels, boundaries, origin_vox=origin)
    assert message in str(caught.value)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="noise must be finite and ≥ 0, not -1"):
        SimulatedMicroscope(-1)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\], not 2"):
        Damage(share=2)
    with pytest.raises(ValueError, match="blur_vox must be finite and ≥ 0, not nan"):
        Damage(blur_vox=float("nan"))
    with pytest.raises(ValueError, match="at least 1 voxel, not \\(0, 1, 1\\)"):
        Damage(block_vox=(0, 1, 1))
    with pytest.raises(InputError, match=r"second look must lie in 0\.\.1; seen 2 to 2"):
        GivenMicroscope(np.full((1, 1, 1), 2.0))
    with pytest.raises(InputError, match="lie outside the second look of shape \\(2, 2, 2\\)"):
        GivenMicroscope(np.zeros((2, 2, 2))).look(
            np.ones((2, 2, 2), int), np.zeros((2, 2, 2)), origin_vox=(1, 0, 0)
        )
