"""A check of `benchmarks/gpu.py`, what it works with, and what it finds."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch

from fkd import TeacherChoice
from fkd.examples.scenes import Scenes, render_dataset
from fkd.machine import resolve_device
from fkd.sources import list_images

from .drawn import lines_of_text, masked_images

ENOUGH_TO_TIME = 40.0  # seconds, for some feeds of a network

Figures = Mapping[str, object]  # numbers, words, or None for what does not apply


@dataclass(frozen=True)
class Finding:
    """A row of a check's table: what was measured, the figures, and whether they are as they should be.

    `ok` is None where nothing is expected.
    """

    what: str
    figures: Figures = field(default_factory=dict)
    ok: bool | None = None


@dataclass(frozen=True)
class Setting:
    """What all checks work with. `ends` is the `time.time()` at which the check under way must stop."""

    folder: Path
    device_name: str
    tiny: bool
    ends: float
    images: Path | None = None
    teacher: TeacherChoice | None = None

    @property
    def left(self) -> float:
        """Seconds that the check may still take."""
        return self.ends - time.time()

    @cached_property
    def device(self) -> torch.device:
        """The device that everything runs on."""
        return resolve_device(self.device_name)

    @property
    def on_cuda(self) -> bool:
        """Whether there is a GPU to speak of; a rehearsal has none."""
        return self.device.type == "cuda"

    def finish(self) -> None:
        """Wait until the device has done all that it was asked."""
        if self.on_cuda:
            torch.cuda.synchronize(self.device)

    def pictures(self) -> Path:
        """Return a folder of small pictures in classes, train and val."""
        return self.made("pictures", rendered(self.small_scenes()))

    def small_scenes(self) -> Scenes:
        """Say what small pictures are."""
        if self.tiny:
            return Scenes(train_per_class=5, val_per_class=1, short_side=(40, 60))
        return Scenes(train_per_class=30, val_per_class=5)

    def photo_scenes(self) -> Scenes:
        """Say what photos are: of ImageNet's usual size, or of next to none."""
        size, aspect = ((60, 60), (1.0, 1.0)) if self.tiny else ((375, 375), (4 / 3, 4 / 3))
        each = 2 if self.tiny else 10
        return Scenes(train_per_class=each, val_per_class=0, short_side=size, aspect=aspect)

    def masked(self) -> Path:
        """Return a folder of images with masks, train and val."""
        few = (6, 3) if self.tiny else (60, 20)
        return self.made("masked", lambda root: masked_images(root, *few))

    def lines(self) -> Path:
        """Return a folder of lines with texts, train and val."""
        few = (8, 3) if self.tiny else (120, 40)
        return self.made("lines", lambda root: lines_of_text(root, *few))

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return a folder that `make` makes, whole; wait where another process is making it."""
        root, making = self.folder / name, self.folder / f"{name}.making"
        while making.exists() and not root.exists():
            time.sleep(0.1)
        if not root.exists():
            aside = self.folder / f"{name}.{os.getpid()}"
            make(aside)
            put_in_place(aside, root)
        return root

    def compiled(self) -> None:
        """Wait until other processes have compiled what is timed, while there is enough time."""
        until = self.ends - ENOUGH_TO_TIME
        while time.time() < until and any(self.folder.glob("*.compiling")):
            time.sleep(0.2)

    def photos(self, count: int) -> Path:
        """Return a folder of `count` photos of ImageNet's usual 500 × 375 pixels; most are links."""
        base = self.made("photos", rendered(self.photo_scenes()))
        root = self.folder / f"photos-{count}"
        if not root.exists():
            listed, aside = (
                list_images(base / "train"),
                self.folder / f"photos-{count}.{os.getpid()}",
            )
            for number in range(count):
                turn, kind = divmod(number, len(listed.classes))  # so that few are of all classes
                each = len(listed) // len(listed.classes)
                path = Path(listed.paths[kind * each + turn % each])
                link = aside / path.parent / f"{number:06}{path.suffix}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(listed.root / path)
            put_in_place(aside, root)
        return root


def put_in_place(made: Path, place: Path) -> None:
    """Rename what is made, unless another process was faster."""
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise


def rendered(scenes: Scenes) -> Callable[[Path], None]:
    """Return what renders pictures into a folder, on all cores."""
    return partial(render_dataset, scenes=scenes, workers=os.cpu_count() or 1)


@dataclass(frozen=True)
class Check:
    """One check: what it looks at, and how many seconds it may take.

    `version` counts up whenever the code that it looks at becomes other code: what a run found of an
    earlier version is shown as such, and counts as missing. One that times nothing may run `beside`
    others.
    """

    phase: str
    what: str
    bound: float
    run: Callable[[Setting], Iterator[Finding]]
    version: int = 1
    beside: bool = False

    @property
    def timed(self) -> bool:
        """Whether its figures are of speed, so that nothing else may run."""
        return self.phase != "right"

    @property
    def explained(self) -> str:
        """Return what the check does, in words."""
        return " ".join((getattr(self.run, "func", self.run).__doc__ or "").split())

    @property
    def name(self) -> str:
        """Return what its findings are filed under."""
        return f"{self.phase}: {self.what}"
