"""What `transformers.Trainer` takes of a `StudentLoader`: its epochs, and where it stands in them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, TrainerControl, TrainerState

from fkd.amounts import as_count
from fkd.errors import ConfigError
from fkd.feeding import StudentLoader
from fkd.progress import note_once


class LoaderEpochs(IterableDataset[dict[str, Any] | None]):
    """A loader's batches on a device, as `Trainer` takes them: a dataloader that is its own dataset.

    A batch has `pixel_values`, f32 [B, 3, H, W], `labels`, which are `SoftLabels`, and `targets`, int64
    [B], or `MixedTargets` where the store's views are mixed. `Trainer` goes on in the middle of an epoch
    by taking the epoch from its first batch and dropping what was trained on. The loader stands behind
    that already, so what will be dropped is None.
    """

    # accelerate's `skip_first_batches` reads these of any dataloader, and builds one with no processes.
    batch_size = None
    drop_last = False
    prefetch_factor = None

    def __init__(self, loader: StudentLoader, device: torch.device) -> None:
        self.loader, self.device = loader, device

    @property
    def dataset(self) -> "LoaderEpochs":
        """Itself: what `skip_first_batches` iterates over."""
        return self

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        return len(self.loader)

    def set_epoch(self, number: int) -> None:
        """Go to the beginning of an epoch, from 0, or stay in it."""
        self.loader.set_epoch(number)

    def __iter__(self) -> Iterator[dict[str, Any] | None]:
        """Yield None for each step of this epoch that was taken, then the batches of the others."""
        yield from [None] * (self.loader.step % len(self.loader))
        for batch in self.loader:
            there = batch.to(self.device, non_blocking=True)
            yield {
                "pixel_values": there.images,
                "labels": there.labels,
                "targets": there.truth,
            }


class LoaderPlace(TrainerCallback, ExportableState):  # type: ignore[misc]  # of no types here
    """Keeps where the loader stands in each checkpoint's `trainer_state.json`, and finds it there."""

    def __init__(self) -> None:
        self.loader: StudentLoader | None = None
        self.place: Mapping[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this callback."""
        place = None if self.loader is None else self.loader.state_dict()
        return {"args": {}, "attributes": {"place": place}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Send the loader to the step that the run begins with."""
        loader: StudentLoader = kwargs["train_dataloader"].loader
        self.loader = loader
        _require_length(args, state, loader)
        if state.global_step == 0:
            loader.load_state_dict(loader.state_dict() | {"step": 0})
            return
        kept = state.stateful_callbacks.get(type(self).__name__, {})
        place = kept.get("attributes", {}).get("place")
        if place is None:
            raise ConfigError(
                "the checkpoint is not of a training on a StudentLoader, for it does not say where one "
                "stood; begin anew with its weights: give the model from_pretrained(CHECKPOINT)"
            )
        loader.load_state_dict(place)
        taken = _steps_of(state.global_step, args, loader)
        if loader.step != taken:
            raise ConfigError(
                f"the checkpoint was made after {as_count(loader.step, 'batch')} of the loader, and with "
                f"gradient_accumulation_steps={args.gradient_accumulation_steps} its "
                f"{as_count(state.global_step, 'update')} are {taken:,}; resume with the same settings"
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the loader's threads."""
        if self.loader is not None:
            self.loader.close()


def require_fit(args: TrainingArguments, loader: StudentLoader) -> None:
    """Raise `ConfigError` for arguments that contradict a loader, or mean nothing with one."""
    if (loader.rank, loader.num_ranks) != (args.process_index, args.world_size):
        raise ConfigError(
            f"the loader is of process {loader.rank} of {loader.num_ranks}, the Trainer is process "
            f"{args.process_index} of {args.world_size}; build the loader after TrainingArguments, "
            "without rank and num_ranks"
        )
    views = args.train_batch_size * args.world_size
    if views != loader.schedule.batch_size:
        raise ConfigError(
            f"the loader has {as_count(loader.schedule.batch_size, 'view')} a batch, all processes "
            f"together, and per_device_train_batch_size makes that {views:,}; give the loader "
            "batch_size=args.train_batch_size * args.world_size"
        )
    for name, why in _MEANINGLESS.items():
        if getattr(args, name):
            raise ConfigError(
                f"{name}={getattr(args, name)} does not go with a StudentLoader: {why}"
            )


_MEANINGLESS = {
    "auto_find_batch_size": "its batches are planned before the run; give a per_device_train_batch_size",
    "ignore_data_skip": "what was trained on is skipped without being decoded; leave it out",
    "label_smoothing_factor": "its labels are soft; smooth the class by DistillationLoss",
}


def _require_length(args: TrainingArguments, state: TrainerState, loader: StudentLoader) -> None:
    """Raise `ConfigError` for a run that is longer than the loader's; say if it is shorter."""
    steps = _steps_of(state.max_steps, args, loader)
    if steps > loader.total_steps:
        raise ConfigError(
            f"the Trainer takes {as_count(steps, 'batch')}, the loader has {loader.total_steps:,}; plan "
            f"it for epochs={-(-steps // len(loader))}"
        )
    if steps < loader.total_steps:
        note_once(
            f"warning: the Trainer takes {steps:,} of the {as_count(loader.total_steps, 'batch')} that "
            "the loader was planned for; num_train_epochs or max_steps may be meant to be more"
        )


def _steps_of(updates: int, args: TrainingArguments, loader: StudentLoader) -> int:
    """Return the batches of so many updates; the last update of an epoch may be of fewer than others."""
    accumulated: int = args.gradient_accumulation_steps
    each = len(loader)
    epochs, more = divmod(updates, -(-each // accumulated))
    return epochs * each + more * accumulated
