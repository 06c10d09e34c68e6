"""Images in Arrow files, as `save_to_disk` of `datasets` lays them out."""

import json

import pyarrow as pa
import pytest
from helpers.tables import class_of, contents, damaged, image_table, some_bytes

from fkd.containers import CODECS
from fkd.errors import FkdError, ImagesError
from fkd.tables import files_of_saved, index_arrow

IMAGES = some_bytes([40, 7, 300, 2000, 1, 90, 4000, 11])
LABELS = [2, 0, 1, 1, 0, 2, 2, 1]
PATHS = [f"{row}.jpg" for row in range(8)]


def write(path, table, *, new=pa.ipc.new_stream, rows=3, options=None):
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def saved(folder):
    """Write a folder as `save_to_disk` does, with two files."""
    folder.mkdir()
    table = image_table(IMAGES, LABELS, paths=PATHS, names=["a", "b", "c"])
    files = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
    for number, file in enumerate(files):
        write(folder / file, table.slice(number * 4, 4))
    state = {
        "_data_files": [{"filename": file} for file in files],
        "_fingerprint": "0",
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def refusal(path, **how):
    with pytest.raises(ImagesError) as error:
        index_arrow(path, [""], **how)
    line = str(error.value)
    assert str(path) in line
    assert "\n" not in line
    return line


def test_a_saved_data_set_is_read_by_offset(tmp_path):
    folder = saved(tmp_path / "set")
    index = index_arrow(folder, files_of_saved(folder))
    assert contents(folder, index) == dict(zip(PATHS, IMAGES, strict=True))
    assert index.classes == ("a", "b", "c")
    assert class_of(index) == {path: "abc"[row] for path, row in zip(PATHS, LABELS, strict=True)}
    assert [CODECS[codec] for codec in index.pieces.codec] == ["stored", "stored"]
    content = (folder / index.files[1]).read_bytes()
    assert content[index.start[7] : index.start[7] + 11] == IMAGES[7]
    assert set(index_arrow(folder, index.files, unlabelled=True).labels) == {-1}


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_streams_and_files_of_bytes(tmp_path, new, kind):
    table = pa.table({"image": pa.array(IMAGES, kind), "label": list("abcabcab")})
    path = write(tmp_path / "a.arrow", table, new=new)
    index = index_arrow(path, [""])
    assert contents(path, index) == {f"a/{row:08}": image for row, image in enumerate(IMAGES)}
    assert [index.classes[label] for label in index.labels] == list("abcabcab")


def test_a_part_of_a_batch_and_empty_images(tmp_path):
    table = pa.table({"image": [b"", *IMAGES, b""], "label": [0] * 10})
    path = write(tmp_path / "a.arrow", table.slice(0, 1), rows=20)
    assert index_arrow(path, [""]).num_bytes.tolist() == [0]
    path = write(tmp_path / "b.arrow", table.slice(3, 5), rows=20)
    assert list(contents(path, index_arrow(path, [""])).values()) == IMAGES[2:7]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_columns_are_refused(tmp_path, codec):
    table = pa.table({"image": [bytes(500)] * 8, "label": LABELS})
    options = pa.ipc.IpcWriteOptions(compression=codec)
    assert "its columns are compressed" in refusal(
        write(tmp_path / "a.arrow", table, options=options)
    )


def test_views_and_paths_are_refused(tmp_path):
    table = pa.table({"image": pa.array(IMAGES, pa.binary_view()), "label": LABELS})
    assert "'image' is binary_view" in refusal(write(tmp_path / "a.arrow", table))
    table = image_table([None] * 8, LABELS, paths=PATHS)
    assert "'image' holds paths, not images" in refusal(write(tmp_path / "b.arrow", table))


@pytest.mark.parametrize("whole_row", [True, False])
def test_a_row_without_an_image_is_refused(tmp_path, whole_row):
    rows = [{"bytes": image, "path": None} for image in IMAGES]
    rows[5] = None if whole_row else {"bytes": None, "path": None}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path = write(tmp_path / "a.arrow", pa.table({"image": pa.array(rows, kind), "label": LABELS}))
    assert f"row 5 of {path} has no image" in refusal(path)


def test_a_row_without_a_class_is_refused(tmp_path):
    path = write(tmp_path / "a.arrow", image_table(IMAGES, [*LABELS[:7], -1]))
    assert f"row 7 of {path} has no class" in refusal(path)


def test_a_stream_without_its_end_is_refused(tmp_path):
    path = write(tmp_path / "a.arrow", image_table(IMAGES, LABELS))
    whole = path.read_bytes()
    for count in (0, 5, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:count])
        assert "cannot be read as Arrow" in refusal(path)


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_damage_is_refused_or_read(tmp_path, new):
    path = write(tmp_path / "a.arrow", image_table(IMAGES, LABELS, paths=PATHS), new=new)
    refused = []
    for copy in damaged(path.read_bytes(), range(100), near_end=2000):
        path.write_bytes(copy)
        try:
            contents(path, index_arrow(path, [""]))
        except FkdError as error:
            refused.append(str(error))
    assert refused
    assert all(str(path) in line and "\n" not in line for line in refused)


def test_a_saved_folder_that_is_not_whole_is_refused(tmp_path):
    folder = saved(tmp_path / "set")
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(
        ImagesError, match=r"names 'data-00001-of-00002.arrow', which is not in its fo"
    ):
        files_of_saved(folder)
    for text, words in (
        ('{"_data_files": [{"filename": "../x"}]}', r"names '\.\./x', which is not"),
        ('{"_data_files": [], "_indices_data_files": [{"filename": "i"}]}', "flatten_indices"),
        ('{"_data_files": 5}', "does not list the files"),
        ("[]", "does not list the files"),
        ("{", "cannot be read as the state"),
    ):
        (folder / "state.json").write_text(text)
        with pytest.raises(ImagesError, match=words):
            files_of_saved(folder)
