"""One grammar for losses and students: on the command line, in a file, and in Python."""

import pytest
from click.testing import CliRunner

import fkd.training
from fkd import FkdError, TrainConfig
from fkd.cli import main
from fkd.config import Term

MSE, TRUTH = Term("store", "mse", weight=0.1), Term("truth", "ce")


@pytest.fixture
def settled(monkeypatch, tmp_path):
    """Return the configuration that `fkd train …` comes to."""
    monkeypatch.chdir(tmp_path)

    def settle(*words):
        found = []
        monkeypatch.setattr(fkd.training, "check_inputs", lambda config, **_: found.append(config))
        monkeypatch.setattr(fkd.training, "train_student", lambda config: "run")
        result = CliRunner().invoke(main, ["train", *words])
        assert result.exit_code == 0, result.output
        return found[0]

    return settle


@pytest.mark.parametrize(
    ("words", "text", "loss"),
    [
        (["ce"], 'loss = "ce"', "ce"),
        (["kl"], 'loss = ["kl"]', "kl"),
        (["wttm"], 'loss = "wttm"', (Term("store", "wttm"),)),
        (["kl", "dist"], 'loss = ["kl", "dist"]', (Term(by="kl"), Term(by="dist"))),
        (
            ['{to="store", by="mse", weight=0.1}'],
            'loss = {to = "store", by = "mse", weight = 0.1}',
            (MSE,),
        ),
        (
            ['{to="store", by="mse", weight=0.1}', '{to="truth"}'],
            '[[loss]]\nby = "mse"\nweight = 0.1\n[[loss]]\nto = "truth"\n',
            (MSE, TRUTH),
        ),
        (
            ['{by="kl", weight=[1, 0], temperature=[4, 1]}'],
            'loss = [{by = "kl", weight = [1, 0], temperature = [4, 1]}]',
            (Term(by="kl", weight=(1, 0), temperature=(4, 1)),),
        ),
    ],
)
def test_the_same_loss_is_said_three_ways(settled, tmp_path, words, text, loss):
    (tmp_path / "a.toml").write_text(text)
    given = [word for one in words for word in ("--loss", one)]
    assert settled(*given).objective.loss == loss
    assert settled("--recipe", "a.toml").objective.loss == loss
    assert TrainConfig.from_recipe("fkd", loss=loss).objective.loss == loss
    (tmp_path / "b.toml").write_text(TrainConfig.from_recipe("a.toml").recipe_text())
    assert TrainConfig.from_recipe("b.toml").objective.loss == loss


def test_the_same_students_are_said_three_ways(settled, tmp_path):
    (tmp_path / "a.toml").write_text(
        '[[student]]\nmodel = "a"\n[[student]]\nname = "x"\nmodel = "b"\n'
    )
    (tmp_path / "b.toml").write_text('student = ["a", {name = "x", model = "b"}]\n')
    said = settled("--student", "a", "--student", '{name="x", model="b"}').students
    assert [(one.name, one.model) for one in said] == [("a", "a"), ("x", "b")]
    for name in ("a.toml", "b.toml"):
        assert settled("--recipe", name).students == said
    (tmp_path / "c.toml").write_text(TrainConfig.from_recipe("a.toml").recipe_text())
    assert TrainConfig.from_recipe("c.toml").students == said
    assert settled("--recipe", "a.toml", "--student", "c").student == "c"


def test_an_option_that_contradicts_a_recipe_is_told_which(tmp_path):
    (tmp_path / "a.toml").write_text('recipe = "dist"\nseed = 1\n')
    for recipe in ("dist", tmp_path / "a.toml"):
        with pytest.raises(FkdError, match=r"--hard-weight says more .*\(beside recipe dist\)$"):
            TrainConfig.from_recipe(recipe, hard_weight=0.5)


def test_a_loss_on_the_command_line_replaces_that_of_the_recipe(settled):
    assert settled("--recipe", "dist", "--loss", "ce").objective.loss == "ce"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[loss]]\nbye = 'kl'\n", "a.toml: a loss has no bye (perhaps by?)"),
        ("[[loss]]\nby = 'l3'\n", "a.toml: in the loss {by = 'l3'}: by 'l3' is unknown; choose ce, kl"),
        ("loss = 'l3'\n", "a.toml: loss 'l3' is not known; choose from ce, kl"),
        ("loss = 5\n", "a.toml: loss is 5; it must be"),
        ("loss = []\n", "a.toml: --loss is empty"),
        ("[[loss]]\nweight = 'x'\n", "a.toml: in the loss {weight = 'x'}: weight is 'x'"),
        ("[[loss]]\ngamma = 1\n", "a.toml: in the loss {gamma = 1}: gamma does nothing in"),
        ("loss = 'dist'\nhard_weight = 0.1\n", "a.toml: --hard-weight says more of --loss ce"),
        ("loss = 'dist'\nlabel-temperature = 2\n", "a.toml: --label-temperature says more of --loss"),
        ("init = 'w.pt'\n[[student]]\nmodel = 'a'\nname = 'b'\n", "a.toml: --init w.pt is of one"),
        ("[[student]]\nname = 'b'\n", "a.toml: a student has no model"),
        ("recipe = 'nkd'\nlabel_smoothing = 0.1\n", "a.toml: --label-smoothing says more of --loss"),
        ("recipe = 'hinton'\nstudent_temperature = 2\n", "a.toml: --student-temperature says more"),
    ],
)  # fmt: skip
def test_what_no_loss_can_be_is_one_line(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(FkdError) as error:
        TrainConfig.from_recipe("a.toml")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
