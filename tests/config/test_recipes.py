"""Recipes are presets: what the user says comes first, and what nobody knows is refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fkd import (
    FkdError,
    LabelConfig,
    Optim,
    PackConfig,
    TeacherChoice,
    TrainConfig,
    label_images,
)
from fkd.config import NO_VAL, LoaderConfig, LoaderSettings
from fkd.loader import Schedule
from fkd.training.optimizer import build_optimizer
from fkd.training.record import evaluation_steps
from fkd.training.train import rate_at


def test_the_default_is_the_recipe_of_the_paper():
    config = TrainConfig()
    assert config == TrainConfig.from_recipe("fkd")
    assert (config.optim.optimizer, config.optim.lr, config.optim.weight_decay) == (
        "sgd",
        0.1,
        1e-4,
    )
    assert (config.optim.momentum, config.epochs, config.batch_size) == (0.9, 300, 1024)


def test_what_the_user_says_comes_before_the_recipe():
    config = TrainConfig.from_recipe("fkd-vit", lr=1e-3, epochs=50, mixup=0.2, amp="bf16")
    assert config.optim == Optim("adamw", 1e-3, 1e-5, "cosine", 5.0, 0.9, 0.05, False)
    assert (config.epochs, config.augment.mixup, config.engine.amp) == (50, 0.2, "bf16")


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        ("fdk", {}, "--recipe 'fdk' is unknown (perhaps fkd?); choose annealed, dist"),
        ("fkd", {"learning_rate": 1}, "learning_rate is no setting of a training run"),
        ("fkd", {"lr": -1}, "--lr is -1; it must lie between"),
        ("fkd", {"optimizer": "lion"}, "--optimizer 'lion' is unknown; choose sgd"),
        (
            "fkd-vit",
            {"epochs": 3, "warmup_epochs": 5},
            "--warmup-epochs is 5; it must lie between 0 and 3",
        ),
        ("fkd-vit", {"epochs": -3}, "--epochs is -3; it must lie between"),
        ("fkd-vit", {"epochs": "3"}, "epochs is '3'; it must be a number"),
        (
            "fkd",
            {"bn_stats": "precise"},
            "--bn-stats 'precise' is unknown; choose auto, running, estimate",
        ),
        ("fkd", {"mixup": float("nan")}, "--mixup is nan"),
        ("fkd", {"ema": 1.0}, "--ema is 1"),
        ("fkd", {"optim": Optim()}, "optim is a group; give its settings by their own names"),
    ],
)
def test_what_nobody_knows_is_refused(recipe, settings, words):
    with pytest.raises(FkdError, match=re.escape(words)):
        TrainConfig.from_recipe(recipe, **settings)


@pytest.mark.parametrize(
    ("epochs", "warmup"),
    [({}, 5.0), ({"epochs": 20}, 5.0), ({"epochs": 3}, 0.75), ({"epochs": 0.1}, 0.025)],
)
def test_a_recipe_shortens_its_own_warm_up_and_no_other(epochs, warmup):
    config = TrainConfig.from_recipe("fkd-warmup", **epochs)
    assert config.optim.warmup_epochs == warmup
    given = TrainConfig.from_recipe("fkd-warmup", epochs=3, warmup_epochs=2)
    assert given.optim.warmup_epochs == 2
    assert TrainConfig.from_recipe("fkd", epochs=3).optim.warmup_epochs == 0
    assert TrainConfig.from_recipe("function-matching").optim.warmup_epochs == 16


def test_no_evaluation_is_a_word_and_every_other_val_a_path():
    for value in ("none", Path("none"), NO_VAL):
        config = TrainConfig(val=value)
        assert config.val == config.settings()["val"] == "none"
        assert replace(config, seed=1).val == "none"
    assert TrainConfig(val="a/none").val == Path("a/none")
    assert TrainConfig().settings()["val"] is None


def test_the_rate_is_linear_in_the_batch_and_ends_at_the_floor():
    schedule = Schedule(1000, 8, 4, 512, epochs=300, seed=0)
    config = TrainConfig.from_recipe("fkd-vit", batch_size=512)
    rates = [rate_at(config, schedule, step) for step in range(schedule.total_steps)]
    assert max(rates) == pytest.approx(1e-3, rel=1e-3)
    assert rates.index(max(rates)) == pytest.approx(schedule.step_at(5), abs=1)
    assert rates[-1] == pytest.approx(1e-5, rel=0.05)
    constant = TrainConfig.from_recipe("meal-v2", batch_size=512)
    assert {rate_at(constant, schedule, step) for step in (0, 100, 500)} == {0.01}


def test_norms_and_biases_need_not_decay():
    student = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    groups = build_optimizer(
        Optim("adamw", weight_decay=0.05, decay_norms=False), student
    ).param_groups
    assert [(g["weight_decay"], [p.dim() for p in g["params"]]) for g in groups] == [
        (0.05, [2]), (0.0, [1, 1, 1]),
    ]  # fmt: skip
    (everything,) = build_optimizer(Optim(), student).param_groups
    assert len(everything["params"]) == 4


def test_the_last_epochs_are_evaluated_singly():
    schedule = Schedule(100, 8, 4, 20, epochs=40, seed=0)
    config = TrainConfig.from_recipe("fkd", epochs=40, batch_size=20, eval_every=16, eval_last=3)
    assert sorted(evaluation_steps(config, schedule)) == [80, 160, 190, 195, 200]


@pytest.mark.parametrize(
    "name", ["crops_per_image", "batch_size", "micro_batch", "seed", "workers"]
)
def test_counts_are_whole_numbers(name):
    with pytest.raises(FkdError, match=r"is 2\.5; it must be a whole number"):
        TrainConfig.from_recipe("fkd", **{name: 2.5})


def test_a_recipe_is_applied_or_refused_and_never_only_recorded():
    with pytest.raises(FkdError, match=r"recipe 'fkd-vit' is not applied .*from_recipe\('fkd-vit'"):
        TrainConfig(recipe="fkd-vit")
    config = replace(TrainConfig.from_recipe("fkd-vit", lr=0.1), seed=3)
    assert (config.recipe, config.optim.optimizer, config.optim.lr) == ("fkd-vit", "adamw", 0.1)
    assert type(config.settings()["recipe"]) is str
    assert TrainConfig(recipe="fkd") == TrainConfig()


def test_paths_are_text_in_every_configuration(tmp_path):
    teacher = TeacherChoice("resnet18", classes_file="names.txt")
    assert teacher.classes_file == Path("names.txt")
    label = LabelConfig("images", teacher, "a.zarr")
    assert (label.images, label.out) == (Path("images"), Path("a.zarr"))
    train = TrainConfig("a.zarr", "images", val="val", out="run")
    assert (train.store, train.images) == (Path("a.zarr"), Path("images"))
    assert (train.val, train.out) == (Path("val"), Path("run"))
    pack = PackConfig("images", "copy")
    assert (pack.images, pack.out) == (Path("images"), Path("copy"))
    with pytest.raises(FkdError, match="nowhere"):
        label_images(LabelConfig("nowhere", teacher, str(tmp_path / "a.zarr")))


def test_an_editor_knows_the_settings_of_a_loader():
    assert sorted({"store", *LoaderSettings.__annotations__}) == LoaderConfig.names()
    assert set(LoaderConfig.names()) < set(TrainConfig.names())
    assert "optimizer" not in LoaderConfig.names()
