"""What a stranger may put into a label store: hypothesis strategies that change a good one.

Every change keeps the checksums right where a stranger could: signatures, CRC-32C, shard indexes.
"""

import functools
import json
import os
import struct

import google_crc32c
import numpy as np
from hypothesis import strategies as st
from numcodecs import Zstd, blosc

from fkd.format.attributes import digest

ZSTD = Zstd(1)

HUGE = [2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**63, 2**64, 10**30, 10**400]
NASTY = [
    None,
    True,
    False,
    "",
    "\0",
    "../..",
    "/etc/passwd",
    "a" * 5000,
    "\x1b[31m",
    -1,
    0,
    1,
    *HUGE,
]
NASTY += [
    0.5,
    float("nan"),
    float("inf"),
    -0.0,
    [],
    {},
    [[]],
    ["x"],
    {"a": 1},
    "<b>",
    "$x$",
    "\ud800",
]

TEXTS = [b"../x.jpg", b"/etc/passwd", b"a/../../x", b"./x", b"a//b", b"", b"\xff\xfe", b"a" * 5000]
TEXTS += [
    "ü/ñ.jpg".encode(),
    b"a/b\nc.jpg",
    b"\x1b]0;x\x07",
    b"a/.",
    b"a/",
    b"..",
    b"CON",
    b"c/001.jpg",
]

json_values = st.one_of(
    st.sampled_from(NASTY),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(-2, 300), max_size=5),
)


class Store:
    """The files of a good store by their path below its folder, and how its arrays are kept.

    `counts` are the chunks in a shard, 0 for arrays without shards.
    """

    def __init__(self, files, counts, dtypes):
        self.files, self.counts, self.dtypes = files, counts, dtypes

    def __repr__(self):
        return f"a good store of {len(self.files)} files"

    def chunks(self):
        return sorted(name for name in self.files if "/c/" in name)

    def metadata(self):
        return sorted(name for name in self.files if name.endswith("zarr.json"))


def write(root, files):
    """Write changed files: None removes, a str makes a link, a callable makes what it likes."""
    for name, content in files.items():
        path = root / name
        if path.is_symlink() or path.exists():
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.symlink_to(content)
        elif content is not None:
            content(path)


# -- JSON -----------------------------------------------------------------------------------------


def _places(value, above=()):
    """Return the way to every node of a JSON value."""
    yield above
    if not isinstance(value, (dict, list)):
        return
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _places(child, (*above, key))


def _replaced(value, way, new):
    if not way:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if new is Ellipsis and len(way) == 1:
        del copy[way[0]]
    else:
        copy[way[0]] = _replaced(value[way[0]], way[1:], new)
    return copy


@st.composite
def changed_json(draw, value):
    """Change one to three nodes of a JSON value, or remove some, or add a key."""
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(sorted(_places(value), key=str)))
        value = _replaced(value, way, draw(st.one_of(json_values, st.just(...))) if way else value)
        if isinstance(value, dict) and draw(st.booleans()) and draw(st.booleans()):
            value = value | {draw(st.text(max_size=5)): draw(json_values)}
    return value


@st.composite
def strange_attributes(draw, store):
    """Sign other attributes than a labeller writes."""
    group = json.loads(store.files["zarr.json"])
    content = draw(changed_json(group["attributes"]["fkd"]))
    try:
        signature = digest(content)
    except (TypeError, ValueError):
        signature = ""
    group["attributes"] = {"fkd": content, "sha256": signature}
    if draw(st.integers(0, 9)) == 0:
        group = draw(changed_json(group))
    return {"zarr.json": json.dumps(group).encode()}


@st.composite
def strange_metadata(draw, store):
    """Change the metadata of an array, or write something that is no JSON, or far too much of it."""
    name = draw(st.sampled_from(store.metadata()))
    if draw(st.integers(0, 5)) == 0:
        rough = [
            b"",
            b"{",
            b"[" * 100_000,
            b"null",
            b"1" * 5000,
            b"\xff",
            b" " * 2**21,
            b'"\\ud800"',
        ]
        return {name: draw(st.one_of(st.sampled_from(rough), st.binary(max_size=50)))}
    return {name: json.dumps(draw(changed_json(json.loads(store.files[name])))).encode()}


# -- bytes ----------------------------------------------------------------------------------------


def crc(content):
    return struct.pack("<I", google_crc32c.value(content))


