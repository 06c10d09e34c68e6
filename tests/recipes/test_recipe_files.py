"""Recipe files: what they inherit, what is refused in one line, and what is written is read back."""

import json
import os
import tomllib

import pytest

from fkd import FkdError, TrainConfig
from fkd.recipes import Layer, recipe_layers, recipe_text


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write files by name into the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.toml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        return tmp_path

    return write


def refusal(recipe, **settings):
    with pytest.raises(FkdError) as error:
        TrainConfig.from_recipe(recipe, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_keys_are_the_names_of_options_or_of_settings(written):
    written(
        a='compress = "topk3"\ncrops = 7\nlabel-temperature = 2\nmin_lr = 1e-4\nsize = 64\n'
        'subset = 0.5\nmean = [0, 0, 0]\nlog = ["none"]\n'
    )
    config = TrainConfig.from_recipe("a.toml")
    assert (str(config.scheme), config.num_crops, config.label_temperature) == ("topk3", 7, 2)
    assert (config.optim.min_lr, config.size.last, config.part.share) == (1e-4, 64, 0.5)
    assert (config.mean, config.log, config.recipe) == ((0, 0, 0), ("none",), "a.toml")
    assert TrainConfig.from_recipe("a.toml", scheme="hard").scheme.kind == "hard"


def test_a_file_inherits_and_its_lists_replace_those_of_its_parent(written):
    written(
        deep__base='recipe = "fkd-vit"\nlr = 1e-3\nlog = ["none"]\nseed = 4\n',
        child='recipe = "deep/base.toml"\nseed = 5\nlog = ["tensorboard", "wandb"]\n',
    )
    config = TrainConfig.from_recipe("child.toml", epochs=8)
    assert (config.optim.optimizer, config.optim.lr, config.seed) == ("adamw", 1e-3, 5)
    assert config.log == ("tensorboard", "wandb")
    assert config.optim.warmup_epochs == 2
    sources = dict(line.split("  # ") for line in config.recipe_text().splitlines()[1:])
    told = {line.split(" = ")[0]: source for line, source in sources.items()}
    assert told["optimizer"] == "from recipe fkd-vit"
    assert told["lr"] == "from deep/base.toml"
    assert told["seed"] == "from child.toml"
    assert (told["epochs"], told["momentum"]) == ("from given", "default")


def test_a_warm_up_is_shortened_by_epochs_of_a_later_place_alone(written):
    written(own="warmup_epochs = 4\nepochs = 8\n", heir='recipe = "fkd-vit"\nepochs = 8\n')
    assert TrainConfig.from_recipe("own.toml").optim.warmup_epochs == 4
    assert TrainConfig.from_recipe("heir.toml").optim.warmup_epochs == 2
    assert TrainConfig.from_recipe("own.toml", epochs=4.0).optim.warmup_epochs == 1


def test_a_name_of_ours_is_no_folder_of_the_users(written):
    (written() / "small").mkdir()
    assert TrainConfig.from_recipe("small").batch_size == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate = 1\n", "a.toml: learning_rate is no setting of a training run"),
        ("epoch = 1\n", "epoch is no setting of a training run (perhaps epochs?)"),
        ("compres = 'hard'\n", "(perhaps compress?)"),
        ("lr = \n", "a.toml: it is no TOML (Invalid value (at line 1, column 6))"),
        ("lr = 1\nlr = 2\n", "(at line 2, column 7)"),
        ("lr = '1'\n", "a.toml: lr is '1'; it must be a number"),
        ("lr = -1\n", "a.toml: --lr is -1; it must lie between"),
        ("epochs = true\n", "a.toml: epochs is True; it must be a number"),
        ("warmup_epochs = 'x'\n", "a.toml: warmup_epochs is 'x'"),
        ("batch_size = 8.5\n", "a.toml: batch_size is 8.5; it must be a whole number"),
        ("init = 5\n", "a.toml: init is 5; it must be text"),
        ("val = 2020-01-01\n", "a.toml: val is datetime.date"),
        ("batch_size = 8\nbatch-size = 8\n", "batch_size is there twice, with - and with _"),
        ("compress = 'hard'\nscheme = 'hard'\n", "compress and scheme are one setting, said twice"),
        ("crops = 4\nnum_crops = 4\n", "crops and num_crops are one setting, said twice"),
        ("compress = 'best'\n", "a.toml: --compress 'best' is unknown"),
        ("out = 'runs/a'\n", "out is of one run, not of a recipe; give --out"),
        ("resume = true\n", "resume is of one run, not of a recipe"),
        (
            "[optim]\nlr = 1\n",
            "[optim] is no table of a recipe; give its settings by their own names",
        ),
        ("recipe = 3\n", "a.toml: recipe is 3; it must be text"),
        ("recipe = 'fdk'\n", "a.toml: recipe 'fdk' is unknown (perhaps fkd?); choose annealed"),
        ("recipe = ''\n", "a.toml: recipe is empty"),
        ("x = '" + 2**20 * "x" + "'", "a.toml has 1.0 MiB, and a recipe at most 1.0 MiB"),
        ("recipe = 'no.toml'\n", "a.toml: recipe no.toml: no such file"),
        ("recipe = 'a.toml'\n", "inherits in a circle: a.toml → a.toml"),
        ("init_ema = true\n", "a.toml: --init-ema needs --init FILE"),
        ("sure_above = 0.5\n", "a.toml: --sure-above does nothing without --calibrate"),
        ("x = " + 2000 * "[", "a.toml: it is nested too deep"),
        ("seed = 1" + 5000 * "0", "a.toml: "),
    ],
    ids=lambda value: value[:30] if value.endswith("\n") else "",
)
def test_what_is_wrong_is_one_line_that_names_the_file(written, text, words):
    written(a=text)
    assert words in refusal("a.toml")


