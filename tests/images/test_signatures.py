"""A file that is no image is called what it is, in words that are the same in every run."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from fkd.errors import DecodeError
from fkd.images import decode, inspect, read_file


def saved(**how):
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, **how)
    return file.getvalue()


def archive(make):
    file = io.BytesIO()
    make(file)
    return file.getvalue()


def tar(file):
    with tarfile.open(fileobj=file, mode="w") as into:
        into.addfile(tarfile.TarInfo("a.jpg"))


def zipped(file):
    with zipfile.ZipFile(file, "w") as into:
        into.writestr("a.jpg", b"x")


FOREIGN = {
    "AVIF with a header or samples": b"\0\0\0\x20ftypavif" + b"\0" * 40,
    "HEIC, which fkd does not read; convert it to JPEG or PNG": b"\0\0\0\x18ftypheic" + b"\0" * 40,
    "JPEG 2000, which fkd does not read": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG XL, which fkd does not read": b"\xff\x0a\xfa\x7f",
    "PostScript, which": saved(format="EPS"),
    "DDS, which": saved(format="DDS"),
    "an icon (ICO), which": saved(format="ICO"),
    "a tar archive, which": archive(tar),
    "a zip archive, which": archive(zipped),
    "a gzip file, which": gzip.compress(b"x"),
    "a NumPy array (.npy), which": archive(lambda file: np.save(file, np.zeros(3))),
    "an HTML page, not an image": "\ufeff \n<!DOCTYPE html><title>404 – nicht da</title>".encode(),
    "SVG, which fkd does not read": b'<?xml version="1.0"?><svg width="9"/>',
    "text, not an image": ("Zugriff verweigert – é" * 60).encode(),
    "a Git LFS pointer in place of the file": b"version https://git-lfs.github.com/spec/v1\n",
    "nothing but zero bytes": bytes(5000),
    "no image that fkd knows": bytes(range(256)) * 3,
    "JPEG with a header or samples": b"\xff\xd8\xff\0 nothing else",
    "WebP with a header or samples": b"RIFF\x10\0\0\0WEBPnone",
}


@pytest.mark.parametrize("said", FOREIGN)
def test_what_is_no_image_is_called_what_it_is(tmp_path, said):
    path = tmp_path / "x.jpg"
    path.write_bytes(FOREIGN[said])
    for look in (lambda path: inspect(path, read_file(path)), decode):
        with pytest.raises(DecodeError) as caught:
            look(str(path))
        assert str(caught.value).startswith(f"{path}: damaged ({said}")
        assert caught.value.reason == "damaged"
        assert "BytesIO" not in str(caught.value)
