"""`transformers.Trainer` learns from a store: its batches, exact resume, and evaluation as it was."""

import difflib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.mixed_stores import mixed_store
from torch.utils.data import Dataset

from fkd import FkdError, SoftLabels, StudentLoader
from fkd.losses import DistillationLoss, MixedTargets, soft_cross_entropy

with pytest.MonkeyPatch.context() as offline:
    offline.setenv("HF_HUB_OFFLINE", "1")  # it is read once, on import
    transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from fkd.integrations.transformers import (
    StudentTrainer,
    classes_of,
    settings_of,
)

# 18 images of 6 crops: 4 batches an epoch, 8 in all.
SETTINGS = {"crops_per_image": 2, "batch_size": 4, "epochs": 2, "scheme": "topk2", "size": 32}
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
PAGE = Path(__file__).parents[2] / "docs/trainers/transformers.md"


class Eval(Dataset):
    """Three images of known classes."""

    def __len__(self):
        return 3

    def __getitem__(self, number):
        image = torch.full((3, 32, 32), float(number))
        return {"pixel_values": image, "labels": number, "name": "not for the model"}


class Recorded(StudentTrainer):
    """Remembers what it trained on."""

    def training_step(self, model, inputs, *more):
        batches = self.__dict__.setdefault("batches", [])
        batches.append(inputs["pixel_values"])
        return super().training_step(model, inputs, *more)


def build_loader(store, **changes):
    return StudentLoader(store.path, device="cpu", **SETTINGS | changes)


def build_model(loader, **changes):
    torch.manual_seed(0)
    config = TINY | {"image_size": 32, "patch_size": 16} | changes
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(**config, **classes_of(loader))
    )


def build(loader, out, kind=Recorded, model=None, given=None, **changes):
    settings = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
    }
    args = transformers.TrainingArguments(str(out), **settings | changes)
    return kind(model or build_model(loader), args, train_dataset=loader, **given or {})


def weights(trainer):
    return trainer.model.state_dict()


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.fixture(scope="module")
def whole(shared_store, tmp_path_factory):
    """A run with dropout, two batches an update and a checkpoint in the middle of each epoch."""
    out = tmp_path_factory.mktemp("whole")
    loader = build_loader(shared_store, batch_size=4)
    model = build_model(loader, hidden_dropout_prob=0.2)
    trainer = build(loader, out, model=model, **UPDATES)
    trainer.train()
    return trainer


UPDATES = {
    "gradient_accumulation_steps": 2,
    "save_strategy": "steps",
    "save_steps": 1,
    "learning_rate": 0.01,
}


def test_it_trains_on_the_batches_of_the_loader(shared_store, whole):
    expected = [batch.images for batch in build_loader(shared_store).batches()]
    assert len(whole.batches) == len(expected) == 8
    assert all(torch.equal(a, b) for a, b in zip(whole.batches, expected, strict=True))
    assert whole.state.global_step == 4
    assert whole.state.epoch == 2
    assert whole.num_examples(whole.get_train_dataloader()) == 16
    assert (Path(whole.args.output_dir) / "checkpoint-4/model.safetensors").exists()


@pytest.mark.parametrize(("update", "restored"), [(1, False), (2, False), (3, True)])
def test_a_resumed_run_is_the_run_that_was_never_stopped(
    shared_store, whole, tmp_path, monkeypatch, update, restored
):
    """In the middle of the first epoch, at its end, and in the middle of the last one."""
    loader = build_loader(shared_store)
    decoded = []
    hand_out = StudentLoader._next
    monkeypatch.setattr(
        StudentLoader, "_next", lambda self: decoded.append(self.step) or hand_out(self)
    )
    place = f"{whole.args.output_dir}/checkpoint-{update}"
    model = transformers.ViTForImageClassification.from_pretrained(place)
    more = {"restore_callback_states_from_checkpoint": restored}
    again = build(loader, tmp_path, model=model, **more, **UPDATES)
    again.train(resume_from_checkpoint=place)
    assert decoded == list(range(2 * update, 8))
    assert len(again.batches) == 8 - 2 * update
    same(weights(again), weights(whole))


