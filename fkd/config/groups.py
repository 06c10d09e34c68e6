"""The groups of settings that a training run has; labelling has the images of a part, too."""

import re
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from fkd.config.checks import check_choice, check_count, check_range
from fkd.config.types import settle
from fkd.errors import ConfigError

OPTIMIZERS = ("sgd", "adamw", "adam")
LR_SCHEDULES = ("cosine", "constant")
MAX_SURE_EVERY = 1000

_SHARE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?%?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Optim:
    """The optimizer, its learning rate over time, and what holds the weights back.

    `lr` is the rate at 1024 views a step and is scaled linearly with the batch (Goyal et al. 2017);
    `min_lr` is where the cosine ends, as it is. `momentum` is Adam's first beta too. `decay_norms` says
    whether biases and the weights of norms decay as well. `clip_grad` bounds the gradient's norm; 0 and
    None do not.
    """

    optimizer: Literal["sgd", "adamw", "adam"] = "sgd"
    lr: float = 0.1
    min_lr: float = 0.0
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_norms: bool = True
    clip_grad: float | None = None

    def __post_init__(self) -> None:
        settle(self)
        check_choice("--optimizer", self.optimizer, OPTIMIZERS)
        check_choice("--lr-schedule", self.lr_schedule, LR_SCHEDULES)
        check_range("--lr", self.lr, 0, 1e3)
        check_range("--min-lr", self.min_lr, 0, 1e3)
        check_range("--warmup-epochs", self.warmup_epochs, 0, 1e6)
        check_range("--momentum", self.momentum, 0, 0.9999)
        check_range("--weight-decay", self.weight_decay, 0, 10)
        if self.clip_grad is not None:
            check_range("--clip-grad", self.clip_grad, 0, 1e9)


@dataclass(frozen=True)
class Augment:
    """What is done to a batch of views on the device.

    `mixup` and `cutmix` are the alphas of their beta distributions, 0 for never; with both, each step
    takes one of them. Labels are mixed in the same shares. `color_jitter` is the strength s: brightness,
    contrast and saturation of each view are multiplied by factors from [1 - s, 1 + s].
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        check_range("--mixup", self.mixup, 0, 100)
        check_range("--cutmix", self.cutmix, 0, 100)
        check_range("--color-jitter", self.color_jitter, 0, 1)


@dataclass(frozen=True)
class Selection:
    """Which stored crops a run takes, by what the store says of the teacher; by default all of them.

    A crop's confidence is the largest probability of its label, its entropy is in nats. Crops below
    `min_confidence` or above `max_entropy` are never taken. `calibrate` does two things more, an idea of
    FerKD (Shen, ICCV 2023): of the crops whose confidence is above `sure_above` each is taken in one of
    `sure_every` rounds through the stored crops, and those below `unsure_below` are trained on with the
    folder's class, which gets 1 - `unsure_smoothing`; the other classes share the rest.
    """

    min_confidence: float = 0.0
    max_entropy: float | None = None
    calibrate: bool = False
    sure_above: float = 0.95
    sure_every: int = 4
    unsure_below: float = 0.15
    unsure_smoothing: float = 0.1

    def __post_init__(self) -> None:
        settle(self)
        check_range("--min-confidence", self.min_confidence, 0, 1)
        if self.max_entropy is not None:
            check_range("--max-entropy", self.max_entropy, 0, 100)
        check_range("--sure-above", self.sure_above, 0, 1)
        check_count("--sure-every", self.sure_every, 1, MAX_SURE_EVERY)
        check_range("--unsure-below", self.unsure_below, 0, 1)
        check_range("--unsure-smoothing", self.unsure_smoothing, 0, 1)
        if self.unsure_below > self.sure_above:
            raise ConfigError(
                f"--unsure-below {self.unsure_below:g} is more than --sure-above {self.sure_above:g}; a "
                "crop would be both"
            )
        if not self.calibrate:
            self._refuse_what_does_nothing()

    def _refuse_what_does_nothing(self) -> None:
        for setting in fields(self):
            of_calibration = setting.name.startswith(("sure_", "unsure_"))
            if of_calibration and getattr(self, setting.name) != setting.default:
                flag = f"--{setting.name.replace('_', '-')}"
                raise ConfigError(f"{flag} does nothing without --calibrate; add --calibrate")

    @property
    def takes_all(self) -> bool:
        """Whether every crop is taken with the label that is stored."""
        return not (self.min_confidence > 0 or self.max_entropy is not None or self.calibrate)


@dataclass(frozen=True)
class Part:
    """A part of the images; by default all of them.

    `subset` is a share ("0.1", "10%", or a number), of each class where images have classes, or a file
    with one image a line. `classes` is a file with one class name a line. With both, an image must be
    in both.
    """

    subset: str | None = None
    classes: Path | None = None

    def __post_init__(self) -> None:
        given: Any = self.subset
        if type(given) is not bool and isinstance(given, Real):  # in Python a share may be a number
            object.__setattr__(self, "subset", repr(float(given)))
        settle(self)
        if self.share is not None and not 0 < self.share <= 1:
            raise ConfigError(
                f"--subset {self.subset} is no share of the images: a share is above 0 and at most 1, as "
                "0.1 or 10%; some images are named by a file with one a line"
            )

    @property
    def takes_all(self) -> bool:
        """Whether every image is taken."""
        return self.subset is None and self.classes is None

    @property
    def share(self) -> float | None:
        """The share of the images, in (0, 1], where that is what `subset` is."""
        if self.subset is None or not _SHARE.fullmatch(self.subset):
            return None
        number = float(self.subset.removesuffix("%"))
        return number / 100 if self.subset.endswith("%") else number

    @property
    def listed(self) -> Path | None:
        """The file that lists the images, where that is what `subset` is."""
        return None if self.subset is None or self.share is not None else Path(self.subset)

    def __str__(self) -> str:
        flags = [] if self.subset is None else [f"--subset {self.subset}"]
        return " ".join(flags + ([] if self.classes is None else [f"--classes {self.classes}"]))
