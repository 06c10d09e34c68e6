"""What a GPU is asked for, in which order and by which arithmetic, as far as a CPU can tell.

The device "meta" holds no data: whoever reads a number from it fails, as whoever reads one from a GPU
waits. A dispatch mode sees every copy to it.
"""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from helpers.crops import all_at_once, one_by_one, some_crops
from helpers.folders import label_config
from torch import nn
from torch.distributed import HashStore
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from fkd import FkdError, Scheme, TrainConfig, label_images, train_student
from fkd.config import Objective, Optim, Preprocessing, ViewFormat, ViewPolicy
from fkd.labelling import WantedViews
from fkd.labelling.batches import teacher_batches
from fkd.labels import KeptLabels
from fkd.loader import Schedule, StudentBatch, student_batches
from fkd.machine import Download, own_device, transfer, upload
from fkd.sources import list_images
from fkd.students import MovingAverage, StudentCard
from fkd.training import Group, Learner
from fkd.training import processes as group_module
from fkd.training.optimizer import build_optimizer
from fkd.views import CropTable, RenderPool, render_table
from fkd.views.taps import taps_of

META = torch.device("meta")


class Copies(TorchDispatchMode):
    """Notes the shape of each copy from the CPU to the device, and whether it waits."""

    def __init__(self):
        super().__init__()
        self.shapes, self.waiting = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        done = func(*args, **(kwargs or {}))
        sources = [a for a in args if isinstance(a, torch.Tensor) and a.device.type == "cpu"]
        if isinstance(done, torch.Tensor) and done.device == META and any(a.dim() for a in sources):
            self.shapes.append(tuple(sources[-1].shape))
            if not (kwargs or {}).get("non_blocking"):
                self.waiting.append((str(func), self.shapes[-1]))
        return done


def small_learner(device, **settings):
    config = TrainConfig.from_recipe("fkd", batch_size=16, scheme=Scheme("topk", 3), **settings)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    card = StudentCard("small", tuple("abcde"), Preprocessing(32))
    peers = [(card, copy.deepcopy(model)) for _ in config.students[1:]]
    return Learner(config, card, KeptLabels(Scheme("topk", 3), 5), model, device, Group(), peers)


