"""Lightning trains on stored labels: no crop comes twice, and a stopped run goes on bit by bit."""

import difflib
import itertools
import re
import threading
import warnings
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning")

from helpers.lightning_students import SETTINGS, SILENT, Student, fit, fit_in_two_processes
from helpers.processes import SERVER, fkd_environment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from fkd import FkdError, StudentLoader
from fkd.integrations.lightning import StudentDataModule

# Lightning warns of short epochs and few workers, and uses what torch will drop.
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = (Path(__file__).parents[2] / "docs/trainers/lightning.md").read_text("utf-8")


def module(store, **changes):
    return StudentDataModule(store.path, **SETTINGS | changes)


def bare(store, **changes):
    return StudentLoader(store.path, **SETTINGS | {"epochs": 3, "device": "cpu"} | changes)


def crops_of(batches):
    return [list(zip(b.image_index.tolist(), b.crop_index.tolist(), strict=True)) for b in batches]


@pytest.fixture(scope="module")
def planned(shared_store):
    """The crops of each of the nine steps."""
    return crops_of(bare(shared_store).batches())


@pytest.mark.parametrize("build", [module, bare])
def test_each_epoch_takes_crops_of_its_own(shared_store, planned, build):
    student, trainer = fit(build(shared_store))
    assert student.crops == planned
    assert len(set(itertools.chain(*planned))) > 48
    assert (trainer.current_epoch, trainer.global_step) == (3, 9)
    batch = student.seen[0]
    assert batch.images.shape == (6, 3, 32, 32)
    assert batch.labels.index.dtype == torch.int64


@pytest.mark.parametrize(
    ("build", "settings", "steps"),
    [
        (module, {}, (1, 3, 5)),
        (module, {"accumulate_grad_batches": 2}, (1, 2)),
        (module, {"limit_train_batches": 2}, (2, 3)),
        (module, {"val_check_interval": 2}, (2, 5)),
        (module, {"max_steps": 8}, (3, 7)),
        (bare, {}, (3, 5)),
        (bare, {"limit_train_batches": 2}, (2, 3)),
    ],
)
def test_a_stopped_run_goes_on_bit_by_bit(shared_store, tmp_path, build, settings, steps):
    """Lightning restores a loader itself in the middle of an epoch alone."""
    whole, trainer = fit(build(shared_store), folder=tmp_path, **settings)
    for step in steps:
        ckpt = tmp_path / f"step={step}.ckpt"
        resumed, again = fit(build(shared_store), ckpt_path=ckpt, **settings)
        assert resumed.crops == whole.crops[len(whole.crops) - len(resumed.crops) :]
        assert 0 < len(resumed.crops) < len(whole.crops)
        assert torch.equal(resumed.weights, whole.weights)
        assert (again.global_step, again.current_epoch) == (
            trainer.global_step, trainer.current_epoch,
        )  # fmt: skip


def test_a_checkpoint_of_a_validation_goes_on_bit_by_bit(shared_store, tmp_path):
    """It is saved between the last step of an epoch and its end."""

    def kept():
        return ModelCheckpoint(tmp_path, "{epoch}", monitor="val_acc", mode="max", save_top_k=-1)

    whole = Student()
    trainer = Trainer(**SILENT, max_epochs=3, callbacks=[kept()])
    trainer.fit(whole, module(shared_store))
    resumed, _ = fit(module(shared_store), ckpt_path=tmp_path / "epoch=0.ckpt")
    assert resumed.crops == whole.crops[3:]
    assert torch.equal(resumed.weights, whole.weights)


def test_a_run_that_is_over_stays_over(shared_store, tmp_path):
    whole, _ = fit(module(shared_store), folder=tmp_path)
    again, _ = fit(module(shared_store), ckpt_path=tmp_path / "step=9.ckpt")
    assert again.crops == []
    assert torch.equal(again.weights, whole.weights)


def test_an_epoch_that_is_left_early_is_not_caught_up(shared_store, planned):
    student, _ = fit(module(shared_store), limit_train_batches=2)
    assert student.crops == [planned[step] for step in (0, 1, 3, 4, 6, 7)]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_a_trainer_of_less_precision_keeps_labels_that_a_loss_reads(shared_store, precision):
    exact, _ = fit(module(shared_store), max_epochs=1)
    student, _ = fit(module(shared_store), max_epochs=1, precision=precision)
    assert student.losses == pytest.approx(exact.losses, rel=0.05)
    for found, expected in zip(student.seen, exact.seen, strict=True):
        assert torch.equal(found.labels.index, expected.labels.index)
        assert torch.allclose(found.labels.value.float(), expected.labels.value, atol=1e-2)
        assert found.labels.value.dtype == (
            torch.bfloat16 if precision == "bf16-true" else torch.float32
        )


def test_the_size_of_a_batch_needs_no_word_of_the_user(shared_store):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*batch.size.*")
        trainer = Trainer(**SILENT, max_epochs=1, enable_checkpointing=False)
        student = Student()
        trainer.fit(student, module(shared_store))
    assert float(trainer.callback_metrics["loss_epoch"]) == pytest.approx(sum(student.losses) / 3)


def test_validation_sees_what_an_evaluation_sees(shared_store, shared_folder):
    student, _ = fit(module(shared_store), max_epochs=1)
    targets = torch.cat([targets for _, targets in student.validated])
    assert targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert all(images.shape[1:] == (3, 32, 32) for images, _ in student.validated)
    named = module(shared_store, val=shared_folder / "train", eval_size=48)
    trainer = Trainer(**SILENT)
    seen = Student()
    seen.net = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(11), torch.nn.Flatten(), torch.nn.Linear(363, 3)
    )
    (metrics,) = trainer.validate(seen, named, verbose=False)
    assert sum(len(targets) for _, targets in seen.validated) == 18
    assert seen.validated[0][0].shape == (6, 3, 48, 48)
    assert 0 <= metrics["val_acc"] <= 1
    none, _ = fit(module(shared_store, val="none"), max_epochs=1)
    assert none.validated == []


