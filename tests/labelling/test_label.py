"""Labelling: classes are mapped, bad images are skipped, and a run that is stopped goes on."""

import signal

import numpy as np
import pytest
import torch
import torchvision
import zarr
from helpers.folders import label_config, make_image_folder
from helpers.networks import TEACHER, TEACHER_CHOICE
from helpers.stores import same_labels

from fkd import FkdError, LabelStore, Scheme, TeacherChoice, ViewPolicy, estimate_run, label_images
from fkd.images import decode
from fkd.info import bad_images
from fkd.sources import list_images
from fkd.views import empty_views, normalize, render


def test_a_killed_run_goes_on_and_keeps_what_was_done(image_folder, tmp_path, start_fkd):
    words = "label --teacher resnet18 --teacher-weights none --size 32 --block 4 --crops 80"
    words += " --compress topk3 --workers 1 --device cpu --batch-size 16 --out killed.zarr"
    process = start_fkd(*words.split(), image_folder)
    seals = tmp_path / "killed.zarr" / "done" / "c"
    process.wait_for(lambda: any(seals.glob("*/0")))
    process.kill()
    store = LabelStore.open(tmp_path / "killed.zarr")
    done = sorted(set(range(5)) - set(store.pending_blocks()))
    assert done
    assert store.pending_blocks()
    shards = store.segments[0].block_files.shards
    files = [store.path / key for b in done for key in shards(b).values()]
    written = {file: file.stat().st_mtime_ns for file in files}
    settings = {"num_crops": 80, "block_images": 4, "batch_size": 16, "workers": 1}
    resumed, whole = (
        label_images(label_config(image_folder, tmp_path / name, **settings))
        for name in ("killed.zarr", "whole.zarr")
    )
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert resumed.pending_blocks() == []
    same_labels(resumed, whole)


def test_a_finished_store_is_not_labelled_again(shared_folder, tmp_path):
    config = label_config(shared_folder, tmp_path / "s.zarr", block_images=4)
    files = [f for f in label_images(config).path.rglob("*") if f.is_file()]
    before = [f.stat().st_mtime_ns for f in files]
    label_images(config)
    assert [f.stat().st_mtime_ns for f in files] == before


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_how_to_go_on(image_folder, tmp_path, start_fkd, stop):
    words = "label --teacher resnet18 --teacher-weights none --size 32 --crops 3000 --device cpu"
    process = start_fkd(*words.split(), image_folder)
    process.wait_for((tmp_path / "labels.zarr").exists)
    process.send_signal(stop)
    done = process.finish()
    assert done.code == 130
    assert "goes on behind them" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"views": ViewPolicy(seed=1)}, "--seed"),
        ({"scheme": Scheme("topk", 2)}, "--compress"),
        ({"views": ViewPolicy(scale=(0.5, 1.0))}, "--scale"),
        ({"temperature": 2.0}, "--temperature"),
        ({"teacher": TeacherChoice("resnet34", "none", size=32)}, "--teacher"),
        ({"teacher": TeacherChoice("resnet18", "none", size=33)}, "--size"),
        ({"teacher": TeacherChoice("resnet18", "none", size=32, mean=(0, 0, 0))}, "--mean"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_store_of_other_settings_is_refused(shared_folder, shared_store, changes, name):
    with pytest.raises(FkdError, match=f"other settings: {name} is"):
        label_images(label_config(shared_folder, shared_store.path, **changes))


@pytest.mark.parametrize("kind", ["folder", "file", "other zarr group"])
def test_overwrite_leaves_alone_what_is_no_store(shared_folder, tmp_path, kind):
    out = tmp_path / "thesis"
    if kind == "file":
        out.write_text("mine")
    elif kind == "folder":
        (out / "chapter").mkdir(parents=True)
    else:
        zarr.create_group(out, zarr_format=3, attributes={"mine": 1})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FkdError, match=r"--overwrite: .*thesis is not a label store"):
        label_images(label_config(shared_folder, out, overwrite=True))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("work", [label_images, estimate_run])
def test_a_folder_of_photos_is_no_place_for_a_store(shared_folder, image_folder, work):
    with pytest.raises(FkdError, match=r"--out .* it is no label store; name another place"):
        work(label_config(shared_folder, image_folder))


