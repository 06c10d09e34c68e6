"""Images in parquet files: every writer's way of keeping bytes, and what is no image set."""

import base64
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.tables import class_of, contents, damaged, image_table, some_bytes
from pyarrow.parquet.encryption import (
    CryptoFactory,
    EncryptionConfiguration,
    KmsClient,
    KmsConnectionConfig,
)

from fkd.containers import CODECS, ContainedImages
from fkd.errors import DecodeError, FkdError, ImagesError
from fkd.images import key_order
from fkd.tables import index_parquet
from fkd.tables.page_bodies import snappy_blocks
from fkd.tables.parquet_encodings import read_page_header, read_runs
from fkd.tables.parquet_pages import Chunk, chunk_places

SMALL = some_bytes([40, 7, 300, 2000, 1, 90, 4000] * 5)


def write(path, table, **how):
    pq.write_table(table, path, **how)
    return path


def refusal(path, **how):
    with pytest.raises(ImagesError) as error:
        index_parquet(path, [""], **how)
    line = str(error.value)
    assert str(path) in line
    assert "\n" not in line
    return line


def row_keys(images, name="a"):
    return {f"{name}/{row:08}": image for row, image in enumerate(images)}


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_every_image_is_what_was_written(tmp_path, codec, version, use_dictionary):
    images = [*SMALL, *SMALL[:9], *[SMALL[3]] * 70]
    path = write(
        tmp_path / "a.parquet",
        image_table(images, [0] * len(images)),
        compression=codec,
        data_page_version=version,
        use_dictionary=use_dictionary,
        row_group_size=60,
        data_page_size=2000,
        write_batch_size=7,
        dictionary_pagesize_limit=9000,
    )
    assert contents(path, index_parquet(path, [""])) == row_keys(images)


def test_without_compression_an_image_is_a_run_of_the_file(tmp_path):
    path = write(tmp_path / "a.parquet", image_table(SMALL, [0] * 35), compression="none")
    index = index_parquet(path, [""])
    content = path.read_bytes()
    assert len(index.pieces.codec) == 1
    assert CODECS[index.pieces.codec[0]] == "stored"
    for image, start, count in zip(SMALL, index.start, index.num_bytes, strict=True):
        assert content[start : start + count] == image


def test_a_long_page_of_snappy_is_read_in_part(tmp_path):
    images = some_bytes([150_000, 65_536, 1, 90_000, 0, 131_072, 300, 20] * 3)
    table = image_table(images, [0] * len(images))
    path = write(tmp_path / "a.parquet", table, compression="snappy", use_dictionary=False)
    index = index_parquet(path, [""])
    assert {CODECS[codec] for codec in index.pieces.codec} == {"snappy_blocks"}
    read = index.pieces.raw[index.piece]
    assert (read <= index.num_bytes + 2 * 65_536).all()
    reader = ContainedImages.of(path, index)
    for row, image in enumerate(images):
        if image:
            assert reader.read(row) == image
    with pytest.raises(DecodeError, match=r"a/00000004: empty"):
        reader.read(4)


def test_blocks_that_lean_on_earlier_ones_are_not_parted():
    literal = b"\xf8" + (65_535).to_bytes(3, "little") + some_bytes([65_536])[0]
    copy = bytes([2 | 59 << 2]) + (60).to_bytes(2, "little")  # 60 bytes, from 60 back
    alone = b"\x80\x80\x08" + literal + literal
    leaning = b"\xbc\x80\x04" + literal + copy
    for text, raw in ((alone, 131_072), (leaning, 65_596)):
        assert pa.Codec("snappy").decompress(text, decompressed_size=raw).size == raw
    assert snappy_blocks(alone, 131_072).tolist() == [3, 3 + 65_540, 3 + 2 * 65_540]
    assert snappy_blocks(leaning, 65_596) is None


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("name", ["jpg", "Image"])
def test_a_column_of_bytes_is_known_by_its_name(tmp_path, kind, name):
    table = pa.table({"n": [1] * 35, name: pa.array(SMALL, kind), "label": ["b", "a"] * 17 + ["c"]})
    path = write(tmp_path / "a.parquet", table)
    index = index_parquet(path, [""])
    assert contents(path, index) == row_keys(SMALL)
    assert index.classes == ("a", "b", "c")
    assert [index.classes[label] for label in index.labels[:2]] == ["b", "a"]


def test_required_columns_have_no_levels(tmp_path):
    schema = pa.schema([pa.field("image", pa.binary(), False), pa.field("label", pa.int8(), False)])
    path = write(tmp_path / "a.parquet", pa.table([SMALL, [1] * 35], schema))
    assert contents(path, index_parquet(path, [""])) == row_keys(SMALL)


