"""What is kept of vectors by schemes that learn nothing, and what strangers may not write."""

import numpy as np
import pytest
import torch

from fkd.config import Target, VectorScheme, check_targets
from fkd.errors import ConfigError
from fkd.vectors import MAX_NUMBERS, KeptVectors, StoredVectors, hash_constants

SCHEMES = ["f16", "int8", "pca4"]


def kept_vectors(text, shape=(6,)):
    return KeptVectors("it", VectorScheme.parse(text), shape)


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 3


def test_int8_errs_by_half_a_step_at_most():
    vectors = StoredVectors(kept_vectors("int8", (40,)))
    views = numbers(30, 40)
    restored = vectors.restore(vectors.quantize(views))
    step = views.abs().amax(dim=1, keepdim=True) / 127
    assert ((restored - views).abs() <= step * 0.5 + 127 * step * 2**-11).all()


def test_channels_of_a_map_have_scales_of_their_own():
    vectors = StoredVectors(kept_vectors("int8", (5, 3, 4)))
    views = numbers(7, 5, 3, 4)
    views[:, 0] *= 1e-3
    kept = vectors.quantize(views)
    assert kept["scale.it"].shape == (7, 5)
    restored = vectors.restore(kept)
    assert restored.shape == views.shape
    largest = views.abs().amax(dim=(2, 3), keepdim=True)
    assert ((restored - views).abs() <= largest * 0.005).all()


def test_f16_is_half_precision_and_ends_at_its_largest_number():
    vectors = StoredVectors(kept_vectors("f16"))
    views = numbers(5, 6)
    views[0, 0], views[1, 1] = 1e9, -1e9
    restored = vectors.restore(vectors.quantize(views))
    assert torch.equal(restored[2:], views[2:].half().float())
    assert restored[0, 0] == 65_504
    assert restored[1, 1] == -65_504


@pytest.mark.parametrize("text", SCHEMES)
def test_arrays_are_those_that_fields_name(text):
    kept = kept_vectors(text)
    vectors = StoredVectors(kept, kept.fit(numbers(20, 6)))
    arrays = vectors.quantize(numbers(9, 6))
    assert {name: (v.numpy().dtype.name, v.shape[1]) for name, v in arrays.items()} == {
        field.name: (field.dtype, field.length) for field in kept.fields
    }
    as_read = {name: v.numpy()[None] for name, v in arrays.items()}
    assert kept.fault(as_read) is None


@pytest.mark.parametrize("text", SCHEMES)
def test_zeros_come_back_as_zeros(text):
    kept = kept_vectors(text)
    vectors = StoredVectors(kept, kept.fit(torch.zeros(10, 6)))
    assert torch.equal(vectors.restore(vectors.quantize(torch.zeros(4, 6))), torch.zeros(4, 6))


@pytest.mark.parametrize(
    ("text", "array", "value", "words"),
    [
        ("f16", "vector.it", np.inf, "a number is not finite"),
        ("f16", "vector.it", np.nan, "a number is not finite"),
        ("int8", "vector.it", -128, "-128, which no labeller writes"),
        ("int8", "scale.it", -1, "a scale is no number of 0 or more"),
        ("int8", "scale.it", np.nan, "a scale is no number of 0 or more"),
        ("pca4", "vector.it", -128, "-128, which no labeller writes"),
    ],
)
def test_values_that_no_labeller_writes_are_faults(text, array, value, words):
    kept = kept_vectors(text)
    arrays = {f.name: np.ones((3, 2, f.length), f.dtype) for f in kept.fields}
    assert kept.fault(arrays) is None
    arrays[array][1, 1, -1] = value
    assert words in kept.fault(arrays)


def test_what_was_learned_is_known_by_its_names_and_numbers():
    kept = kept_vectors("pca4")
    constants = dict(kept.fit(numbers(20, 6)))
    before = hash_constants(constants)
    assert hash_constants({}) == ""
    assert hash_constants(dict(reversed(constants.items()))) == before
    swapped = {"in.it" if n == "root.it" else n: v for n, v in constants.items()}
    assert hash_constants(swapped) != before
    constants["mean.it"][0] += 1
    assert hash_constants(constants) != before


def test_what_no_store_can_be_opened_with_is_not_kept():
    with pytest.raises(ConfigError, match=r"wide has 67,108,865 numbers a view.*another layer"):
        KeptVectors("wide", VectorScheme("int8"), (MAX_NUMBERS + 1,))
    with pytest.raises(ConfigError, match="65 are asked for, a store has at most 64"):
        check_targets(tuple(Target("stem", name=f"n{n}") for n in range(65)), 1)