def test_a_store_of_other_images_is_refused(image_folder, tmp_path):
    label_images(label_config(image_folder, tmp_path / "s.zarr"))
    (image_folder / "train" / "circle" / "001.jpg").unlink()
    with pytest.raises(FkdError, match=r"circle/001\.jpg is missing"):
        label_images(label_config(image_folder, tmp_path / "s.zarr"))
    store = label_images(label_config(image_folder, tmp_path / "s.zarr", overwrite=True))
    assert store.spec.num_images == 17


def spoil(circle):
    """Make images 1, 3 and 5 a text, an empty and a truncated file."""
    (circle / "001.jpg").write_bytes(b"no image")
    (circle / "003.jpg").write_bytes(b"")
    content = (circle / "005.jpg").read_bytes()
    (circle / "005.jpg").write_bytes(content[: len(content) // 2])


def test_bad_images_are_recorded_and_skipped(image_folder, tmp_path):
    good = label_images(label_config(image_folder, tmp_path / "good.zarr")).read_block(0)
    spoil(image_folder / "train" / "circle")
    store = label_images(label_config(image_folder, tmp_path / "s.zarr", max_bad=0.2))
    assert bad_images(store) == [
        ("circle/001.jpg", "damaged"),
        ("circle/003.jpg", "empty"),
        ("circle/005.jpg", "damaged"),
    ]
    left = [0, 2, 4, *range(6, 18)]
    assert store.labelled_images().tolist() == left
    block = store.read_block(0)
    assert not block.box[[1, 3, 5]].any()
    assert np.array_equal(block.box[left], good.box[left])
    assert np.array_equal(block.flip[left], good.flip[left])
    assert np.array_equal(block.kept["index"][left], good.kept["index"][left])
    codes = [b.kept["code"][left].astype(int) for b in (block, good)]
    assert np.abs(codes[0] - codes[1]).max() <= 1


def test_a_full_disk_is_one_line_and_the_run_goes_on(image_folder, tmp_path, start_fkd):
    """A limit on the size of files stops the first shard of labels, as a full disk would."""
    words = f"label --teacher {TEACHER} --size 32 --crops 200 --block 9"
    words += " --compress full --device cpu --workers 1 --batch-size 32 --out s.zarr"
    done = start_fkd(*words.split(), image_folder, largest_file=6144).finish()
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert "s.zarr: block 0 could not be written" in done.err
    assert LabelStore.open(tmp_path / "s.zarr").pending_blocks() == [0, 1]
    teacher = TEACHER_CHOICE
    settings = {"teacher": teacher, "num_crops": 200, "block_images": 9, "workers": 1}
    settings["scheme"] = Scheme("full")
    resumed, whole = (
        label_images(label_config(image_folder, tmp_path / name, **settings))
        for name in ("s.zarr", "whole.zarr")
    )
    same_labels(resumed, whole)


@pytest.mark.parametrize("block_images", [None, 2])
def test_too_many_bad_images_stop_the_run(image_folder, tmp_path, block_images):
    spoil(image_folder / "train" / "circle")
    config = label_config(
        image_folder, tmp_path / "s.zarr", max_bad=2.5 / 18, block_images=block_images
    )
    with pytest.raises(FkdError, match=r"3 of 18 images .*--max-bad 0\.13.*circle/005\.jpg"):
        label_images(config)
    with pytest.raises(FkdError, match=r"3 of 18 images .*--max-bad 0\.13"):
        label_images(config)  # what was found before the stop still counts


def test_the_batch_size_changes_no_label(shared_folder, shared_store, tmp_path):
    store = label_images(label_config(shared_folder, tmp_path / "s.zarr", batch_size=5, workers=1))
    same_labels(store, shared_store)


def test_a_random_teacher_is_the_same_in_every_run(shared_folder, shared_store, tmp_path):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    store = label_images(label_config(shared_folder, tmp_path / "s.zarr"))
    assert store.spec.teachers[0].weights_hash == shared_store.spec.teachers[0].weights_hash
    assert torch.equal(torch.get_rng_state(), state)


NAMES = ["square", "fish", "circle", "bird", "triangle"]


def five_class_teacher(tmp_path):
    torch.manual_seed(3)
    model = torchvision.models.resnet18(num_classes=5)
    wrapped = {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}
    torch.save(wrapped, tmp_path / "five.pt")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    return model.eval()


@pytest.mark.parametrize("all_classes", [False, True])
def test_folder_names_pick_the_teachers_outputs(shared_folder, tmp_path, all_classes):
    model = five_class_teacher(tmp_path)
    choice = TeacherChoice(
        "resnet18", str(tmp_path / "five.pt"), tmp_path / "names.txt", all_classes, size=32
    )
    out, full = tmp_path / "s.zarr", Scheme("full")
    store = label_images(
        label_config(shared_folder, out, teacher=choice, scheme=full, temperature=2.0)
    )
    images, block = list_images(shared_folder / "train"), store.read_block(0)
    expected_names = tuple(NAMES) if all_classes else ("circle", "square", "triangle")
    assert store.class_names() == expected_names
    views = empty_views(6, 32)
    for image in (0, 7, 17):
        assert store.class_names()[block.target[image]] == images.paths[image].split("/")[0]
        pixels = decode(images.name(image))
        for crop in range(6):
            box, flip = block.box[image, crop], bool(block.flip[image, crop])
            render(pixels, box, flip, views[crop], "bilinear")
        p = choice_preprocessing()
        logits = model(normalize(views, *p)).detach() / 2
        logits = logits[:, [NAMES.index(name) for name in expected_names]]
        stored = torch.from_numpy(block.kept["log_prob"][image]).float()
        assert (stored.exp() - logits.softmax(1)).abs().max() < 2e-3


def choice_preprocessing():
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (None, "3 classes, teacher resnet18 has 5 outputs"),
        (["square", "fish", "circle", "bird", "cube"], "not in .*: triangle"),
        (["square", "circle", "triangle"], "3 names, teacher resnet18 has 5 outputs"),
        (["square", "", " ", "circle"], r"has 3 names \(1 of them white space\), teacher resnet18"),
    ],
    ids=["no file", "missing", "short", "spaces"],
)
def test_classes_that_do_not_fit_are_refused_at_once(shared_folder, tmp_path, lines, words):
    five_class_teacher(tmp_path)
    file = None if lines is None else tmp_path / "other.txt"
    if file:
        file.write_text("\n".join(lines))
    choice = TeacherChoice("resnet18", str(tmp_path / "five.pt"), file, size=32)
    with pytest.raises(FkdError, match=words):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=choice))
    assert not (tmp_path / "s.zarr").exists()