def test_paths_are_the_keys_in_the_order_of_folders(tmp_path):
    paths = ["a-b/1.jpg", "a/é.jpg", "a/z/2.jpg", "a", "b/0.jpg", "a/𝄞.jpg", "a/ﬀ.jpg"]
    path = write(tmp_path / "x.parquet", image_table(SMALL[:7], list("ABCDEFG"), paths=paths))
    index = index_parquet(path, [""])
    assert list(index.keys) == sorted(paths, key=key_order)
    assert contents(path, index) == dict(zip(paths, SMALL, strict=False))
    assert class_of(index) == dict(zip(paths, "ABCDEFG", strict=True))


@pytest.mark.parametrize(
    "path",
    ["1.jpg", None, "", "/2.jpg", "../2.jpg", "b/../../2", "b//2", "./2", "2\0", "C:\\2.jpg"],
)
def test_rows_are_the_keys_where_a_path_is_none(tmp_path, path):
    table = image_table(SMALL[:3], [0, 1, 0], paths=["1.jpg", path, "3.jpg"])
    file = write(tmp_path / "a.parquet", table)
    assert contents(file, index_parquet(file, [""])) == row_keys(SMALL[:3])


def test_shards_are_one_list(tmp_path):
    for number in range(2):
        part = slice(number * 10, number * 10 + 10)
        write(tmp_path / f"t-{number}.parquet", image_table(SMALL[part], [f"c{number}"] * 10))
    index = index_parquet(tmp_path, ["t-0.parquet", "t-1.parquet"])
    assert index.files == ("t-0.parquet", "t-1.parquet")
    assert contents(tmp_path, index) == row_keys(SMALL[:10], "t-0") | row_keys(SMALL[10:20], "t-1")
    assert index.classes == ("c0", "c1")
    assert index.labels.tolist() == [0] * 10 + [1] * 10


def test_shards_of_one_name_in_two_folders(tmp_path):
    for number, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "0.parquet", image_table([SMALL[number]], [0]))
    index = index_parquet(tmp_path, ["a/0.parquet", "b/0.parquet"])
    assert list(index.keys) == ["a/0.parquet/00000000", "b/0.parquet/00000000"]


def test_shards_of_other_columns_are_refused(tmp_path):
    write(tmp_path / "0.parquet", image_table(SMALL[:2], [0, 1], names=["a", "b"]))
    write(tmp_path / "1.parquet", image_table(SMALL[:2], [0, 1], names=["b", "a"]))
    with pytest.raises(
        ImagesError, match=r"1\.parquet has other columns or classes than .*0\.parq"
    ):
        index_parquet(tmp_path, ["0.parquet", "1.parquet"])


def test_shards_with_numbers_and_with_names_are_refused(tmp_path):
    write(tmp_path / "0.parquet", image_table(SMALL[:2], ["a", "b"]))
    write(tmp_path / "1.parquet", image_table(SMALL[:2], [0, 1]))
    with pytest.raises(ImagesError, match=r"1\.parquet has other columns or classes"):
        index_parquet(tmp_path, ["0.parquet", "1.parquet"])


def test_declared_names_are_the_classes(tmp_path):
    names = ["zebra", "ant", "none of them"]
    path = write(tmp_path / "a.parquet", image_table(SMALL[:3], [1, 0, 1], names=names))
    index = index_parquet(path, [""])
    assert index.classes == tuple(names)
    assert index.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        (pa.array([True, False, True]), ("0", "1"), [1, 0, 1]),
        (["é", "z", "é"], ("z", "é"), [1, 0, 1]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b"), [1, 0, 1]),
    ],
)
def test_other_classes_are_those_that_occur(tmp_path, labels, classes, numbers):
    path = write(tmp_path / "a.parquet", image_table(SMALL[:3], labels))
    index = index_parquet(path, [""])
    assert index.classes == classes
    assert index.labels.tolist() == numbers


@pytest.mark.parametrize("labels", [[0, 1, -1], [0, 1, None], ["a", "b", None], ["a", "b", ""]])
@pytest.mark.parametrize("names", [None, ["a", "b"]])
def test_an_image_without_a_class_is_refused(tmp_path, labels, names):
    path = write(tmp_path / "a.parquet", image_table(SMALL[:3], labels, names=names))
    assert f"row 2 of {path} has no class" in refusal(path)
    index = index_parquet(path, [""], unlabelled=True)
    assert index.classes == ()
    assert index.labels.tolist() == [-1, -1, -1]


def test_a_name_that_cannot_be_kept_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", image_table(SMALL[:2], ["a", "b\0"]))
    assert "zero byte in its name" in refusal(path)
    path = write(tmp_path / "b.parquet", image_table(SMALL[:2], [0, 1], names=["a", "a"]))
    assert "two classes of its column 'label' have one name" in refusal(path)