def test_a_second_training_begins_anew(shared_store, tmp_path):
    loader = build_loader(shared_store)
    next(iter(loader))
    trainer = build(loader, tmp_path, max_steps=2)
    trainer.train()
    trainer.train()
    first, second = trainer.batches[:2], trainer.batches[2:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_update_is_that_of_all_its_batches(shared_store, tmp_path):
    """Two batches of 4 give the gradient of 8 views, by a loss of one's own too."""
    for given, loss in (
        ({}, lambda logits, batch: soft_cross_entropy(logits, batch.labels).mean()),
        (
            {"distillation_loss": DistillationLoss(temperature=2, hard_weight=0.5)},
            lambda logits, batch: DistillationLoss(temperature=2, hard_weight=0.5)(
                logits, batch.labels, batch.targets
            ),
        ),
    ):
        loader = build_loader(shared_store)
        updates = {"gradient_accumulation_steps": 2, "max_steps": 1, "max_grad_norm": 0}
        sgd = {"optim": "sgd", "learning_rate": 0.5, "lr_scheduler_type": "constant"}
        trainer = build(loader, tmp_path, given=given, **updates, **sgd)
        trainer.train()
        expected = build_model(loader).train()
        for batch in list(build_loader(shared_store))[:2]:
            (loss(expected(batch.images).logits, batch) / 2).backward()
        for name, value in expected.named_parameters():
            assert torch.allclose(
                trainer.model.get_parameter(name), value - 0.5 * value.grad, atol=1e-6
            )


def test_evaluation_is_that_of_trainer(shared_store, tmp_path, whole):
    metric = {"compute_metrics": lambda found: {"first": float(found.predictions[0, 0])}}
    ours, theirs = (
        build(build_loader(shared_store), tmp_path, kind, whole.model, metric)
        for kind in (StudentTrainer, transformers.Trainer)
    )
    for name in ("eval_loss", "eval_first"):
        assert ours.evaluate(Eval())[name] == theirs.evaluate(Eval())[name]
    found, expected = (trainer.predict(Eval()) for trainer in (ours, theirs))
    assert (found.predictions == expected.predictions).all()
    assert found.label_ids.tolist() == [0, 1, 2]


def test_classes_are_trained_on_as_by_trainer_and_subclasses_combine(shared_store, tmp_path):
    class Own(transformers.Trainer):
        def compute_loss(self, *args, **more):
            return super().compute_loss(*args, **more)

        def log(self, logs, *more):
            self.__dict__.setdefault("logged", []).append(logs)

    class Mine(StudentTrainer, Own):
        pass

    loader = build_loader(shared_store)
    results = []
    for kind in (Mine, transformers.Trainer):
        trainer = build(Eval(), tmp_path, kind, build_model(loader), max_steps=2)
        trainer.train()
        results.append(weights(trainer))
    same(*results)
    trainer = build(loader, tmp_path, Mine, max_steps=1, logging_strategy="steps", logging_steps=1)
    trainer.train()
    first = next(iter(build_loader(shared_store)))
    logits = build_model(loader).train()(first.images).logits
    loss = soft_cross_entropy(logits, first.labels).mean().item()
    assert trainer.logged[0]["loss"] == pytest.approx(loss, rel=1e-5)


def test_each_process_has_its_share_of_a_batch(shared_store, tmp_path):
    loader = build_loader(shared_store, rank=0, num_ranks=2)
    with pytest.raises(FkdError, match="of process 0 of 2, the Trainer is process 0 of 1; build"):
        build(loader, tmp_path)


@pytest.mark.parametrize(
    ("changes", "given", "words"),
    [
        (
            {"per_device_train_batch_size": 8},
            {},
            "has 4 views a batch, all processes together, and per_device_train_batch_size makes "
            "that 8; give the loader batch_size",
        ),
        ({"auto_find_batch_size": True}, {}, "auto_find_batch_size=True does not go with"),
        ({"ignore_data_skip": True}, {}, "ignore_data_skip=True .* leave it out"),
        ({"label_smoothing_factor": 0.1}, {}, "label_smoothing_factor=0.1 .* are soft"),
        ({}, {"compute_loss_func": print}, "compute_loss_func .* a distillation_loss"),
    ],
)
def test_contradictions_are_one_line(shared_store, tmp_path, changes, given, words):
    with pytest.raises(FkdError, match=words) as raised:
        build(build_loader(shared_store), tmp_path, given=given, **changes)
    assert "\n" not in str(raised.value)


def test_a_model_has_an_output_for_each_class(shared_store, tmp_path):
    model = transformers.ViTForImageClassification(
        transformers.ViTConfig(**TINY, image_size=32, patch_size=16, num_labels=5)
    )
    with pytest.raises(FkdError, match="model has 5 outputs, the store 3 classes; build it with"):
        build(build_loader(shared_store), tmp_path, model=model)


def test_a_run_is_no_longer_than_its_loader(shared_store, tmp_path, capsys):
    with pytest.raises(FkdError, match="takes 12 batches, the loader has 8; plan it for epochs=3"):
        build(build_loader(shared_store), tmp_path, num_train_epochs=3).train()
    build(build_loader(shared_store), tmp_path, max_steps=1).train()
    assert "warning: the Trainer takes 1 of the 8 batches" in capsys.readouterr().err


def test_the_last_update_of_an_epoch_may_be_of_fewer_batches(shared_store, tmp_path, capsys):
    """4 batches are an update of 3 and one of 1, so two epochs are four updates."""
    loader = build_loader(shared_store)
    trainer = build(loader, tmp_path, gradient_accumulation_steps=3)
    trainer.train()
    assert (trainer.state.global_step, len(trainer.batches), loader.step) == (4, 8, 8)
    assert "warning" not in capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_refused(shared_store, whole, tmp_path):
    place = f"{whole.args.output_dir}/checkpoint-1"
    with pytest.raises(FkdError, match="another StudentLoader: seed is 5, the state has 0"):
        build(build_loader(shared_store, seed=5), tmp_path, **UPDATES).train(place)
    changed = UPDATES | {"gradient_accumulation_steps": 1}
    with pytest.raises(FkdError, match="after 2 batches of the loader, and with gradient_acc"):
        build(build_loader(shared_store), tmp_path, **changed).train(place)


def test_a_checkpoint_without_a_place_is_refused(shared_store, whole, tmp_path):
    place = tmp_path / "checkpoint-1"
    place.mkdir()
    for file in (Path(whole.args.output_dir) / "checkpoint-1").iterdir():
        (place / file.name).symlink_to(file)
    state = json.loads((place / "trainer_state.json").read_text())
    del state["stateful_callbacks"]["LoaderPlace"]
    (place / "trainer_state.json").unlink()
    (place / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(FkdError, match=r"not of a training on a StudentLoader, .* begin anew"):
        build(build_loader(shared_store), tmp_path, **UPDATES).train(str(place))


def test_a_convolutional_network_returns_tuples(shared_store, tmp_path):
    loader = build_loader(shared_store)
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8],
        depths=[1, 1],
        layer_type="basic",
        return_dict=False,
        **classes_of(loader),
    )
    model = transformers.ResNetForImageClassification(config)
    trainer = build(loader, tmp_path, StudentTrainer, model, max_steps=1)
    assert trainer.train().training_loss > 0


