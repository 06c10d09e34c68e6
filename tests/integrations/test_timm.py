"""timm trains on stored labels: its script's way, and as a plain loop would."""

# ruff: noqa: E402  the rest is imported where timm is

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from helpers.mixed_stores import mixed_store

timm = pytest.importorskip("timm")

from timm.data import FastCollateMixup, Mixup, resolve_data_config
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import load_task_ema_checkpoint, resume_task_checkpoint
from timm.utils import CheckpointSaver

from fkd import FkdError, StudentLoader, soft_cross_entropy
from fkd.integrations.timm import StoredLabelsLoader, StoredLabelsTask, StoredTarget
from fkd.integrations.timm_mixup import mixed
from fkd.losses import DistillationLoss

PAGE = Path(__file__).parents[2] / "docs" / "trainers" / "timm.md"

# 18 images of 6 crops: 3 steps an epoch, 9 in all.
SETTINGS = {"crops_per_image": 2, "batch_size": 6, "epochs": 3, "scheme": "topk3", "device": "cpu"}


def make_model():
    torch.manual_seed(1)
    return timm.create_model("test_resnet", num_classes=3).to(memory_format=torch.channels_last)


def make_loader(store, **changes):
    config = resolve_data_config({"img_size": 32}, model=make_model())
    return StoredLabelsLoader(store.path, data_config=config, **SETTINGS | changes)


def mixup(**changes):
    return Mixup(**{"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "num_classes": 3} | changes)


class Run:
    """What timm's script builds of a model, and does with it."""

    def __init__(self, store, folder, **changes):
        self.loader = make_loader(store, **changes)
        model = make_model()
        self.task = StoredLabelsTask(model, self.loader)
        self.optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, weight_decay=1e-4)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer,
            num_epochs=self.loader.epochs,
            warmup_epochs=1,
            step_on_epochs=False,
            updates_per_epoch=len(self.loader),
        )
        self.task.setup_ema(decay=0.5)
        self.saver = CheckpointSaver(
            model, self.optimizer, task=self.task, checkpoint_dir=folder, recovery_dir=folder
        )
        self.rates = []

    def steps(self, stop=99, amp=False):
        """Train to the step `stop`; return the loss of each step."""
        losses = []
        self.task.get_trainable_module().train()
        for _ in range(self.loader.current_epoch, self.loader.epochs):
            for images, target in self.loader:
                with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                    result = self.task(images, target)
                result["loss"].backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                self.rates.append(self.optimizer.param_groups[0]["lr"])
                self.task.update_ema(self.loader.step)
                self.scheduler.step_update(self.loader.step)
                losses.append(result["loss"].item())
                if self.loader.step >= stop:
                    return losses
        return losses


def weights(module):
    return torch.cat([value.flatten().float() for value in module.state_dict().values()])


def crops_of(loader):
    """Return (image, crop) of every view of an epoch, in order."""
    return [
        pair
        for batch in loader.dataset
        for pair in zip(batch.image_index.tolist(), batch.crop_index.tolist(), strict=True)
    ]


