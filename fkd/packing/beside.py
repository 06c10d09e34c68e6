"""The files beside images that say what their masks' values are, and their texts."""

import os
from collections.abc import Iterator
from pathlib import Path

from fkd.errors import ImagesError
from fkd.packing.place import write_copy
from fkd.packing.split import Split
from fkd.truth import Texts


def files_of_names(out: Path, splits: list[Split]) -> dict[Path, bytes]:
    """Return each classes.txt and charset.txt, by where it is found for the copies of a split.

    Raises `ImagesError` where two splits have different ones that would be one file.
    """
    files: dict[Path, bytes] = {}
    for split in splits:
        file = split.truth and split.truth.named_in
        if not file:
            continue
        # It lies with the images, or in the folder that all folders of the split are in.
        inside = file.parent == Path(os.path.abspath(split.images.root))
        places = [out / split.name] if inside else [out / split.name, out / split.masks_name]
        target, content = Path(os.path.commonpath(places), file.name), file.read_bytes()
        if files.setdefault(target, content) != content:
            raise ImagesError(
                f"{file} differs from that of {splits[0].images.root}, and both would be {target}; pack "
                "the two apart"
            )
    return files


def write_texts(out: Path, splits: list[Split]) -> None:
    """Write the labels.txt of each split, by the names of the copies that are there."""
    for split in splits:
        if split.texts is not None:
            lines = "".join(_lines(out, split, split.texts))
            write_copy(os.path.join(out, split.name, split.texts.file.name), lines.encode())


def _lines(out: Path, split: Split, texts: Texts) -> Iterator[str]:
    """Yield a line for each copy, in the order of the source's labels.txt."""
    number = {key: index for index, key in enumerate(split.keys)}
    for key, text in texts.written.items():
        pairs = zip(split.names(number[key]), split.paths(out, number[key]), strict=True)
        name = next((name for name, path in pairs if os.path.lexists(path)), None)
        if name is not None:
            yield f"{name}\t{text}\n"
