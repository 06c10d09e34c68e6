"""Figures of lines: each crop over its text and what its labels read, letter under letter."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from unicodedata import east_asian_width

from fkd.figures import GREY, PAGE, bare, figure_style, installed_faces, new_figure, write
from fkd.pictures.crop_layout import GAP
from fkd.pictures.figure_parts import (
    EDGE,
    HEAD,
    TINY,
    colour_of,
    draw_box,
    draw_head,
    draw_hole,
    draw_others,
    others_height,
    place_axes,
)
from fkd.pictures.picture import as_files
from fkd.pictures.shown import ShownCrop, ShownImage, ShownLine
from fkd.progress import printable
from fkd.truth import aligned

_ASIDE = 0.5  # inches left of a crop, for its number and how sure its labels are
_LONGEST = 10.0  # crops so many times as long as high stand in two columns, longer ones in one
_MOST_HIGH, _IMAGE_HIGH = 1.0, 0.6  # of a crop, and of the image over a sample
_ROW = 0.145  # inches of a row of letters
_LETTER, _SHARE = 7.0, 0.602  # points, and how wide a letter of the face is, of that
_STEP = _LETTER * _SHARE / 72  # inches
_MOST = 400  # letters of a text, or a figure of a whole page of text would be too high
_WRONG = "#F6B8A8"


@dataclass(frozen=True)
class _Letter:
    """A place of a line: the letter that is read there, and the one that is written, "" for none."""

    said: str
    written: str

    @property
    def wrong(self) -> bool:
        """Whether they differ."""
        return self.said != self.written

    @property
    def steps(self) -> int:
        """How many letters of the face it is wide."""
        return 2 if any(east_asian_width(c) in "WF" for c in self.said + self.written) else 1


@figure_style()
def line_sample_figure(shown: ShownImage, formats: Sequence[str]) -> dict[str, bytes]:
    """Draw an image with the boxes of its crops, and below it the crops with what they read.

    The images that crops are mixed with stand at the end.
    """
    crops, (height, width) = shown.crops, shown.pixels.shape[:2]
    high = min(_IMAGE_HIGH, PAGE * height / width)
    wide, rows = high * width / height, _Rows.of(crops)
    top = HEAD + EDGE
    end = top + high + GAP + rows.height
    figure = new_figure(
        PAGE + 2 * EDGE, end + others_height(shown.others) + EDGE, constrained=False
    )
    draw_head(figure, "", shown.path)
    axes = place_axes(figure, EDGE, top, wide, high)
    axes.imshow(shown.pixels, aspect="auto")
    bare(axes)
    for number, crop in enumerate(crops):
        draw_box(axes, crop.box, colour_of(number), "", width / (72 * wide))
    rows.draw(figure, top + high + GAP, [str(number + 1) for number in range(len(crops))])
    draw_others(figure, shown.others, end)
    return as_files(figure, formats)


@figure_style()
def line_gallery_figure(
    crops: Sequence[ShownCrop], texts: Sequence[str], formats: Sequence[str]
) -> dict[str, bytes]:
    """Draw crops with what they read, each with a short text on its left; return the figure's files."""
    rows = _Rows.of(crops)
    figure = new_figure(PAGE + 2 * EDGE, rows.height + 2 * EDGE, constrained=False)
    rows.draw(figure, EDGE, [""] * len(crops), texts)
    return as_files(figure, formats)


