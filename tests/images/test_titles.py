"""Titles of classes: every form in which people keep them, and where a store's are shown."""

import json
from dataclasses import replace

import pytest
import torch
from helpers.folders import label_config
from helpers.networks import STUDENT
from helpers.processes import refused

from fkd import (
    CheckConfig,
    FkdError,
    LabelStore,
    ShowConfig,
    StudentLoader,
    TrainConfig,
    check_store,
    export_student,
    label_images,
    load_student,
    show_store,
    train_student,
)
from fkd.errors import ConfigError
from fkd.images import read_titles
from fkd.info import info_lines

FOLDERS = ("n01440764", "n01443537", "n01484850")
SHORT = ("tench", "goldfish", "great white shark")


def test_titles_in_the_order_of_text_are_warned_of(tmp_path, capsys):
    """Class 10 comes before class 2, as its folder does: a file in the order of numbers is wrong."""
    classes, path = sorted(map(str, range(12))), tmp_path / "titles"
    titles = [f"title {n}" for n in range(12)]
    path.write_text("\n".join(titles))
    assert read_titles(path, classes) == tuple(titles)
    assert "the title in line 3 is that of class 10; where" in capsys.readouterr().err
    path.write_text("\n".join(f"{n} {title}" for n, title in enumerate(titles)))
    assert read_titles(path, classes)[2] == "title 10"
    path.write_text("\n".join(titles[:10]))
    read_titles(path, classes[:2] + classes[4:])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "tench\ngoldfish\ngreat white shark\n",
        "n01443537 goldfish\nn01440764 tench, Tinca tinca\nn01484850 great white shark\n",
        "n01440764\ttench\nn01443537\tgoldfish\nn01484850\tgreat white shark",
        'id,name\nn01440764,tench\nn01443537, goldfish\n"n01484850","great white shark"\n',
        '{"0": ["n01440764", "tench"], "2": ["n01484850", "great_white_shark"],'
        '"1": ["n01443537", "goldfish"]}',
        '{"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white\\nshark", "x": "y"}',
        '{"2": "great white shark, white shark", "0": "tench", "1": "goldfish"}',
        '["tench", "goldfish", "great white shark"]',
        '[["n01484850", "great white shark"], ["n01440764", "tench"], ["n01443537", "goldfish"]]',
    ],
)  # fmt: skip
def test_each_form_gives_the_same_titles(tmp_path, text):
    (tmp_path / "names").write_text(text)
    assert read_titles(tmp_path / "names", FOLDERS) == SHORT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON object or list of names"),
        ('{"n01440764": 1}', "it is no JSON object"),
        ('{"0": ["a", "b", "c"]}', "it is no JSON object"),
        ('{"n01440764": "tench", "n01443537": ""}', "has no name for 2 of 3 classes: n01443537"),
        ('["a", "b"]', "has 2 lines, the store has 3 classes"),
    ],
)
def test_json_that_does_not_fit_is_refused(tmp_path, text, words):
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_titles(tmp_path / "names.json", FOLDERS)
    assert f"--class-names {tmp_path / 'names.json'}" in str(error.value)
    assert words in str(error.value)


@pytest.fixture(scope="module")
def named(shared_folder, tmp_path_factory):
    """A store whose classes have titles, and the configuration that made it."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "names.txt").write_text("circle Kreis\nsquare Quadrat, Viereck\ntriangle Dreieck\n")
    config = label_config(shared_folder, folder / "labels.zarr", class_names=folder / "names.txt")
    label_images(config)
    return config


TITLES = ("Kreis", "Quadrat", "Dreieck")


def test_a_store_keeps_titles_beside_its_labels(named, shared_store):
    store = LabelStore.open(named.out)
    assert (store.class_titles(), shared_store.class_titles()) == (
        TITLES,
        shared_store.class_names(),
    )
    assert store.class_names() == shared_store.class_names()
    assert dict(info_lines(named.out))["classes"] == "3 (Kreis, Quadrat, Dreieck)"
    assert store.spec.teachers == shared_store.spec.teachers
    assert check_store(CheckConfig(named.out, deep=True, device="cpu")).ok
    for file in shared_store.path.rglob("*"):
        if file.is_file() and file.name != "zarr.json":
            assert (
                file.read_bytes() == (named.out / file.relative_to(shared_store.path)).read_bytes()
            )
    (named.out / "class_title" / "c" / "0").rename(named.out / "aside")
    with pytest.raises(FkdError, match=r"array 'class_title': .* is missing"):
        LabelStore.open(named.out)
    (named.out / "aside").rename(named.out / "class_title" / "c" / "0")


def test_titles_are_shown_where_classes_are(named, tmp_path):
    page = show_store(ShowConfig(named.out, tmp_path / "page", samples=1, crops=1)).read_text()
    assert "Quadrat" in page
    (tmp_path / "other.txt").write_text("rund\neckig\nspitz\n")
    config = ShowConfig(
        named.out, tmp_path / "page", samples=1, crops=1, class_names=tmp_path / "other.txt"
    )
    page = show_store(config).read_text()
    assert "eckig" in page
    assert page.count("Quadrat") == 1  # in what the store says of itself


def test_whoever_serves_the_student_has_its_titles(named, tmp_path):
    settings = {"crops_per_image": 2, "scheme": "topk3", "batch_size": 12, "epochs": 1}
    run = train_student(
        TrainConfig(
            store=named.out, out=tmp_path / "run", student=STUDENT, val="none", device="cpu",
            **settings,
        )
    )  # fmt: skip
    assert load_student(run)[0].titles == TITLES
    exported = export_student(run).path.with_suffix(".json")
    about = json.loads(exported.read_text())
    assert (about["classes"], about["titles"]) == (["circle", "square", "triangle"], list(TITLES))
    content = torch.load(run / "last.pt", weights_only=True)
    del content["student_card"]["titles"]
    torch.save(content, run / "best.pt")
    assert load_student(run)[0].titles is None
    assert "titles" not in json.loads(export_student(run).path.with_suffix(".json").read_text())
    assert StudentLoader(named.out, **settings).titles == TITLES


def test_labelling_goes_on_with_the_stores_own_titles(named, tmp_path, shared_folder):
    label_images(named)
    label_images(replace(named, class_names=None))
    (tmp_path / "other.txt").write_text("a\nb\nc\n")
    with pytest.raises(
        FkdError, match=r"--class-names .*other\.txt has other names than the store"
    ):
        label_images(replace(named, class_names=tmp_path / "other.txt"))
    command = ["label", "--teacher", "resnet18", "--out", tmp_path / "s.zarr", shared_folder]
    assert "gone.txt: no such file" in refused(*command, "--class-names", "gone.txt")
