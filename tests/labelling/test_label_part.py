"""Labels of a part of a data set, and what is done with such a store."""

import json
import tarfile

import pytest
from helpers.folders import label_config, make_image_folder
from helpers.processes import refused

from fkd import CheckConfig, FkdError, Part, TeacherChoice, check_store, label_images
from fkd.info import info_lines
from fkd.originals import find_images


@pytest.fixture
def five_classes(tmp_path):
    """The folder of the other tests, with two more classes in it."""
    root = make_image_folder(tmp_path / "data", train_per_class=2, val_per_class=1)
    for name, source in (("disc", "circle"), ("zebra", "square")):
        (root / "train" / name).mkdir()
        for file in (root / "train" / source).iterdir():
            (root / "train" / name / file.name).write_bytes(file.read_bytes())
    return root


def test_classes_of_a_part_are_a_folder_of_these_classes(five_classes, tmp_path, monkeypatch):
    """The teacher's outputs are those of all class folders in order, and the others are left out."""
    teacher = TeacherChoice("part_teacher:Five", size=32)
    (tmp_path / "part_teacher.py").write_text(
        "import torch\n"
        "class Five(torch.nn.Module):\n"
        "    fkd_identity = 'five'\n"
        "    def forward(self, views):\n"
        "        flat = views.flatten(2)\n"
        "        return torch.cat([flat.mean(2), flat.std(2)[:, :2]], dim=1) * 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "three.txt").write_text("triangle\ncircle\ndisc\n")
    (tmp_path / "outputs.txt").write_text("circle\ndisc\nsquare\ntriangle\nzebra\n")
    part = Part(classes=tmp_path / "three.txt")
    some = label_config(
        five_classes, tmp_path / "some.zarr", part=part, teacher=teacher, scheme="full"
    )
    store = label_images(some)
    assert store.class_names() == ("circle", "disc", "triangle")
    report = check_store(
        CheckConfig(store.path, deep=True, teacher=(teacher,), num_views=8, device="cpu")
    )
    assert report.ok, report
    assert not report.skipped
    for name in ("square", "zebra"):
        (five_classes / "train" / name).rename(tmp_path / name)
    named = TeacherChoice("part_teacher:Five", size=32, classes_file=tmp_path / "outputs.txt")
    alone = label_images(
        label_config(five_classes, tmp_path / "alone.zarr", teacher=named, scheme="full")
    )
    assert (alone.spec.part, store.spec.part) == (False, True)
    assert alone.spec.teachers == store.spec.teachers
    assert alone.image_paths() == store.image_paths()
    one, other = (s.read_block(0).kept["log_prob"] for s in (store, alone))
    assert (one == other).all()


def test_the_store_of_a_part_finds_its_images_among_others(image_folder, tmp_path):
    subset = tmp_path / "list.txt"
    subset.write_text("circle/000.jpg\nsquare/003.jpg\n")
    part = Part(str(subset))
    store = label_images(label_config(image_folder, tmp_path / "s.zarr", part=part))
    assert store.spec.part
    assert store.class_names() == ("circle", "square", "triangle")
    assert list(find_images(store, image_folder).paths) == ["circle/000.jpg", "square/003.jpg"]
    assert dict(info_lines(store.path))["images"].endswith("train, a part of those there")
    check = CheckConfig(store.path, deep=True, device="cpu")
    assert check_store(check).ok
    again = label_config(image_folder, store.path, part=part)
    label_images(again)
    subset.write_text("circle/000.jpg\ncircle/003.jpg\n")
    with pytest.raises(FkdError, match=r"chooses of .*: circle/003\.jpg is new; take the part"):
        label_images(again)
    with pytest.raises(FkdError, match="take the part that it was made from, or use --out"):
        label_images(label_config(image_folder, store.path))
    (image_folder / "train" / "square" / "003.jpg").unlink()
    assert not check_store(check).ok
    with pytest.raises(FkdError, match=r"square/003\.jpg is missing"):
        find_images(store, None)


def test_a_part_of_an_archive_has_the_labels_of_its_files(image_folder, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        archive.add(image_folder / "train", "")
    part = Part("30%")
    stores = [
        label_images(label_config(images, tmp_path / f"{n}.zarr", part=part))
        for n, images in enumerate((image_folder, tmp_path / "train.tar"))
    ]
    one, other = (store.read_block(0) for store in stores)
    assert (one.kept["code"] == other.kept["code"]).all()
    assert len(find_images(stores[1], None)) == len(one.target) == 6


def test_a_whole_store_says_nothing_of_parts(shared_store):
    """Its bytes are those of a store that was made before there were any."""
    said = json.loads((shared_store.path / "zarr.json").read_text())["attributes"]["fkd"]
    assert not said.keys() & {"part", "unlabelled", "class_title_bytes"}
    assert not (shared_store.path / "class_title").exists()


def test_a_part_is_refused_at_once(shared_folder, tmp_path):
    command = ["label", "--teacher", "resnet18", "--out", tmp_path / "s.zarr", shared_folder]
    assert "names.txt: no such file" in refused(*command, "--classes", "names.txt")
    assert "is no share of the images" in refused(*command, "--subset", "150%")
    unlabelled = [*command, "--unlabelled"]
    assert "--classes x does nothing with --unlabelled" in refused(*unlabelled, "--classes", "x")