@st.composite
def changed_bytes(draw, content):
    """Overwrite, cut or insert somewhere; the first bytes, which are headers, more often."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        near = draw(st.booleans())
        place = draw(st.integers(0, min(len(content), 18) if near else len(content)))
        match draw(st.integers(0, 3)):
            case 0:
                content[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                number = draw(st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1, len(content)]))
                content[place : place + 4] = struct.pack("<I", number)
            case 2:
                del content[place : place + draw(st.integers(1, 20))]
            case 3:
                content[place:place] = draw(st.binary(max_size=20))
    return bytes(content)


def split_shard(content, count):
    """Return the chunks of a shard, without their checksums."""
    entries = struct.unpack(f"<{2 * count}Q", content[-16 * count - 4 : -4])
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return [content[offset : offset + length - 4] for offset, length in pairs]


def join_shard(chunks, index=None):
    """Write a shard with all checksums right; `index` changes (offset, length) pairs."""
    body, entries = b"", []
    for chunk in chunks:
        entries.append((len(body), len(chunk) + 4))
        body += chunk + crc(chunk)
    table = struct.pack(f"<{2 * len(entries)}Q", *(n for e in (index or entries) for n in e))
    return body + table + crc(table)


@st.composite
def strange_chunks(draw, store):
    """Change what is compressed in a chunk, with checksums over it that are right."""
    name = draw(st.sampled_from(store.chunks()))
    content, count = store.files[name], store.counts[name.split("/")[0]]
    if draw(st.integers(0, 4)) == 0:
        return {name: draw(changed_bytes(content))}
    if not count:
        chunk = draw(changed_bytes(content[:-4]))
        return {name: chunk + crc(chunk)}
    chunks = split_shard(content, count)
    if draw(st.integers(0, 3)) == 0:
        far = st.sampled_from([0, 1, 19, 20, len(content), 2**31, 2**32, 2**63, 2**64 - 1])
        index = [(draw(far), draw(far)) for _ in chunks]
        return {name: join_shard(chunks, index)}
    which = draw(st.integers(0, len(chunks) - 1))
    chunks[which] = draw(changed_bytes(chunks[which]))
    return {name: join_shard(chunks)}


@st.composite
def strange_values(draw, store):
    """Compress other values than a labeller would: whatever decodes, decodes to them."""
    name = draw(st.sampled_from(store.chunks()))
    array = name.split("/")[0]
    content, count, dtype = store.files[name], store.counts[array], np.dtype(store.dtypes[array])
    if not count:
        raw = bytearray(ZSTD.decode(content[:-4]))
        if array in ("path", "class_name") and draw(st.booleans()):
            names = [draw(st.sampled_from(TEXTS)) for _ in range(draw(st.integers(1, 40)))]
            raw = bytearray(b"".join(text + b"\0" for text in names))
        chunk = bytes(ZSTD.encode(bytes(draw(other_values(raw, dtype)))))
        return {name: chunk + crc(chunk)}
    chunks = split_shard(content, count)
    which = draw(st.integers(0, len(chunks) - 1))
    values = draw(other_values(bytearray(blosc.decompress(chunks[which])), dtype))
    chunks[which] = blosc.compress(np.frombuffer(values, dtype), b"zstd", 1, blosc.SHUFFLE)
    return {name: join_shard(chunks)}


@st.composite
def other_values(draw, raw, dtype):
    """Overwrite some items, or all of them, by the extremes of the type or anything."""
    values = np.frombuffer(bytes(raw[: len(raw) // dtype.itemsize * dtype.itemsize]), dtype).copy()
    every = draw(st.integers(0, 4)) == 0
    some = draw(st.integers(0, max(0, len(values) - 1)))
    new = draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize))
    new = draw(st.sampled_from([b"\0" * dtype.itemsize, b"\xff" * dtype.itemsize, new, new]))
    values[slice(None) if every else slice(some, some + draw(st.integers(1, 9)))] = np.frombuffer(
        new, dtype
    )
    return values.tobytes()


@st.composite
def bombs(draw, store):
    """A few bytes that claim, or are, gigabytes of zeros."""
    name = draw(st.sampled_from(store.chunks()))
    count = store.counts[name.split("/")[0]]
    if not count:
        chunk = bytes(ZSTD.encode(_zeros(draw(st.sampled_from([2**20, 2**28])))))
        if draw(st.booleans()):  # behind the right frame, where a decoder goes on
            chunk = store.files[name][:-4] + chunk
        return {name: chunk + crc(chunk)}
    size = draw(st.sampled_from([2**20, 2**28, 2**31 - 1]))
    header = struct.pack("<BBBBIII", 2, 1, 0x11, 1, size, draw(st.sampled_from([1, size])), 16 + 8)
    chunk = header + draw(st.binary(min_size=8, max_size=8))
    return {name: join_shard([chunk] * count)}


@functools.cache
def _zeros(size):
    return bytes(size)


@st.composite
def strange_files(draw, store):
    """Put other things than files in the place of files."""
    name = draw(st.sampled_from(sorted(store.files)))
    things = ["/dev/zero", "/etc/passwd", "/dev/stdin", ".", "..", "nowhere", os.mkfifo, None, b""]
    things += [lambda path: path.mkdir(), lambda path: os.truncate(_made(path), 2**40)]
    return {name: draw(st.sampled_from(things))}


def _made(path):
    path.write_bytes(b"")
    return path