def test_a_class_without_a_name_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", image_table(SMALL[:3], [0, 2, 1], names=["a", "b"]))
    assert f"row 1 of {path} has a class beyond 1" in refusal(path)


@pytest.mark.parametrize("missing", ["bytes", "row"])
def test_a_row_without_an_image_is_refused(tmp_path, missing):
    rows = [{"bytes": b"image", "path": None}] * 90
    rows[77] = {"bytes": None, "path": None} if missing == "bytes" else None
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(rows, kind), "label": [0] * 90})
    path = write(tmp_path / "a.parquet", table, row_group_size=50)
    assert f"row 77 of {path} has no image" in refusal(path)


def test_paths_are_no_images(tmp_path):
    path = write(
        tmp_path / "a.parquet", image_table([None, None], [0, 1], paths=["1.jpg", "2.jpg"])
    )
    assert "'image' holds paths, not images" in refusal(path)
    path = write(tmp_path / "b.parquet", pa.table({"image": ["1.jpg"], "label": [0]}))
    assert "'image' holds paths, not images" in refusal(path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image": [b"1"], "jpg": [b"1"], "label": [0]}, "'image', 'jpg' may hold the images"),
        (
            {"text": ["1"], "label": [0]},
            r"no column holds images, only text (string), label (int64)",
        ),
        ({"image": [b"1"], "caption": ["1"]}, "no column holds classes, only 'image', 'caption'"),
        ({"image": [b"1"], "cls": [0], "target": [0]}, "'cls', 'target' may hold the classes"),
        ({"image": [b"1"], "label": [[0, 1]]}, "'label' is list<"),
        ({"image": [b"1"], "label": [0.5]}, "'label' is double"),
        (
            {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int8())},
            "there are no images",
        ),
    ],
)
def test_columns_that_are_not_plain_are_refused(tmp_path, columns, words):
    assert words in refusal(write(tmp_path / "a.parquet", pa.table(columns)))


def test_of_several_columns_of_classes_label_is_taken(tmp_path):
    table = image_table(SMALL[:2], [3, 4], category=["a", "b"])
    path = write(tmp_path / "a.parquet", table)
    assert index_parquet(path, [""]).classes == ("3", "4")


def test_an_encoding_of_many_values_at_once_is_refused(tmp_path):
    path = write(
        tmp_path / "a.parquet",
        pa.table({"image": SMALL, "label": [0] * 35}),
        use_dictionary=False,
        column_encoding={"image": "DELTA_LENGTH_BYTE_ARRAY"},
    )
    assert "encoded as DELTA_LENGTH_BYTE_ARRAY" in refusal(path)
    assert "write_table" in refusal(path)


def test_long_pages_that_cannot_be_parted_get_a_warning(tmp_path, capsys):
    images = some_bytes([60_000] * 100)
    table = image_table(images, [0] * 100)
    write(tmp_path / "z.parquet", table, compression="zstd", use_dictionary=False)
    index_parquet(tmp_path / "z.parquet", [""])
    assert "decompress a page of about 5.7 MiB (zstd)" in capsys.readouterr().err
    write(tmp_path / "s.parquet", table, compression="snappy", use_dictionary=False)
    index_parquet(tmp_path / "s.parquet", [""])
    assert capsys.readouterr().err == ""


def test_more_rows_than_bytes_are_refused(tmp_path):
    same = pa.DictionaryArray.from_arrays(np.zeros(200_000, np.int32), pa.array([b"x"]))
    table = pa.table({"image": same.cast(pa.binary()), "label": np.zeros(200_000, np.int64)})
    path = write(tmp_path / "a.parquet", table, compression="zstd")
    assert f"{os.path.getsize(path):,} bytes hold 200,000 rows" in refusal(path)


def test_a_file_cut_short_is_refused(tmp_path):
    whole = write(tmp_path / "a.parquet", image_table(SMALL, [0] * 35)).read_bytes()
    cut = tmp_path / "cut.parquet"
    for count in (0, 1, 4, 11, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:count])
        assert "cannot be read as parquet" in refusal(cut)
    cut.unlink()
    assert "is missing" in refusal(cut)


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "lz4"])
def test_damage_is_refused_or_read(tmp_path, codec):
    table = image_table(SMALL, [0] * 35, paths=[f"{row}.jpg" for row in range(35)])
    whole = write(tmp_path / "a.parquet", table, compression=codec, row_group_size=9).read_bytes()
    path = tmp_path / "b.parquet"
    refused = []
    for copy in damaged(whole, range(40), near_end=3000):
        path.write_bytes(copy)
        try:
            contents(path, index_parquet(path, [""]))
        except FkdError as error:
            refused.append(str(error))
    assert refused
    assert all(str(path) in line and "\n" not in line for line in refused)