def some_batch(share=None):
    views = torch.zeros(16, 3, 32, 32, dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    kept = {
        "index": torch.zeros(16, 3, dtype=torch.int64),
        "code": torch.zeros(16, 3, dtype=torch.uint8),
    }
    images, crops = np.arange(4).repeat(4), np.tile(np.arange(4), 4)
    targets = torch.zeros(16, dtype=torch.int64)
    mixed = () if share is None else (targets + 1, torch.full((16,), share))
    return StudentBatch(views, kept, targets, images, crops, np.arange(4), *mixed)


SOFT = TrainConfig().terms_at(0)
HALF = TrainConfig(objective=Objective(hard_weight=0.5)).terms_at(0)
EVERYTHING = {"ema": 0.9, "mixup": 0.2, "cutmix": 1.0, "color_jitter": 0.4, "clip_grad": 1.0}


@pytest.mark.parametrize("settings", [{}, EVERYTHING, {"optimizer": "adamw", "hard_weight": 1.0}])
def test_a_step_waits_for_nothing_and_brings_the_batch_over_whole(settings, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no such device
    learner = small_learner(META, micro_batch=7, **settings)
    for step in range(2):  # what is made once is made in the first
        with Copies() as copies:
            learner.step(some_batch(), step, lr=0.1, terms=HALF)
    assert copies.shapes[:4] == [(16, 3), (16, 3), (16, 3, 32, 32), (16,)]
    assert not copies.waiting


def test_a_step_on_mixed_views_waits_for_nothing_and_their_classes_are_in_shares(monkeypatch):
    losses = [
        small_learner(torch.device("cpu"), micro_batch=7).step(some_batch(s), 0, lr=0.1, terms=HALF)
        for s in (1.0, 0.0, 0.25)
    ]
    assert losses[2].item() == pytest.approx(0.25 * losses[0].item() + 0.75 * losses[1].item())
    assert losses[0] != losses[1]
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    learner = small_learner(META, micro_batch=7)
    with Copies() as copies:
        learner.step(some_batch(0.25), 0, lr=0.1, terms=HALF)
    assert not copies.waiting


def test_students_of_a_step_wait_for_nothing_and_share_one_batch(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    terms = TrainConfig(student=["small", "small"]).terms_at(0)
    learner = small_learner(META, student=["small", "small"], micro_batch=7, **EVERYTHING)
    alone = small_learner(META, micro_batch=7, **EVERYTHING)
    shapes = []
    for one in (alone, learner):
        one.step(some_batch(), 0, lr=0.1, terms=terms[:1])
        with Copies() as copies:
            one.step(some_batch(), 1, lr=0.1, terms=terms if one is learner else terms[:1])
        assert not copies.waiting
        shapes.append(copies.shapes)
    assert shapes[0] == shapes[1]


def test_the_table_of_crops_is_one_copy_that_waits_for_nothing():
    table = CropTable(
        np.array([0, 600]), np.array([30, 40]), np.array([[1, 2, 15, 20], [0, 0, 30, 40]]),
        np.array([True, False]),
    )  # fmt: skip
    with Copies() as copies:
        views = render_table(
            torch.empty(1800, 3, dtype=torch.uint8, device=META), table, 24, "bicubic"
        )
    assert views.shape == (2, 3, 24, 24)
    assert copies.shapes == [(7, 2)]
    assert not copies.waiting


class Asked(TorchDispatchMode):
    """Counts the operations that a device is asked for; those that move nothing are not among them."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        done = func(*args, **(kwargs or {}))
        made = isinstance(done, torch.Tensor) and done.device == META
        self.count += made and not func.is_view and "empty" not in func.name()
        return done


@pytest.mark.parametrize(("how", "most"), [("bilinear", 90), ("bicubic", 115)])
def test_a_table_of_crops_asks_for_as_many_operations_as_one_crop(how, most):
    """Python asks a GPU for an operation in 10 µs: with a go for every image it was never busy."""
    asked = []
    for count in (1, 200):
        images, crops = some_crops(np.random.default_rng(0), count, (40, 60))
        whole = np.array([[0, 0, 40, 40]] * count)
        table = CropTable.of_images(
            np.array([image.shape[:2] for image in images]), np.arange(count), whole,
            np.array([flip for _, flip in crops]),
        )  # fmt: skip
        pixels = torch.empty(60 * 60 * count, 3, dtype=torch.uint8, device=META)
        with Asked() as operations:
            render_table(pixels, table, 32, how)
        asked.append(operations.count)
    assert asked[0] == asked[1] <= most


def test_a_batch_to_label_is_rendered_at_once(shared_folder):
    """Beside the table of crops, each image is copied to the device, and put behind the others."""
    images, formats = list_images(shared_folder / "train"), [ViewFormat(32, "bilinear")]
    with RenderPool(2, META, "device") as pool, Asked() as operations:
        wanted = WantedViews(ViewPolicy(), range(6))
        batches = list(teacher_batches(pool, images, range(18), wanted, 54, formats))
    assert [batch.num_views for batch in batches] == [54, 54]
    assert operations.count <= 2 * 95 + 18 + 2


class OfAGpu(TorchDispatchMode):
    """Divides by a number through its reciprocal, takes powers roughly, and sums from the other end."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        if name == "div" and not (isinstance(args[1], torch.Tensor) and args[1].dim()):
            return args[0] * (1.0 / float(args[1]))
        if name == "pow":
            return func(*args, **kwargs) * (1 + 1e-7)
        if name == "sum" and args[0].is_floating_point():
            return func(args[0].flip(args[1]), *args[1:], **kwargs)
        return func(*args, **kwargs)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_do_not_hang_on_how_a_device_divides_and_sums(interpolation):
    """By reciprocals, sides of 160 and 544 pixels got other weights at 96 px, and so other pixels."""
    rng = np.random.default_rng(0)
    images, crops = some_crops(rng, 3, (400, 600))
    wide = [rng.integers(0, 256, (544, 160, 3), dtype=np.uint8) for _ in range(2)]
    images, crops = [*images, *wide], [*crops, ([0, 0, 544, 160], False), ([0, 0, 544, 160], True)]
    expected = one_by_one(images, crops, 96, interpolation)
    lengths = torch.arange(1, 700)
    taps = taps_of(lengths, 700, 96, interpolation)
    with OfAGpu():
        found = all_at_once(images, crops, 96, interpolation)
        taps_there = taps_of(lengths, 700, 96, interpolation)
    assert torch.equal(found, expected)
    assert torch.equal(taps_there.weight, taps.weight)
    assert torch.equal(taps_there.bits, taps.bits)


@pytest.mark.parametrize("apart", [0, 1])
def test_photos_too_large_to_send_are_rendered_by_threads_for_a_device(
    shared_store, shared_folder, monkeypatch, apart
):
    images = list_images(shared_folder / "train")
    schedule = Schedule(18, 6, 2, 12, epochs=2, seed=0, stagger=apart)
    with RenderPool(2) as pool:
        expected = list(student_batches(pool, shared_store, images, schedule))
    monkeypatch.setattr("fkd.loader.batches._PACKED_BYTES", 0)
    with RenderPool(2, META, "device") as pool:
        found = list(student_batches(pool, shared_store, images, schedule))
    assert len(found) == 3
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.views, other.views)
        assert torch.equal(one.targets, other.targets)


class Stream:
    def __init__(self, name, log):
        self.name, self.log = name, log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


class Cuda:
    """A CPU tensor as `upload` sees it, and then one on CUDA."""

    def __init__(self, log, pinned):
        self.device, self.log, self.pinned = torch.device("cpu"), log, pinned

    def is_pinned(self):
        return self.pinned

    def pin_memory(self):
        self.log.append("pinned")
        return Cuda(self.log, True)

    def to(self, device, non_blocking):
        assert self.pinned
        assert non_blocking
        self.log.append("copied")
        return self

    def record_stream(self, stream):
        self.log.append(f"kept for {stream.name}")


def test_an_upload_to_cuda_runs_beside_the_work_and_the_work_waits_for_it(monkeypatch):
    log = []
    streams = {"copies": Stream("copies", log), "work": Stream("work", log)}

    class Inside(nullcontext):
        def __enter__(self):
            log.append(f"in {self.enter_result.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: streams["copies"])
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: streams["work"])
    monkeypatch.setattr(torch.cuda, "stream", Inside)
    transfer._copy_stream.cache_clear()
    upload(Cuda(log, pinned=False), torch.device("cuda", 0))
    assert log == ["in copies", "pinned", "copied", "work waits for copies", "kept for work"]
    log.clear()
    upload(Cuda(log, pinned=True), torch.device("cuda", 0))
    assert "pinned" not in log
    transfer._copy_stream.cache_clear()


def test_what_comes_to_the_cpu_is_there_before_it_is_read():
    """A teacher's function may answer on a GPU of its own, whatever --device says."""

    class OnCuda:
        device = torch.device("cuda", 0)

        def to(self, device, non_blocking=False):
            assert not non_blocking
            return torch.ones(2, device=device)

    assert upload(OnCuda(), torch.device("cpu")).tolist() == [1, 1]


def test_what_comes_down_from_a_gpu_is_marked_in_its_own_stream(monkeypatch):
    """Not in the stream of the current device, which is another one's under torchrun."""
    log = []

    class Event:
        def __init__(self, blocking):
            log.append(f"blocking {blocking}")

        def record(self, stream):
            log.append(f"after {stream}")

        def synchronize(self):
            log.append("waited")

    class OnCuda:
        device = torch.device("cuda", 1)

        def to(self, device, non_blocking):
            log.append(f"sent, non_blocking {non_blocking}")
            return torch.ones(1)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the work of {device}")
    coming = Download(loss=OnCuda())
    assert log == ["sent, non_blocking True", "blocking True", "after the work of cuda:1"]
    assert coming.wait()["loss"] == 1
    assert log[-1] == "waited"


def test_fused_momentum_begins_at_zero_where_the_first_gradients_are_not_finite(monkeypatch):
    """The fused kernel skips such a step, and would keep what its momentum happened to lie in memory."""
    student = nn.Linear(4, 4)
    monkeypatch.setattr("fkd.training.optimizer._fused", lambda parameters: True)
    optimizer = build_optimizer(Optim(weight_decay=0.0), student)
    assert optimizer.param_groups[0]["fused"]
    optimizer.param_groups[0]["lr"] = 0.1
    before = [p.detach().clone() for p in student.parameters()]
    scaler = torch.amp.GradScaler("cpu")
    for factor in (float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale((student(torch.ones(2, 4)) * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    grads = [torch.full((4, 4), 2.0), torch.full((4,), 2.0)]
    for now, then, grad in zip(student.parameters(), before, grads, strict=True):
        assert torch.allclose(now, then - 0.1 * grad)


def test_a_loss_is_read_after_the_next_step_was_asked_for(shared_store, tmp_path, monkeypatch):
    """And the copy that is waited for was begun before that step: behind it, it would wait for it."""
    log = []

    class Logged(Download):
        def __init__(self, **tensors):
            super().__init__(**tensors)
            self.number = sum(line.startswith("sent") for line in log) + 1
            log.append(f"sent {self.number}")

        def wait(self):
            log.append(f"read {self.number}")
            return super().wait()

    class LoggedLearner(Learner):
        def step(self, batch, step, **how):
            log.append(f"step {step + 1}")
            return super().step(batch, step, **how)

    monkeypatch.setattr("fkd.training.record.Download", Logged)
    config = TrainConfig.from_recipe(
        "fkd", store=shared_store.path, out=tmp_path / "run", student="resnet18", batch_size=12,
        crops_per_image=2, scheme=Scheme("topk", 3), epochs=2, eval_every=2, device="cpu",
    )  # fmt: skip
    train_student(config, learner=LoggedLearner)
    assert log == [
        "step 1", "sent 1", "step 2", "sent 2", "read 1", "step 3", "sent 3", "read 2", "read 3"
    ]  # fmt: skip


def test_a_moving_average_is_torchs(tmp_path):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    ours = MovingAverage(student, 0.9)
    average = get_ema_multi_avg_fn(0.9)
    theirs = AveragedModel(student, multi_avg_fn=average, use_buffers=True)
    for _ in range(3):
        student(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.update(student)
        theirs.update_parameters(student)
    expected, found = theirs.module.state_dict(), ours.module.state_dict()
    assert ours.updates == 3
    for name, value in found.items():
        counter = name.endswith("num_batches_tracked")
        assert torch.equal(value, student.state_dict()[name] if counter else expected[name])


def test_a_checkpoint_of_other_kernels_is_taken_up(monkeypatch):
    """A GPU's optimizer is fused; a run that goes on elsewhere keeps its own kind."""
    one, other = small_learner(torch.device("cpu")), small_learner(torch.device("cpu"))
    one.step(some_batch(), 0, lr=0.1, terms=SOFT)
    saved = one.checkpoint(1)
    for group in saved.trainer["optimizer"]["param_groups"]:
        group["fused"] = True
    other.load(saved)
    assert [group["fused"] for group in other.optimizer.param_groups] == [None]
    again = [learner.step(some_batch(), 1, lr=0.1, terms=SOFT) for learner in (one, other)]
    assert torch.equal(*again)


@pytest.mark.parametrize(
    ("machines", "named", "backend"),
    [
        ([(0, 2, 2), (1, 2, 2)], "cuda", "nccl"),
        ([(0, 2, 1), (1, 2, 1)], "cuda", "gloo"),
        ([(0, 1, 1), (0, 2, 1), (1, 2, 1)], "cuda", "gloo"),
        ([(0, 2, 2), (1, 2, 2)], "cuda:1", "gloo"),
        ([(0, 1, 2), (0, 1, 2)], "cuda:1", "nccl"),
    ],
)
def test_processes_that_share_a_gpu_agree_on_another_way(
    machines, named, backend, monkeypatch, capsys
):
    """NCCL refuses two processes on a GPU; on one machine alone, the others must hear of it."""
    keys, size = HashStore(), len(machines)
    chosen = []
    for rank in [
        *range(size),
        *range(size),
    ]:  # in turn, here: the second time all have said their word
        local, per_machine, gpus = machines[rank]
        monkeypatch.setenv("LOCAL_RANK", str(local))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(per_machine))
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        shared = per_machine > gpus or (named != "cuda" and per_machine > 1)
        keys.set(f"crowded/{rank}", str(int(shared)))
        if len(chosen) or rank == size - 1:
            chosen.append(group_module._backend(own_device(named, local), keys, rank, size))
    assert set(chosen) == {backend}
    assert ("share a GPU" in capsys.readouterr().err) == (backend == "gloo")
    assert group_module._backend("cpu", HashStore(), 0, 1) == "gloo"


def test_a_device_without_memory_for_the_views_is_a_line(
    shared_store, shared_folder, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("fkd.loader.batches.render_table", full)
    config = TrainConfig.from_recipe(
        "fkd", store=shared_store.path, out=tmp_path / "run", student="resnet18", batch_size=12,
        crops_per_image=2, scheme=Scheme("topk", 3), epochs=2, device="cpu", render="device",
    )  # fmt: skip
    with pytest.raises(FkdError, match=r"out of memory on cpu at step 1 .*--micro-batch"):
        train_student(config)
    monkeypatch.setattr("fkd.labelling.waiting.render_table", full)
    with pytest.raises(FkdError, match="--batch-size below 32, or --amp bf16"):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", render="device"))