def test_a_circle_of_files_is_named(written):
    written(a="recipe = 'b.toml'", b="recipe = './a.toml'")
    assert "b.toml: recipe './a.toml' inherits in a circle: a.toml → b.toml → a.toml" in refusal(
        "a.toml"
    )


def test_the_file_that_brings_a_contradiction_up_is_named(written):
    written(parent="warmup_epochs = 5\nepochs = 5\n", child="recipe = 'parent.toml'\nlr = -2\n")
    assert refusal("child.toml").startswith("child.toml: --lr is -2")
    assert refusal("parent.toml", lr=-2).startswith("--lr is -2")
    written(parent="lr = -2\n", child="recipe = 'parent.toml'\n")
    assert refusal("child.toml").startswith("parent.toml: --lr is -2")


def test_what_the_command_line_completes_is_no_contradiction(written):
    written(a="init_ema = true\n")
    assert TrainConfig.from_recipe("a.toml", init="w.pt").init_ema


@pytest.mark.parametrize("content", [b"\xff\xfe", b"lr = 1\x00"], ids=["encoding", "null"])
def test_files_that_are_no_text(written, content):
    (written() / "a.toml").write_bytes(content)
    assert refusal("a.toml").startswith("a.toml: it is no ")


def test_a_file_with_a_byte_order_mark_is_read(written):
    (written() / "a.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert TrainConfig.from_recipe("a.toml").seed == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fkd-vti", "--recipe 'fkd-vti' is unknown (perhaps fkd-vit?)"),
        ("no.toml", "--recipe no.toml: no such file"),
        ("runs/none", "--recipe runs/none: no such file"),
        ("folder", "--recipe folder is a folder without config.json"),
        ("words.txt", "--recipe words.txt is no recipe; give a .toml file"),
        ("folder.toml", "is a folder without config.json"),
        (os.devnull, "is unknown" if not os.sep else "no such file"),
    ],
)
def test_what_is_no_recipe(written, name, words):
    root = written()
    (root / "folder").mkdir()
    (root / "folder.toml").mkdir()
    (root / "words.txt").touch()
    assert words in refusal(name)


def test_a_damaged_run_is_named(written):
    (written() / "run").mkdir()
    (written() / "run" / "config.json").write_text("{")
    assert "run/config.json is damaged" in refusal("run")
    (written() / "run" / "config.json").write_text("[1]")
    assert "run/config.json is damaged" in refusal("run/config.json")
    (written() / "run" / "config.json").write_text('{"architecture": "resnet50"}')
    assert "run run: its config.json has no settings of a training run" in refusal("run")


def test_a_run_of_an_older_fkd_trains_as_it_did(written):
    (written() / "run").mkdir()
    said = {"lr": 0.5, "store_spec": {"num_crops": 6}, "total_steps": 9, "workers": 7, "out": "run"}
    (written() / "run" / "config.json").write_text(json.dumps(said))
    config = TrainConfig.from_recipe("run")
    assert (config.stagger, config.eval_crop, config.num_crops) == (0, 0.875, 6)
    assert (config.optim.lr, config.workers, config.out) == (0.5, TrainConfig().workers, None)
    (written() / "run" / "config.json").write_text(json.dumps(TrainConfig(stagger=None).settings()))
    assert TrainConfig.from_recipe("run").stagger is None


SETTINGS = {
    "lr": 0.30000000000000004, "epochs": 1e-5, "batch_size": 12, "seed": 2**63 - 1,
    "init": 'a "b"\\\t\x7fé',
    "calibrate": True, "log": ("none",), "size": (160, 224), "scheme": "topk7-smooth", "images": "in",
    "subset": 0.25, "min_lr": 1, "clip_grad": None,
}  # fmt: skip


def test_what_is_written_is_read_back_to_the_last_bit(written):
    config = TrainConfig.from_recipe("function-matching", warmup_epochs=0, **SETTINGS)
    written(settled=config.recipe_text(), public=config.recipe_text(machine=False))
    again = TrainConfig.from_recipe("settled.toml")
    assert {**again.settings(), "recipe": ""} == {**config.settings(), "recipe": ""}
    public = tomllib.loads(config.recipe_text(machine=False))
    assert {"store", "images", "workers", "device", "render", "log"} & set(public) == set()
    assert public["subset"] == "0.25"
    assert "clip_grad" not in public


def test_tables_are_written_a_line_each():
    values = {"loss": [{"to": "store", "weight": [1, 0.5]}, {"to": "truth"}], "lr": 0.1, "x": None}
    text = recipe_text(["Head."], values, {"loss": "my\nfile.toml", "lr": "default"})
    assert text.splitlines() == [
        "# Head.",
        "loss = [  # from my?file.toml",
        '  {to = "store", weight = [1, 0.5]},',
        '  {to = "truth"},',
        "]",
        "lr = 0.1                      # default",
    ]
    del values["x"]
    assert tomllib.loads(text) == values


def test_layers_come_in_the_order_in_which_they_count(written):
    written(a='recipe = "fkd-warmup"\nseed = 1\n')
    assert recipe_layers("a.toml") == (
        Layer("recipe fkd", {}, recipe=True),
        Layer("recipe fkd-warmup", {"warmup_epochs": 5.0, "color_jitter": 0.4}, recipe=True),
        Layer("a.toml", {"seed": 1}, recipe=True),
    )