def test_timm_takes_the_steps_of_a_plain_loop(shared_store, tmp_path):
    run = Run(shared_store, tmp_path)
    found = run.steps()
    model = make_model().train()
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, weight_decay=1e-4)
    mean = std = (0.5, 0.5, 0.5)
    expected = []
    loader = StudentLoader(shared_store.path, size=32, mean=mean, std=std, **SETTINGS)
    for rate, (images, labels) in zip(run.rates, loader.batches(), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = soft_cross_entropy(model(images), labels).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert found == expected
    assert len(found) == 9
    assert run.rates[:4] == pytest.approx([1e-5, 0.05 / 3, 0.1 / 3, 0.0375], rel=1e-3)
    assert torch.equal(weights(run.task.get_trainable_module()), weights(model))
    average = run.task.get_trainable_module(ema=True).module
    assert not torch.allclose(weights(average), weights(model))
    assert torch.isfinite(weights(average)).all()


def test_the_loss_falls_under_autocast(shared_store, tmp_path):
    run = Run(shared_store, tmp_path, epochs=8)
    losses = run.steps(amp=True)
    assert len(losses) == 24
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 0.005
    images, target = next(iter(make_loader(shared_store)))
    with torch.autocast("cpu", torch.bfloat16):
        result = run.task(images, target)
    assert (result["loss"].dtype, result["output"].dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("taken", [4, 6])
def test_a_checkpoint_of_timm_goes_on_where_it_was(shared_store, tmp_path, taken):
    """After 4 steps that is in the middle of an epoch, and what is mixed there belongs to its step."""
    whole = Run(shared_store, tmp_path, mixup=mixup())
    expected = whole.steps()
    stopped = Run(shared_store, tmp_path, mixup=mixup())
    assert stopped.steps(taken) == expected[:taken]
    stopped.saver.save_recovery(1, taken)
    np.random.seed(3)
    again = Run(shared_store, tmp_path, mixup=mixup())
    last = tmp_path / f"recovery-1-{taken}.pth.tar"
    assert resume_task_checkpoint(again.task, last, again.optimizer) == 2
    load_task_ema_checkpoint(again.task, last)
    assert again.loader.step == taken
    assert again.steps() == expected[taken:]
    for ema in (False, True):
        ends = [weights(run.task.get_trainable_module(ema=ema)) for run in (again, whole)]
        assert torch.equal(*ends)


def test_a_checkpoint_of_another_run_is_refused(shared_store, tmp_path):
    run = Run(shared_store, tmp_path)
    run.saver.save_recovery(0)
    other = Run(shared_store, tmp_path, epochs=4)
    with pytest.raises(FkdError, match="epochs is 4, the state has 3"):
        resume_task_checkpoint(other.task, tmp_path / "recovery-0-0.pth.tar")
    alone = StoredLabelsTask(make_model())
    resume_task_checkpoint(alone, tmp_path / "recovery-0-0.pth.tar")
    assert alone.get_task_state() == {}


@pytest.mark.parametrize("part", ["dataset", "sampler", "batch_sampler"])
def test_timm_sends_it_to_an_epoch(shared_store, part):
    loader = make_loader(shared_store)
    epochs = [crops_of(loader) for _ in range(3)]
    assert len({crop for crops in epochs for crop in crops}) == 54
    later = make_loader(shared_store)
    getattr(later, part).set_epoch(1)
    assert (len(later), later.current_epoch) == (3, 1)
    assert crops_of(later) == epochs[1]


def test_a_batch_has_what_the_loss_reads(shared_store):
    loader, plain = make_loader(shared_store, dtype=torch.bfloat16), make_loader(shared_store)
    for (images, target), batch in zip(loader, plain.dataset, strict=True):
        assert images.dtype == torch.bfloat16
        assert torch.equal(images, batch.images.bfloat16())
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(target.labels.value, batch.labels.value)
        assert torch.equal(target.targets, batch.targets)
        assert (target.mix, len(target)) == (None, 6)
    criterion = DistillationLoss(temperature=2, hard_weight=0.25)
    task = StoredLabelsTask(make_model().eval(), criterion=criterion)
    result = task(batch.images, StoredTarget(batch.labels, batch.targets))
    assert result["loss"].item() == criterion(result["output"], batch.labels, batch.targets).item()
    soft = StoredLabelsTask(make_model().eval())
    expected = soft_cross_entropy(result["output"], batch.labels).mean()
    assert soft(batch.images, batch.labels)["loss"].item() == expected.item()
    with pytest.raises(FkdError, match="there are no targets"):
        task(batch.images, batch.labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", [{"cutmix_alpha": 0}, {"mixup_alpha": 0}, {}])
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_timms_mixup_tells_its_shares(mode, kind, smoothing):
    """The mean of a view of one colour is share · own + (1 - share) · partner, boxes or not."""
    np.random.seed(5)
    mixer = mixup(mode=mode, label_smoothing=smoothing, **kind)
    colours = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 25.0])
    shares = []
    for _ in range(5):
        images, mix = mixed(mixer, colours.view(6, 1, 1, 1).repeat(1, 3, 32, 32))
        assert mix.partner.tolist() == [5, 4, 3, 2, 1, 0]
        found = images.mean(dim=(1, 2, 3))
        assert torch.allclose(found, mix.loss(colours, colours[mix.partner]), atol=1e-4)
        shares.append(mix.share)
    assert torch.stack(shares).std() > 0.01


def test_mixed_views_are_compared_with_both_labels(shared_store):
    loader = make_loader(shared_store, mixup=mixup(cutmix_alpha=0, mode="elem"))
    plain = make_loader(shared_store)
    task = StoredLabelsTask(make_model().eval())
    before = np.random.get_state()[1].tolist()
    for (images, target), batch in zip(loader, plain.dataset, strict=True):
        share, partner = target.mix.share.view(6, 1, 1, 1), target.mix.partner
        own = torch.lerp(batch.images[partner], batch.images, share)
        assert torch.allclose(images, own, atol=1e-5)
        result = task(images, target.to(device=torch.device("cpu")))
        labels = batch.labels.mix(batch.labels[partner], target.mix.share, 3)
        expected = soft_cross_entropy(result["output"], labels).mean()
        assert result["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert np.random.get_state()[1].tolist() == before
    assert loader.mixup_enabled
    loader.mixup_enabled = False
    for (images, target), batch in zip(loader, plain.dataset, strict=True):
        assert torch.equal(images, batch.images)
        assert target.mix.share.tolist() == [1] * 6


def test_ranks_share_a_batch(shared_store):
    task = StoredLabelsTask(make_model().eval())
    alone = make_loader(shared_store, batch_size=12)
    shares = [make_loader(shared_store, batch_size=12, rank=rank, num_ranks=2) for rank in (0, 1)]
    for (images, target), *parts in zip(alone, *shares, strict=True):
        assert [len(part) for part, _ in parts] == [6, 6]
        halves = [task(*part)["loss"].item() for part in parts]
        assert np.mean(halves) == pytest.approx(task(images, target)["loss"].item(), rel=1e-5)


def test_it_is_prepared_for_processes(shared_store, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        plain, run = (Run(shared_store, tmp_path) for _ in range(2))
        run.task.prepare_distributed(device_ids=None)
        trained = run.task.get_trainable_module()
        assert isinstance(trained, torch.nn.parallel.DistributedDataParallel)
        batch = next(iter(run.loader))
        with run.task.no_sync():
            run.task(*batch)["loss"].backward()
        plain.task(*next(iter(plain.loader)))["loss"].backward()
        assert run.steps(3) == pytest.approx(plain.steps(3), rel=1e-4)
        state = run.task.get_checkpoint_state()
        assert state["task_state"]["loader"]["step"] == 3
        assert state["state_dict"].keys() == plain.task.get_checkpoint_state()["state_dict"].keys()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mixup": FastCollateMixup(num_classes=3)}, "mixup is a FastCollateMixup; give a timm"),
        ({"mixup": 0.2}, "mixup is a float; give a timm.data.Mixup"),
        ({"mixup": mixup(multi_label=True)}, "does not tell in which shares"),
        ({"mixup": mixup(label_smoothing=1.0)}, "does not tell in which shares"),
        ({"mixup": mixup(), "batch_size": 9, "crops_per_image": 1}, "each rank has 9 of a batch"),
        ({"data_config": {"input_size": (1, 32, 32)}}, "takes images of 1 channel, stored crops"),
        ({"smoothing": 0.1}, "smoothing is no setting"),
    ],
)
def test_what_cannot_be_is_refused(shared_store, changes, words):
    with pytest.raises(FkdError, match=words):
        StoredLabelsLoader(shared_store.path, **SETTINGS | changes)


def test_views_that_the_teacher_saw_mixed(shared_store, shared_folder, tmp_path):
    store, _ = mixed_store(tmp_path / "mixed.zarr", shared_store, shared_folder)
    with pytest.raises(
        FkdError, match=r"mixup: the views of .* were mixed before they were labelled"
    ):
        make_loader(store, mixup=mixup())
    loader = make_loader(store)
    images, target = next(iter(loader))
    moved = target.to("cpu").targets
    hard = StoredLabelsTask(make_model().eval(), criterion=DistillationLoss(hard_weight=1.0))
    result = hard(images, target)
    each = [
        torch.nn.functional.cross_entropy(result["output"], ids, reduction="none")
        for ids in (moved.own, moved.partner)
    ]
    expected = (moved.share * each[0] + (1 - moved.share) * each[1]).mean()
    assert result["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    loader.close()


def test_a_model_of_other_outputs_is_refused(shared_store):
    model = timm.create_model("test_resnet", num_classes=4)
    with pytest.raises(FkdError, match="has 4 outputs, the store 3 classes; build it with num_cl"):
        StoredLabelsTask(model, make_loader(shared_store))


def examples():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)


def smaller(code, **changes):
    for long, short in changes.values():
        assert long in code
        code = code.replace(long, short)
    return code


def test_the_lines_for_train_py_are_few_and_train(shared_store):
    lines = "".join(examples()[:3])
    assert len(lines.splitlines()) == 10
    settings = f'{str(shared_store.path)!r}, crops_per_image=2, scheme="topk3", device="cpu"'
    code = smaller(lines, store=('"labels.zarr"', settings))
    model = make_model()
    script = {
        "args": SimpleNamespace(batch_size=6, world_size=1, epochs=2, cooldown_epochs=1, workers=1),
        "data_config": resolve_data_config({"img_size": 32}, model=model),
        "mixup_active": True,
        "mixup_args": {"mixup_alpha": 0.2, "label_smoothing": 0.1, "num_classes": 3},
        "Mixup": Mixup,
        "device": torch.device("cpu"),
        "model": model,
        "model_dtype": None,
    }
    exec(code, script)
    loader, task = script["loader_train"], script["task"]
    assert loader.epochs == 3
    assert loader.mixup_enabled
    for images, target in loader:
        task(images, target)["loss"].backward()
    assert loader.step == len(loader) == 3
    assert all(p.grad is not None for p in model.parameters())


def test_the_script_of_the_page_trains_and_goes_on(shared_store, tmp_path, monkeypatch, capsys):
    (_, _, _, script) = examples()
    assert len([line for line in script.splitlines() if line]) <= 60
    code = smaller(
        script,
        store=('"labels.zarr"', repr(str(shared_store.path))),
        size=("resolve_data_config({}", 'resolve_data_config({"img_size": 32}'),
        model=('"resnet50", num_classes=1000', '"test_resnet", num_classes=3'),
        steps=(
            "batch_size=1024, epochs=300",
            'batch_size=8, epochs=3, scheme="topk3", device="cpu"',
        ),
        often=("% 1000", "% 5"),
    )
    make_image_folder(tmp_path / "imagenet")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    said = capsys.readouterr().out
    assert [line[:14] for line in said.splitlines()] == [f"epoch {n}: loss " for n in range(3)]
    out = tmp_path / "runs" / "timm-resnet50"
    (recovery,) = out.glob("recovery-*.pth.tar")
    for file in set(out.glob("*.pth.tar")) - {recovery}:
        file.unlink()
    exec(code, {})
    assert capsys.readouterr().out == said.splitlines(keepends=True)[2]
