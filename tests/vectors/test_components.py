"""Principal components of vectors: what they learn, keep and give back."""

import numpy as np
import pytest
import torch

from fkd.config import VectorScheme
from fkd.errors import ConfigError
from fkd.vectors import KeptVectors, StoredVectors

NUMBERS, RANK, COMPONENTS = 96, 8, 16


def low_rank(count, seed=0, *, nonnegative=False):
    """Return vectors f32 [count, 96] that vary in eight directions alone, whatever their seed."""
    basis = torch.randn(RANK, NUMBERS, generator=torch.Generator().manual_seed(7))
    along = torch.randn(count, RANK, generator=torch.Generator().manual_seed(seed))
    mixed = along * torch.linspace(4, 1, RANK) @ basis
    return (mixed / 8 + 4).clamp(min=0) ** 2 if nonnegative else mixed + 1


def stored(sample, components=COMPONENTS):
    kept = KeptVectors("it", VectorScheme("pca", components), (sample.shape[1],))
    return StoredVectors(kept, kept.fit(sample))


@pytest.mark.parametrize("nonnegative", [False, True])
def test_vectors_of_few_directions_come_back(nonnegative):
    vectors = stored(low_rank(300, nonnegative=nonnegative))
    others = low_rank(200, seed=1, nonnegative=nonnegative)
    kept = vectors.quantize(others)
    assert list(kept) == ["vector.it"]
    assert kept["vector.it"].dtype == torch.int8
    assert kept["vector.it"].shape == (200, COMPONENTS)
    restored = vectors.restore(kept)
    assert restored.dtype == torch.float32
    assert (1 - torch.cosine_similarity(restored, others)).max() < 1e-3
    assert bool(vectors.constants["root.it"][0]) == nonnegative


def test_the_error_is_that_of_a_step_and_of_what_is_left_out():
    sample = torch.randn(4000, 24, generator=torch.Generator().manual_seed(0))
    sample *= torch.linspace(3, 0.5, 24)
    vectors = stored(sample, 12)
    step = float(vectors.constants["step.it"][0])
    error = vectors.restore(vectors.quantize(sample)) - sample
    left_out = (torch.linspace(3, 0.5, 24)[12:] ** 2).sum()
    expected = 12 * step**2 / 12 + left_out
    assert float(error.square().sum(dim=1).mean()) == pytest.approx(float(expected), rel=0.03)
    along = torch.from_numpy(vectors.constants["rotation.it"]).float() @ sample.T
    assert step == pytest.approx(1.5 * float(along[-1].std()), rel=0.02)


def test_the_code_of_a_vector_is_the_same_in_any_batch():
    vectors, views = stored(low_rank(300)), low_rank(257, seed=3)
    whole = vectors.quantize(views)["vector.it"]
    parts = [vectors.quantize(part)["vector.it"] for part in (*views[:3].split(1), views[3:])]
    assert torch.equal(torch.cat(parts), whole)


def test_the_same_is_learned_twice_and_used_as_it_is_stored():
    sample = low_rank(300)
    one, other = stored(sample), stored(sample)
    for name, values in one.constants.items():
        assert np.array_equal(values, other.constants[name])
        dtype, shape = one.kept.constants[name]
        assert (values.dtype, values.shape) == (np.dtype(dtype), shape)
    views = low_rank(50, seed=2)
    code = one.quantize(views)
    rotation, mean = one.constants["rotation.it"].astype(np.float32), one.constants["mean.it"]
    by_hand = code["vector.it"].numpy() * one.constants["step.it"] @ rotation + mean
    assert np.allclose(one.restore(code).numpy(), by_hand, atol=1e-4)


def test_autocast_changes_nothing():
    vectors, views = stored(low_rank(300)), low_rank(40, seed=2)
    kept = vectors.quantize(views)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(vectors.quantize(views)["vector.it"], kept["vector.it"])
        assert torch.equal(vectors.restore(kept), vectors.restore(kept).float())
        within = vectors.restore(kept)
    assert torch.equal(within, vectors.restore(kept))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_components_that_no_sample_shows_are_zeros(count):
    sample = low_rank(count)
    vectors = stored(sample)
    code = vectors.quantize(low_rank(30, seed=1))["vector.it"]
    assert not code[:, max(0, count - 1) :].any()
    if count:
        restored = vectors.restore(vectors.quantize(sample))
        assert torch.allclose(restored, sample, atol=0.02 * float(sample.abs().max()))


def test_numbers_below_zero_of_other_vectors_count_as_zero_where_there_were_none():
    sample = low_rank(300, nonnegative=True)
    vectors = stored(sample)
    other = sample[:5].clone()
    other[:, 0] = -1e6
    zeroed = other.clamp(min=0)
    assert torch.equal(vectors.quantize(other)["vector.it"], vectors.quantize(zeroed)["vector.it"])
    assert (vectors.restore(vectors.quantize(other)) >= 0).all()


def test_codes_end_at_127_far_from_the_sample():
    vectors = stored(low_rank(300))
    code = vectors.quantize(1e6 * low_rank(20, seed=1))["vector.it"]
    assert code.abs().max() == 127


def test_more_components_than_numbers_keep_all_numbers():
    sample = low_rank(50)[:, :6]
    vectors = stored(sample, 1024)
    assert vectors.kept.fields[0].length == 6
    error = vectors.restore(vectors.quantize(sample)) - sample
    assert error.norm(dim=1).max() < 6**0.5 * float(vectors.constants["step.it"][0]) / 2 + 0.01


@pytest.mark.parametrize(
    ("array", "index", "value", "words"),
    [
        ("mean.it", 3, np.nan, "'mean.it' is not finite"),
        ("rotation.it", (2, 5), np.inf, "'rotation.it' is not finite"),
        ("step.it", 0, 0, "'step.it' is not above 0"),
        ("step.it", 0, -1, "'step.it' is not above 0"),
        ("root.it", 0, 2, "'root.it' is neither 0 nor 1"),
    ],
)
def test_constants_of_strangers_are_looked_at(array, index, value, words):
    vectors = stored(low_rank(40))
    assert vectors.kept.constants_fault(vectors.constants) is None
    vectors.constants[array][index] = value
    assert words in vectors.kept.constants_fault(vectors.constants)


@pytest.mark.parametrize(
    ("size", "shape", "words"),
    [
        (64, (8, 4, 4), "it is a map of 8 x 4 x 4 numbers"),
        (1024, (65_536,), "pca512 keeps the most components"),
    ],
)
def test_what_has_no_components_is_refused(size, shape, words):
    with pytest.raises(ConfigError, match=words):
        KeptVectors("it", VectorScheme("pca", size), shape)
