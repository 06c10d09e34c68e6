"""`fkd pack`: the copy has the layout, the sizes, the look and the names that it promises."""

import fcntl
import json
import os
import re
import signal
import time

import numpy as np
import pytest
from helpers.folders import draw_image, label_config, make_image_folder
from helpers.lines import make_line_folder
from helpers.masked import make_masked_folder
from helpers.packed import files, pack
from helpers.processes import refused
from PIL import Image

from fkd import PackConfig, label_images
from fkd.errors import ConfigError, ImagesError
from fkd.images import decode
from fkd.info import bad_images
from fkd.packing import smaller
from fkd.sources import list_images


def size(path):
    with Image.open(path) as image:
        return image.size


def smooth_image(width, height):
    """Return a picture without noise, whose look survives another size."""
    x, y = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    planes = [255 * x + 0 * y, 0 * x + 255 * y, 127 + 120 * np.sin(6 * x) * np.cos(4 * y)]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))


def in_class(tmp_path, name, image, **options):
    """Save an image as data/shape/name and return the folder of classes."""
    (tmp_path / "data" / "shape").mkdir(parents=True, exist_ok=True)
    image.save(tmp_path / "data" / "shape" / name, **options)
    return tmp_path / "data"


@pytest.mark.parametrize("given", ["", "train"], ids=["train and val", "classes alone"])
def test_the_layout_stays_and_label_takes_it(shared_folder, tmp_path, given):
    report = pack(shared_folder / given, tmp_path / "out")
    before, after = files(shared_folder / given), files(tmp_path / "out")
    assert set(before) == set(after)
    assert report.packed + report.copied == len(before)
    assert report.bytes_before == sum(map(len, before.values()))
    assert report.bytes_after == sum(map(len, after.values()))
    store = label_images(label_config(tmp_path / "out", tmp_path / "s.zarr"))
    assert store.num_bad() == 0
    assert store.image_paths() == list_images(shared_folder / "train").paths


@pytest.mark.parametrize("bound", ["shortest", "longest"])
def test_sizes_meet_the_bound_and_small_images_keep_their_bytes(shared_folder, tmp_path, bound):
    report = pack(shared_folder, tmp_path / "out", 40, bound=bound, quality=80)
    before, after = files(shared_folder), files(tmp_path / "out")
    side = min if bound == "shortest" else max
    for name in before:
        was, now = size(shared_folder / name), size(tmp_path / "out" / name)
        if side(was) <= 40:
            assert after[name] == before[name]
        else:
            assert side(now) == 40
            assert now == tuple(round(edge * 40 / side(was)) for edge in was)
    small = sum(side(size(shared_folder / name)) <= 40 for name in before)
    assert 0 < small < len(before)
    assert (report.copied, report.packed) == (small, len(before) - small)


