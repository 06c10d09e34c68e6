"""What other programs must know of an exported student, as JSON: in its file or beside it."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from fkd.config import NetworkInput, as_size, sides_of
from fkd.errors import ConfigError
from fkd.students.student import StudentCard
from fkd.views import PADDING, resized_side

# Where a program has it: a file in an exported program, a property of an ONNX file.
EXPORT_KEY, EXPORT_PROPERTY = "fkd.json", "fkd"


@dataclass(frozen=True)
class Sidecar:
    """A student's card, and how many features it returns where its outputs are no classes.

    That is without its head, and where it has learned no classes. Otherwise `features` is None. A
    `program` is what it is in, rather than beside its weights.
    """

    card: StudentCard
    features: int | None = None
    program: bool = False

    def as_run(self) -> "Sidecar":
        """Return what a program has: its input is of the size that it was exported at, and no other."""
        seen = replace(self.card.preprocessing, size=self.card.center_view.size)
        return replace(self, card=replace(self.card, preprocessing=seen), program=True)

    def text(self, **more: str) -> str:
        """Return it as JSON.

        `input` says what is taken: pixels in [0, 1], which a program normalises by `mean` and `std`
        itself ("inside"), and which are normalised for the network of a state dict ("before"). A
        program's `shape` is fixed but for the batch. Of `evaluation`, `resize` is the side that an
        image's shorter side is resized to; where views are not square, both sides that it must cover. A
        padded image is resized until it just fits into `pad`, stands at the upper left, and what is
        around it is `grey`. `maps` is there where logits are of each pixel, and `lines` where they are of
        each frame of a line, whose blank is the first class.
        """
        card, view = self.card, self.card.center_view
        resized = as_size(*(resized_side(side, view.crop) for side in sides_of(view.size)))
        evaluation: dict[str, Any] = {
            "resize": resized,
            "center_crop": view.size,
            "crop_pct": view.crop,
        }
        if view.fit == "pad":
            evaluation = {"pad": view.size, "grey": PADDING}
        outputs: dict[str, Any] = {"classes": card.classes, "titles": card.titles}
        if self.features is not None:
            outputs = {"features": self.features}
        pixels: dict[str, Any] = {
            "range": [0, 1],
            "normalized": "inside" if self.program else "before",
        }
        if self.program:
            pixels = {"shape": ["batch", 3, *sides_of(card.preprocessing.size)], **pixels}
        content = {
            "name": card.name,
            "input": pixels,
            "preprocessing": asdict(card.preprocessing),
            "evaluation": evaluation,
            **({"maps": True} if card.maps else {}),
            **({"lines": True} if card.lines else {}),
            **{name: value for name, value in outputs.items() if value is not None},
            **more,
        }
        return json.dumps(content)


def read_sidecar(text: str) -> Sidecar | None:
    """Read what `Sidecar.text` returned; anything else says nothing of a student."""
    try:
        content = json.loads(text)
        preprocessing, features = NetworkInput(**content["preprocessing"]), content.get("features")
        classes = () if features is not None else tuple(map(str, content["classes"]))
        maps, lines = (content.get(kind) is True for kind in ("maps", "lines"))
        card = StudentCard(str(content["name"]), classes, preprocessing, maps=maps, lines=lines)
        return Sidecar(card, None if features is None else int(features))
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError):
        return None
