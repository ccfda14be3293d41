from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict import patch_dictionary
from predict.patch_dictionary import contrast_normalised, learn_dictionary, spherical_kmeans


def _planted(n: int, n_atoms: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return unit atoms and vectors that are one of them times a number, with a little noise."""
    rng = np.random.default_rng(seed)
    atoms = np.linalg.qr(rng.normal(size=(d, n_atoms)))[0].T
    gains = rng.choice([-1, 1], n) * rng.uniform(1, 3, n)
    vectors = gains[:, None] * atoms[rng.integers(0, n_atoms, n)]
    return atoms, (vectors + 0.05 * rng.normal(size=(n, d))).astype(np.float32)


def test_contrast_of_a_patch_drawn_by_hand():
    patches = np.array([[1, 3], [10, 10], [0, 200]], np.float32)
    found = contrast_normalised(patches, 3.0)
    np.testing.assert_allclose(found, [[-0.5, 0.5], [0, 0], [-1, 1]], atol=2e-4)
    np.testing.assert_array_equal(patches[0], [1, 3])


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_dictionary_is_found_up_to_sign(seed):
    atoms, vectors = _planted(3000, 8, 20, seed)
    found = spherical_kmeans(vectors, 24, np.random.default_rng(seed), n_rounds=20)
    best = np.abs(atoms @ found.T).max(axis=1)  # with spare atoms none is forgotten
    assert best.min() > 0.99


def test_a_round_is_that_of_the_definition(monkeypatch):
    vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    first = vectors[np.random.default_rng(5).choice(50, 3, replace=False)].astype(float)
    atoms = first / np.linalg.norm(first, axis=1, keepdims=True)
    for _ in range(2):
        sums = np.zeros_like(atoms)
        for x in vectors.astype(float):
            s = np.abs(atoms @ x).argmax()
            sums[s] += (atoms[s] @ x) * x
        atoms = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    for chunk in (1 << 22, 21):  # 7 vectors at a time
        monkeypatch.setattr(patch_dictionary, "CHUNK_RESPONSES", chunk)
        found = spherical_kmeans(vectors, 3, np.random.default_rng(5), n_rounds=2)
        np.testing.assert_allclose(found, atoms, atol=1e-5)


def test_an_idle_atom_is_drawn_anew():
    vectors = np.zeros((4, 3), np.float32)  # two directions, one of them three times
    vectors[:3, 0], vectors[3, 1] = (1, 2, 3), 1
    for seed in range(10):
        found = spherical_kmeans(vectors, 2, np.random.default_rng(seed), n_rounds=30)
        np.testing.assert_allclose(np.sort(np.abs(found), axis=0)[1, :2], 1, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([4, 9, 27]))
def test_atoms_explain_more_with_every_round(seed, n_atoms, d):
    vectors = np.random.default_rng(seed).normal(size=(100, d)).astype(np.float32)
    explained = []
    for n_rounds in (1, 2, 6):
        atoms = spherical_kmeans(vectors, n_atoms, np.random.default_rng(seed), n_rounds=n_rounds)
        np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, atol=1e-5)
        explained.append(np.square(vectors @ atoms.T).max(axis=1).sum())
    # choosing maximises the energy, and a step of power iteration does not lower it
    assert explained[0] <= explained[1] * (1 + 1e-5) <= explained[2] * (1 + 2e-5)


def _textured(n: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    smooth = np.cumsum(rng.normal(size=(n, 27)), axis=1)
    return contrast_normalised((5 + smooth).astype(np.float32), 0.1)


def test_filters_have_no_mean_and_responses_of_mean_square_one():
    patches = _textured(4000)
    filters = learn_dictionary(patches, 16, np.random.default_rng(0))
    assert filters.shape == (16, 27)
    assert filters.dtype == np.float32
    np.testing.assert_allclose(filters.sum(axis=1), 0, atol=1e-5)
    responses = patches @ filters.T
    np.testing.assert_allclose(np.square(responses).mean(), 1, rtol=1e-4)
    np.testing.assert_array_equal(filters, learn_dictionary(patches, 16, np.random.default_rng(0)))
    assert not np.array_equal(filters, learn_dictionary(patches, 16, np.random.default_rng(1)))


def test_filters_respond_as_atoms_to_whitened_patches():
    patches = _textured(3000)
    covariance = patches.T.astype(float) @ patches / len(patches)
    values, axes = np.linalg.eigh(covariance)
    whitening = axes @ np.diag((values.clip(0) + 0.1 * values.mean()) ** -0.5) @ axes.T
    whitened = patches @ whitening
    atoms = spherical_kmeans(whitened.astype(np.float32), 12, np.random.default_rng(3))
    expected = whitened @ atoms.T
    found = patches @ learn_dictionary(patches, 12, np.random.default_rng(3)).T
    factor = np.sqrt(np.square(expected).mean())
    np.testing.assert_allclose(found, expected / factor, atol=2e-3)


def test_bad_input():
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(20, 4)).astype(np.float32)
    with pytest.raises(InputError, match=r"patches must be a non-empty \(n, d\).*\(4,\)"):
        contrast_normalised(patches[0], 0.1)
    with pytest.raises(InputError, match="floor must be positive, got 0"):
        contrast_normalised(patches, 0)
    with pytest.raises(InputError, match=r"not constant, 20, got 21"):
        spherical_kmeans(patches, 21, rng)
    with pytest.raises(InputError, match="n_atoms and n_rounds must be positive, got 2 and 0"):
        spherical_kmeans(patches, 2, rng, n_rounds=0)
    with pytest.raises(InputError, match="patches are all constant"):
        learn_dictionary(np.zeros_like(patches), 2, rng)
    with pytest.raises(InputError, match="whitening_floor must be positive"):
        learn_dictionary(patches, 2, rng, whitening_floor=0)
    with pytest.raises(InputError, match="not finite"):
        learn_dictionary(patches * np.float32(np.nan), 2, rng)
