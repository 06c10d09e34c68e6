"""Batches as NumPy arrays, for Keras and JAX: what docs/trainers/numpy.md promises, by its own code."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fkd import StudentLoader

PAGE = Path(__file__).parents[2] / "docs/trainers/numpy.md"
SMALL = {"crops_per_image": 2, "scheme": "topk2", "size": 32, "device": "cpu"}


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)


def shortened(code, changes):
    for long, short in changes.items():
        assert long in code
        code = code.replace(long, short)
    return code


@pytest.fixture
def names(shared_store):
    """What the first example of the page defines: 4 batches an epoch, 8 in all."""
    code = shortened(
        blocks()[0],
        {
            '"labels.zarr"': f'"{shared_store.path}"',
            "batch_size=256, epochs=100": "batch_size=4, epochs=2",
            'device="cpu"': ", ".join(f"{name}={value!r}" for name, value in SMALL.items()),
        },
    )
    found = {}
    exec(code, found)
    return found


def test_arrays_are_the_batch_without_a_copy(names, shared_store):
    expected = next(iter(StudentLoader(shared_store.path, batch_size=4, epochs=2, **SMALL)))
    images, labels = names["images"], names["labels"]
    assert (images.shape, images.dtype) == ((4, 32, 32, 3), np.float32)
    assert (labels.shape, labels.dtype) == ((4, 3), np.float32)
    assert np.array_equal(images.transpose(0, 3, 1, 2), expected.images.numpy())
    assert np.allclose(labels.sum(axis=1), 1)
    kept = np.take_along_axis(labels, expected.labels.index.numpy(), axis=1)
    assert np.array_equal(kept, expected.labels.value.numpy())
    again, _ = names["arrays"](expected)
    assert again.flags["C_CONTIGUOUS"]
    assert np.shares_memory(again, expected.images.numpy())


def test_bytes_become_arrays_as_well(shared_store):
    loader = StudentLoader(shared_store.path, batch_size=4, epochs=2, normalized=False, **SMALL)
    assert next(iter(loader)).images.permute(0, 2, 3, 1).numpy().dtype == np.uint8


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_keras_fits_a_student(names, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    keras = pytest.importorskip("keras")
    taken = []
    arrays = names["arrays"]
    names["arrays"] = lambda batch: taken.append(names["loader"].step) or arrays(batch)
    code = shortened(
        blocks()[1],
        {"224, 224, 3": "32, 32, 3", "first_epoch = 0": "first_epoch = 1", "(32, 3,": "(4, 3,"},
    )
    exec(code, names)
    student = names["student"]
    assert taken == [5, 6, 7, 8]  # the second epoch, no batch left out and none twice
    images, labels = names["images"], names["labels"]
    logits = torch.as_tensor(keras.ops.convert_to_numpy(student(images)))
    loss = -(torch.from_numpy(labels) * logits.log_softmax(1)).sum(1).mean().item()
    assert student.evaluate(images, labels, verbose=0) == pytest.approx(loss, rel=1e-5)


def test_jax_trains_on_the_same_arrays(names):
    pytest.importorskip("jax")
    exec(blocks()[2], names)
    assert names["loader"].step == names["loader"].total_steps == 8
    weights = torch.zeros(3, 3)
    for images, labels in map(names["arrays"], names["loader"].batches(0)):
        weights.requires_grad_()
        logits = torch.from_numpy(images).mean(dim=(1, 2)) @ weights
        loss = -(torch.from_numpy(labels) * logits.log_softmax(1)).sum(1).mean()
        (gradient,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.1 * gradient).detach()
    assert np.allclose(np.asarray(names["weights"]), weights.numpy(), atol=1e-5)
