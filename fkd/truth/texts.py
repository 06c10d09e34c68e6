"""The texts of images: what is written on each, as the numbers of its characters among classes.

Legend: N images, B views, L characters of the longest text of a batch, C classes, the first the blank.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fkd.amounts import as_count
from fkd.config import BLANK, NO_TEXT
from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.truth.masks import Masks

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Texts:
    """What is written on N images, by their `keys`: `written` by key, as `file` says it.

    `characters` are the classes that a file `named_in` lists, the blank first; None where there is none.
    """

    file: Path
    keys: Sequence[str]
    written: Mapping[str, str]
    characters: tuple[str, ...] | None = None
    named_in: Path | None = None

    def __len__(self) -> int:
        """Return how many of the images have a text."""
        return len(self._there)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes that texts are of, None where nobody names them."""
        return self.characters

    def of(self, images: ImageList) -> "Texts":
        """Return those of other images of the same folder, in their order."""
        return replace(self, keys=images.paths)

    def text(self, image_index: int) -> str:
        """Return the text of an image; raises `ImagesError` where labels.txt has none."""
        key = self.keys[image_index]
        if key not in self.written:
            raise ImagesError(f"{self.file} has no line of {key}; add it, a path, a tab and a text")
        return self.written[key]

    def name(self, image_index: int) -> str:
        """Say whose text it is, for a message."""
        return f"{self.file}: {self.keys[image_index]}"

    def content_hash(self, image_index: int) -> int:
        """Return the hash by which a text is known again, that of `fkd.images.content_hash`."""
        from fkd.images import content_hash

        return content_hash(bytearray(self.text(image_index).encode()))

    def usable_hash(self, image_index: int, size: Iterable[int]) -> int:
        """Return what `content_hash` does: any text can be used, of an image of any `size`."""
        return self.content_hash(image_index)

    def matched(self, names: Sequence[str], whose: str) -> "Texts":
        """Return the same texts in the numbers of the classes `names`; `whose` they are is for messages.

        A class whose name is one character is that character, and class 0 is the blank. Raises
        `ImagesError` where classes are numbers that nobody named, and where no text is of them alone.
        """
        found = replace(self, characters=tuple(names))
        if found.characters == tuple(map(str, range(len(names)))):
            remedy = (
                "say in charset.txt beside it which character each is, a line each, the first for the "
                "blank"
                if self.named_in is None
                else f"label with --teacher-classes, which says which of them {self.named_in} lists"
            )
            raise ImagesError(f"{self.file} has texts, and {whose} have no names; {remedy}")
        if len(self) and found.num_strange == len(self):
            raise ImagesError(
                f"{self.file}: no text is of {whose} alone ({found.strange_words}); write the characters "
                "as charset.txt has them, a line each, the first for the blank"
            )
        return found

    @cached_property
    def _number_of(self) -> dict[str, int]:
        names = enumerate(self.characters or ())
        return {name: number for number, name in names if len(name) == 1 and number != BLANK}

    def encoded(self, image_index: int) -> list[int] | None:
        """Return the class of each character, or None where the text has one that is no class."""
        numbers = [self._number_of.get(character) for character in self.text(image_index)]
        known = [number for number in numbers if number is not None]
        return known if len(known) == len(numbers) else None

    @cached_property
    def _there(self) -> list[int]:
        """The images that have a text: of a store's, some may be gone."""
        return [number for number, key in enumerate(self.keys) if key in self.written]

    @cached_property
    def num_strange(self) -> int:
        """How many texts have a character that is no class, and so count for nothing in a loss."""
        return sum(self.encoded(n) is None for n in self._there)

    def num_longer(self, num_frames: int) -> int:
        """Return how many texts need more frames than these to be said (`frames_of`)."""
        return sum(frames_of(self.encoded(n)) > num_frames for n in self._there)

    @property
    def strange_words(self) -> str:
        """Name some characters that are no classes."""
        strange = {c: None for key in self.keys for c in self.written.get(key, "")}
        strange = {c: None for c in strange if c not in self._number_of}
        few = ", ".join(f"{c!a}" if not c.isprintable() else repr(c) for c in list(strange)[:5])
        return (
            f"{as_count(len(strange), 'character')} more: {few}{' …' if len(strange) > 5 else ''}"
        )

    def rows(self, images: Iterable[int]) -> "Tensor":
        """Return the texts of some images as a loss takes them, int64 [B, L].

        A row has the classes of the characters, and 0 beyond their end. Where a text does not count, or
        has no character, L is 1 at least; a row of a text that does not count has `NO_TEXT` all along.
        """
        return as_rows([self.encoded(n) for n in images])


# What lies beside images and says what is true at their positions.
Truth = Masks | Texts


def as_rows(texts: Sequence[Sequence[int] | None]) -> "Tensor":
    """Return numbers of characters, None for a text that does not count, as `Texts.rows` does."""
    import torch

    longest = max((len(text) for text in texts if text is not None), default=1)
    # Each step has new ones, and to rows of a tensor numbers go in a dozen times as long.
    rows = np.full((len(texts), max(1, longest)), BLANK, np.int64)
    for row, text in zip(rows, texts, strict=True):
        if text is None:
            row[:] = NO_TEXT
        else:
            row[: len(text)] = text
    return torch.from_numpy(rows)


def frames_of(text: Sequence[int] | None) -> int:
    """Return how many frames CTC needs to say a text, 0 for one that does not count.

    Two characters that are alike and next to each other have a blank between them.
    """
    return 0 if text is None else len(text) + sum(a == b for a, b in pairwise(text))


def read_off(best: Iterable[int], names: Sequence[str]) -> str:
    """Return the text that the most likely classes of frames say: repeats once, and no blanks (CTC)."""
    said, before = [], BLANK
    for number in best:
        if number not in (BLANK, before):
            said.append(names[number])
        before = number
    return "".join(said)


def edit_distance(said: str, written: str) -> int:
    """Return how many characters must be put in, left out or changed to make one text of another."""
    costs = list(range(len(written) + 1))
    for row, character in enumerate(said, start=1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(written, start=1):
            change = diagonal + (character != other)
            diagonal = costs[column]
            costs[column] = min(change, diagonal + 1, costs[column - 1] + 1)
    return costs[-1]
