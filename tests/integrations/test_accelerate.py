"""A loop with accelerate: the loader keeps its batches, and its place is in what accelerate saves."""

import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from fkd import StudentLoader, ViewBatch, soft_cross_entropy

PAGE = (Path(__file__).parents[2] / "docs/trainers/accelerate.md").read_text("utf-8")
SETTINGS = {"crops_per_image": 2, "batch_size": 6, "epochs": 2, "scheme": "topk3", "seed": 3}


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True)
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def build(store, **changes):
    return StudentLoader(store.path, **SETTINGS | {"device": "cpu"} | changes)


def crops_of(batches):
    return [list(zip(b.image_index.tolist(), b.crop_index.tolist(), strict=True)) for b in batches]


def parts():
    torch.manual_seed(0)
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
    return student, torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)


def train(accelerator, student, optimizer, loader, steps=None):
    for batch in loader.batches():
        with accelerator.accumulate(student):
            loss = soft_cross_entropy(student(batch.images), batch.labels, reduction="mean")
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        if loader.step == steps:
            break


def test_a_loader_that_is_prepared_stays_what_it_is(shared_store, accelerator):
    loader = build(shared_store)
    _, _, prepared = accelerator.prepare(*parts(), loader)
    assert prepared is loader
    batches = list(prepared)
    assert crops_of(batches) == crops_of(list(build(shared_store)))
    assert all(isinstance(batch, ViewBatch) for batch in batches)


def test_a_stopped_loop_goes_on_bit_by_bit(shared_store, accelerator, tmp_path):
    whole = parts()
    train(accelerator, *whole, build(shared_store))
    stopped, loader = accelerator.prepare(*parts()), build(shared_store)
    accelerator.register_for_checkpointing(loader)
    train(accelerator, *stopped, loader, steps=4)
    accelerator.save_state(tmp_path)
    for weights in stopped[0].parameters():
        torch.nn.init.zeros_(weights)
    list(loader)
    accelerator.load_state(tmp_path)
    assert (loader.step, loader.current_epoch) == (4, 1)
    train(accelerator, *stopped, loader)
    assert loader.step == 6
    for found, expected in zip(stopped[0].parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(found, expected)


def test_the_example_of_the_page_runs(shared_store, accelerator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.zarr").symlink_to(shared_store.path)
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)[-1]
    for long, short in {
        "Accelerator()": "Accelerator(cpu=True)",
        "batch_size=256, epochs=100": 'batch_size=6, epochs=2, scheme="topk3", device="cpu"',
        "crops_per_image=4": "crops_per_image=2",
        "resnet50": "squeezenet1_1",
    }.items():
        assert long in code
        code = code.replace(long, short)
    names: dict = {}
    exec(code, names)
    assert names["loader"].step == 6
    names["loader"].set_epoch(0)
    names["accelerator"].load_state("checkpoint")
    assert names["loader"].current_epoch == 2