def test_two_processes_share_each_batch(shared_store, tmp_path):
    process = SERVER.Process(
        target=fit_in_two_processes, args=(fkd_environment(), shared_store.path, tmp_path)
    )
    process.start()
    process.join(120)
    assert process.exitcode == 0
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    together = [sorted([*a, *b]) for a, b in zip(first[0], second[0], strict=True)]
    alone = crops_of(bare(shared_store, batch_size=4, epochs=2).batches())
    assert together == [sorted(crops) for crops in alone]
    assert torch.equal(first[1], second[1])
    assert sorted([*first[2].tolist(), *second[2].tolist()]) == sorted([0, 0, 1, 1, 2, 2] * 2)


@pytest.mark.parametrize(
    ("settings", "trainer", "words"),
    [
        ({"epochs": 2}, {}, "has epochs=2, the Trainer max_epochs=3; leave epochs out"),
        ({}, {"max_epochs": -1}, "no max_epochs, so nothing says how many epochs the student"),
        ({"val": "nowhere"}, {}, "nowhere"),
    ],
)
def test_what_contradicts_the_trainer_is_refused(shared_store, settings, trainer, words):
    with pytest.raises(FkdError, match=words):
        fit(module(shared_store, **settings), **trainer)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "cpu"}, "device is the Trainer's to choose; leave it out"),
        ({"rank": 1}, "rank is no setting of a loader"),
        ({"batch_size": 0}, "batch-size"),
    ],
)
def test_what_is_the_trainers_to_say_is_refused_at_once(shared_store, settings, words):
    with pytest.raises(FkdError, match=words):
        module(shared_store, **settings)


def test_a_longer_run_is_planned_from_the_beginning(shared_store, tmp_path, planned, capsys):
    fit(module(shared_store, epochs=3), folder=tmp_path, max_epochs=2)
    assert "the Trainer stops after 2 epochs of 3" in capsys.readouterr().err
    later, _ = fit(module(shared_store, epochs=3), ckpt_path=tmp_path / "step=6.ckpt")
    assert later.crops == planned[6:]
    with pytest.raises(FkdError, match="of another StudentLoader: epochs is 4"):
        fit(module(shared_store), ckpt_path=tmp_path / "step=6.ckpt", max_epochs=4)


@pytest.mark.parametrize(("epochs", "steps"), [(2.5, 8), (2, 6)])
def test_a_trainer_without_epochs_stops_where_the_plan_ends(shared_store, capsys, epochs, steps):
    student, trainer = fit(module(shared_store, epochs=epochs), max_epochs=-1, max_steps=20)
    assert len(student.crops) == trainer.global_step == steps
    assert f"it stops after the {epochs} epochs of StudentDataModule" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_threads_end_with_a_training_that_failed(shared_store, error):
    class Failing(Student):
        def training_step(self, batch, batch_idx):
            raise error

    def rendering():
        return {t for t in threading.enumerate() if t.name.startswith("fkd-render")}

    before, data = rendering(), module(shared_store)
    with pytest.raises((KeyError, SystemExit)):
        Trainer(**SILENT, max_epochs=1, enable_checkpointing=False).fit(Failing(), data)
    assert data.train_dataloader().step == 1
    assert rendering() <= before


def test_a_loader_of_too_few_epochs_says_so(shared_store):
    with pytest.raises(FkdError, match="planned for 2 epochs, and all of that is over; plan more"):
        fit(bare(shared_store, epochs=2))


def test_a_data_module_without_a_trainer_says_what_to_do(shared_store):
    data = module(shared_store)
    assert data.classes == ("circle", "square", "triangle")
    with pytest.raises(FkdError, match=r"give it to Trainer\.fit"):
        data.setup("fit")
    with pytest.raises(FkdError, match=r"before setup\('fit'\)"):
        data.train_dataloader()


def example(number):
    return re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)[number]


def small(code):
    for long, short in {
        "(224)": "(32)",
        "(256)": "(36)",
        "resnet50": "squeezenet1_1",
        "max_epochs=100": f"max_epochs=2, **{SILENT}",
        "batch_size=256": "batch_size=6",
        '"labels.zarr"': '"labels.zarr", scheme="topk3"',
        "num_workers=8": "num_workers=0",
        "every_n_train_steps=1000": "every_n_train_steps=2",
        "crops_per_image=4": "crops_per_image=2",
    }.items():
        code = code.replace(long, short)
    return code


def test_the_examples_of_the_page_run(shared_store, shared_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").symlink_to(shared_folder)
    (tmp_path / "labels.zarr").symlink_to(shared_store.path)
    before, after, resume, loop = (small(example(number)) for number in range(4))
    names: dict = {}
    exec(before, {})
    exec(after, names)
    assert names["trainer"].global_step == 6
    assert issubclass(names["Student"], LightningModule)
    exec(resume, names)
    assert names["trainer"].global_step == 6
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    exec(loop, names)
    assert names["trainer"].global_step == 6


def test_the_page_counts_its_lines_right():
    lines = list(difflib.ndiff(example(0).splitlines(), example(1).splitlines()))
    added = sum(line.startswith("+ ") for line in lines)
    removed = sum(line.startswith("- ") for line in lines)
    assert added <= 10
    assert f"{added} lines come and {removed} go" in PAGE