def test_very_wide_images(tmp_path):
    folder = in_class(tmp_path, "wide.png", smooth_image(3000, 20))
    in_class(tmp_path, "line.png", smooth_image(3000, 1))
    in_class(tmp_path, "tall.png", smooth_image(15, 2000))
    pack(folder, tmp_path / "short", 10)
    pack(folder, tmp_path / "long", 100, bound="longest")
    short, long = tmp_path / "short" / "shape", tmp_path / "long" / "shape"
    assert size(short / "wide.png.jpg") == (1500, 10)
    assert size(short / "tall.png.jpg") == (10, 1333)
    assert size(short / "line.png") == (3000, 1)
    assert size(long / "wide.png.jpg") == (100, 1)
    assert size(long / "line.png.jpg") == (100, 1)
    assert size(long / "tall.png.jpg") == (1, 100)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("name", "mode", "options", "packed"),
    [
        ("a.jpg", "RGB", {}, "a.jpg"),
        ("a.JPEG", "RGB", {}, "a.JPEG"),
        ("cmyk.jpg", "CMYK", {}, "cmyk.jpg"),
        ("grey.jpeg", "L", {}, "grey.jpeg"),
        ("turned.jpg", "RGB", {"exif": rotated()}, "turned.jpg"),
        ("a.png", "RGB", {}, "a.png.jpg"),
        ("clear.png", "RGBA", {}, "clear.png.jpg"),
        ("palette.png", "P", {}, "palette.png.jpg"),
        ("deep.png", "I;16", {}, "deep.png.jpg"),
        ("a.webp", "RGB", {"quality": 95}, "a.webp.jpg"),
        ("a.jpg.bmp", "RGB", {}, "a.jpg.bmp.jpg"),
    ],
)
def test_images_keep_their_look(tmp_path, name, mode, options, packed):
    image = smooth_image(120, 90)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    else:
        image = image.quantize(256) if mode == "P" else image.convert(mode)
    folder = in_class(tmp_path, name, image, **options)
    pack(folder, tmp_path / "out", 45)
    assert list(files(tmp_path / "out")) == [f"shape/{packed}"]
    was = decode(str(folder / "shape" / name)).permute(1, 2, 0).numpy()
    now = decode(str(tmp_path / "out" / "shape" / packed)).permute(1, 2, 0).numpy()
    assert now.shape == (45, 60, 3)
    expected = np.asarray(Image.fromarray(was).resize((60, 45), Image.Resampling.BOX), float)
    assert np.abs(expected - now).mean() < 4  # swapped channels, or turned pixels, differ by tens


def test_small_images_of_any_format_keep_name_and_bytes(tmp_path):
    for name in ("a.png", "b.webp", "c.gif", "d.JPG"):
        folder = in_class(tmp_path, name, smooth_image(30, 20))
    report = pack(folder, tmp_path / "out", 20)
    assert (report.packed, report.copied) == (0, 4)
    assert files(tmp_path / "out") == files(folder)


def test_names_that_would_collide_are_refused(tmp_path):
    folder = in_class(tmp_path, "a.png", smooth_image(80, 80))
    in_class(tmp_path, "a.png.jpg", smooth_image(80, 80))
    with pytest.raises(ImagesError, match=r"shape/a\.png, .* as shape/a\.png\.jpg is; rename"):
        pack(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_images_are_copied_and_named(image_folder, tmp_path, run_fkd):
    square = image_folder / "train" / "square"
    whole = (square / "000.jpg").read_bytes()
    for number in range(7):
        (square / f"bad{number}.jpg").write_bytes(whole[: 100 + number])
    (square / "empty.png").write_bytes(b"")
    (square / "gone.jpg").symlink_to("nowhere.jpg")
    done = run_fkd("pack", "--shortest", "32", image_folder, "out")
    assert done.code == 0, done.err
    assert re.search(r"^out: .*, 9 bad; [\d.]+ KiB → [\d.]+ KiB$", done.out, re.MULTILINE)
    assert "the files of 9 bad images are copied as they are; `fkd label` leaves" in done.err
    assert done.err.endswith("next  fkd label --teacher TEACHER out\n")
    named = [line for line in done.err.splitlines() if line.startswith("cannot be used")]
    assert len(named) == 6
    assert all(f"{square}/" in line for line in named[:5])
    assert named[5].endswith(" 4 more")
    packed = tmp_path / "out" / "train" / "square"
    for name in ("bad0.jpg", "bad6.jpg", "empty.png"):
        assert (packed / name).read_bytes() == (square / name).read_bytes()
    assert not (packed / "gone.jpg").exists()
    store = label_images(label_config(tmp_path / "out", tmp_path / "s.zarr", max_bad=1))
    reasons = dict(bad_images(store))
    assert reasons.pop("square/empty.png") == "empty"
    assert reasons == {f"square/bad{number}.jpg": "damaged" for number in range(7)}


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory):
    """Images whose packed files are larger than the settings; and what packing makes of them."""
    root = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    for kind in ("circle", "square"):
        (root / kind).mkdir()
        for number in range(12):
            draw_image(kind, rng, 450, 600).save(root / kind / f"{number:02}.png", compress_level=1)
    pack(root, root.parent / "whole", 300)
    return root


