"""Where the texts of a folder's images are: labels.txt, and the characters that charset.txt lists.

labels.txt lies in the folder of the images, in PaddleOCR's form: `path<TAB>text`, UTF-8, with paths below
the folder. The images that it names are the data set. charset.txt lies with it or in the folder above,
which all splits share: a character a line, the first line for the blank.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fkd.amounts import as_count
from fkd.containers import split_of
from fkd.errors import ImagesError
from fkd.images import EXTENSIONS, ImageList, composed
from fkd.machine import is_utf16, read_text
from fkd.progress import printable
from fkd.sources import folders_in, list_images, what_is_named
from fkd.truth.texts import Texts

_TEXTS, _CHARSET = "labels.txt", "charset.txt"


def lined_root(folder: Path, split: str | None = "train") -> Path | None:
    """Return the folder of the images of a `split` in a data set of texts, None where that is none.

    It is `folder/SPLIT` or `folder` itself, the first that has a labels.txt of images and texts.
    """
    if what_is_named(folder).kind != "folder":
        return None
    folder = Path(os.path.abspath(folder))
    splits = [] if split is None else [f for f in folders_in(folder) if split_of(f.name) == split]
    splits.sort(key=lambda inner: inner.name != split)
    return next((root for root in (*splits, folder) if _has_texts(root)), None)


def require_lined_root(folder: Path, split: str = "val") -> Path:
    """Return what `lined_root` does, or raise `ImagesError` where no images have texts."""
    root = lined_root(folder, split)
    if root is None:
        raise ImagesError(
            f"{folder} has no images with texts, by which a student of lines is judged; name a folder "
            f"with a {_TEXTS}, of a path, a tab and a text a line"
        )
    return root


def _has_texts(root: Path) -> bool:
    """Say whether labels.txt begins with an image and a text: other files of that name list classes."""
    file = root / _TEXTS
    try:
        # What is no UTF-8 is refused where it is read.
        encoding = "utf-16" if is_utf16(file) else "utf-8-sig"
        with file.open(encoding=encoding, errors="replace", newline="\n") as lines:
            path, tab, _ = next((line for line in lines if line.strip()), "").partition("\t")
    except OSError:
        return False
    return bool(tab) and path.lower().endswith(EXTENSIONS)


def list_lines(root: Path) -> ImageList:
    """List the images below a folder that its labels.txt names; they have no classes."""
    images = list_images(root, unlabelled=True)
    written = _by_image(_read(root / _TEXTS), images.paths)
    return images.take(np.flatnonzero([key in written for key in images.paths]))


def find_texts(images: ImageList) -> Texts | None:
    """Find the texts of the images of a folder; None where labels.txt has none.

    Raises `ImagesError` for a labels.txt or a charset.txt that is not as it should be. `require_named`
    does so for images that are not there.
    """
    if what_is_named(images.root).kind != "folder" or not _has_texts(images.root):
        return None
    root = Path(images.root)
    written = _by_image(_read(root / _TEXTS), images.paths)
    return _with_characters(Texts(root / _TEXTS, images.paths, written), root)


def require_named(texts: Texts) -> None:
    """Raise `ImagesError` where labels.txt names images that are not there."""
    there = set(texts.keys)
    missing = [key for key in texts.written if key not in there]
    if missing:
        verb, more = ("is", "") if len(missing) == 1 else ("are", " …")
        raise ImagesError(
            f"{len(missing):,} of {as_count(len(texts.written), 'image')} that {texts.file} names {verb} "
            f"missing: {printable(missing[0])}{more}; paths are relative to its folder"
        )


def require_blank(texts: Texts) -> None:
    """Raise `ImagesError` where the first line of charset.txt is a character of the texts, and no blank.

    Each class would be taken for the one before it, and that character for none.
    """
    first = texts.characters[0] if texts.characters else ""
    with_it = sum(first in text for text in texts.written.values()) if len(first) == 1 else 0
    if with_it:
        raise ImagesError(
            f"{texts.named_in}: its first line is for the blank, and it is {first!r}, which is in "
            f"{as_count(with_it, 'text')} of {texts.file}; put a line above it for the blank, such as "
            "`blank`; where it is the blank's name, choose one that is no character of a text"
        )


def _by_image(written: Mapping[str, str], keys: Sequence[str]) -> Mapping[str, str]:
    """Return texts by the keys of images, where both have a name in two Unicode forms.

    A name is looked for in NFC where it is none of the images'. Where two images, or two lines, have it
    then, none is meant.
    """
    there = {*keys}
    strange = [name for name in written if name not in there]
    alike = _only_ones(key for key in keys if key not in written and not key.isascii())
    meant = {name: key for form, name in _only_ones(strange).items() if (key := alike.get(form))}
    return {meant.get(name, name): text for name, text in written.items()} if meant else written


def _only_ones(names: Iterable[str]) -> dict[str, str]:
    """Return names by their form in NFC, but for those that have it together."""
    every: dict[str, list[str]] = {}
    for name in names:
        every.setdefault(composed(name), []).append(name)
    return {form: alike[0] for form, alike in every.items() if len(alike) == 1}


def _lines(file: Path, wanted: str) -> list[str]:
    """Return the lines of a file in UTF-8; raises `ImagesError`, which says what is `wanted` of it."""
    return read_text(file, str(file), f"write {wanted}, in UTF-8", ImagesError).split("\n")


def _read(file: Path) -> dict[str, str]:
    """Return the text of each image of a labels.txt, by the image's key."""
    lines = _lines(file, "a path, a tab and a text a line")
    written: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        path, tab, text = line.removesuffix("\r").partition("\t")
        if not line.strip():
            continue
        key = os.path.normpath(path).replace(os.sep, "/")
        if not tab or key.startswith(("/", "../")) or "\0" in key:
            raise ImagesError(
                f"{file}, line {number}: no path below its folder, a tab and a text; write them so"
            )
        if written.setdefault(key, text) != text:
            raise ImagesError(
                f"{file}, line {number}: {printable(key)} has two texts; remove one of them"
            )
    return written


def _with_characters(texts: Texts, root: Path) -> Texts:
    """Return texts whose characters are those that a charset.txt lists, where there is one."""
    files = (root / _CHARSET, Path(os.path.abspath(root)).parent / _CHARSET)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return texts
    lines = _lines(file, "a character a line")
    names = tuple(line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1]))
    # A store ends names by a zero.
    long = next((n for n, name in enumerate(names) if "\0" in name or (n and len(name) != 1)), None)
    if len(names) < 2 or long is not None or len({*names}) < len(names):
        wrong = f"line {long + 1} is no single character" if long is not None else ""
        wrong = wrong or ("a line is there twice" if len(names) > 1 else "it lists no character")
        raise ImagesError(
            f"{file}: {wrong}; write a character a line, each once, below a first line for the blank"
        )
    return Texts(texts.file, texts.keys, texts.written, names, file)