def test_batches_have_soft_labels(shared_store, tmp_path):
    trainer = build(build_loader(shared_store), tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert isinstance(batch["labels"], SoftLabels)
    assert batch["targets"].dtype == torch.int64
    assert batch["pixel_values"].shape == (4, 3, 32, 32)


def test_views_that_the_teacher_saw_mixed(shared_store, shared_folder, tmp_path):
    store, _ = mixed_store(tmp_path / "mixed.zarr", shared_store, shared_folder)
    loss = DistillationLoss(hard_weight=0.5)
    given = {"distillation_loss": loss}
    trainer = build(build_loader(store), tmp_path, given=given, max_steps=2)
    batch = next(iter(trainer.get_train_dataloader()))
    assert isinstance(batch["targets"], MixedTargets)
    assert trainer.train().training_loss > 0


def test_class_names_are_titles_where_no_two_are_the_same():
    loader = SimpleNamespace(classes=("n1", "n2"), titles=("crane", "heron"))
    assert classes_of(loader) == {
        "num_labels": 2,
        "id2label": {0: "crane", 1: "heron"},
        "label2id": {"crane": 0, "heron": 1},
    }
    loader.titles = ("crane", "crane")
    assert classes_of(loader)["id2label"] == {0: "n1", 1: "n2"}


@pytest.mark.parametrize(
    ("kind", "given", "size"),
    [
        ("ViTImageProcessor", {"size": {"height": 32, "width": 48}}, (32, 48)),
        ("ConvNextImageProcessor", {}, (384, 384)),
        ("LevitImageProcessor", {"crop_size": {"height": 192, "width": 160}}, (192, 160)),
    ],
)
def test_an_image_processor_becomes_settings(shared_store, kind, given, size):
    processor = getattr(transformers, kind)(**given)
    settings = settings_of(processor)
    assert settings["size"] == size
    loader = build_loader(shared_store, **settings)
    white = torch.full((3, *size), 255, dtype=torch.uint8)
    pixels = processor(white, return_tensors="pt")["pixel_values"][0, :, 0, 0]
    mean, std = (torch.tensor(settings[name]) for name in ("mean", "std"))
    assert torch.allclose(pixels, (1 - mean) / std, atol=1e-5)
    assert next(iter(loader)).images.shape[2:] == size


def test_pixels_that_are_not_normalised_stay_in_0_to_1():
    settings = settings_of(transformers.ViTImageProcessor(do_normalize=False))
    assert (settings["mean"], settings["std"]) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rescale_factor": 1 / 127.5}, "ViTImageProcessor does not divide pixels by 255; give"),
        ({"do_rescale": False}, "does not divide pixels by 255"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "gives images no size of their own"),
    ],
)
def test_other_processors_are_refused(given, words):
    with pytest.raises(FkdError, match=words):
        settings_of(transformers.ViTImageProcessor(**given))


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)


