"""A card says what the store says, in a head that the hub reads, and names no place of this machine."""

import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from helpers.copies import files
from helpers.folders import tiny_label_config
from helpers.lines import line_config, make_line_folder
from helpers.masked import make_masked_folder, masked_config
from helpers.processes import refused

from fkd import CardConfig, FkdError, LabelStore, label_images, store_card
from fkd.cli import main
from fkd.config import MixPolicy, TonePolicy, ViewPolicy
from fkd.info import info_lines


def head_of(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_head_is_what_the_hub_reads(shared_store):
    title = 'Labels: "mine" & yours'
    card = store_card(CardConfig(shared_store.path, license="cc-by-4.0", title=title))
    head, body = head_of(card)
    assert head == {
        "license": "cc-by-4.0",
        "pretty_name": title,
        "task_categories": ["image-classification"],
        "size_categories": ["n<1K"],
        "tags": ["knowledge-distillation", "soft-labels", "fkd", "zarr"],
        "viewer": False,
    }
    assert f"# {title}\n" in body
    assert head_of(store_card(CardConfig(shared_store.path)))[0]["license"] == "unknown"


def test_the_body_has_the_facts_of_the_store(shared_store):
    card = store_card(CardConfig(shared_store.path, source="Shapes on noise."))
    spec = shared_store.spec
    for fact in (
        spec.teachers[0].name, spec.teachers[0].weights_hash, spec.fingerprint, shared_store.digest(),
        str(spec.scheme), "6, 108 in all", "random-resized-crop-2", "seed 0", "32 px", "Shapes on noise.",
        "18, ", "circle, square, triangle", "KL ", "top-1 is the image's class", "`slot`", "@misc{labels",
    ):  # fmt: skip
        assert fact in card, fact


def test_it_says_what_was_done_to_views(shared_folder, tmp_path):
    views = ViewPolicy(mix=MixPolicy(mixup=1), tone=TonePolicy(brightness=0.4))
    store = label_images(
        tiny_label_config(shared_folder, tmp_path / "a.zarr", views=views, scheme=None, num_crops=2)
    )
    card = store_card(CardConfig(store.path))
    assert "| tone | brightness 0.4 |" in card
    assert "| mixed | mixup 1 " in card
    assert "--compress topk10\n" in card


def test_no_place_of_this_machine_is_in_it(shared_store, shared_folder, tmp_path):
    card = store_card(CardConfig(shared_store.path))
    assert str(shared_store.path.parent) not in card
    assert str(shared_folder) not in card
    assert shared_store.spec.images_root not in card


def test_a_teacher_from_a_file_is_named_without_its_folder(shared_store):
    from fkd.publishing.facts import teacher_name

    record = shared_store.spec.teachers[0]
    for name, shown in {
        "/home/me/teacher.pt2": "teacher.pt2", "C:\\me\\teacher.onnx": "teacher.onnx",
        "../runs/one": "one", "timm:vit_b": "timm:vit_b", "runs/resnet-1": "runs/resnet-1",
    }.items():  # fmt: skip
        assert teacher_name(replace(record, name=name)) == shown


def test_its_commands_parse_and_its_code_runs(shared_store, shared_folder, monkeypatch):
    monkeypatch.chdir(shared_store.path.parent)
    card = store_card(CardConfig(shared_store.path))
    commands = re.findall(r"^    (fkd .*)$", card, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)
        main.commands[words[1]].make_context(words[1], words[2:])
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    code = code.replace('"IMAGES"', repr(str(shared_folder))).replace("4,", "2,", 1)
    code = code.replace(
        "    loss =", "    student = lambda x: x.mean((1, 2, 3))[:, None].expand(-1, 3)\n    loss ="
    )
    code = code.replace("images=", "batch_size=4, images=") + "    break\n"
    found = {}
    exec(code, found)
    assert found["loss"].item() > 0


def test_a_run_is_a_baseline(shared_store, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    config = {"student": "resnet18", "scheme": "topk3", "epochs": 4.0, "out": "/secret/run"}
    (run / "config.json").write_text(json.dumps(config))
    lines = [
        {"kind": "eval", "step": n, "epoch": n, "top1": t, "top5": 0.9}
        for n, t in enumerate((0.5, 0.75, 0.7))
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = store_card(CardConfig(shared_store.path, run=run))
    assert "| top-1 on its images for evaluation | 75.00%, top-5 90.00%, its best |" in card
    assert "| student | resnet18 |" in card
    assert "secret" not in card
    lines = {
        "kind": "eval",
        "step": 1,
        "epoch": 1,
        "exact_match": 0.5,
        "character_error_rate": 0.125,
    }
    (run / "metrics.jsonl").write_text(json.dumps(lines) + "\n")
    card = store_card(CardConfig(shared_store.path, run=run))
    assert "| 50.00%, character error rate 12.50%, its best |" in card
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(FkdError, match="has no evaluation yet"):
        store_card(CardConfig(shared_store.path, run=run))


def test_the_command_writes_a_file_and_replaces_none_unasked(shared_store, tmp_path):
    out = tmp_path / "README.md"
    done = CliRunner().invoke(main, ["card", str(shared_store.path), "--out", str(out)])
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert out.read_text() == store_card(CardConfig(shared_store.path))
    assert "is there already" in refused("card", shared_store.path, "--out", out)
    assert "none of the hub's names" in refused("card", shared_store.path, "--license", "my own")
    inside = shared_store.path / "README.md"
    assert "lies in a label store" in refused("card", shared_store.path, "--out", inside)
    assert "no.zarr does not exist" in refused("card", "no.zarr")
    shown = CliRunner().invoke(main, ["card", str(shared_store.path)])
    assert shown.stdout == out.read_text()


def test_the_digest_is_of_settings_and_seals(shared_store, image_folder):
    digest = shared_store.digest()
    assert LabelStore.open(shared_store.path).digest() == digest
    assert dict(info_lines(shared_store.path))["digest"] == digest
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    other = LabelStore.open(shared_store.path)
    other.segments[0].seals[0] = bytes(32)
    assert other.digest() != digest
    del other.segments[0].seals[0]
    assert len({other.digest(), digest}) == 2


def test_a_repository_has_a_card_a_store_and_its_attributes(shared_store, tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / ".gitattributes").write_text("*.bin filter=lfs")  # as a clone has it
    args = ["copy", str(shared_store.path), str(folder), "--to", "hub", "--license", "mit"]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{folder / 'labels.zarr.zip'}: 18 images × 6 crops, ")
    names = [".gitattributes", "README.md", "labels.zarr.zip"]
    assert sorted(path.name for path in folder.iterdir()) == names
    before = files(folder)
    assert b"fkd train labels.zarr.zip" in before["README.md"]
    assert head_of(before["README.md"].decode())[0]["license"] == "mit"
    attributes = before[".gitattributes"].decode().splitlines()
    assert attributes == ["*.bin filter=lfs", "*.zip filter=lfs diff=lfs merge=lfs -text"]
    assert LabelStore.open(folder / "labels.zarr.zip").digest() == shared_store.digest()
    assert "is there already" in refused(*args)
    (folder / "labels.zarr.zip").unlink()  # as a run that was killed leaves it
    assert CliRunner().invoke(main, args).exit_code == 0
    assert files(folder) == before
    (folder / "labels.zarr.zip").unlink()
    assert "README.md is there already" in refused(*args[:-2])
    part = CliRunner().invoke(main, [*args[:-2], "--crops", "2", "--overwrite"])
    assert part.exit_code == 0, part.output
    assert LabelStore.open(folder / "labels.zarr.zip").spec.num_crops == 2
    assert "crops an image, M | 2" in (folder / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub"]


def test_what_is_no_repository_is_refused_in_one_line(shared_store, tmp_path):
    (tmp_path / "file").touch()
    for out, more, words in (
        (tmp_path / "a.zip", ("--to", "hub"), "is one file"),
        (tmp_path / "file", ("--to", "hub"), "is one file"),
        ("s3://bucket/labels", ("--to", "hub"), "is an address"),
        (tmp_path / "a", ("--to", "hub", "--license", "my own"), "none of the hub's names"),
        (tmp_path / "a", ("--license", "mit"), "is for the card of --to hub"),
        (shared_store.path, ("--to", "hub"), "is the store"),
    ):
        assert words in refused("copy", shared_store.path, out, *more)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_unfinished_store_has_no_card(shared_store, tmp_path):
    import shutil

    cut = tmp_path / "cut.zarr"
    shutil.copytree(shared_store.path, cut)
    shutil.rmtree(cut / "done" / "c")
    with pytest.raises(FkdError, match="is unfinished"):
        store_card(CardConfig(cut))
    assert np.array_equal(LabelStore.open(cut).pending_blocks(), [0])


def test_a_card_of_maps_says_what_they_are(map_store):
    card = store_card(CardConfig(map_store.path))
    assert "- image-segmentation" in card
    assert "over 5 classes at each of 8x4 positions" in card
    assert "| maps | 8x4 labels of each crop |" in card
    assert "--images IMAGES --recipe maps --loss kl\n" in card
    assert "agreement" not in card


def test_a_card_of_mixed_maps_says_how_they_are_read(tmp_path):
    folder, mixed = make_masked_folder(tmp_path / "maps", 4, 0), ViewPolicy(mix=MixPolicy(mixup=1))
    own = masked_config(folder / "train", tmp_path / "s.zarr", unlabelled=True, views=mixed)
    assert "--recipe maps --loss kl --compress topk2\n" in store_card(
        CardConfig(label_images(own).path)
    )


def test_a_card_of_lines_has_a_command_and_code_that_work_on_them(tmp_path, monkeypatch):
    folder = make_line_folder(tmp_path / "lines", train=4, val=2)
    store = label_images(line_config(folder, tmp_path / "lines.zarr"))
    monkeypatch.chdir(tmp_path)
    card = store_card(CardConfig(store.path))
    assert "- image-to-text\n" in card
    assert "over 5 classes at each of 16 frames" in card
    assert "| classes | 5, the texts': blank, a, b, space, é |" in card
    assert "IMAGES` is your folder of the images, with their texts." in card
    (command,) = re.findall(r"^    (fkd train .*)$", card, flags=re.MULTILINE)
    assert command.endswith(" --recipe lines")
    words = shlex.split(command.replace("IMAGES", str(folder)))
    done = CliRunner().invoke(main, [*words[1:], "--dry-run", "--epochs", "1", "--batch-size", "4"])
    assert done.exit_code == 0, done.output
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert "# of logits [B, T, C]" in code
    code = code.replace('"IMAGES"', f"{str(folder)!r}, batch_size=4") + "    break\n"
    found = {"student": lambda views: views[:, :, :5, ::4].mean(1).transpose(1, 2)}
    exec(code, found)
    assert found["loss"].item() > 0
