"""Epochs follow each other, a stopped loop goes on where it was, and no crop comes twice in silence."""

import itertools
import json
import pickle
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from helpers.processes import fkd_environment

from fkd import FkdError, StudentLoader, ViewBatch

# 18 images of 6 crops: 3 steps an epoch, 12 in all.
SETTINGS = {
    "crops_per_image": 2,
    "batch_size": 6,
    "epochs": 4,
    "scheme": "topk3",
    "seed": 3,
    "device": "cpu",
}


def build(store, **changes):
    return StudentLoader(store.path, **SETTINGS | changes)


def crops_of(batches):
    """Return (image, crop) of every view, batch by batch."""
    return [list(zip(b.image_index.tolist(), b.crop_index.tolist(), strict=True)) for b in batches]


@pytest.fixture(scope="module")
def whole(shared_store):
    """Every batch of the run, in order."""
    batches = list(build(shared_store).batches())
    assert len(batches) == 12
    return batches


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels.value, other.labels.value)
        assert torch.equal(one.targets, other.targets)
        assert crops_of([one]) == crops_of([other])


def test_epochs_are_equally_long_and_make_up_the_run(shared_store, whole):
    for loop in (lambda loader, epoch: loader.epoch(epoch), lambda loader, epoch: loader):
        loader = build(shared_store)
        epochs = [list(loop(loader, epoch)) for epoch in range(loader.epochs)]
        assert [len(batches) for batches in epochs] == [len(loader)] * 4 == [3] * 4
        same(list(itertools.chain(*epochs)), whole)
        assert (loader.step, loader.current_epoch) == (12, 4)


@pytest.mark.parametrize(
    ("batch", "epochs", "each", "steps"),
    [(4, 4, 4, 16), (10, 3, 2, 6), (4, 2.5, 4, 10), (16, 2, 1, 2)],
)
def test_an_epoch_has_a_whole_number_of_steps(shared_store, batch, epochs, each, steps):
    """18 views are 4.5 batches of 4: a trainer that counts on `len` never sees another number."""
    loader = build(shared_store, batch_size=batch, epochs=epochs)
    assert (len(loader), loader.total_steps) == (each, steps)
    found = [len(list(loader)) for _ in range(loader.epochs)]
    assert found[:-1] == [each] * (len(found) - 1)
    assert sum(found) == steps


def test_all_crops_of_an_image_come_before_any_comes_again(whole):
    """Three passes take the six crops, two at a time; stagger spreads them but repeats none."""
    seen = [crop for batch in crops_of(whole[:9]) for crop in batch]
    loader_views = [crop for batch in crops_of(whole) for crop in batch]
    assert len(set(seen)) >= 48
    assert len(set(loader_views)) == 72


def test_a_second_iteration_goes_on_and_the_first_one_ends(shared_store, whole):
    loader = build(shared_store)
    first = iter(loader)
    same([next(first)], whole[:1])
    same(list(loader), whole[1:3])
    with pytest.raises(FkdError, match="another one was begun or the loader was sent elsewhere"):
        next(first)
    peeked = next(iter(loader))
    same([peeked, *loader], whole[3:6])


def test_after_the_last_epoch_nothing_comes_again_unless_it_is_asked_for(shared_store, whole):
    loader = build(shared_store)
    list(loader.batches())
    with pytest.raises(FkdError, match="planned for 4 epochs, and all of that is over; plan more"):
        next(iter(loader))
    with pytest.raises(FkdError, match="planned for 4 epochs, and all of that is over; plan more"):
        loader.epoch(4)
    with pytest.raises(FkdError, match="epoch is 5; it must lie between 0 and 3"):
        loader.epoch(5)
    loader.set_epoch(0)
    same(list(loader), whole[:3])
    same(list(loader.epoch(2)), whole[6:9])
    same(list(loader.epoch(2)), whole[6:9])


def test_to_name_the_epoch_where_it_stands_does_not_begin_it_again(shared_store, whole):
    loader = build(shared_store)
    for number in range(4):
        loader.set_epoch(number)
        same([next(iter(loader))], whole[3 * number : 3 * number + 1])
        loader.set_epoch(number)
        same(list(loader.epoch(number)), whole[3 * number + 1 : 3 * number + 3])


def test_a_trainer_may_name_the_epoch_after_it_asked_for_an_iteration(shared_store, whole):
    """Trainers do so by the loader's `sampler`, and leave epochs before their end."""
    loader = build(shared_store)
    asked = iter(loader)
    loader.sampler.set_epoch(2)
    same([next(asked), next(asked)], whole[6:8])
    loader.sampler.set_epoch(3)
    same(list(loader), whole[9:])


@torch.inference_mode()
def test_a_loop_that_only_looks_may_do_so_in_inference_mode(shared_store, whole):
    same(list(build(shared_store)), whole[:3])


