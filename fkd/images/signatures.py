"""What a file is by its first bytes, for a message that says why it is no image that fkd reads."""

# Of formats that fkd reads: where Pillow knows none of its images in such a file, its header is damaged,
# or lays samples out in a way that Pillow does not know.
_READ = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)

_FOREIGN = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "a Photoshop file (PSD)"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"icns", "an icon (ICNS)"),
    (b"DDS ", "DDS"),
    (b"v/1\1", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"P7\n", "PAM"),
    (b"PF\n", "PFM in colour"),
    (b"qoif", "QOI"),
    (b"%!PS", "PostScript"),
    (b"%PDF", "a PDF document"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89HDF", "HDF5"),
    (b"PAR1", "Parquet"),
    (b"PK\3\4", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
)

# Files in boxes, as MP4 has them, say in four letters what they are for.
_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
}

# Cameras and phones write them by themselves, so whoever has one has thousands.
_CURES = dict.fromkeys(("HEIC", "HEIF"), "; convert it to JPEG or PNG")

_LOOKED_AT = 512


def describe(encoded: bytes | bytearray) -> str:
    """Say what the bytes of a file are that Pillow takes for no image."""
    head = bytes(encoded[:_LOOKED_AT])
    known = next((name for start, name in _READ if head.startswith(start)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        known = "WebP"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        known = "AVIF"
    if known:
        return f"{known} with a header or samples that Pillow does not read"
    foreign = next((name for start, name in _FOREIGN if head.startswith(start)), _by_place(head))
    if foreign:
        return f"{foreign}, which fkd does not read{_CURES.get(foreign, '')}"
    if not any(head) and not any(encoded):
        return "nothing but zero bytes"
    return _as_text(head) or "no image that fkd knows"


def _by_place(head: bytes) -> str | None:
    """Name a format whose sign does not stand at the start."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "a video or another file in MP4's boxes")
    if head[:4] == b"RIFF":
        return "a video or sound (RIFF)"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return "DICOM" if head[128:132] == b"DICM" else None


def _as_text(head: bytes) -> str | None:
    """Say what text it is, or None where it is not text. The last character may be cut in the middle."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore").strip()
    lost = len(head) - len(text.encode()) if text else len(head)
    if not text or lost > len(head) // 8 or not all(c.isprintable() or c.isspace() for c in text):
        return None
    start = text.lower()
    if start.startswith("version https://git-lfs"):
        return "a Git LFS pointer in place of the file; fetch it with `git lfs pull`"
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page, not an image"
    if "<svg" in start:
        return "SVG, which fkd does not read"
    return "XML, not an image" if start.startswith("<?xml") else "text, not an image"
