"""Where masks lie beside images, in each layout that is known, and what their values are called."""

import shutil

import numpy as np
import pytest
from helpers.masked import CLASSES, VOID, make_masked_folder
from PIL import Image

from fkd.config import IGNORED
from fkd.errors import ImagesError
from fkd.sources import list_images
from fkd.truth import find_masks, masked_root, unnamed_masks


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    return make_masked_folder(tmp_path_factory.mktemp("masked") / "camvid", train=3, val=1)


def laid_out(camvid, root, images, masks):
    """Copy the training images and masks to folders below `root`, and its classes.txt."""
    shutil.copytree(camvid / "train", root / images)
    shutil.copytree(camvid / "trainannot", root / masks)
    shutil.copy(camvid / "classes.txt", root)
    return root


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("train", "trainannot"),
        ("train", "masks/train"),
        ("train", "annotations/train"),
        ("images", "masks"),
        ("images/train", "masks/train"),
        ("images/training", "annotations/training"),
    ],
)
def test_masks_are_found_where_data_sets_have_them(camvid, tmp_path, images, masks):
    root = laid_out(camvid, tmp_path / "data", images, masks)
    assert masked_root(root) == root / images
    assert masked_root(root / images) == root / images
    found = find_masks(list_images(root / images, unlabelled=True))
    assert (found.folder, found.classes, found.ignored) == (root / masks, CLASSES, (VOID, IGNORED))
    assert found.named_in == root / "classes.txt"
    mask = np.array(Image.open(camvid / "trainannot" / "001.png"))
    assert np.array_equal(found.read(1), np.where(mask == VOID, IGNORED, mask))


def test_a_split_is_taken_by_its_name(camvid):
    assert masked_root(camvid) == camvid / "train"
    assert masked_root(camvid, "val") == camvid / "val"
    assert masked_root(camvid, split=None) is None
    assert masked_root(camvid / "val", split=None) == camvid / "val"


def test_the_first_folder_that_has_a_mask_counts(camvid, tmp_path):
    root = laid_out(camvid, tmp_path / "data", "train", "masks/train")
    (root / "trainannot").mkdir()
    (root / "trainannot" / "000.txt").write_text("a polygon")
    assert find_masks(list_images(root / "train", unlabelled=True)).folder == root / "masks/train"


def test_images_in_folders_may_be_classes_unless_their_masks_are_named(camvid, tmp_path):
    root = laid_out(camvid, tmp_path / "data", "train/aachen", "trainannot/aachen")
    assert masked_root(root) == root / "train"
    found = find_masks(list_images(root / "train", unlabelled=True))
    assert found.name(2) == str(root / "trainannot" / "aachen" / "002.png")
    assert unnamed_masks(root / "train") is None
    (root / "classes.txt").unlink()
    assert masked_root(root) is None
    assert unnamed_masks(root / "train") == root / "trainannot"


def test_folders_may_be_links_to_others(camvid, tmp_path):
    root = laid_out(camvid, tmp_path / "data", "kept/aachen", "trainannot/aachen")
    (root / "train").mkdir()
    (root / "train" / "again").symlink_to(root / "train")  # listing names it, looking ends
    assert masked_root(root) is None
    (root / "train" / "again").unlink()
    (root / "train" / "aachen").symlink_to(root / "kept" / "aachen")
    assert masked_root(root) == root / "train"


def test_no_masks_are_no_error(camvid, shared_folder, tmp_path):
    assert masked_root(shared_folder) is None
    assert find_masks(list_images(shared_folder / "train")) is None
    (tmp_path / "list.csv").write_text(f"path,label\n{camvid / 'train' / '000.jpg'},a\n")
    assert find_masks(list_images(tmp_path / "list.csv")) is None
    shutil.make_archive(tmp_path / "train", "zip", camvid / "train")
    zipped = list_images(tmp_path / "train.zip", unlabelled=True)
    assert (masked_root(tmp_path / "train.zip"), find_masks(zipped)) == (None, None)


def test_some_masks_are_an_error_that_names_the_first_that_is_missing(camvid, tmp_path):
    root = shutil.copytree(camvid, tmp_path / "data")
    (root / "trainannot" / "001.png").unlink()
    with pytest.raises(
        ImagesError, match=r"trainannot/001\.png is missing: 1 image of 3 in .*train"
    ):
        find_masks(list_images(root / "train", unlabelled=True))
    (root / "train" / "001.jpg").write_bytes(b"")  # of no bytes, no mask is wanted
    assert len(find_masks(list_images(root / "train", unlabelled=True))) == 3


def classes_of(camvid, root, text):
    shutil.copytree(camvid, root)
    (root / "classes.txt").write_text(text, "utf-8")
    return find_masks(list_images(root / "train", unlabelled=True))


def test_lines_without_a_name_count_for_nothing_and_one_name_is_one_class(camvid, tmp_path):
    found = classes_of(camvid, tmp_path / "a", "\ufeff-other\n sky \n\nroad\nsky\n")
    assert (found.classes, found.numbers) == (("sky", "road"), (255, 0, 255, 1, 0))
    assert found.ignored == (0, 2, 255)
    (tmp_path / "a" / "classes.txt").unlink()
    bare = find_masks(list_images(tmp_path / "a" / "train", unlabelled=True))
    assert (bare.classes, bare.ignored, bare.numbers) == (None, (255,), tuple(range(255)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-void\n\n", "names no class; name one a line"),
        ("c\n" * 257, "has 257 lines, and masks of 8 bits have the values 0 to 254"),
        ("-\n" * 255 + "last\n", "has 256 lines"),
    ],
)
def test_a_list_of_classes_that_no_mask_can_have_is_refused(camvid, tmp_path, text, says):
    with pytest.raises(ImagesError, match=says):
        classes_of(camvid, tmp_path / "a", text)
