"""What a user may ask of `fkd show`: names of classes, images, formats; and how a sample is laid out."""

import re

import pytest
from helpers.folders import label_config

from fkd import ShowConfig, label_images, show_store
from fkd.errors import ConfigError, ImagesError
from fkd.figures import PAGE, figure_style, fit, new_figure
from fkd.images import read_titles
from fkd.pictures.crop_layout import arrange
from fkd.showing.page import write_folder

FOLDERS = ("n01", "n02", "n 03")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tench\nball\ncrane", ("tench", "ball", "crane")),
        ("n02 golf ball\nn01\ttench, Tinca tinca\nn99 more\nn 03 crane", ("tench", "golf ball", "crane")),
        ("\ufeffn01 crane\r\nn02 crane\r\n\r\nn 03 x\r\n", ("crane (n01)", "crane (n02)", "x")),
        ("Paris, France\nParis, Texas\nRome, Italy", ("Paris, France", "Paris, Texas", "Rome")),
    ],
)  # fmt: skip
def test_names_of_classes(tmp_path, text, names):
    (tmp_path / "names.txt").write_bytes(text.encode())
    assert read_titles(tmp_path / "names.txt", FOLDERS) == names


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"\xff\xfe\x00", "names.txt is in UTF-16; save it in UTF-8"),
        (b"a\n\xff\n", "names.txt cannot be read"),
        (b"a\nb\n", "has 2 lines, the store has 3 classes"),
        (b"n01 a\nn02 b\n", "no name for 1 of 3 classes: n 03"),
        (b"", "has 0 lines"),
    ],
)
def test_names_that_do_not_fit(tmp_path, content, words):
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ConfigError, match="--class-names") as error:
        read_titles(tmp_path / "names.txt", FOLDERS)
    assert words in str(error.value)


def test_a_page_as_a_paper_wants_it(shared_store, shared_folder, tmp_path, run_fkd):
    """Names of classes, the images that were asked for, and PDF and SVG in which text is text."""
    (tmp_path / "names.txt").write_text("circle Kreis $x_{\nsquare Quadrat\ntriangle Dreieck\n")
    done = run_fkd(
        "show", shared_store.path, "--class-names", "names.txt", "--format", "svg", "--format", "pdf",
        "--image", "square/003.jpg", "--image", shared_folder / "train/circle/001.jpg",
        "--image", "train/square/003.jpg", "--crops", "2",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert re.search(r"^crops +108 crops: the first 6 of 6 of 18 images$", done.err, flags=re.M)
    out = tmp_path / "labels-show"
    samples = sorted(path.name for path in out.glob("sample-*"))
    assert samples == [f"sample-{n}.{suffix}" for n in (1, 2) for suffix in ("pdf", "png", "svg")]
    html = (out / "index.html").read_text("utf-8")
    assert html.index("square/003.jpg") < html.index("circle/001.jpg")
    links = re.findall(r'href="([^"]+)"', html)
    assert sorted(links) == sorted(path.name for path in out.glob("*.[ps][dv][fg]"))
    svg = (out / "classes.svg").read_text("utf-8")
    assert "Kreis $x_{" in svg
    assert (out / "sample-1.pdf").read_bytes().startswith(b"%PDF")
    assert b"/Type0" in (out / "classes.pdf").read_bytes()  # TrueType is embedded so, Type 3 is not
    spec = shared_store.spec
    for text in (
        spec.teachers[0].name,
        spec.teachers[0].weights_hash[:19],
        "32 px",
        "seed 0",
        "topk3",
    ):
        assert text in html[: html.index("<h2>")]
    write_folder(out, html.encode(), {"size.png": b"of another page"})
    assert {path.name for path in out.iterdir()} == {"index.html", "size.png"}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("circle/01.jpg", "did you mean circle/001.jpg"),
        ("elsewhere/004.jpg", "did you mean circle/004.jpg or square/004.jpg or triangle/004.jpg"),
        ("/etc/passwd", "give a path below the image folder"),
        ("../train", "give a path below the image folder"),
    ],
)
def test_an_image_that_the_store_has_not(shared_store, tmp_path, path, words):
    with pytest.raises(ImagesError, match="--image") as error:
        show_store(ShowConfig(shared_store.path, tmp_path / "out", chosen=(path,)))
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_image_without_labels_is_not_shown(tmp_path, image_folder):
    (image_folder / "train/circle/002.jpg").write_bytes(b"no image")
    store = label_images(
        label_config(image_folder, tmp_path / "labels.zarr", block_images=6, max_bad=0.2)
    )
    (store.path / "done/c/2/0").unlink()
    for path, words in (
        ("circle/002.jpg", "has no labels"),
        ("triangle/005.jpg", "not labelled yet"),
    ):
        with pytest.raises(ImagesError, match=words):
            show_store(ShowConfig(store.path, tmp_path / "out", chosen=(path,)))


def test_a_config_refuses_what_the_command_does():
    with pytest.raises(ConfigError, match="--format"):
        ShowConfig(formats=("eps",))
    with pytest.raises(ConfigError, match="--image"):
        ShowConfig(chosen=["a.jpg"] * 101)


ASPECTS = (0.05, 0.3, 0.5, 0.75, 1.0, 4 / 3, 1.5, 2.0, 3.0, 8.0)


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_little_of_a_sample_is_empty(aspect, bars):
    for num_crops in range(1, 25):
        layout = arrange(aspect, num_crops, bars=bars)
        assert bars == (layout.bars > 0) == (layout.cell > layout.side)
        width, height = layout.image
        assert width / height == pytest.approx(aspect)
        cells = [(left, top, layout.cell, layout.side) for left, top in layout.cells]
        places = [(0, 0, width, height), *cells]
        for n, (left, top, across, down) in enumerate(places):
            assert 0 <= left <= left + across <= PAGE + 1e-6
            assert 0 <= top <= top + down <= layout.height + 1e-6
            for other_left, other_top, other_across, other_down in places[:n]:
                apart = left >= other_left + other_across or top >= other_top + other_down
                assert apart or other_left >= left + across or other_top >= top + down
        if 0.5 <= aspect <= 2 and num_crops > 1:
            assert layout.filled > (0.74 if bars else 0.66), num_crops


def test_text_is_cut_where_its_place_ends():
    with figure_style():
        figure = new_figure(2, 1, constrained=False)
        for text in ("iiiiiiiiiiiiiiiiiiiiiiiiiiiiii", "WWWWWWWWWWWWWWWWWWWW", "short", "日本 $_{"):
            shown = fit(text, 1.0, 8)
            drawn = figure.text(0, 0, shown, fontsize=8, parse_math=False)
            assert drawn.get_window_extent().width <= figure.dpi * 1.02
        assert fit("short", 1.0, 8) == "short"
        assert fit("W" * 20, 1.0, 8).endswith("…")
