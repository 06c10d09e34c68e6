"""`fkd check` finds what is wrong with maps of labels, and asks their teacher again."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.copies import files
from helpers.folders import map_config
from helpers.networks import MAP_TEACHER_CHOICE, TEACHER_CHOICE

from fkd import CheckConfig, FkdError, LabelStore, check_store, label_images


def checked(path, **settings):
    report = check_store(CheckConfig(path, device="cpu", workers=1, **settings))
    return report, {verdict.part: verdict for verdict in report.verdicts}


@pytest.mark.parametrize("stride", [None, 8])
def test_a_teacher_says_today_what_is_stored(map_store, shared_folder, tmp_path, stride):
    store = map_store.path
    if stride is not None:
        config = map_config(shared_folder, "unused", map_stride=stride, num_crops=2)
        store = label_images(replace(config, out=tmp_path / "a.zarr")).path
    report, said = checked(store, deep=True, teacher=(MAP_TEACHER_CHOICE,), num_views=24)
    assert report.ok, report
    positions = 24 * (32 if stride is None else 16)
    assert f"top-1 agrees at 100.0% of {positions} positions of 24 views" in said["labels"].detail


def moved(store, path, change):
    """Write the labels of a store again as `change` makes them of [n, m, h, w, K], all else as it is."""
    other = shutil.copytree(store.path, path)
    for seal in (other / "done/c").glob("*/0"):
        seal.unlink()
    written = LabelStore.open(other, writable=True)
    for number in range(written.num_blocks):
        stored, block = store.read_block(number), written.empty_block(number)
        images = store.block(number).images
        block.size[:], block.box[:], block.flip[:] = stored.size, stored.box, stored.flip
        block.content_hash[:] = store.content_hashes()[images.start : images.stop]
        for name, values in stored.kept.items():
            maps = values.reshape(*values.shape[:2], *store.spec.grid, -1)
            block.kept[name][:] = change(maps).reshape(values.shape)
        written.commit_block(number, block)
    return other


def test_maps_that_are_mirrored_or_moved_by_a_row_are_found(map_store, tmp_path):
    for name, change in (
        ("mirrored", lambda maps: maps[:, :, :, ::-1]),
        ("moved", lambda maps: np.roll(maps, 1, axis=2)),
    ):
        other = moved(map_store, tmp_path / name, change)
        report, said = checked(other, teacher=(MAP_TEACHER_CHOICE,), num_views=24)
        assert not report.ok
        assert said["labels"].state == "FAILED", said["labels"]
        assert said["values"].state == "ok"


def test_a_label_at_one_position_that_nobody_writes_is_found(map_store, tmp_path):
    def falling(maps):
        changed = maps.copy()
        if maps.max() >= 5:  # codes, of two classes and a tail
            changed[2, 1, 7, 3] = [9, 8, 7]
        return changed

    _, said = checked(moved(map_store, tmp_path / "a.zarr", falling))
    assert said["values"].detail.startswith(
        "block 0: 1 labels are no distribution, the first of image 2"
    )


def test_teachers_of_another_kind_are_refused(map_store, shared_store, tmp_path):
    with pytest.raises(
        FkdError, match="says one label a view, and the store keeps maps of 8x4 labels"
    ):
        checked(map_store.path, teacher=(TEACHER_CHOICE,))
    names = tmp_path / "names.txt"
    names.write_text("circle\nsquare\ntriangle\nstar\ncross")
    with pytest.raises(
        FkdError, match="says a map of 8x4 labels, and the store keeps one label a view"
    ):
        checked(shared_store.path, teacher=(replace(MAP_TEACHER_CHOICE, classes_file=names),))


def test_a_torn_map_is_sent_back_and_made_again(map_store, shared_folder, tmp_path):
    whole, store = files(map_store.path), tmp_path / "maps.zarr"
    shutil.copytree(map_store.path, store)
    torn = next(f for f in (store / "code/c/1").rglob("0") if f.is_file())
    content = torn.read_bytes()
    torn.write_bytes(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    _, said = checked(store)
    assert said["checksums"].detail.startswith("block 1: array 'code'")
    assert checked(store, repair=True)[0].sent_back == (1,)
    label_images(replace(map_config(shared_folder, "unused"), out=store))
    assert files(store) == whole
