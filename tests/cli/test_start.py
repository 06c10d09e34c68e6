"""What a command loads before it answers: a mistyped path is refused before torch is loaded."""

import json
import re
import subprocess
import sys
from shutil import which

import pytest
from click.testing import CliRunner
from helpers.processes import fkd_environment

import fkd
from fkd import version
from fkd.cli import main

HEAVY = ("torch", "torchvision", "zarr", "PIL", "matplotlib")

# Each command is asked in turn; a library that one of them loads is there for all that follow.
ASK = """
import contextlib, io, json, sys
from fkd.cli import main
for words in json.load(sys.stdin):
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words, prog_name="fkd")
        except SystemExit as end:
            code = end.code
    loaded = [name for name in HEAVY if name in sys.modules]
    print(json.dumps([code, loaded, *(said.buffer.getvalue().decode() for said in (out, err))]))
"""


def answers(commands, cwd, **more):
    """Give the commands to one process; return exit code, heavy libraries, stdout and stderr of each."""
    done = subprocess.run(
        [sys.executable, "-c", f"HEAVY = {HEAVY}\n{ASK}"], input=json.dumps(commands), cwd=cwd,
        env=fkd_environment() | more, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_can_be_told_without_torch_is_told_without_it(shared_store, shared_folder, tmp_path):
    store, folder = str(shared_store.path), str(shared_folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "a.toml").write_text("epoch = 3")
    train = ["train", store, "--compress", "topk3", "--crops-per-image", "2", "--out"]
    label = ["label", "--teacher", "resnet18"]
    refusals = {
        "none.zarr does not exist": ["train", "none.zarr"],
        "--compress full asks for more": ["train", store, "--compress", "full"],
        "more than the 6 crops": ["train", store, "--compress", "topk3", "--crops-per-image", "8"],
        "--out full exists and is not empty": [*train, "full"],
        "image folder no-val does not exist": [*train, "run", "--val", "no-val"],
        "none.pth: no such file": [*train, "run", "--init", "none.pth"],
        "elsewhere does not exist; name the images": [*train, "run", "--images", "elsewhere"],
        "no-images does not exist": [*label, "no-images"],
        "no-weights.pt: no such file": [*label, "--teacher-weights", "no-weights.pt", folder],
        "--size is -1": [*label, "--size", "-1", folder],
        "no.zarr does not exist": ["info", "no.zarr"],
        "not-a.zarr does not exist": ["check", "not-a.zarr"],
        "gone.zarr does not exist": ["show", store, "--against", "gone.zarr"],
        "checkpoint no.pt: no such file": ["eval", "no.pt", folder],
        "checkpoint no-run: no such file": ["export", "no-run"],
        "nowhere does not exist": ["pack", "nowhere", "copy"],
        "absent.zarr does not exist": ["copy", "absent.zarr", "copy.zarr", "--crops", "2"],
        "left.zarr does not exist": ["merge", "left.zarr", store, "--out", "both.zarr"],
        "--weights has 1 number for": [
            "average",
            store,
            "b.zarr",
            "--weights",
            "1",
            "--out",
            "c.zarr",
        ],
        "no-labels does not exist; name the folder": ["import", "no-labels", folder],
        "no-such.zarr does not exist": ["export-labels", "no-such.zarr", "out"],
        "no-card.zarr does not exist": ["card", "no-card.zarr"],
        "no-plot is no run folder": ["plot", "no-plot"],
        "--nonsense": ["train", "--nonsense"],
        "a.toml: epoch is no setting of a training run": ["train", "--recipe", "a.toml"],
        "a loss has no bye": ["train", store, "--loss", "{bye='kl'}"],
    }
    commands = [["info", store], ["--version"], *refusals.values()]
    (code, loaded, out, err), named, *refused = answers(commands, tmp_path)
    assert (code, loaded, err) == (0, [], "")
    assert "18 in" in out
    assert "(1 of 1 block), 0 images unusable" in out
    assert named[:3] == [0, [], f"fkd, version {fkd.__version__}\n"]
    for words, (code, loaded, out, err) in zip(refusals, refused, strict=True):
        assert (code, loaded, out) == (2, [], ""), (words, err)
        assert words in err
        assert len(err.splitlines()) == 1


def test_nobody_is_asked_to_log_in(shared_store, tmp_path):
    pytest.importorskip("wandb")
    command = ["train", str(shared_store.path), "--compress", "topk3", "--crops-per-image", "2"]
    away = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_MODE": "online"}
    ((code, loaded, out, err),) = answers([[*command, "--log", "wandb"]], tmp_path, **away)
    assert (code, loaded, out) == (2, [], "")
    assert len(err.splitlines()) == 1
    assert "wandb is not logged in; run `wandb login`, or set WANDB_MODE=offline" in err
    assert not (tmp_path / "runs").exists()


def test_the_same_is_refused_in_python(shared_store, shared_folder, tmp_path):
    config = {"store": shared_store.path, "scheme": "topk3", "crops_per_image": 2}
    config |= {"batch_size": 6, "epochs": 2, "student": "squeezenet1_1", "device": "cpu"}
    with pytest.raises(fkd.FkdError, match="image folder no-val does not exist"):
        fkd.train_student(fkd.TrainConfig(**config, val="no-val", out=tmp_path / "run"))
    with pytest.raises(fkd.FkdError, match=r"no\.pt: no such file"):
        fkd.label_images(fkd.LabelConfig(shared_folder, fkd.TeacherChoice("resnet18", "no.pt")))
    with pytest.raises(fkd.FkdError, match=r"no\.pt: no such file"):
        fkd.estimate_run(fkd.LabelConfig(shared_folder, fkd.TeacherChoice("resnet18", "no.pt")))


def test_of_several_processes_none_looks_at_the_folder_of_a_run_before_they_meet(
    shared_store, tmp_path
):
    """They could not tell the others, which may find it made already, what is wrong with it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    train = ["train", str(shared_store.path), "--compress", "topk3", "--crops-per-image", "2"]
    words = [[*train, "--out", "run", "--device", "toaster"]]
    ((_, _, _, err),) = answers(words, tmp_path, RANK="0")
    assert "--device toaster" in err
    ((_, loaded, _, err),) = answers(words, tmp_path)
    assert "--out run exists" in err
    assert loaded == []


@pytest.mark.parametrize("words", [["train", "none.zarr"], ["train", "--no-such-option"]])
def test_the_first_process_of_each_machine_says_what_is_wrong_there(words, tmp_path):
    ((code, _, _, err),) = answers([words], tmp_path, RANK="8", LOCAL_RANK="0")
    assert code == 2
    assert len(err.splitlines()) == 1
    ((code, _, _, err),) = answers([words], tmp_path, RANK="9", LOCAL_RANK="1")
    assert (code, err) == (2, "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("fkd tr", {"plain,train"}),
        ("fkd train --recipe fkd-", {"plain,fkd-warmup", "plain,fkd-vit"}),
        ("fkd train --log ", {"plain,tensorboard", "plain,wandb", "plain,mlflow", "plain,none"}),
        ("fkd label --render ", {"plain,auto", "plain,cpu", "plain,device"}),
    ],
)
def test_a_shell_completes_without_torch(words, offered, tmp_path, monkeypatch):
    typed = words.split(" ")
    found = {"COMP_WORDS": words, "COMP_CWORD": str(len(typed) - 1)}
    ((code, loaded, out, err),) = answers([None], tmp_path, _FKD_COMPLETE="bash_complete", **found)
    assert (code, loaded, err) == (0, [], "")
    assert set(out.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_completion_for_every_shell(shell, tmp_path):
    if shell == "bash" and which("bash") is None:
        pytest.skip("click asks bash for its version")
    ((code, loaded, out, _),) = answers([None], tmp_path, _FKD_COMPLETE=f"{shell}_source")
    assert (code, loaded) == (0, [])
    assert "_FKD_COMPLETE" in out


def test_the_list_of_commands_is_not_cut():
    text = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    lines = dict(re.findall(r"^  (\w[\w-]*)  +(\w.*)$", text, re.MULTILINE))
    assert {name for name, words in lines.items() if words.endswith(".")} == set(main.commands)
    assert not any(words.endswith("...") for words in lines.values())


def test_the_version_is_that_of_the_distribution(tmp_path):
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", fkd.__version__)
    assert fkd.__version__ == version.version_of("fkd")
    assert version.version_of("no-such-package-anywhere") == "unknown"


def test_a_tree_that_is_not_installed_knows_its_version(tmp_path):
    ours, other = tmp_path / "setup.cfg", tmp_path / "other.cfg"
    ours.write_text("[metadata]\nname = fkd\nversion = 1.2.3\n")
    other.write_text("[metadata]\nname = something\nversion = 9\n")
    assert version._of_tree(ours) == "1.2.3"
    assert version._of_tree(other) == "unknown"
    assert version._of_tree(tmp_path / "none.cfg") == "unknown"
