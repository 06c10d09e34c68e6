"""Images with what is said of their places: masks of flat colours, and lines of blocks as characters."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("sky", "road", "car")
CHARACTERS = ("blank", "a", "b", "c")
_COLOURS = np.array([(60, 110, 220), (120, 120, 120), (210, 50, 50), (60, 170, 70)], dtype=np.int64)
_HEIGHT, _WIDTH, _BLOCK = 32, 128, 16  # pixels of a line, and of the width of a character
SPLITS = ("train", "val")


def masked_images(root: Path, train: int, val: int) -> None:
    """Write images of 64 to 96 pixels and their masks as CamVid has them: in `train` and `trainannot`."""
    rng = np.random.default_rng(0)
    for split, count in zip(SPLITS, (train, val), strict=True):
        folders = [root / split, root / f"{split}annot"]
        for folder in folders:
            folder.mkdir(parents=True)
        for number in range(count):
            height, width = rng.integers(64, 97, 2).tolist()
            mask = np.zeros((height, width), np.uint8)
            mask[rng.integers(height // 3, height // 2) :] = 1
            left = rng.integers(0, width // 2)
            mask[-height // 3 : -6, left : left + width // 3] = 2
            Image.fromarray(_coloured(mask, rng)).save(folders[0] / f"{number:03}.jpg", quality=95)
            Image.fromarray(mask).save(folders[1] / f"{number:03}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def lines_of_text(root: Path, train: int, val: int) -> None:
    """Write lines of one to three characters, with `labels.txt` beside them, and `charset.txt`."""
    rng = np.random.default_rng(1)
    for split, count in zip(SPLITS, (train, val), strict=True):
        (root / split).mkdir(parents=True)
        rows = []
        for number in range(count):
            said = rng.integers(1, len(CHARACTERS), rng.integers(1, 4))
            line = np.zeros((_HEIGHT, _WIDTH), np.uint8)
            for place, character in enumerate(said.tolist()):
                line[:, (1 + 2 * place) * _BLOCK : (2 + 2 * place) * _BLOCK] = character
            Image.fromarray(_coloured(line, rng)).save(root / split / f"{number:03}.png")
            text = "".join(CHARACTERS[character] for character in said)
            rows.append(f"{number:03}.png\t{text}\n")
        (root / split / "labels.txt").write_text("".join(rows))
    (root / "charset.txt").write_text("\n".join(CHARACTERS) + "\n")


def _coloured(
    numbers: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return pixels, u8 [H, W, 3], of numbers of colours, with some noise."""
    pixels = _COLOURS[numbers] + rng.integers(-25, 26, (*numbers.shape, 1))
    return pixels.clip(0, 255).astype(np.uint8)