@dataclass(frozen=True)
class _Rows:
    """Crops in one column or two, each over rows of letters, as many as the longest of them takes."""

    crops: Sequence[ShownCrop]
    columns: int
    width: float
    high: float

    @staticmethod
    def of(crops: Sequence[ShownCrop]) -> "_Rows":
        """Choose the columns by the shape of the crops, `width` and `high` inches each."""
        height, width = crops[0].pixels.shape[:2]
        columns = 1 if width > _LONGEST * height else 2
        wide = (PAGE - (columns - 1) * GAP) / columns - _ASIDE
        return _Rows(crops, columns, wide, min(wide * height / width, _MOST_HIGH))

    def _lines(self, crop: ShownCrop) -> list[list[_Letter]]:
        """Return what stands below a crop, in lines of its width."""
        assert crop.line is not None
        most, lines, room = int(self.width / _STEP), [list[_Letter]()], 0
        for letter in _letters_of(crop.line):
            if room + letter.steps > most:
                lines.append([])
                room = 0
            lines[-1].append(letter)
            room += letter.steps
        return lines

    @staticmethod
    def _names(crop: ShownCrop) -> tuple[str, ...]:
        """Return the names of the rows of each line below a crop."""
        return ("reads",) if crop.line is None or crop.line.written is None else ("text", "reads")

    @property
    def _pitches(self) -> list[float]:
        """The inches from each band of crops to the next."""
        rows = [len(self._lines(crop)) * len(self._names(crop)) for crop in self.crops]
        bands = [rows[n : n + self.columns] for n in range(0, len(rows), self.columns)]
        return [self.high + max(band) * _ROW + 1.6 * GAP for band in bands]

    @property
    def height(self) -> float:
        """Inches of all of them."""
        return sum(self._pitches)

    def draw(
        self, figure: Any, top: float, numbers: Sequence[str], texts: Sequence[str] | None = None
    ) -> None:
        """Draw them so many inches below the figure's upper edge, with `numbers` and `texts` beside."""
        pitches = self._pitches
        for n, crop in enumerate(self.crops):
            band, column = divmod(n, self.columns)
            left = EDGE + column * (_ASIDE + self.width + GAP)
            upper = top + sum(pitches[:band])
            colour = colour_of(n) if texts is None else GREY
            axes = place_axes(figure, left + _ASIDE, upper, self.width, self.high)
            axes.imshow(crop.pixels)
            axes.set(anchor="NW")
            bare(axes)
            share = ""
            if crop.mixing is not None:
                share = f"{crop.mixing.own_share:.0%}"
                draw_hole(axes, crop.mixing.hole)
            parts = numbers[n], "↔" if crop.flip else "", share
            number = " ".join(part for part in parts if part)
            self._beside(
                figure, left, upper, crop, number, colour, "" if texts is None else texts[n]
            )
            place = upper + self.high + 0.03
            for line in self._lines(crop):
                for name in self._names(crop):
                    _draw_letters(figure, left, place, self.width, name, line)
                    place += _ROW

    def _beside(
        self,
        figure: Any,
        left: float,
        top: float,
        crop: ShownCrop,
        number: str,
        colour: str,
        text: str,
    ) -> None:
        """Write a crop's number, how sure its labels are on the whole, and a text on its left."""
        assert crop.line is not None
        axes = place_axes(figure, left, top, _ASIDE, self.high)
        bare(axes)
        sure = crop.line.confidence
        lines = ([] if sure is None else [f"{sure:.2f}"]) + ([text] if text else [])
        badge = {"boxstyle": "square,pad=0.18", "facecolor": colour, "edgecolor": "none"}
        if number:
            write(
                axes, 0.04, 1 - 0.03 / self.high, number, va="top", color="white", weight="bold",
                fontsize=TINY, bbox=badge,
            )  # fmt: skip
        for row, line in enumerate(lines, start=bool(number)):
            write(axes, 0, 1 - row * _ROW / self.high, line, va="top", color=GREY, fontsize=TINY)


def _letters_of(line: ShownLine) -> list[_Letter]:
    """Return what is read and what is written, letter under letter."""
    said = printable(line.said)
    written = said if line.written is None else printable(line.written)
    letters = [_Letter(one, other) for one, other in aligned(said[:_MOST], written[:_MOST])]
    return [*letters, _Letter("…", "…")] if max(len(said), len(written)) > _MOST else letters


def _draw_letters(
    figure: Any, left: float, top: float, width: float, name: str, line: Sequence[_Letter]
) -> None:
    """Draw a row of letters behind its name, on red where what is read is not what is written."""
    from matplotlib.patches import Rectangle

    axes = place_axes(figure, left, top, _ASIDE + width, _ROW)
    bare(axes)
    axes.set(xlim=(0, _ASIDE + width), ylim=(0, _ROW))
    write(axes, 0, 0.5 * _ROW, name, va="center_baseline", color=GREY, fontsize=TINY)
    look = {"va": "center_baseline", "fontsize": _LETTER}
    look["family"] = [*installed_faces(monospaced=True), *installed_faces()]
    if not line:
        write(
            axes,
            _ASIDE,
            0.5 * _ROW,
            "no character",
            va="center_baseline",
            color=GREY,
            fontsize=TINY,
        )
    at = _ASIDE
    for (wrong, steps), some in groupby(line, key=lambda letter: (letter.wrong, letter.steps)):
        letters = [(one.written if name == "text" else one.said) or " " for one in some]
        wide = len(letters) * steps * _STEP
        if wrong:
            axes.add_patch(Rectangle((at, 0.06 * _ROW), wide, 0.88 * _ROW, facecolor=_WRONG))
        # Narrow letters are one text, whose first is none that a renderer may leave out.
        parts = letters if steps > 1 else ["".join(letters)]
        for part in parts:
            shown = part.lstrip()
            write(axes, at + (len(part) - len(shown)) * _STEP, 0.5 * _ROW, shown, **look)
            at += len(part) * steps * _STEP
