"""What a training run may choose, and how it is made of a recipe: what the user says comes before that.

Sources of the recipes that fkd comes with, and the reasons for each number, are in docs/recipes.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from fkd.config.checks import MAX_BATCH, check_choice, check_count, check_range
from fkd.config.distances import TRUTH
from fkd.config.groups import Augment, Optim
from fkd.config.loader import USUAL_READING, HottestLabel, LoaderConfig
from fkd.config.models import Engine
from fkd.config.objective import Objective
from fkd.config.settled import Applied, blamed, check_layers, settle_layers, settled_text
from fkd.config.sizes import ViewSizes
from fkd.config.students import (
    MUTUAL,
    StudentChoice,
    as_students,
    check_init,
    check_names,
    students_of,
)
from fkd.config.terms import Weighed
from fkd.config.types import fit
from fkd.config.views import MIN_CROP_SHARE
from fkd.errors import ConfigError
from fkd.recipes import Layer, recipe_layers

NO_VAL: Literal["none"] = "none"
BN_STATS = ("auto", "running", "estimate")
BnStats = Literal["auto", "running", "estimate"]
NO_LOG: Literal["none"] = "none"
LOGS = ("tensorboard", "wandb", "mlflow", NO_LOG)

# Where things are, and who does the work.
_OF_MACHINE = {"store", "images", "val", "workers", "device", "render", "log", "save_every"}


@dataclass(frozen=True)
class TrainConfig(LoaderConfig):
    """One training run: `fkd train`. What is read is a `LoaderConfig`, and this is how to learn from it.

    `student` is one, or several that see the same views and learn from each other; the first decides what
    is best. `micro_batch` views go through it at a time and their gradients are added up; None chooses by
    the device. `init` is "default" (the library's own pretrained weights) or a file: a state dict, or a
    checkpoint that holds one, of which `init_ema` takes the moving average; None and "none" start from
    random weights. `val` is the folder to evaluate on, "none" for no evaluation; None takes `val` beside
    `train`, as far as its classes are known. `ema` is the decay of a moving average of the weights, which
    then decides what is best. `bn_stats` says with which statistics of batch norm a student is evaluated
    and kept as the best: its "running" ones, an "estimate" from training views, or with "auto" an
    estimate while initial values are more than 1 % of the running ones.
    `eval_size` is the size that a student is evaluated at, None for the last that it is trained at, and
    `eval_crop` the share of a resized image's shorter side that is evaluated (timm's `crop_pct`): None is
    1 for views of up to 64 px, and 224 / 256 above.
    `eval_every` and `eval_last` are epochs: the last ones are evaluated singly. `save_every` is minutes.
    `log` names the trackers that get the metrics too: "tensorboard", "wandb", "mlflow", or "none"; None
    is TensorBoard where it is installed. `seed` is of the weights too.

    `TrainConfig.from_recipe("fkd-vit", student="timm:deit_tiny_patch16_224", lr=1e-3)` builds one from a
    preset and settings by name, whichever group they belong to. `recipe` says which one that was; given
    to the class itself it would change nothing, so that is refused.
    """

    val: Path | Literal["none"] | None = None
    out: Path | None = None
    resume: bool = False
    recipe: str = "fkd"
    student: str | tuple[StudentChoice, ...] = "resnet50"
    init: str | None = None
    init_ema: bool = False
    micro_batch: int | None = None
    optim: Optim = Optim()
    objective: Objective = Objective()
    augment: Augment = Augment()
    engine: Engine = Engine()
    ema: float | None = None
    sync_bn: bool = False
    bn_stats: BnStats = "auto"
    eval_size: ViewSizes | None = None
    eval_crop: float | None = None
    eval_every: float | None = None
    eval_last: float = 0
    save_every: float = 15
    log: tuple[str, ...] | None = None

    groups: ClassVar[Mapping[str, Any]] = {
        **LoaderConfig.groups,
        "optim": Optim,
        "objective": Objective,
        "augment": Augment,
        "engine": Engine,
    }
    what: ClassVar[str] = "a training run"

    def __post_init__(self) -> None:
        object.__setattr__(self, "student", as_students(self.student))
        super().__post_init__()
        if str(self.val) == NO_VAL:
            object.__setattr__(self, "val", NO_VAL)
        self._settle_log()
        self._check_terms()
        check_choice("--bn-stats", self.bn_stats, BN_STATS)
        if self.recipe != type(self).recipe and not isinstance(self.recipe, Applied):
            raise ConfigError(
                f"recipe {self.recipe!r} is not applied by TrainConfig(recipe=…); build the "
                f"configuration with TrainConfig.from_recipe({self.recipe!r}, …)"
            )
        check_range("--warmup-epochs", self.optim.warmup_epochs, 0, self.epochs)
        check_range("--eval-last", self.eval_last, 0, 1e6)
        check_range("--save-every", self.save_every, 0, 1e6)
        if self.init_ema and self.init in (None, "none", "default"):
            raise ConfigError("--init-ema needs --init FILE, whose moving average it takes")
        if self.micro_batch is not None:
            check_count("--micro-batch", self.micro_batch, 1, MAX_BATCH)
        if self.ema is not None:
            check_range("--ema", self.ema, 0, 0.999999)
        if self.eval_size is not None:
            self.eval_size.check("--eval-size")
        if self.eval_crop is not None:
            check_range("--eval-crop", self.eval_crop, MIN_CROP_SHARE, 1)
        if self.eval_every is not None:
            check_range("--eval-every", self.eval_every, 1e-6, 1e6)
        check_init(self.student, self.init)
        if isinstance(self.objective.loss, tuple):
            check_names(self.objective.loss, self.students)

    def _check_terms(self) -> None:
        if isinstance(self.objective.loss, tuple) and self.label_temperature != 1:
            raise ConfigError(
                "--label-temperature says more of --loss ce and --loss kl, and the loss is given in "
                "terms; say it in a term, as temperature or label_temperature, and leave the option out"
            )

    @property
    def students(self) -> tuple[StudentChoice, ...]:
        """All students with their names; one that says nothing of `init` begins as the run's says."""
        return students_of(self.student, self.init, self.init_ema)

    @property
    def tells_parts(self) -> bool:
        """Whether metrics have the loss of each student and term, too."""
        return isinstance(self.objective.loss, tuple) or not self._is_alone

    @property
    def _is_alone(self) -> bool:
        return isinstance(self.student, str) or len(self.student) == 1

    def _settle_log(self) -> None:
        if self.log is None:
            return
        for name in self.log:
            check_choice("--log", name, LOGS)
        if NO_LOG in self.log and len(set(self.log)) > 1:
            raise ConfigError("--log none stands alone; leave it out, or the others")
        object.__setattr__(self, "log", tuple(dict.fromkeys(self.log)) or (NO_LOG,))

    def terms_at(self, done: float) -> tuple[Weighed, ...]:
        """Return the terms that weigh something when `done` (0 to 1) of the run is over.

        Where the loss is not given in terms, several students learn from each other by KL, too, as in
        Deep Mutual Learning (Zhang et al., CVPR 2018).
        """
        terms = self.objective.terms_at(done, self.label_temperature)
        said = isinstance(self.objective.loss, tuple)
        return terms if said or self._is_alone else (*terms, MUTUAL.at(done))

    @property
    def looks_at_truth(self) -> bool:
        """Whether a part of the loss, at some moment of the run, is to what images themselves say."""
        ends = (*self.terms_at(0), *self.terms_at(1))
        return any(each.term.to == TRUTH or each.term.by == "nkd" for each in ends)

    @property
    def label_temperatures(self) -> tuple[float, ...]:
        """The temperatures at which stored labels are read, at the run's start and end."""
        if not isinstance(self.objective.loss, tuple):
            return super().label_temperatures
        return tuple(sorted({t for term in self.objective.loss for t in term.reads}))

    @property
    def hottest_label(self) -> HottestLabel:
        """The highest temperature that stored labels are brought to."""
        if not isinstance(self.objective.loss, tuple):
            return super().hottest_label
        return max(
            HottestLabel(term.hottest, f"--loss {term}", term.by != "wttm")
            for term in self.objective.loss
        )

    @classmethod
    def from_recipe(cls, recipe: str | PathLike[str], **settings: Any) -> Self:
        """Build a configuration from a recipe; `settings`, by their names, come before what it says.

        `recipe` is the name of one that fkd comes with, a .toml file, or the folder of a run. A recipe's
        own warm-up takes at most a quarter of epochs in `settings`; one that is given is as it is.
        Raises `ConfigError` for an unknown recipe, setting or value.
        """
        name = fit("--recipe", recipe, str)
        return cls.of_layers(name, [*recipe_layers(name), Layer("given", settings)])

    @classmethod
    def of_layers(cls, recipe: str, layers: Sequence[Layer]) -> Self:
        """Build a configuration of settings from several places, of which the last one counts.

        `recipe` is what the configuration is said to be from. Raises `ConfigError`; where a file of a
        recipe is to blame, it names the file.
        """
        check_layers(layers, cls.names(), cls.groups)
        try:
            return cls._of_layers(recipe, layers)
        except ConfigError as error:
            raise ConfigError(blamed(error, layers, partial(cls._of_layers, recipe))) from error

    @classmethod
    def _of_layers(cls, recipe: str, layers: Sequence[Layer]) -> Self:
        settled, applied = settle_layers(layers, cls.names()), Applied(recipe)
        config = cls.of(**{**settled.values, "recipe": applied})
        plain = config.settings()
        applied.origins = {name: (plain[name], told) for name, told in settled.sources.items()}
        return config

    def source_of(self, name: str) -> str:
        """Return the recipe that a setting is from, "" where it is the user's, or as by default."""
        told = (
            self.recipe.origins.get(name, (None, ""))[1] if isinstance(self.recipe, Applied) else ""
        )
        return told if told.startswith("recipe ") or told.endswith(".toml") else ""

    def recipe_text(self, *, machine: bool = True) -> str:
        """Return the settings as a TOML file that `--recipe` reads, each with its source.

        Without `machine` it leaves out where things are and who does the work, as what is published does.
        What is of one run, `out` and `resume`, is no part of a recipe.
        """
        left_out = set() if machine else set(_OF_MACHINE)
        if not machine and "num_crops" not in getattr(self.recipe, "origins", {}):
            left_out.add("num_crops")  # the store's own, which the run notes where nobody said it
        usual = type(self)().settings() | {"scheme": str(USUAL_READING)}
        return settled_text(self.recipe, self.settings(), usual, left_out)

    def settings(self) -> dict[str, Any]:
        """Return all settings by name as plain JSON values, groups unfolded."""
        flat = super().settings()
        flat["eval_size"] = None if self.eval_size is None else str(self.eval_size)
        if not isinstance(self.student, str):
            flat["student"] = [choice.table() for choice in self.student]
        if isinstance(self.objective.loss, tuple):
            flat["loss"] = [term.table() for term in self.objective.loss]
        return {name: str(v) if isinstance(v, Applied) else v for name, v in flat.items()}


# Below so many images the defaults, which are for ImageNet, are odd: `--recipe small` is meant for these.
FEW_IMAGES = 10_000
