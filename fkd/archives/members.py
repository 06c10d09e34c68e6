"""From the members of archives to images: which are images, their keys, and the class of each.

An archive may be a folder that was packed: the class of an image is the folder that it lies in. Or it is
a shard of WebDataset: beside `name.jpg` lies `name.cls`, or `name.json` with a label.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fkd.containers import LABEL_KEYS, Place, PlaceList
from fkd.errors import ImagesError
from fkd.images import EXTENSIONS

_MAX_LABEL_BYTES = 2**20


@dataclass(frozen=True)
class Member:
    """A file in an archive, and where it is; `what` says of one without a place why it has none."""

    name: str
    place: Place | None
    what: str = ""


@dataclass
class Gathered:
    """The images of a container so far, in the order of its files.

    `labels` are by sample: a number of a file, and a name up to its last dot.
    """

    names: list[str] = field(default_factory=list)
    places: PlaceList = field(default_factory=PlaceList)
    file: list[int] = field(default_factory=list)
    labels: dict[tuple[int, str], str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(
        self, where: str, number: int, members: Iterable[Member], read: Callable[[Place], bytes]
    ) -> None:
        """Take the members of one file; `read` returns the bytes of one of them."""
        for member in members:
            name = clean_name(member.name, where)
            if name is None:
                continue
            stem, ending = os.path.splitext(name)
            ending = ending.lower()
            if ending in EXTENSIONS:
                self._add_image(where, number, name, member)
            elif ending in (".cls", ".json") and member.place is not None:
                text = _label(ending, read, member.place)
                if text is None:
                    self.left_out[ending] += 1
                elif ending == ".cls":
                    self.labels[number, stem] = text
                else:  # metadata, which a .cls goes before
                    self.labels.setdefault((number, stem), text)
            else:
                self.left_out[ending or "no ending"] += 1

    def _add_image(self, where: str, number: int, name: str, member: Member) -> None:
        if member.place is None:
            raise ImagesError(
                f"{where}: {name} is {member.what}, which fkd does not follow; write the archive with "
                "the image itself, stored or deflated"
            )
        self.names.append(name)
        self.file.append(number)
        self.places.add(member.place)


def clean_name(name: str, where: str) -> str | None:
    """Return a member's name as a key, None for a hidden one; refuse one that leads out."""
    if "\0" in name:
        raise ImagesError(f"{where}: {name!r:.80} has a zero byte; do not use it, or write it anew")
    if name.startswith(("/", "../")) or "/../" in name or name.endswith("/.."):
        raise ImagesError(
            f"{where}: {name!r:.80} leads out of the archive; do not use it, or write it anew"
        )
    if "/." in name or name.startswith(".") or "//" in name:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if any(part.startswith(".") for part in parts):
            return None
        name = "/".join(parts)
    return None if name.startswith("__MACOSX/") else name


def _label(ending: str, read: Callable[[Place], bytes], place: Place) -> str | None:
    """Return what a sample's file says of its class, None where it says nothing of it."""
    if place.num_bytes > _MAX_LABEL_BYTES:
        return None
    content = read(place)
    if ending == ".json":
        try:
            return label_of(json.loads(content))
        except ValueError:
            return None
    return content.decode("utf-8", "replace").strip() or None


def label_of(fields: Any) -> str | None:
    """Return the class in a JSON object, a number or a name, None where it has none."""
    if not isinstance(fields, Mapping):
        return None
    value = next((fields[key] for key in LABEL_KEYS if key in fields), None)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    return str(value).strip() or None


def sample_labels(found: Gathered, files: list[str]) -> Iterator[tuple[int, str]]:
    """Yield (image, label) of samples; refuse an image without a label, and a label without an image.

    A sample's name ends, in WebDataset, at the first dot of the file's name. A second image of a sample,
    as `x.mask.png` beside `x.jpg`, is no image of the data set.
    """
    used: set[tuple[int, str]] = set()
    stems = [os.path.splitext(name)[0] for name in found.names]
    samples = set(zip(found.file, stems, strict=True))
    for image, sample in enumerate(zip(found.file, stems, strict=True)):
        number, name = found.file[image], found.names[image]
        short = number, _up_to_first_dot(name)
        if sample in found.labels:
            used.add(sample)
            yield image, found.labels[sample]
        elif short in found.labels and short not in samples:
            used.add(short)
            yield image, found.labels[short]
        elif short in found.labels:
            found.left_out[f".{name.rpartition('/')[2].split('.', 1)[1]}"] += 1
        else:
            raise ImagesError(
                f"{files[number]}: sample {sample[1]} has an image and no class; add {sample[1]}.cls, or "
                "take images without classes with --unlabelled"
            )
    bare = next((sample for sample in found.labels if sample not in used), None)
    if bare is not None:
        raise ImagesError(
            f"{files[bare[0]]}: sample {bare[1]} has a class and no image "
            f"({', '.join(EXTENSIONS)}); restore the image, or remove the sample"
        )


def _up_to_first_dot(name: str) -> str:
    folder, _, file = name.rpartition("/")
    stem = file.split(".", 1)[0]
    return f"{folder}/{stem}" if folder else stem
