"""What is known of masks goes along with a store that is made of others, and is compared."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.masked import MASKED_TEACHER, make_masked_folder, masked_config
from PIL import Image

from fkd import (
    AddTeacherConfig,
    AverageConfig,
    CopyConfig,
    FkdError,
    MergeConfig,
    Scheme,
    add_teacher,
    average_stores,
    copy_store,
    label_images,
    merge_stores,
)
from fkd.config import Part


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of which one mask is bad, and its store."""
    folder = tmp_path_factory.mktemp("masked")
    camvid = make_masked_folder(folder / "camvid", train=5, val=0)
    (camvid / "trainannot" / "003.png").write_bytes(b"no mask")
    config = masked_config(
        camvid, folder / "labels.zarr", max_bad=0.5, scheme=Scheme("full"), block_images=2
    )
    return config, label_images(config)


def test_a_part_of_a_store_keeps_its_hashes(made, tmp_path):
    config, store = made
    (tmp_path / "listed.txt").write_text("001.jpg\n003.jpg\n004.jpg\n")
    part = copy_store(
        CopyConfig(store.path, tmp_path / "part.zarr", Part(subset=str(tmp_path / "listed.txt")))
    )
    assert part.spec.masks
    assert part.truth_hashes().tolist() == store.truth_hashes()[[1, 3, 4]].tolist()
    assert part.status().tolist() == [0, 6, 0]
    again = label_images(
        replace(config, out=part.path, part=Part(subset=str(tmp_path / "listed.txt")))
    )
    assert again.truth_hashes().tolist() == part.truth_hashes().tolist()


def test_merged_stores_have_the_hashes_of_both(made, tmp_path):
    config, store = made
    parts = []
    for number, names in enumerate(("000.jpg\n002.jpg\n", "001.jpg\n004.jpg\n")):
        listed = tmp_path / f"{number}.txt"
        listed.write_text(names)
        some = replace(config, part=Part(subset=str(listed)), out=tmp_path / f"{number}.zarr")
        parts.append(label_images(some).path)
    merged = merge_stores(MergeConfig(tuple(parts), tmp_path / "merged.zarr"))
    assert merged.truth_hashes().tolist() == store.truth_hashes()[[0, 1, 2, 4]].tolist()
    plain = label_images(
        replace(some, images=config.images / "train", unlabelled=True, out=tmp_path / "p.zarr")
    )
    with pytest.raises(FkdError, match=r"--unlabelled is given, .* has not given"):
        merge_stores(MergeConfig((parts[0], plain.path), tmp_path / "no.zarr"))


def test_a_mean_is_of_stores_with_the_same_masks(made, tmp_path):
    config, store = made
    twin = shutil.copytree(store.path, tmp_path / "twin.zarr")
    mean = average_stores(AverageConfig((store.path, twin), tmp_path / "mean.zarr"))
    assert mean.truth_hashes().tolist() == store.truth_hashes().tolist()
    camvid = shutil.copytree(config.images, tmp_path / "camvid")
    file = Path(camvid / "trainannot" / "002.png")
    Image.fromarray(np.array(Image.open(file)) % 2).save(file)
    other = label_images(replace(config, images=camvid, out=tmp_path / "other.zarr"))
    with pytest.raises(FkdError, match=r"002\.jpg has another mask"):
        average_stores(AverageConfig((store.path, other.path), tmp_path / "no.zarr"))


def test_a_teacher_that_joins_leaves_the_hashes_as_they_are(made, tmp_path):
    _, store = made
    joined = add_teacher(
        AddTeacherConfig(store.path, MASKED_TEACHER, tmp_path / "both.zarr", workers=1)
    )
    assert joined.spec.masks
    assert joined.truth_hashes().tolist() == store.truth_hashes().tolist()