class Unwrapped(KmsClient):
    """Keys that are kept as they are, in the place of a service that wraps them."""

    def __init__(self, _):
        super().__init__()

    def wrap_key(self, key, _):
        return base64.b64encode(key)

    def unwrap_key(self, key, _):
        return base64.b64decode(key)


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_an_encrypted_file_is_refused(tmp_path, plaintext_footer):
    how = EncryptionConfiguration(
        "f", column_keys={"i": ["image"]}, plaintext_footer=plaintext_footer
    )
    keys = CryptoFactory(Unwrapped).file_encryption_properties(KmsConnectionConfig(), how)
    table = pa.table({"image": SMALL, "label": [0] * 35})
    path = write(tmp_path / "a.parquet", table, encryption_properties=keys)
    assert "is encrypted" in refusal(path)


def number(value):
    """Return a number of Thrift's compact form."""
    value, text = value << 1, b""
    while value >= 128:
        text += bytes([value & 127 | 128])
        value >>= 7
    return text + bytes([value])


def data_page(raw, stored, num_values, encoding=0):
    """Return the header of a data page of the first version."""
    inner = b"\x15" + number(num_values) + b"\x15" + number(encoding) + b"\x15\x06\x15\x06\0"
    return b"\x15\0\x15" + number(raw) + b"\x15" + number(stored) + b"\x2c" + inner + b"\0"


def places(text, rows, codec="zstd"):
    def read(offset, count):
        if offset + count > len(text):
            raise EOFError
        return bytearray(text[offset : offset + count])

    chunk = Chunk("x", 0, len(text), rows, CODECS.index(codec), 0)
    return list(chunk_places(read, chunk, lambda *piece: 0))


def test_a_page_that_claims_too_much_is_refused_before_memory_is_taken():
    packed = pa.Codec("zstd").compress(b"\0" * 4000).to_pybytes()
    sound = data_page(4000, len(packed), 1000) + packed
    assert places(sound, 1000)[0].num_bytes.tolist() == [0] * 1000
    bomb = data_page(2**31 - 1, len(packed), 1000) + packed
    with pytest.raises(ValueError, match=r"bytes says that it holds 2,147,483,647"):
        places(bomb, 1000)
    with pytest.raises(ValueError, match="a page holds fewer values than it says"):
        places(data_page(4000, len(packed), 1001) + packed, 1001)
    with pytest.raises(ValueError, match="a page runs out of its column"):
        places(data_page(4000, len(packed) + 1, 1000) + packed, 1000)
    with pytest.raises(ValueError, match="more rows than its metadata says"):
        places(sound, 999)
    with pytest.raises(EOFError):
        places(sound, 1001)


@pytest.mark.parametrize("codec", ["snappy", "gzip", "brotli", "lz4_raw", "zstd"])
def test_a_page_that_holds_less_than_it_says_is_refused(codec):
    packed = pa.Codec(codec).compress(b"\0" * 4000).to_pybytes()
    text = data_page(4001, len(packed), 1000) + packed
    with pytest.raises((ValueError, OSError)):
        places(text, 1000, codec)


@pytest.mark.parametrize(
    "text",
    [
        b"\x15\x08" + data_page(9, 9, 1)[2:],  # a kind that is none
        b"\x15\0\x15\x01\x15\0\0",  # a negative size
        b"\x15\0\x15\0\x15\0\0",  # no header of the data
        b"\x1c" * 40,  # structs in structs
        b"\x15" + b"\xff" * 40,  # a number without an end
        b"\x1b\x05",  # a map
    ],
)
def test_what_is_no_page_header_is_refused(text):
    with pytest.raises(ValueError, match="a header is damaged"):
        read_page_header(text)


def test_unknown_fields_of_a_page_header_are_skipped():
    more = b"\x19\x25\x02\x04\x18\x03abc\x17" + b"\0" * 8 + b"\x11\x2c\x15\x02\0\0"
    header = read_page_header(data_page(40, 30, 2)[:-1] + more)
    assert (header.raw, header.stored, header.num_values) == (40, 30, 2)
    with pytest.raises(EOFError):
        read_page_header(data_page(40, 30, 2)[:-1] + b"\x18\xff\xff\x03abc")


def test_runs():
    want = [5] * 10 + [0, 1, 2, 3, 4, 5, 6, 7] + [6, 6, 6]
    packed = sum(value << 3 * place for place, value in enumerate(range(8))).to_bytes(3, "little")
    text = bytes([10 << 1, 5, 3, *packed, 3 << 1, 6])
    assert read_runs(text, 3, 21).tolist() == want
    assert read_runs(text, 3, 13).tolist() == want[:13]
    for cut, count in ((text, 22), (text[:4], 18), (b"", 1), (b"\xff" * 9, 1), (b"\0\0", 1)):
        with pytest.raises(ValueError, match="fewer values than it says"):
            read_runs(cut, 3, count)
