"""`fkd show`: numbers against plain arithmetic, a page that opens in a browser, and hostile names."""

import json
import math
import re
import shutil
import subprocess
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from helpers.folders import tiny_label_config as label_config
from PIL import Image

from fkd import (
    LabelStore,
    Scheme,
    ShowConfig,
    TeacherChoice,
    ViewPolicy,
    compare,
    label_images,
    label_statistics,
    show_store,
)
from fkd.errors import ConfigError, FkdError, ImagesError, StoreError
from fkd.format.attributes import digest
from fkd.images import decode
from fkd.labels import entropy, restore
from fkd.pictures.crop_layout import arrange
from fkd.pictures.figure_parts import EDGE, HEAD
from fkd.sources import list_images
from fkd.statistics import sampled_agreement
from fkd.views import empty_views, render

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
HOSTILE = ("<img src=x onerror=alert(1)>", "$x_{", "ü '\" \x1b[31m 日本")
GALLERIES = {"least-sure", "sure-of-another"}
FIGURES = {"top-probability", "entropy", "kept-mass", "area", "classes", "confusions", "size"}
FIGURES |= GALLERIES


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """An image folder, and stores of it by scheme and by another teacher."""
    folder = tmp_path_factory.mktemp("show")
    images = make_image_folder(folder / "data")
    for scheme in ("topk2", "full", "hard", "smooth", "samples4"):
        label_images(label_config(images, folder / f"{scheme}.zarr", scheme=Scheme.parse(scheme)))
    teacher = TeacherChoice("resnet18", "none", size=32)
    label_images(label_config(images, folder / "other.zarr", teacher=teacher))
    return folder


def probs_of(store):
    """Return all labels of a store densely, f32 [N, M, C], their top-1 and the class of each image."""
    slab, scheme = store.read_crops(range(store.spec.num_crops)), store.spec.scheme
    kept = {n: torch.from_numpy(v.reshape(-1, v.shape[2])) for n, v in slab.kept.items()}
    labels = restore(kept, scheme, scheme.whole, store.spec.num_classes)
    dense, target = labels.dense(3).reshape(18, 6, 3), torch.from_numpy(slab.target)
    # Rounding leaves ties; what comes first in the store is the top-1.
    top = (
        torch.from_numpy(slab.kept["index"][..., 0].astype(int))
        if labels.index is not None
        else None
    )
    return dense, dense.argmax(dim=2) if top is None else top, target


@pytest.mark.parametrize("scheme", ["topk2", "full", "smooth"])
def test_statistics_are_those_of_the_dense_labels(stores, scheme):
    store = LabelStore.open(stores / f"{scheme}.zarr")
    probs, first, target = probs_of(store)
    found = label_statistics(store, num_unsure=4)
    top, nats = probs.amax(dim=2), -(probs * probs.log()).sum(dim=2)
    assert (found.num_images, found.crops_per_image, found.num_crops) == (18, 6, 108)
    agrees = first == target[:, None]
    assert found.agreement == pytest.approx(agrees.double().mean().item())
    certainty = found.certainty
    assert certainty.top_probability.mean == pytest.approx(top.double().mean().item(), abs=1e-5)
    assert certainty.entropy.mean == pytest.approx(nats.double().mean().item(), abs=1e-4)
    assert certainty.top_probability.quantile(0.5) == pytest.approx(top.median().item(), abs=0.01)
    mass = probs.sort(dim=2, descending=True).values.cumsum(dim=2).mean(dim=(0, 1))
    assert certainty.kept_mass.mean == pytest.approx(
        mass[: len(certainty.kept_mass.mean)], abs=1e-4
    )
    lowest = sorted((float(top[i].min()), i, int(top[i].argmin())) for i in range(18))[:4]
    assert [(c.image_index, c.crop) for c in certainty.least_sure] == [(i, j) for _, i, j in lowest]
    for number, class_id in enumerate(found.classes.class_id):
        of_class = target == class_id
        assert found.classes.crops[number] == 6 * int(of_class.sum())
        assert found.classes.agreement[number] == pytest.approx(
            agrees[of_class].double().mean().item()
        )
        expected = nats[of_class].double().mean().item()
        assert found.classes.entropy[number] == pytest.approx(expected, abs=1e-4)


