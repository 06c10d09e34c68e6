"""The recipes that fkd comes with: each is on its page, settles, and takes steps."""

import re
import tomllib
from pathlib import Path

import pytest

import fkd.recipes
from fkd import TrainConfig, rehearse
from fkd.config import RECIPES
from fkd.recipes import shipped_names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")
SHIPPED = Path(fkd.recipes.__file__).parent / "shipped"
OF_PEERS = {"dml", "paddleocr", "paddleocr-features", "paddleocr-teacher"}
# These take their steps in tests/training/test_train_lines.py and test_train_maps.py.
OF_GRIDS = {"paddleocr-rec", "lines", "maps"}
OPTIONS = {"scheme": "compress", "num_crops": "crops"}


@pytest.mark.parametrize("name", shipped_names())
def test_each_settles_and_is_in_the_page(name):
    config = TrainConfig.from_recipe(name)
    assert config.recipe == name
    section = re.search(rf"^## `{name}`\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert section, f"docs/recipes.md has no section on {name}"
    assert "Source:" in section[1]
    assert re.search(rf"^\| `{name}` \|", PAGE, re.M), f"{name} is in no table"
    head = (SHIPPED / f"{name}.toml").read_text("utf-8")
    assert head.startswith("# ")
    assert "# Source: " in head
    for setting, value in tomllib.loads(head).items():
        option = OPTIONS.get(setting, setting).replace("_", "-")
        assert f"`--{option}" in section[1] or not value or setting == "recipe", (name, setting)


@pytest.mark.parametrize("name", sorted({*shipped_names()} - OF_GRIDS))
def test_each_takes_steps(name, shared_store):
    small = {
        "store": shared_store.path, "epochs": 2, "batch_size": 12, "val": "none", "crops_per_image": 2,
        "scheme": "topk3", "device": "cpu", "log": "none", "init": None, "student": "squeezenet1_1",
    }  # fmt: skip
    if name in OF_PEERS:
        students = TrainConfig.from_recipe(name).settings()["student"]
        # The quickest that has features: squeezenet has no linear layer.
        model = "shufflenet_v2_x0_5" if name.endswith("features") else "squeezenet1_1"
        small["student"] = [{**one, "model": model} for one in students]
    found = rehearse(TrainConfig.from_recipe(name, **small))
    assert (found.total_steps, found.steps_timed) == (
        3,
        1,
    )  # a loss that is no number would be refused


def test_recipes_of_before_are_the_same_to_the_last_bit():
    assert {name: RECIPES[name] for name in ("fkd", "fkd-vit", "meal-v2", "small")} == {
        "fkd": {},
        "fkd-vit": {
            "optimizer": "adamw", "lr": 2e-3, "min_lr": 1e-5, "warmup_epochs": 5.0,
            "weight_decay": 0.05, "decay_norms": False,
        },
        "meal-v2": {
            "init": "default", "lr": 0.02, "lr_schedule": "constant", "weight_decay": 0.0,
            "epochs": 100.0, "loss": "kl",
        },
        "small": {
            "optimizer": "sgd", "batch_size": 64, "lr": 0.5, "warmup_epochs": 2.0,
            "weight_decay": 5e-4, "epochs": 100.0, "crops_per_image": 4,
        },
    }  # fmt: skip
    with pytest.raises(KeyError):
        RECIPES["none"]


def test_the_file_on_the_page_is_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.S)
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    config = TrainConfig.from_recipe("mine.toml", lr=1e-3)
    assert (config.optim.optimizer, config.optim.lr, config.epochs) == ("adamw", 1e-3, 100)
    assert [term.to for term in config.objective.loss] == ["store", "truth"]


def test_terms_say_what_their_sources_do():
    def terms(name):
        return [term.table() for term in TrainConfig.from_recipe(name).objective.loss]

    truth = {"to": "truth", "by": "ce"}
    assert terms("dist") == [truth, {"to": "store", "by": "dist", "weight": 2.0}]
    assert terms("nkd") == [truth, {"to": "store", "by": "nkd", "gamma": 1.5}]
    assert terms("l2-outputs") == [truth, {"to": "store", "by": "mse", "weight": 64.0}]
    assert terms("annealed") == [
        {"to": "store", "by": "kl", "weight": [1.0, 0.0]},
        {"to": "truth", "by": "ce", "weight": [0.0, 1.0]},
    ]
    done = TrainConfig.from_recipe("falling-temperature").terms_at(0.5)
    assert [(each.temperature, each.label_temperature) for each in done] == [(2.5, 2.5)]