def test_weights_of_another_architecture_are_refused(shared_folder, tmp_path):
    torch.save(torchvision.models.resnet34(num_classes=3).state_dict(), tmp_path / "w.pt")
    choice = TeacherChoice("resnet18", str(tmp_path / "w.pt"), size=32)
    with pytest.raises(FkdError, match=r"unknown tensor 'layer1\.2"):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=choice))


def test_preprocessing_comes_from_the_weights_metadata(tmp_path):
    store = label_images(
        label_config(
            make_image_folder(tmp_path / "d", 1, 0),
            tmp_path / "s.zarr",
            teacher=TeacherChoice("regnet_y_400mf", "none", std=(1, 1, 1)),
            num_crops=1,
        )
    )
    said = torchvision.models.RegNet_Y_400MF_Weights.DEFAULT.transforms()
    how = store.spec.teachers[0].preprocessing
    assert (how.size, how.mean, how.std) == (said.crop_size[0], tuple(said.mean), (1, 1, 1))


def test_a_teacher_that_says_nan_is_named(shared_folder, tmp_path):
    model = torchvision.models.resnet18(num_classes=3)
    torch.nn.init.constant_(model.fc.weight, 3e38)  # finite weights, infinite logits
    torch.save(model.state_dict(), tmp_path / "nan.pt")
    choice = TeacherChoice("resnet18", str(tmp_path / "nan.pt"), size=32)
    with pytest.raises(FkdError, match=r"circle/000\.jpg, crop 0"):
        label_images(label_config(shared_folder, tmp_path / "s.zarr", teacher=choice))
