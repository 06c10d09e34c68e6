"""timm: stored labels in the place of its training loader, and a task that learns from them.

    loader = StoredLabelsLoader("labels.zarr", data_config=resolve_data_config({}, model=model))
    task = StoredLabelsTask(model, loader, device=loader.device)
    for images, target in loader:
        task(images, target)["loss"].backward()

Needs timm 1.0.27 or newer, for its tasks have a state of their own since then; tested with 1.0.31. No
private name of timm is used. Legend: B views of a batch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

try:
    from timm.data.mixup import Mixup
    from timm.task import ClassificationTask
except ImportError as error:
    raise ImportError(
        "fkd.integrations.timm needs timm 1.0.27 or newer, which has timm.task; install it with "
        "`pip install --upgrade timm`"
    ) from error

from fkd.amounts import as_count
from fkd.config import LoaderConfig
from fkd.errors import ConfigError
from fkd.feeding import StudentLoader
from fkd.integrations.timm_mixup import check_mixup, mixed
from fkd.labels import SoftLabels
from fkd.losses import DistillationLoss, Mix, Targets
from fkd.machine import seeded


@dataclass(eq=False)
class StoredTarget:
    """What a timm script calls `target`: all that the loss of B views is worked out from.

    `labels` are the soft labels and `targets`, int64 [B], the images' own classes, -1 where they have
    none, or `MixedTargets` where the store's views are mixed. `mix` says which views the loader's own
    `mixup` mixed with which, if it did.
    """

    labels: SoftLabels
    targets: Targets | None = None
    mix: Mix | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "StoredTarget":
        """Return the target on a device."""

        def moved(part: Any) -> Any:
            return part.to(device, non_blocking=non_blocking) if hasattr(part, "to") else part

        mix = None if self.mix is None else Mix(moved(self.mix.partner), moved(self.mix.share))
        return StoredTarget(moved(self.labels), moved(self.targets), mix)


class StoredLabelsLoader:
    """Yields (images, target) from a store, in the place of a timm script's `loader_train`.

    Images are f32 [B, 3, H, W], or of another `dtype`, on the loader's device, normalised, in
    channels-last memory: what a script expects of timm's own loader with its prefetcher on. `target` is a
    `StoredTarget`. One iteration is one epoch, the next takes the next one, and `len` is the steps of
    each. So a script's `updates_per_epoch` and its scheduler need nothing.

    `data_config` is what timm's `resolve_data_config` returns: the views have its `input_size`, and its
    `mean` and `std` normalise them. `settings`, `rank`, `num_ranks` and `augment` are those of
    `fkd.StudentLoader`, and come before it. `batch_size` counts the views of all ranks, where timm's
    counts those of one. The store's interpolation is kept unless another is given, since the teacher saw
    these pixels.

    `mixup` is a `timm.data.Mixup`, in any of its modes. It mixes each batch, with random numbers that
    belong to the step, and the target says with whom and in which shares. Its `label_smoothing` changes
    no soft label. A script turns it off by `loader.mixup_enabled = False`.

    `dataset`, `sampler` and `batch_sampler` are the `StudentLoader` within: a script calls `set_epoch`
    of one of the three. Raises `FkdError` for what it refuses, for a `data_config` of other than 3
    channels, for a `mixup` that cannot be followed, and for one of a store whose views are mixed.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        data_config: Mapping[str, Any] | None = None,
        mixup: Mixup | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        self.dataset = StudentLoader(store, **_of_model(data_config or {}) | settings)
        self.dataset.require_labels()
        self.sampler = self.batch_sampler = self.dataset
        self.mixup, self.dtype = mixup, dtype or torch.float32
        self._seed = settings.get("seed", LoaderConfig.seed)
        if mixup is not None:
            if self.dataset.mixed:
                raise ConfigError(
                    f"mixup: the views of {store} were mixed before they were labelled, and mixed again "
                    "the labels would not be theirs; leave it out"
                )
            check_mixup(mixup, self.dataset.schedule.batch_size // self.dataset.num_ranks)

    @property
    def device(self) -> torch.device:
        """Where its batches are."""
        return self.dataset.device

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the student's outputs."""
        return self.dataset.classes

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return self.dataset.epochs

    @property
    def current_epoch(self) -> int:
        """The number of the epoch that the next step is of, from 0; `epochs` at the end of the run."""
        return self.dataset.current_epoch

    @property
    def step(self) -> int:
        """The number of the next step of the run, from 0."""
        return self.dataset.step

    @property
    def mixup_enabled(self) -> bool:
        """Whether batches are mixed; it may be set where there is a `mixup`."""
        return self.mixup is not None and self.mixup.mixup_enabled

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        if self.mixup is not None:
            self.mixup.mixup_enabled = enabled

    def set_epoch(self, number: int) -> None:
        """Go to the beginning of an epoch, from 0; stay where it stands if that is in this epoch."""
        self.dataset.set_epoch(number)

    def close(self) -> None:
        """End its threads; they begin anew where it is asked for more batches."""
        self.dataset.close()

    def __len__(self) -> int:
        """Return the steps of one epoch."""
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Tensor, StoredTarget]]:
        """Yield the batches from where it stands to the end of that epoch."""
        for batch in self.dataset:
            images, mix = batch.images, None
            assert isinstance(batch.labels, SoftLabels)
            if self.mixup is not None:
                place = (self._seed, self.dataset.step - 1, self.dataset.rank)
                # The key alone, without what it spawns, is that of `augment`.
                with seeded(np.random.SeedSequence(place, spawn_key=(1,))):
                    images, mix = mixed(self.mixup, images)
            yield images.to(self.dtype), StoredTarget(batch.labels, batch.truth, mix)


