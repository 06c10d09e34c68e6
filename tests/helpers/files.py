"""Files that no ordinary program writes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def jpeg_bomb(path, side=24_000):
    """Write a JPEG of under 1 kB whose header claims `side` × `side` pixels."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    path.write_bytes(content)


def deep_png(path, samples, kind):
    """Write samples u16 [H, W, C] as PNG; `kind` is its colour type, 2 for RGB, 6 for RGBA."""

    def chunk(name, data):
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def grey_tiff(path, samples, bits, *, white_is_zero=False, sample_format=1):
    """Write grey samples [H, W], packed to `bits` each, as a TIFF in one strip."""
    height, width = samples.shape
    data = _packed_12(samples) if bits == 12 else np.ascontiguousarray(samples).tobytes()
    tags = [
        (256, width), (257, height), (258, bits), (259, 1), (262, 0 if white_is_zero else 1),
        (273, None), (277, 1), (278, height), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    content = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in tags:
        content += struct.pack("<HHII", tag, 4, 1, start if value is None else value)
    path.write_bytes(content + struct.pack("<I", 0) + data)


def _packed_12(samples):
    pairs = samples.reshape(-1, 2).astype(int)
    first, second = pairs[:, 0], pairs[:, 1]
    packed = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    return np.stack(packed, 1).astype(np.uint8).tobytes()
