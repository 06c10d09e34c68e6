"""The command line: one clear line for bad input, a frozen list of options, and the main path."""

import json
import re
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from helpers.folders import label_config, make_image_folder
from helpers.processes import Finished, fkd_environment, refused

from fkd import label_images
from fkd.cli import main
from fkd.format.attributes import digest

OPTIONS = {
    "label": (
        "--add-teacher --all-classes --amp --batch-size --block --brightness --class-names --classes "
        "--compile --compress --contrast --crops --cutmix --device --dry-run --erase --features --fit "
        "--flip --grow --interpolation --map-stride --max-bad --mean --mix-period --mix-share --mixup "
        "--no-flip --no-split --no-teacher-ema --out --overwrite --ratio "
        "--render --saturation --scale --seed --size --split --std --subset --teacher --teacher-classes "
        "--teacher-ema --teacher-output --teacher-weights --temperature --to --unlabelled --weight "
        "--workers"
    ),
    "train": (
        "--amp --batch-size --bn-stats --calibrate --classes --clip-grad --color-jitter --compile "
        "--compress --crops --crops-per-image --cutmix --decay-norms --device --drop-missing --dry-run "
        "--ema --epochs --eval-crop --eval-every --eval-last --eval-size --hard-weight --hard-weight-end "
        "--images --init --init-ema --interpolation --label-smoothing --label-temperature --log --loss "
        "--lr --lr-schedule --max-entropy --mean --micro-batch --min-confidence --min-lr --mixup "
        "--momentum --no-decay-norms --optimizer --out --recipe --render --resume --save-every --seed "
        "--size --size-multiple --stagger --std --student --student-temperature --subset --sure-above "
        "--sure-every --sync-bn --unsure-below --unsure-smoothing --val --warmup-epochs --weight-decay "
        "--workers"
    ),
    "check": "--deep --device --images --no-teacher-ema --repair --seed --teacher --teacher-classes "
    "--teacher-ema --teacher-weights --views --workers",
    "show": "--against --class-names --crops --format --image --images --out --samples --seed",
    "eval": "--bank --batch-size --device --ema --eval-crop --eval-size --k --knn --layer --probe --real "
    "--student --workers",
    "info": "",
    "plot": "--out",
    "export": "--ema --format --out --student --without-head",
    "import": "--class-names --compress --crops --format --interpolation --max-bad --no-split --out "
    "--overwrite --size --split --teacher --teacher-classes --workers",
    "export-labels": "--dtype --format --kind --workers",
    "card": "--license --out --overwrite --run --source --title",
    "pack": "--full-size --longest --no-split --overwrite --quality --shard-size --shortest --split --to "
    "--unlabelled --workers",
    "copy": "--classes --compress --crops --images --license --overwrite --subset --to --without "
    "--workers",
    "merge": "--out --overwrite --workers",
    "average": "--compress --out --overwrite --weights --workers",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_the_options_are_these(command):
    options = {
        opt
        for param in main.commands[command].params
        for opt in (*param.opts, *param.secondary_opts)
    }
    assert sorted(o for o in options if o.startswith("-")) == OPTIONS[command].split()


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_has_help_with_an_example(command):
    text = CliRunner().invoke(main, [command, "--help"]).output
    assert f"Example: fkd {command}" in text


@pytest.mark.parametrize("flag", ["--views", "--workers", "--seed"])
@pytest.mark.parametrize("word", ["0", "-1", "2147483648", "9223372036854775808"])
def test_odd_numbers_to_check(shared_store, flag, word):
    args = ["check", str(shared_store.path), flag, word, "--device", "cpu"]
    if flag == "--seed" and word in ("0", "2147483648"):
        assert CliRunner().invoke(main, args).exit_code == 0
    else:
        assert f"{flag} is " in refused(*args)


def label_args(folder, tmp_path, *more):
    base = ["label", "--teacher", "resnet18", "--teacher-weights", "none", "--size", "32"]
    return [*base, "--crops", "2", "--device", "cpu", "--out", tmp_path / "x.zarr", folder, *more]


def test_folders_that_are_no_image_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.jpg").write_bytes(b"x")
    (tmp_path / "hollow" / "class").mkdir(parents=True)
    for name, words in {
        "missing": "does not exist",
        "empty": "no classes",
        "flat": "no class folders",
        "flat/a.jpg": "is one image; name the folder",
        "hollow": "holds no image",
    }.items():
        message = refused(*label_args(tmp_path / name, tmp_path))
        assert words in message
        assert str(tmp_path / name) in message
    assert not (tmp_path / "x.zarr").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--teacher", "resnet125"], "did you mean resnet152"),
        (["--compress", "topk"], "--compress 'topk' is unknown"),
        (["--compress", "topk5-smooth"], "store topk5"),
        (["--crops", "0"], "--crops is 0"),
        (["--crops", "2147483648"], "--crops is"),
        (["--size", "-1"], "--size is -1"),
        (["--scale", "0.5", "0.1"], "--scale is 0.5 0.1"),
        (["--ratio", "0", "1"], "--ratio is 0"),
        (["--size", "2147483648"], "--size is"),
        (["--temperature", "nan"], "--temperature is nan"),
        (["--temperature", "0"], "--temperature is 0"),
        (["--scale", "nan", "1"], "--scale is nan"),
        (["--mean", "nan", "0", "0"], "--mean is nan"),
        (
            ["--mean", "0.5", "--std", "0.5"],
            "'--mean': it takes three values, of red, green and blue",
        ),
        (["--max-bad", "nan"], "--max-bad is nan"),
        (["--max-bad", "-0.1"], "--max-bad is -0.1"),
        (["--block", "0"], "--block is 0"),
        (["--block", "2147483648"], "--block is"),
        (["--compress", "topk0"], "--compress 'topk0' is unknown"),
        (["--batch-size", "2147483648"], "--batch-size is"),
        (["--seed", "9223372036854775808"], "--seed is"),
        (["--seed", "1" + 400 * "0"], "--seed is far too large"),
        (["--device", "meta"], "--device meta"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--std", "0", "1", "1"], "--std is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--workers", "0"], "--workers is 0"),
        (
            ["--device", "toaster"],
            "--device toaster is unknown; choose auto, cpu, cuda, cuda:N or mps",
        ),
        (["--teacher-weights", "missing.pt"], "missing.pt: no such file"),
        (["--all-classes"], "--all-classes"),
        (["--mixup", "-1"], "--mixup is -1"),
        (["--cutmix", "33"], "--cutmix is 33"),
        (["--mix-share", "0.5"], "--mix-share does nothing without --mixup or --cutmix"),
        (["--mix-period", "4"], "--mix-period does nothing without --mixup or --cutmix"),
        (["--mixup", "1", "--mix-share", "0"], "--mix-share is 0"),
        (["--mixup", "1", "--mix-period", "0"], "--mix-period is 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_label(shared_folder, tmp_path, more, words):
    assert words in refused(*label_args(shared_folder, tmp_path, *more))
    assert not (tmp_path / "x.zarr").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not weights", b"\x80\x02}q\x00.", b"PK\x03\x04cut", b"(lp0\n"], ids=repr
)
def test_a_damaged_weights_file(shared_folder, tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    message = refused(*label_args(shared_folder, tmp_path, "--teacher-weights", tmp_path / "w.pt"))
    assert "w.pt" in message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--student", "resnet17"], "student 'resnet17'"),
        (["--crops-per-image", "7", "--batch-size", "14"], "more than the 6 crops"),
        (["--crops-per-image", "3"], "not divisible by --crops-per-image 3"),
        (["--compress", "full"], "it holds topk3"),
        (["--compress", "full"], "reads as hard, smooth, topkK"),
        (["--student", "squeezenet"], "did you mean squeezenet1_"),
        (["--crops-per-image", "0"], "--crops-per-image is 0"),
        (["--crops-per-image", "-1"], "--crops-per-image is -1"),
        (["--compress", "best"], "--compress 'best' is unknown"),
        (["--label-temperature", "nan"], "--label-temperature is nan"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--batch-size", "2147483648"], "--batch-size is"),
        (["--micro-batch", "0"], "--micro-batch is 0"),
        (["--momentum", "nan"], "--momentum is nan"),
        (["--weight-decay", "-1"], "--weight-decay is -1"),
        (["--warmup-epochs", "301"], "--warmup-epochs is 301"),
        (["--eval-every", "0"], "--eval-every is 0"),
        (["--std", "0", "1", "1"], "--std is 0"),
        (["--seed", "9223372036854775808"], "--seed is"),
        (["--workers", "2147483648"], "--workers is"),
        (["--device", "toaster"], "--device toaster"),
        (["--epochs", "nan"], "--epochs is nan"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--lr", "inf"], "--lr is inf"),
        (["--hard-weight", "2"], "--hard-weight is 2"),
        (["--images", "elsewhere"], "--images"),
        (
            ["--batch-size", "1000000", "--epochs", "1"],
            "is more than the whole run: 1 epoch of 18",
        ),
        (["--recipe", "fdk"], "--recipe 'fdk' is unknown (perhaps fkd?); choose annealed"),
        (["--recipe", "fkd-vit", "--epochs", "2", "--warmup-epochs", "3"], "--warmup-epochs is 3"),
        (["--init", "none.pth"], "none.pth: no such file"),
        (["--student", "timm:resnet_no"], "timm"),  # an extra, which may be missing
        (["--student", "no_such:module"], "No module named 'no_such'"),
        (["--sync-bn", "--batch-size", "12"], "--sync-bn needs CUDA"),
        (["--ema", "1"], "--ema is 1"),
        (["--mixup", "-1"], "--mixup is -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_of_train(shared_store, tmp_path, more, words):
    args = ["train", shared_store.path, "--compress", "topk3", "--device", "cpu"]
    assert words in refused(*args, "--out", tmp_path / "run", *more)
    assert not (tmp_path / "run").exists()


def test_stores_that_cannot_be_trained_on(shared_folder, tmp_path):
    assert "does not exist" in refused("train", tmp_path / "none.zarr")
    assert "it has no zarr.json; `fkd label` makes stores" in refused("train", tmp_path)
    assert "it is an image folder; `fkd label` makes" in refused("info", shared_folder)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").touch()
    message = refused("train", "--resume", tmp_path / "run")
    assert "it is a run of `fkd train`; its config.json names the store, and `fkd tr" in message
    assert message.endswith(f"`fkd train --resume --out {tmp_path / 'run'}` goes on")
    (tmp_path / "file.zarr").write_text("text")
    assert "not a label store" in refused("info", tmp_path / "file.zarr")
    store = label_images(label_config(shared_folder, tmp_path / "s.zarr", block_images=9))
    (store.path / "done" / "c" / "1" / "0").unlink()
    assert "1 of 2 blocks" in refused("train", store.path)
    content = json.loads((store.path / "zarr.json").read_text())
    content["attributes"]["fkd"]["format_version"] = 4
    content["attributes"]["sha256"] = digest(content["attributes"]["fkd"])
    (store.path / "zarr.json").write_text(json.dumps(content))
    for command in ("train", "info"):
        assert "version 4, this fkd reads versions 1 to 3" in refused(command, store.path)


def test_other_images_are_named(tmp_path):
    folder = make_image_folder(tmp_path / "data")
    store = label_images(label_config(folder, tmp_path / "s.zarr"))
    other = make_image_folder(tmp_path / "other", seed=1)
    message = refused("train", store.path, "--images", other, "--compress", "topk3")
    assert "circle/000.jpg has" in message
    (folder / "train" / "square" / "002.jpg").rename(folder / "train" / "square" / "z.jpg")
    message = refused("train", store.path, "--compress", "topk3")
    assert "square/002.jpg is missing" in message


def test_checkpoints_that_are_none(shared_folder, tmp_path):
    assert "no such file" in refused("eval", tmp_path / "x.pt", shared_folder)
    torch.save({"weights": 1}, tmp_path / "y.pt")
    assert "not a checkpoint" in refused("eval", tmp_path / "y.pt", shared_folder)


def test_a_checkpoint_that_was_cut_short(shared_folder, tmp_path):
    torch.save({"student": torch.zeros(9999)}, tmp_path / "z.pt")
    (tmp_path / "z.pt").write_bytes((tmp_path / "z.pt").read_bytes()[:9999])
    assert "not a checkpoint" in refused("eval", tmp_path / "z.pt", shared_folder)


def run_python(*args, cwd):
    """Run `python -m fkd …`, as users do, in a process that loads everything itself."""
    done = subprocess.run(
        [sys.executable, "-m", "fkd", *args], cwd=cwd, env=fkd_environment(), capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def test_the_main_path_in_processes(tmp_path, monkeypatch):
    make_image_folder(tmp_path / "data")
    words = "label --teacher resnet18 --teacher-weights none --size 32 --crops 4 data"
    done = run_python(*words.split(), cwd=tmp_path)
    assert done.code == 0, done.err
    assert "18 images × 4 crops, topk5-coarse" in done.out
    words = (
        "train --crops-per-image 4 --compress topk3 --student squeezenet1_1 --epochs 4 "
        "--batch-size 16"
    )
    done = run_python(*words.split(), cwd=tmp_path)
    assert done.code == 0, done.err
    run = tmp_path / "runs" / "squeezenet1_1-topk3-m4-1"
    assert str(run.relative_to(tmp_path)) in done.out
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["kind"] == "eval"
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(main, ["eval", str(run / "last.pt"), "data/val"]).stdout
    assert f"top-1 {lines[-1]['top1']:.2%}  top-5 {lines[-1]['top5']:.2%}" in printed
    printed = CliRunner().invoke(main, ["info"]).stdout
    for words in (
        "18 in",
        "4 per image, 72 in all",
        "100.0%",
        "resnet18",
        "topk5-coarse",
        "bytes (box",
    ):
        assert words in printed
    size = sum(f.stat().st_size for f in (tmp_path / "labels.zarr").rglob("*") if f.is_file())
    assert f"{size:,} bytes" in printed
    assert f"{size / 72:.2f} bytes (box" in printed


def test_an_error_in_a_process_is_one_line(tmp_path):
    done = run_python("train", "nowhere.zarr", cwd=tmp_path)
    assert "nowhere.zarr does not exist" in done.error_line()
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


@pytest.mark.parametrize("command", ["label", "train"])
def test_the_help_of_long_commands_has_headings_and_every_option(command):
    options = [option for option in main.commands[command].params if option.opts[0][:2] == "--"]
    text = CliRunner().invoke(main, [command, "--help"]).output
    sections = main.commands[command]._sections
    heads = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[:1] != " "]
    assert heads == [*sections.values(), "Help"]
    for option in options:
        assert re.search(rf"^  {option.opts[0]}\b", text, re.MULTILINE)
    assert set(sections) <= {option.opts[0] for option in options}