def test_hard_labels_have_agreement_alone(stores):
    store = LabelStore.open(stores / "hard.zarr")
    _, first, target = probs_of(store)
    found = label_statistics(store)
    assert found.certainty is None
    assert found.classes.entropy is None
    agrees = first == target[:, None]
    assert found.agreement == pytest.approx(agrees.double().mean().item())


@pytest.mark.parametrize("scheme", ["topk2", "full"])
def test_two_teachers_are_compared_as_densely(stores, scheme):
    one, other = (LabelStore.open(stores / f"{name}.zarr") for name in (scheme, "other"))
    (p, p_first, _), (q, q_first, _) = probs_of(one), probs_of(other)
    found = compare(one, other)
    assert found.agreement == pytest.approx((p_first == q_first).double().mean().item())
    said = found.divergences
    assert said.cross_entropy == pytest.approx(-(p * q.log()).sum(2).mean().item(), rel=1e-4)
    assert said.reverse_cross_entropy == pytest.approx(
        -(q * p.log()).sum(2).mean().item(), rel=1e-4
    )
    assert said.kl == pytest.approx((p * (p / q).log()).sum(2).mean().item(), rel=1e-3, abs=1e-6)
    same = compare(one, one).divergences
    assert same.kl == pytest.approx(0, abs=1e-6)


def test_stores_of_other_crops_are_not_compared(stores, tmp_path):
    store = LabelStore.open(stores / "topk2.zarr")
    hard = compare(store, LabelStore.open(stores / "hard.zarr"))
    assert hard.divergences is None
    with pytest.raises(StoreError, match=r"holds samples \(samples4\), which name no top-1"):
        compare(store, LabelStore.open(stores / "samples4.zarr"))
    label_images(label_config(stores / "data", tmp_path / "seed.zarr", views=ViewPolicy(seed=5)))
    with pytest.raises(StoreError, match="--seed: 5, not 0"):
        compare(store, LabelStore.open(tmp_path / "seed.zarr"))
    folder = make_image_folder(tmp_path / "data", seed=3)
    label_images(label_config(folder, tmp_path / "images.zarr"))
    with pytest.raises(StoreError, match="its images"):
        compare(store, LabelStore.open(tmp_path / "images.zarr"))


def shown(stores, name, out, **settings):
    return show_store(ShowConfig(stores / f"{name}.zarr", out, **settings))


