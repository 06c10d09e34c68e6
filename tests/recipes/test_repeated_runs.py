"""A run is repeated by its folder, and its recipe is written there."""

import json
import shutil
import tomllib

import pytest
import torch
from click.testing import CliRunner
from helpers.processes import refused

from fkd.cli import main
from fkd.students import newest_checkpoint

WORDS = ["--student", "squeezenet1_1", "--crops-per-image", "2", "--compress", "topk3"]
WORDS += ["--device", "cpu", "--log", "none", "--batch-size", "12", "--epochs", "4"]


def fkd_train(*words):
    return CliRunner().invoke(main, ["train", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def run(shared_store, tmp_path_factory):
    """A run of a file, which is gone since, with an option besides."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "mine.toml").write_text('recipe = "fkd-warmup"\nlr = 2\nmixup = 0.5\nseed = 9\n')
    words = ["--recipe", folder / "mine.toml", *WORDS, "--lr", 3, "--out", folder / "run"]
    done = fkd_train(shared_store.path, *words)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{folder / 'run'}: config.json, metrics.jsonl, last.pt, best.pt\n"
    (folder / "mine.toml").unlink()
    return folder / "run"


def weights(run):
    return newest_checkpoint(run).student


@pytest.mark.parametrize("named", ["folder", "config.json", "recipe.toml"])
def test_a_run_is_repeated_to_the_same_weights(run, shared_store, tmp_path, named):
    recipe = run if named == "folder" else run / named
    store = [shared_store.path] if named == "recipe.toml" else []
    own = ["--device", "cpu", "--log", "none"]
    done = fkd_train(*store, "--recipe", recipe, *own, "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    again = weights(tmp_path / "again")
    assert all(torch.equal(value, again[name]) for name, value in weights(run).items())
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (config["recipe"], config["lr"], config["seed"]) == (str(recipe), 3, 9)


def test_the_recipe_in_a_run_folder_says_where_each_value_is_from(run):
    text = (run / "recipe.toml").read_text("utf-8")
    told = dict(line.split("  # ") for line in text.splitlines()[1:])
    told = {line.split(" = ")[0]: source for line, source in told.items()}
    assert told["lr"] == "from the command line"
    assert told["mixup"] == f"from {run.parent / 'mine.toml'}"
    assert told["color_jitter"] == "from recipe fkd-warmup"
    assert told["warmup_epochs"] == "from recipe fkd-warmup, at most 0.25 of the epochs"
    assert told["momentum"] == "default"
    assert not {"store", "device", "out"} & set(told)
    assert "crops" not in tomllib.loads(text)  # those of the store, which nobody asked for


def test_a_run_goes_on_when_its_recipe_is_gone(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "recipe.toml").write_text("# mine")
    done = fkd_train("--resume", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "is finished" in done.stderr
    assert (tmp_path / "run" / "recipe.toml").read_text() == "# mine"
    message = refused("train", "--resume", "--out", tmp_path / "run", "--recipe", "small")
    assert "--recipe is small, the run has" in message


def test_a_run_that_goes_on_is_found_by_the_names_in_its_recipe(
    shared_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        f'student = "squeezenet1_1"\nlog = ["none"]\ncompress = "topk2"\ncrops-per-image = 2\n'
        f'store = "{shared_store.path}"\nbatch_size = 12\nepochs = 2\nval = "none"\ndevice = "cpu"\n'
    )
    for ending in ("config.json, metrics.jsonl, last.pt, best.pt\n",) * 2:
        done = fkd_train("--recipe", "mine.toml", "--resume")
        assert done.stdout == f"runs/squeezenet1_1-topk2-m2-1: {ending}"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["squeezenet1_1-topk2-m2-1"]
