"""What a training run may choose, and the recipes of the field as presets of it.

A preset is a handful of settings; what the user says comes before them. Sources and the reasons for each
number are in docs/recipes.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fkd.config.checks import (
    MAX_BATCH,
    MAX_CROPS,
    MAX_SEED,
    MAX_WORKERS,
    as_paths,
    check_choice,
    check_count,
    check_range,
)
from fkd.config.groups import Augment, Objective, Optim, Selection
from fkd.config.models import IMAGENET_MEAN, IMAGENET_STD, Engine, Preprocessing, Triple
from fkd.config.scheme import Scheme
from fkd.config.views import RENDERS, Render
from fkd.errors import ConfigError

MAX_STAGGER = 1000


class _Applied(str):
    """The name of a recipe whose settings are in the configuration that it stands in."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run: `fkd train`. `batch_size` counts views, `crops_per_image` is m.

    The m crops of an image go to batches that are `stagger` steps apart, 0 for all in one batch as in the
    paper; None is 16 / m, at least 1. So (m - 1) · stagger batches wait in memory, of the device where
    that renders.
    `micro_batch` views go through the student at a time and their gradients are added up; None chooses
    by the device. `init` is "default" (the library's own pretrained weights) or a state-dict file; None
    and "none" start from random weights. `ema` is the decay of a moving average of the weights.
    `eval_every` and `eval_last` are epochs: the last ones are evaluated singly. `save_every` is minutes.

    `TrainConfig.from_recipe("fkd-vit", student="timm:deit_tiny_patch16_224", lr=1e-3)` builds one from a
    preset and settings by name, whichever group they belong to. `recipe` says which one that was; given
    to the class itself it would change nothing, so that is refused.
    """

    store: Path = Path("labels.zarr")
    images: Path | None = None
    val: Path | None = None
    out: Path | None = None
    resume: bool = False
    recipe: str = "fkd"
    student: str = "resnet50"
    init: str | None = None
    crops_per_image: int = 4
    stagger: int | None = None
    scheme: Scheme = Scheme("topk", 5)
    label_temperature: float = 1.0
    epochs: float = 300
    batch_size: int = 1024
    micro_batch: int | None = None
    optim: Optim = Optim()
    objective: Objective = Objective()
    augment: Augment = Augment()
    selection: Selection = Selection()
    engine: Engine = Engine()
    ema: float | None = None
    sync_bn: bool = False
    eval_every: float | None = None
    eval_last: float = 0
    save_every: float = 15
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    render: Render = "auto"

    def __post_init__(self) -> None:
        as_paths(self, "store", "images", "val", "out")
        check_choice("--recipe", self.recipe, tuple(RECIPES))
        if RECIPES[self.recipe] and not isinstance(self.recipe, _Applied):
            raise ConfigError(
                f"recipe {self.recipe!r} is not applied by TrainConfig(recipe=…); build the "
                f"configuration with TrainConfig.from_recipe({self.recipe!r}, …)"
            )
        Preprocessing(mean=self.mean, std=self.std)
        check_count("--crops-per-image", self.crops_per_image, 1, MAX_CROPS)
        if self.stagger is not None:
            check_count("--stagger", self.stagger, 0, MAX_STAGGER)
        check_range("--label-temperature", self.label_temperature, 1e-3, 1e3)
        check_range("--epochs", self.epochs, 1e-6, 1e6)
        check_count("--batch-size", self.batch_size, 1, MAX_BATCH)
        check_range("--warmup-epochs", self.optim.warmup_epochs, 0, self.epochs)
        check_count("--seed", self.seed, 0, MAX_SEED)
        check_count("--workers", self.workers, 1, MAX_WORKERS)
        check_range("--eval-last", self.eval_last, 0, 1e6)
        check_range("--save-every", self.save_every, 0, 1e6)
        check_choice("--render", self.render, RENDERS)
        if self.micro_batch is not None:
            check_count("--micro-batch", self.micro_batch, 1, MAX_BATCH)
        if self.ema is not None:
            check_range("--ema", self.ema, 0, 0.999999)
        if self.eval_every is not None:
            check_range("--eval-every", self.eval_every, 1e-6, 1e6)

    @property
    def steps_apart(self) -> int:
        """Steps between the batches that get the m crops of an image, as far as the run is that long."""
        return max(1, 16 // self.crops_per_image) if self.stagger is None else self.stagger

    @classmethod
    def from_recipe(cls, recipe: str, **settings: Any) -> "TrainConfig":
        """Build a configuration from a preset; `settings` by their names here or in a group.

        Raises `ConfigError` for an unknown recipe, setting or value.
        """
        check_choice("--recipe", recipe, tuple(RECIPES))
        chosen = {**RECIPES[recipe], **settings}
        given = [name for name in _GROUPS if name in chosen]
        if given:
            raise ConfigError(f"{given[0]} is a group; give its settings by their own names")
        groups: dict[str, Any] = {}
        for name, group in _GROUPS.items():
            names = [f.name for f in fields(group) if f.name in chosen]
            groups[name] = group(**{key: chosen.pop(key) for key in names})
        unknown = set(chosen) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(f"{', '.join(sorted(unknown))} is no setting of a training run")
        return cls(**chosen, **groups, recipe=_Applied(recipe))

    def settings(self) -> dict[str, Any]:
        """Return all settings by name as plain JSON values, groups unfolded."""
        flat: dict[str, Any] = {}
        for name, value in asdict(self).items():
            flat |= value if name in _GROUPS else {name: value}
        flat["scheme"] = str(self.scheme)
        return {k: str(v) if isinstance(v, (Path, _Applied)) else v for k, v in flat.items()}


_GROUPS: Mapping[str, Any] = {
    "optim": Optim,
    "objective": Objective,
    "augment": Augment,
    "selection": Selection,
    "engine": Engine,
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "fkd": {},
    "fkd-warmup": {"warmup_epochs": 5.0, "color_jitter": 0.4},
    "fkd-vit": {
        "optimizer": "adamw",
        "lr": 2e-3,
        "min_lr": 1e-5,
        "warmup_epochs": 5.0,
        "weight_decay": 0.05,
        "decay_norms": False,
    },
    "meal-v2": {
        "init": "default",
        "lr": 0.02,
        "lr_schedule": "constant",
        "weight_decay": 0.0,
        "epochs": 100.0,
        "loss": "kl",
    },
    "function-matching": {
        "optimizer": "adamw",
        "lr": 7.5e-3,
        "warmup_epochs": 16.0,
        "weight_decay": 0.01,
        "clip_grad": 1.0,
        "epochs": 1200.0,
        "batch_size": 4096,
        "loss": "kl",
    },
}
