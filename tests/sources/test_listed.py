"""Lists of images, and flat folders with a list of classes."""

import json
import shutil

import pytest
from helpers.sources import SourceContract, files_of

from fkd.errors import ImagesError
from fkd.sources import list_images, list_val


class TestFolder(SourceContract):
    def make(self, root, where):
        return root


class TestCsv(SourceContract):
    def make(self, root, where):
        shutil.copytree(root, where / "photos")
        rows = [f"photos/{key},{key.split('/')[0]}" for key, _ in files_of(root)]
        (where / "photos.csv").write_text(
            "\n".join(["path,label", *(row.replace("photos/", "") for row in rows)])
        )
        return where / "photos.csv"


class TestCsvOfAbsolutePaths(SourceContract):
    def make(self, root, where):
        rows = [f'"{root}/{key}",7,"{key.split("/")[0]}"' for key, _ in files_of(root)]
        (where / "x.csv").write_text("\ufefffilename,size,class\r\n" + "\r\n".join(rows), "utf-8")
        return where / "x.csv"


class TestJsonLines(SourceContract):
    def make(self, root, where):
        shutil.copytree(root, where, dirs_exist_ok=True)
        rows = [
            json.dumps({"label": key.split("/")[0], "file_name": f"./{key}"})
            for key, _ in files_of(root)
        ]
        (where / "x.jsonl").write_text("\n\n".join(rows))
        return where / "x.jsonl"


class TestText(SourceContract):
    classes = ("0", "1", "2")

    def make(self, root, where):
        shutil.copytree(root, where, dirs_exist_ok=True)
        number = {"circle": 0, "square": 1, "triangle": 2}
        rows = [f"{key} {number[key.split('/')[0]]}" for key, _ in files_of(root)]
        (where / "x.txt").write_text("\n".join(rows))
        return where / "x.txt"


class TestListWithoutClasses(SourceContract):
    labelled = False

    def make(self, root, where):
        shutil.copytree(root, where, dirs_exist_ok=True)
        (where / "x.csv").write_text("path\n" + "\n".join(key for key, _ in files_of(root)))
        return where / "x.csv"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "", "names no image"),
        ("x.csv", "path,label\n1.jpg,cat\n1.jpg,dog\n", "1.jpg twice, in lines 2 and 3"),
        (
            "x.csv",
            "path,label\n1.jpg,cat\nno.jpg,dog\n",
            "line 3: there is no .*no.jpg, and 1 of 2",
        ),
        ("x.csv", "path,label\n1.jpg,\n", "line 2: 1.jpg has no class"),
        ("x.csv", "path,label\n,cat\n", "line 2: it names no image"),
        ("x.csv", "path,label\nx.csv,cat\n", "line 2: x.csv is no image by its name"),
        ("x.csv", "cat,dog\n1.jpg,2\n", "no column is named path"),
        ("x.jsonl", '{"path": "1.jpg", "label": 0}\n[1]\n', "line 2: no JSON object"),
        ("x.jsonl", '{"path": 3}\n', 'line 1: it needs a "path" that is a text'),
        ("x.csv", b"path,label\n\xff\xfe,cat\n", "cannot be read as a list"),
    ],
)
def test_a_list_that_is_none_is_refused_by_its_line(tmp_path, name, text, said):
    (tmp_path / "1.jpg").write_bytes(b"x")
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ImagesError, match=said):
        list_images(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.txt", "{0} n02\n{1} n01\n"),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n{0},n02 1 2 3 4 n02 5 6 7 8\n{1},n01 9 2 3 4\n",
        ),
        ("imagenet_2012_validation_synset_labels.txt", "n02\nn01\n"),
        ("val_annotations.txt", "{0}\tn02\t0\t32\t44\t62\n{1}\tn01\t1\t2\t3\t4\n"),
    ],
)
def test_a_flat_folder_takes_its_classes_from_the_list_beside_or_above_it(tmp_path, name, text):
    images = tmp_path / ("Data/CLS-LOC" if name.startswith("LOC") else "") / "val"
    images.mkdir(parents=True)
    names = [f"ILSVRC2012_val_0000000{n}.JPEG" for n in (1, 2)]
    for number, file in enumerate(names):
        (images / file).write_bytes(b"x" * (number + 1))
    bare = [n.removesuffix(".JPEG") for n in names] if name.startswith("LOC") else names
    (tmp_path / name).write_text(text.format(*bare))
    listed = list_images(images)
    assert list(listed.paths) == names
    assert [listed.classes[target] for target in listed.targets] == ["n02", "n01"]


def test_an_image_that_the_list_lacks_is_named(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "val.txt").write_text("a.jpg 3\n")
    with pytest.raises(ImagesError, match=r"val\.txt has no class of b\.jpg"):
        list_images(tmp_path)


def test_numbers_with_leading_zeros_are_names_as_folders_are(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    (tmp_path / "x.csv").write_text("path,label\na.jpg,01\nb.jpg,02\n")
    assert list_images(tmp_path / "x.csv").classes == ("01", "02")


def test_a_class_of_too_many_digits_is_a_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "x.csv").write_text(f"path,label\na.jpg,{'9' * 40}\n")
    assert list_images(tmp_path / "x.csv").classes == ("9" * 40,)


def test_a_path_with_blanks_needs_no_class_where_none_is_asked_for(tmp_path):
    (tmp_path / "a b.jpg").write_bytes(b"x")
    (tmp_path / "x.txt").write_text("a b.jpg\n")
    assert list(list_images(tmp_path / "x.txt", unlabelled=True).paths) == ["a b.jpg"]


def test_true_is_no_class(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"path": "a.jpg", "label": true}\n')
    with pytest.raises(ImagesError, match="line 1"):
        list_images(tmp_path / "x.jsonl")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_column_of_splits_keeps_train_and_val_apart(tmp_path, ending):
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    rows = [("a.jpg", "0", "train"), ("b.jpg", "0", "Validation"), ("c.jpg", "0", "test")]
    names = ("path", "label", "split")
    if ending == "csv":
        text = "".join(",".join(row) + "\n" for row in (names, *rows))
    else:
        text = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    path = tmp_path / f"x.{ending}"
    path.write_text(text)
    images = list_images(path)
    assert list(images.paths) == ["a.jpg"]
    assert list(list_val(images).paths) == ["b.jpg"]
    path.write_text(text.replace("Validation", "test"))
    assert list_val(list_images(path)) is None


def test_a_list_without_a_column_of_splits_is_no_val(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "x.csv").write_text("path,label\na.jpg,0\n")
    assert list_val(list_images(tmp_path / "x.csv")) is None


def test_a_row_without_a_split_beside_others_is_not_left_out(tmp_path):
    (tmp_path / "x.csv").write_text("path,label,split\na.jpg,0,train\nb.jpg,0,\nc.jpg,0,val\n")
    with pytest.raises(ImagesError, match="line 3: its split '' is none that is known"):
        list_images(tmp_path / "x.csv")