@pytest.mark.parametrize("taken", [0, 1, 4, 6, 11, 12])
def test_a_stopped_loop_goes_on_in_the_middle_of_a_pass(shared_store, whole, taken):
    stopped = build(shared_store)
    for _ in zip(range(taken), stopped.batches(), strict=False):
        pass
    state = json.loads(json.dumps(stopped.state_dict()))
    stopped.close()
    loader = build(shared_store)
    loader.load_state_dict(state)
    assert loader.step == taken
    epochs = range(loader.current_epoch, loader.epochs)
    same([batch for epoch in epochs for batch in loader.epoch(epoch)], whole[taken:])


def test_a_loader_takes_up_the_state_of_other_ranks_and_threads(shared_store, whole):
    stopped = build(shared_store)
    next(iter(stopped))
    loader = build(shared_store, rank=1, num_ranks=3, workers=1, stagger=None)
    loader.load_state_dict(stopped.state_dict())
    second = next(iter(loader))
    assert set(*crops_of([second])) < set(*crops_of(whole[1:2]))


@pytest.mark.parametrize("step", [True, 1.5, "3", float("inf"), float("nan"), None, -1, 13, 10**30])
def test_a_step_that_was_edited_by_hand_is_refused(shared_store, step):
    loader = build(shared_store)
    with pytest.raises(FkdError, match=r"give what its state_dict\(\) returned"):
        loader.load_state_dict(loader.state_dict() | {"step": step})
    assert loader.step == 0


def test_a_state_with_names_of_another_kind_is_refused(shared_store):
    loader = build(shared_store)
    state = loader.state_dict()
    with pytest.raises(FkdError, match="7 is None, the state has 8"):
        loader.load_state_dict(state | {"run": state["run"] | {7: 8}})


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2), torch.tensor(2)])
def test_an_epoch_may_be_a_number_of_numpy_and_a_state_is_still_json(shared_store, number):
    loader = build(shared_store)
    loader.set_epoch(number)
    assert json.loads(json.dumps(loader.state_dict()))["step"] == 6
    loader.batches(number)
    assert json.loads(json.dumps(loader.state_dict()))["step"] == 2


def test_a_batch_of_more_than_all_images_is_a_long_epoch_and_said(shared_store, capsys):
    loader = build(shared_store, batch_size=36)
    assert (len(loader), loader.total_steps) == (1, 4)
    said = capsys.readouterr().err
    assert "warning: an epoch of this StudentLoader is one step of 36 views, of 18 images" in said
    build(shared_store, batch_size=24)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 12}, "batch_size is 12, the state has 6"),
        ({"seed": 4, "epochs": 5}, "epochs is 5.*; seed is 4, the state has 3"),
        ({"scheme": "topk2"}, "scheme is topk2, the state has topk3"),
        ({"subset": 0.5}, "chosen images is 9 images .*, the state has all"),
        ({"min_confidence": 0.1}, "min_confidence is 0.1, the state has 0.0"),
    ],
)
def test_the_state_of_another_loader_is_refused(shared_store, changes, words):
    state = build(shared_store).state_dict()
    with pytest.raises(FkdError, match=f"of another StudentLoader: {words}"):
        build(shared_store, **changes).load_state_dict(state)


@pytest.mark.parametrize("state", [{}, {"step": "x", "run": {}}, {"step": 3}, [1], None])
def test_what_is_no_state_is_refused(shared_store, state):
    with pytest.raises(FkdError, match=r"(no state of a|of another) StudentLoader"):
        build(shared_store).load_state_dict(state)


def test_a_state_beyond_the_run_is_refused(shared_store):
    loader = build(shared_store)
    with pytest.raises(FkdError, match="the state is of step 13, the run has 12"):
        loader.load_state_dict(loader.state_dict() | {"step": 13})


def test_a_pickled_loader_stands_at_the_same_step(shared_store, whole):
    loader = build(shared_store, rank=0, num_ranks=1, normalized=False)
    next(iter(loader))
    copy = pickle.loads(pickle.dumps(loader))
    same(list(copy.batches()), list(loader.batches()))
    assert copy.rank == 0
    assert loader.step == 12


def test_a_batch_has_names_and_unpacks_as_two(shared_store, whole):
    targets, stored = shared_store.targets(), shared_store.read_crops(range(6))
    for batch in whole:
        images, labels = batch
        assert images is batch.images
        assert labels is batch.labels
        assert batch[0] is images
        assert batch[1] is labels
        assert len(batch) == 6
        assert batch.targets.tolist() == targets[batch.image_index].tolist()
        assert torch.equal(
            labels.index,
            torch.from_numpy(stored.kept["index"][batch.image_index, batch.crop_index]).long(),
        )
    some = whole[0].take(torch.tensor([4, 1]))
    assert torch.equal(some.images, whole[0].images[[4, 1]])
    assert crops_of([some])[0] == [crops_of(whole[:1])[0][row] for row in (4, 1)]
    same(
        [ViewBatch.concatenate([whole[0].take(slice(2)), whole[0].take(slice(2, None))])], whole[:1]
    )
    for one in (4, np.int64(4), torch.tensor(4), (4,)):
        assert torch.equal(whole[0].take(one).images, whole[0].images[4:5])
    there = whole[0].to("meta")
    assert {there.images.device.type, there.labels.tail.device.type} == {"meta"}
    assert there.crop_index.device.type == "meta"
    assert "ViewBatch(images float32 [6, 3, 32, 32], SoftLabels(6 crops" in repr(whole[0])