def encode_slowly():
    """Give whoever stops the run the time for it."""
    encode = smaller._encode

    def encode_later(*args):
        time.sleep(0.2)
        return encode(*args)

    smaller._encode = encode_later


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_files(large_folder, tmp_path, start_fkd, run_fkd, stop):
    words = ["pack", "--shortest", "300", "--workers", "2", str(large_folder), "out"]
    process = start_fkd(*words, prepare=encode_slowly)
    process.wait_for(lambda: any((tmp_path / "out").glob("*/*.jpg")))
    process.send_signal(stop)
    done = process.finish()
    if stop != signal.SIGKILL:
        assert done.code == 130
        assert "Traceback" not in done.err
        assert done.err.splitlines()[-1].startswith(
            "fkd: pack was stopped. Finished images are kept"
        )
        assert not list((tmp_path / "out").rglob("*.part"))
    written = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").glob("*/*.jpg")}
    assert 0 < len(written) < 24
    done = run_fkd(*words)
    assert done.code == 0, done.err
    assert f"{24 - len(written)} images packed" in done.out
    assert f"{len(written)} there already" in done.out
    assert files(tmp_path / "out") == files(large_folder.parent / "whole")
    assert {f: f.stat().st_mtime_ns for f in written} == written


def test_what_a_killed_run_left_is_replaced(shared_folder, tmp_path):
    pack(shared_folder, tmp_path / "whole")
    pack(shared_folder, tmp_path / "out")
    folder = tmp_path / "out" / "train" / "circle"
    (folder / "000.jpg").rename(folder / ".000.jpg.part")
    os.truncate(folder / ".000.jpg.part", 50)
    os.truncate(folder / "001.jpg", 0)
    (folder / "002.jpg").unlink()
    report = pack(shared_folder, tmp_path / "out")
    assert report.packed + report.copied == 3
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_full_disk_is_one_line_and_the_run_goes_on(large_folder, tmp_path, start_fkd):
    """A limit on the size of files stops the images but not the settings, as a full disk would."""
    command = ["pack", "--shortest", "300", large_folder, "out"]
    done = start_fkd(*command, largest_file=4096).finish()
    assert "could not be written" in done.error_line()
    assert files(tmp_path / "out") == {}
    pack(large_folder, tmp_path / "out", 300)
    assert files(tmp_path / "out") == files(large_folder.parent / "whole")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pixels": 40}, "--shortest 32, not --shortest 40"),
        ({"bound": "longest"}, "--shortest 32, not --longest 32"),
        ({"quality": 80}, "--quality 90, not --quality 80"),
        ({"images": "other"}, "the images of .*data, not the images of .*other"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_settings_are_refused_and_overwrite_starts_anew(
    image_folder, tmp_path, changes, words
):
    make_image_folder(tmp_path / "other", seed=1)
    pack(image_folder, tmp_path / "out")
    (tmp_path / "out" / "train" / "circle" / "stale.jpg").write_bytes(b"x")
    before = files(tmp_path / "out")
    images = tmp_path / changes.pop("images", "data")
    with pytest.raises(ImagesError, match=words):
        pack(images, tmp_path / "out", **changes)
    assert files(tmp_path / "out") == before
    pack(images, tmp_path / "out", overwrite=True, **changes)
    pack(images, tmp_path / "new", **changes)
    assert files(tmp_path / "out") == files(tmp_path / "new")
    made, new = (json.loads((tmp_path / n / "pack.json").read_text()) for n in ("out", "new"))
    assert made == new


@pytest.mark.parametrize("settings", [None, b"", b"[]", b'{"name": "web"}', b'{"made_by": "me"}'])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_left_alone(shared_folder, tmp_path, settings, overwrite):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("three years")
    if settings is not None:
        (tmp_path / "out" / "pack.json").write_bytes(settings)
    before = sorted((tmp_path / "out").iterdir())
    with pytest.raises(ImagesError, match=f"{tmp_path}/out .* left alone"):
        pack(shared_folder, tmp_path / "out", overwrite=overwrite)
    assert sorted((tmp_path / "out").iterdir()) == before


def test_an_empty_folder_is_taken_and_a_file_is_not(shared_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".pack.json.part").write_text("{")  # killed while it wrote the settings
    assert pack(shared_folder, tmp_path / "empty").packed
    assert not (tmp_path / "empty" / ".pack.json.part").exists()
    (tmp_path / "file").write_text("text")
    for out in ("file", "file/below"):
        with pytest.raises(ImagesError, match=f"{tmp_path}/{out} "):
            pack(shared_folder, tmp_path / out, overwrite=True)
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("data", "is the image folder"),
        ("data/out", "lies in the image folder"),
        ("data/train/circle", "lies in the image folder"),
        (".", "holds the image folder"),
        ("link/out", "lies in the image folder"),
        ("linked/out", "lies in the image folder"),
    ],
)
def test_folders_that_overlap_are_refused(image_folder, tmp_path, out, words):
    (image_folder / "val").rename(tmp_path / "linked")
    (image_folder / "val").symlink_to(tmp_path / "linked")
    (tmp_path / "link").symlink_to(image_folder)
    before = files(tmp_path)
    with pytest.raises(ImagesError, match=words):
        pack(image_folder, tmp_path / out, overwrite=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "words"),
    [(make_masked_folder, "/train have masks, and"), (make_line_folder, "/train have texts, and")],
)
def test_shards_have_no_place_for_masks_and_texts(tmp_path, make, words):
    folder = make(tmp_path / "data", train=2, val=1)
    assert words in refused("pack", "--to", "tar", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    alone = pack(folder / "train", tmp_path / "out", unlabelled=True, to="tar")
    assert alone.packed + alone.copied == 2


def test_a_second_run_at_the_same_time_is_turned_away(shared_folder, tmp_path):
    pack(shared_folder, tmp_path / "out")
    with (tmp_path / "out" / "pack.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for overwrite in (False, True):
            with pytest.raises(ImagesError, match="another `fkd pack` is at work"):
                pack(shared_folder, tmp_path / "out", overwrite=overwrite)
    assert pack(shared_folder, tmp_path / "out").packed == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--shortest", "256", "--longest", "500"], "--shortest and --longest are both given"),
        (["--shortest", "0"], "--shortest is 0"),
        (["--shortest", "65501"], "--shortest is 65501"),
        (["--longest", "-1"], "--longest is -1"),
        (["--longest", "x"], "--longest"),
        (["--quality", "0"], "--quality is 0"),
        (["--quality", "101"], "--quality is 101"),
        (["--workers", "0"], "--workers is 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(shared_folder, tmp_path, more, words):
    assert words in refused("pack", shared_folder, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_an_unknown_bound_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="bound 'widest' is unknown"):
        PackConfig(tmp_path, tmp_path / "out", bound="widest")


def test_a_missing_folder_is_one_line(tmp_path, run_fkd):
    done = run_fkd("pack", "nowhere", "out")
    assert "nowhere does not exist" in done.error_line()
    assert not (tmp_path / "out").exists()


def test_warnings_of_pillow_that_name_no_file_are_not_shown(tmp_path, run_fkd):
    (tmp_path / "d" / "c").mkdir(parents=True)
    palette = Image.new("RGB", (8, 8), (1, 2, 3)).convert("P")
    palette.save(tmp_path / "d" / "c" / "1.png", transparency=bytes(9))
    done = run_fkd("pack", tmp_path / "d", tmp_path / "out", "--shortest", 4, "--workers", 1)
    assert done.code == 0
    assert "1 image packed, 0 copied, 0 bad" in done.out
    assert "Palette" not in done.err