def _of_model(data_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of timm's data configuration settles the views of a student."""
    settings = {name: data_config[name] for name in ("mean", "std") if name in data_config}
    if "input_size" in data_config:
        channels, height, width = data_config["input_size"]
        if channels != 3:
            raise ConfigError(
                f"the model takes images of {as_count(channels, 'channel')}, stored crops have 3; build "
                "it with in_chans=3"
            )
        settings["size"] = (height, width)
    return settings


class StoredLabelsTask(ClassificationTask):
    """timm's task of classification, with labels from a store in the place of classes.

        task = StoredLabelsTask(model, loader, criterion=DistillationLoss(temperature=2))
        result = task(images, target)
        result["loss"].backward()

    It is called with images and a `StoredTarget`, or `SoftLabels`, and returns timm's {"loss", "output"}.
    `criterion` is a `fkd.losses.DistillationLoss`: soft and hard loss, their weight, the temperature.
    `prepare_distributed`, `compile`, `setup_ema`, `no_sync` and checkpoints are `ClassificationTask`'s;
    autocast is the script's. With a `loader`, a checkpoint has the loader's place in it, and
    `timm.task.resume_task_checkpoint` sends the loader there, into the middle of an epoch too.

    Raises `ConfigError` where the model has not as many outputs as the loader's store has classes and,
    on resume, where the checkpoint is of another run.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: StoredLabelsLoader | None = None,
        *,
        criterion: DistillationLoss | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
    ) -> None:
        loss = StoredLabelsLoss(criterion or DistillationLoss())
        super().__init__(model, loss, device=device, dtype=dtype, verbose=verbose)
        self.loader = loader
        if loader is not None:
            _check_outputs(model, len(loader.classes))

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Any]:
        """Return where the loader stands, for a checkpoint; nothing for that of the EMA."""
        return {} if self.loader is None or ema else {"loader": self.loader.dataset.state_dict()}

    def load_task_state(
        self,
        state: Mapping[str, Any] | None,
        strict: bool = True,
        module: nn.Module | None = None,
        ema: bool = False,
    ) -> None:
        """Send the loader to where it stood; a checkpoint of another task leaves it where it is."""
        if self.loader is not None and state is not None and "loader" in state:
            self.loader.dataset.load_state_dict(state["loader"])


class StoredLabelsLoss(nn.Module):
    """A criterion in timm's form, (output, target): `DistillationLoss` of a `StoredTarget`."""

    def __init__(self, criterion: DistillationLoss) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, output: Tensor, target: StoredTarget | SoftLabels) -> Tensor:
        """Return the loss of logits [B, C]."""
        if isinstance(target, SoftLabels):
            target = StoredTarget(target)
        loss: Tensor = self.criterion(output, target.labels, target.targets, target.mix)
        return loss


def _check_outputs(model: nn.Module, num_classes: int) -> None:
    outputs = getattr(model, "num_classes", num_classes)
    if outputs != num_classes:
        raise ConfigError(
            f"the model has {as_count(outputs, 'output')}, the store {as_count(num_classes, 'class')}; "
            f"build it with num_classes={num_classes}"
        )