@pytest.fixture(scope="module")
def page(stores, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "out"
    return shown(stores, "topk2", out, against=stores / "other.zarr", samples=2, crops=3)


def pictures_in(html):
    return [b64decode(found) for found in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]


def test_the_page_is_whole_and_its_pictures_lie_beside_it(page):
    html = page.read_text("utf-8")
    names = {path.stem for path in page.parent.glob("*.png")}
    assert names == FIGURES | {"against", "sample-1", "sample-2"}
    inside = pictures_in(html)
    assert sorted(inside) == sorted(path.read_bytes() for path in page.parent.glob("*.png"))
    for png in inside:
        with Image.open(BytesIO(png)) as picture:
            assert min(picture.size) > 100
            assert len(picture.convert("RGB").getcolors(2**24)) > 5
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert "<script" not in html


def test_the_crops_are_the_pixels_of_the_student(stores, page):
    """The first crop of a sample is found in its figure, to what scaling by the figure leaves of it."""
    store = LabelStore.open(stores / "topk2.zarr")
    index = int(np.random.default_rng(0).permutation(18)[0])
    slab = store.read_images(range(index, index + 1), 1)
    view = empty_views(1, store.spec.size)[0]
    pixels = decode(list_images(stores / "data/train").name(index))
    render(pixels, slab.box[0, 0], bool(slab.flip[0, 0]), view, store.spec.interpolation)
    with Image.open(page.parent / "sample-1.png") as figure:
        figure = np.asarray(figure.convert("RGB")).astype(np.int16)
    layout = arrange(pixels.shape[2] / pixels.shape[1], 3)
    side = round(200 * layout.side)
    left, top = (
        round(200 * (at + free))
        for at, free in zip(layout.cells[0], (EDGE, EDGE + HEAD), strict=True)
    )
    wanted = Image.fromarray(view.permute(1, 2, 0).numpy()).resize((side, side), Image.NEAREST)
    wanted = np.asarray(wanted).astype(np.int16)[40:-40, 40:-40]
    best = min(
        np.abs(figure[y : y + side - 80, x : x + side - 80] - wanted).mean()
        for y in range(top + 32, top + 49)
        for x in range(left + 32, left + 49)
        if figure[y : y + side - 80, x : x + side - 80].shape == wanted.shape
    )
    assert best < 6


def chromium(page, folder, *flags):
    """Open a page in a real browser without a window; return the process."""
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0",
         *flags, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_page_in_a_browser(page, tmp_path):
    """It opens without an error in the console, asks no network, and shows each of its pictures."""
    log, screen = tmp_path / "net.json", tmp_path / "screen.png"
    done = chromium(page, tmp_path, f"--log-net-log={log}", f"--screenshot={screen}",
                    "--window-size=1200,2000")  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    asked = re.findall(r'"url":"(https?://[^"]*)"', log.read_text("utf-8", "replace"))
    assert [url for url in asked if "google" not in url] == []  # those are the browser's own
    with Image.open(screen) as picture:
        blue = (np.asarray(picture.convert("RGB")) == [0x00, 0x72, 0xB2]).all(axis=2).sum()
    assert blue > 500  # a box and the frame of its crop
    # What the browser made of the pictures: a copy may run one script, which the page itself forbids.
    html = page.read_text("utf-8")
    asking = html.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    script = "<pre id=found></pre><script>addEventListener('load', () => { found.textContent = "
    script += "JSON.stringify([...document.images].map("
    script += "i => [i.complete, i.naturalWidth, i.alt.length])) })"
    copy = tmp_path / "copy.html"
    copy.write_text(asking.replace("</body>", script + "</script></body>"), "utf-8")
    dom = chromium(copy, tmp_path, "--dump-dom", "--virtual-time-budget=3000").stdout
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', dom)[1])
    assert len(found) == len(pictures_in(html))
    assert all(complete and width > 100 and alt > 10 for complete, width, alt in found)


def test_names_of_strangers_stay_text(tmp_path):
    folder = make_image_folder(tmp_path / "data")
    for split in ("train", "val"):
        for old, new in zip(("circle", "square", "triangle"), HOSTILE, strict=True):
            (folder / split / old).rename(folder / split / new)
    victim = next((folder / "train" / HOSTILE[0]).glob("*.jpg"))
    victim.rename(victim.with_name("<b onmouseover=alert(1)>$.jpg"))
    label_images(label_config(folder, tmp_path / "labels.zarr"))
    html = show_store(
        ShowConfig(tmp_path / "labels.zarr", tmp_path / "out", samples=18, crops=1)
    ).read_text()
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "\x1b" not in html


def test_where_the_images_are_not(stores, tmp_path):
    moved = shutil.copytree(stores / "topk2.zarr", tmp_path / "labels.zarr")
    content = json.loads((moved / "zarr.json").read_text())
    content["attributes"]["fkd"]["images_root"] = "/nowhere"
    content["attributes"]["sha256"] = digest(content["attributes"]["fkd"])
    (moved / "zarr.json").write_text(json.dumps(content))
    page = show_store(ShowConfig(moved, tmp_path / "out"))
    assert "say where they are with --images" in page.read_text()
    assert {p.stem for p in page.parent.glob("*.png")} == FIGURES - GALLERIES
    with pytest.raises(ImagesError):
        show_store(ShowConfig(moved, tmp_path / "out", images=tmp_path / "none"))
    again = show_store(
        ShowConfig(moved, tmp_path / "out", images=stores / "data", samples=1, crops=1)
    )
    assert {p.stem for p in again.parent.glob("*.png")} == FIGURES | {"sample-1"}


@pytest.mark.parametrize("name", ["hard", "full"])
def test_other_schemes_have_a_page(stores, tmp_path, name):
    page = shown(stores, name, tmp_path / "out", samples=1, crops=1)
    figures = {p.stem for p in page.parent.glob("*.png")}
    assert figures == (
        {"area", "classes", "confusions", "size", "sample-1"}
        if name == "hard"
        else FIGURES | {"sample-1"}
    )
    assert ("keeps the top class alone" in page.read_text()) == (name == "hard")


def test_samples_have_a_page_without_what_they_do_not_say(stores, tmp_path, capsys):
    """What is drawn is neither the top-1 nor how sure the teacher is."""
    store = LabelStore.open(stores / "samples4.zarr")
    found = label_statistics(store)
    assert (found.num_crops, found.agreement, found.certainty) == (108, None, None)
    assert (found.classes, found.confusion, found.area.agreement) == (None, None, None)
    assert sampled_agreement(store) is None
    page = shown(stores, "samples4", tmp_path / "out", samples=1)
    assert {p.stem for p in page.parent.glob("*.png")} == {"size", "sample-1"}
    text = page.read_text()
    assert "classes that are drawn from each label (samples4)" in text
    assert "with classes drawn from the teacher" in text
    assert "most likely class" not in text
    assert "top-1 is the class" not in text
    assert "108 crops, kept as samples4" in capsys.readouterr().err


def test_an_unfinished_store_is_shown_as_far_as_it_goes(tmp_path):
    folder = make_image_folder(tmp_path / "data")
    store = label_images(label_config(folder, tmp_path / "labels.zarr", block_images=4))
    for number in (0, 3):
        (store.path / f"done/c/{number}/0").unlink()
    (store.path / "slot/c/0/0/0").write_bytes(b"torn")
    page = show_store(ShowConfig(store.path, tmp_path / "out", samples=20, crops=1))
    assert "2 of 5 blocks are not labelled" in page.read_text()
    assert label_statistics(LabelStore.open(store.path)).num_images == 10
    assert len(list(page.parent.glob("sample-*.png"))) == 10


def test_a_changed_image_is_not_drawn_with_others_boxes(tmp_path):
    folder = make_image_folder(tmp_path / "data")
    store = label_images(label_config(folder, tmp_path / "labels.zarr"))
    victim = folder / "train/circle/001.jpg"
    content = bytearray(victim.read_bytes())
    content[-9] ^= 1
    victim.write_bytes(content)
    page = show_store(ShowConfig(store.path, tmp_path / "out", samples=18, crops=1))
    assert "001.jpg is not the file that was labelled" in page.read_text()
    assert len(list(page.parent.glob("sample-*.png"))) == 17


@pytest.mark.parametrize("place", ["labels.zarr/x", "data/train/x", "full", "file"])
def test_no_page_where_it_would_do_harm(tmp_path, place, shared_folder, shared_store):
    shutil.copytree(shared_store.path, tmp_path / "labels.zarr")
    shutil.copytree(shared_folder, tmp_path / "data")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/index.html").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    config = ShowConfig(tmp_path / "labels.zarr", tmp_path / place, images=tmp_path / "data")
    with pytest.raises(ConfigError, match="--out"):
        show_store(config)
    assert before == {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}


@pytest.mark.parametrize(
    ("flag", "word"), [("--samples", "-1"), ("--crops", "0"), ("--crops", "2147483648")]
)
def test_the_command(stores, run_fkd, tmp_path, flag, word):
    done = run_fkd("show", stores / "topk2.zarr", flag, word)
    assert f"{flag} is " in done.error_line()
    assert not list(tmp_path.iterdir())


def test_entropy_has_the_bound_that_the_page_says(stores):
    store = LabelStore.open(stores / "topk2.zarr")
    slab = store.read_crops(range(6))
    kept = {n: torch.from_numpy(v.reshape(-1, v.shape[2])) for n, v in slab.kept.items()}
    labels = restore(kept, store.spec.scheme, store.spec.scheme.whole, 3)
    assert float(entropy(labels, 3).max()) <= math.log(3) + 1e-5
    with pytest.raises(FkdError, match="does not exist"):
        show_store(ShowConfig(stores / "none.zarr"))