def test_the_page_counts_its_lines():
    before, after = (block.splitlines() for block in blocks())
    marks = [line[0] for line in difflib.ndiff(before, after)]
    assert (marks.count("+"), marks.count("-")) == (8, 5)
    assert "Eight lines are new or changed, and five are gone" in PAGE.read_text("utf-8")


def test_the_scripts_of_the_page_run(shared_store, shared_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {
        "ViTImageProcessor()": "ViTImageProcessor(size={'height': 32, 'width': 32})",
        "ViTConfig(": f"ViTConfig(image_size=32, patch_size=16, **{TINY}, ",
        "=256": "=4",
        "=100": "=1",
        '"labels.zarr"': f'"{shared_store.path}", scheme="topk3"',
        '"imagenet/': f'"{shared_folder}/',
        '"runs/vit",': '"runs/vit", report_to="none", use_cpu=True, save_strategy="no",',
    }
    for code in blocks():
        for long, short in small.items():
            assert long in blocks()[1]
            code = code.replace(long, short)
        names = {}
        exec(code, names)
        log = names["trainer"].state.log_history
        assert any("eval_accuracy" in line for line in log)
        assert names["trainer"].state.global_step == len(names["trainer"].get_train_dataloader())
    assert list(names["loader"].classes) == names["val"].classes
