"""Lines of a few glyphs as images with labels.txt, and a teacher that reads them."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from fkd import LabelConfig, Scheme, TeacherChoice, ViewPolicy

CHARACTERS = ("blank", "a", "b", " ", "é")
COLOURS = ((250, 250, 250), (220, 40, 40), (40, 60, 220), (40, 180, 60), (120, 120, 120))
LINE_TEACHER = TeacherChoice("helpers.lines:teacher", size=(16, 64), mean=(0, 0, 0), std=(1, 1, 1))
PROBS_TEACHER = TeacherChoice(
    "helpers.lines:probs_teacher", size=(16, 64), mean=(0, 0, 0), std=(1, 1, 1), output="probs"
)
VIEWS = ViewPolicy(scale=(0.9, 1), ratio=(0.9, 1.1), flip=False, fit="pad")
STUDENT, SHORT = "helpers.lines:student", "helpers.lines:short"


def make_line_folder(root, train=10, val=4, seed=0):
    """Write root/train and root/val with labels.txt, and root/charset.txt; return root.

    A character is a block of its colour, 8 pixels wide, between white ones, of lines 16 pixels high.
    """
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        (root / split).mkdir(parents=True, exist_ok=True)
        lines = []
        for number in range(count):
            text = "".join(rng.choice(CHARACTERS[1:], int(rng.integers(1, 4))))
            draw_line(text).save(root / split / f"{number:03}.png")
            lines.append(f"{number:03}.png\t{text}\n")
        (root / split / "labels.txt").write_text("".join(lines), "utf-8")
    (root / "charset.txt").write_text("\n".join(CHARACTERS) + "\n", "utf-8")
    return root


def draw_line(text, width=64):
    pixels = np.full((16, width, 3), COLOURS[0], np.uint8)
    for place, character in enumerate(text):
        pixels[:, 8 + 16 * place : 16 + 16 * place] = COLOURS[CHARACTERS.index(character)]
    return Image.fromarray(pixels)


def line_config(images, out, **changes):
    """Return a small labelling configuration: a teacher of 16 frames of views of 16 x 64, 2 crops."""
    settings = {
        "teacher": LINE_TEACHER, "num_crops": 2, "scheme": Scheme("topk", 2), "views": VIEWS,
        "batch_size": 16, "workers": 2, "device": "cpu",
    }  # fmt: skip
    return LabelConfig(images=images, out=out, **(settings | changes))


class _Reader(nn.Module):
    """Says of every fourth column which character's colour it has; grey of padding counts as blank."""

    def __init__(self, probs=False):
        super().__init__()
        self.register_buffer("colours", torch.tensor([*COLOURS, (127, 127, 127)]) / 255)
        self.probs = probs

    def forward(self, pixels):
        columns = nn.functional.avg_pool2d(pixels, (pixels.shape[2], 4)).squeeze(2).transpose(1, 2)
        logits = -60 * (columns[:, :, None] - self.colours).square().sum(dim=3)
        blank = torch.maximum(logits[..., :1], logits[..., 5:])
        logits = torch.cat([blank, logits[..., 1:5]], dim=2)
        return logits.softmax(dim=2) if self.probs else logits


def teacher():
    """Make a teacher whose logits are [B, T, C]."""
    return _Reader().eval()


def probs_teacher():
    """Make one that says probabilities."""
    return _Reader(probs=True).eval()


class _Student(nn.Module):
    def __init__(self, classes, stride):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 24, stride, stride), nn.ReLU())
        self.head = nn.Linear(24, classes)

    def forward(self, pixels):
        return self.head(self.backbone(pixels).mean(dim=2).transpose(1, 2))


def student(classes):
    """Make a student of 16 frames of 64 pixels."""
    return _Student(classes, 4)


def short(classes):
    """Make one of 8 frames."""
    return _Student(classes, 8)