def test_bytes_are_what_the_normalised_pixels_were(shared_store, whole):
    raw = build(shared_store, normalized=False)
    for batch, expected in zip(raw.batches(), whole, strict=True):
        assert batch.images.dtype == torch.uint8
        mean, std = (
            torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        assert torch.allclose((batch.images / 255 - mean) / std, expected.images, atol=1e-5)


def noisy(views):
    """Draw from every generator that an augmentation may draw from."""
    shift = torch.randint(0, 9, (1,)) + random.randrange(9) + int(np.random.randint(9))
    return views.flip(-1) + shift.to(torch.uint8)


def test_an_augmentation_draws_what_belongs_to_its_step(shared_store):
    settings = {"augment": noisy, "normalized": False}
    torch.manual_seed(7)
    whole = list(build(shared_store, **settings).batches())
    drawn = torch.rand(1)
    plain = list(build(shared_store, normalized=False).batches())
    shifts = [
        int((a.images - b.images.flip(-1)).flatten()[0]) for a, b in zip(whole, plain, strict=True)
    ]
    assert len(set(shifts)) > 3
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))  # the loop's own numbers are not touched
    later = build(shared_store, **settings)
    same(list(later.batches(5)), whole[5:])


def test_an_augmentation_leaves_the_generators_of_other_devices_alone(shared_store, monkeypatch):
    """The student may draw on a GPU, and the loader give batches of the CPU."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    next(iter(build(shared_store, augment=noisy)))
    assert seeded == []


def test_floats_of_an_augmentation_are_shares_of_white(shared_store, whole):
    loader = build(shared_store, augment=lambda views: views.float() / 255)
    for found, expected in zip(loader.batches(), whole, strict=True):
        assert torch.allclose(found.images, expected.images, atol=1e-5)


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        (
            lambda views: views[:2],
            r"augment returned uint8 \[2, 3, 32, 32\] for views uint8 \[6, 3, 32",
        ),
        (lambda views: views[:, :1], r"uint8 \[6, 1, 32, 32\]"),
        (lambda views: None, "a NoneType"),
        (lambda views: views.long(), r"int64 \[6, 3, 32, 32\]"),
    ],
)
def test_what_cannot_be_views_is_refused(shared_store, augment, words):
    with pytest.raises(FkdError, match=words):
        next(iter(build(shared_store, augment=augment)))


def test_threads_work_on_between_epochs_and_end_with_the_loader(shared_store, whole):
    def at_work():
        return {t for t in threading.enumerate() if t.name.startswith("fkd-render")} - before

    before = set(threading.enumerate())
    loader = build(shared_store)
    same(list(loader), whole[:3])
    threads = at_work()
    assert threads
    same(list(loader), whole[3:6])
    assert at_work() == threads  # no new ones: the pipeline was not emptied
    loader.close()
    assert not at_work()
    for batch in loader:
        same([batch], whole[6:7])
        break
    del loader, batch
    assert not at_work()


def test_a_program_that_leaves_in_the_middle_of_a_pass_ends(shared_store, tmp_path):
    code = f"""
from fkd import StudentLoader
loader = StudentLoader({str(shared_store.path)!r}, **{SETTINGS!r})
batches = iter(loader)
print(len(next(batches)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=fkd_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "6\n", "")


def test_a_failed_step_can_be_taken_again(shared_store, whole):
    calls = []

    def fails_once(views):
        calls.append(len(views))
        if len(calls) == 2:
            raise KeyError("augment")
        return views

    loader = build(shared_store, augment=fails_once)
    with pytest.raises(KeyError, match="augment"):
        list(loader)
    assert loader.step == 1
    same(list(loader), whole[1:3])


def test_ranks_are_those_of_torchrun_where_nobody_says_others(shared_store, monkeypatch, whole):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    loader = build(shared_store)
    assert (loader.rank, loader.num_ranks) == (2, 3)
    assert len(next(iter(loader))) == 2
    alone = build(shared_store, rank=0, num_ranks=1)
    same([next(iter(alone))], whole[:1])
    with pytest.raises(FkdError, match="rank and num_ranks go together"):
        build(shared_store, rank=0)


def test_ranks_are_those_of_torch_distributed(shared_store, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    early = build(shared_store)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        loader = build(shared_store)
        assert (loader.rank, loader.num_ranks) == (0, 1)
        with pytest.raises(FkdError, match="built as rank 2 of 3, before this process joined its"):
            next(iter(early))
        told = build(shared_store, rank=2, num_ranks=3)
        assert len(next(iter(told))) == 2
    finally:
        torch.distributed.destroy_process_group()
