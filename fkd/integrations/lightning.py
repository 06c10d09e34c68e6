"""Stored labels for Lightning: a data module that trains any LightningModule without a teacher.

Nothing of Lightning's that is private is used; tested with lightning 2.6.6. A `StudentLoader` alone works
as its dataloader, too: Lightning tells the `sampler` of a loader which epoch begins, keeps the loader's
`state_dict` in checkpoints, and moves its batches. The data module adds what Lightning knows and a loader
does not: the device, the processes, the number of epochs.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from lightning.pytorch import LightningDataModule, Trainer

from fkd.amounts import as_count
from fkd.config import LoaderConfig, LoaderSettings, Size
from fkd.errors import ConfigError
from fkd.feeding import CenterViewLoader, StudentLoader
from fkd.progress import note_once
from fkd.store import LabelStore


class StudentDataModule(LightningDataModule):
    """Stored crops and their soft labels to train on, and a folder of images to validate on.

        data = StudentDataModule("labels.zarr", crops_per_image=4, batch_size=256)
        Trainer(max_epochs=300).fit(student, data)

    A training batch is a `ViewBatch`, which unpacks as (images, soft labels). A validation batch is a
    pair: images f32 [B, 3, H, W] and classes int64 [B]. `val` is the folder, None for the `val` beside
    the images of the store, "none" for no validation; `eval_size` and `eval_crop` say how it is seen.
    `settings` are those of `StudentLoader`, except `device`, `rank` and `num_ranks`, which are the
    trainer's. `batch_size` is that of all processes. `epochs` is the trainer's `max_epochs`; it is given
    where a trainer has none, which then stops after so many, or where a later one will go on for longer.

    Every epoch takes crops of its own, one that the trainer leaves early too. A checkpoint says where the
    loader stands, and `fit(…, ckpt_path=…)` goes on with the batch that comes next, in the middle of an
    epoch too. Raises `FkdError` for what `fkd train` refuses.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        val: str | Path | None = None,
        eval_size: Size | str | None = None,
        eval_crop: float | None = None,
        normalized: bool = True,
        augment: Any = None,
        **settings: Unpack[LoaderSettings],
    ) -> None:
        super().__init__()
        if "device" in settings:
            raise ConfigError(
                "device is the Trainer's to choose; leave it out, or give accelerator=…"
            )
        self._config = LoaderConfig.of(store=store, **settings)
        self._given: dict[str, Any] = {"normalized": normalized, "augment": augment, **settings}
        self._val: dict[str, Any] = {"val": val, "eval_size": eval_size, "eval_crop": eval_crop}
        self._loader: StudentLoader | None = None
        self._val_loader: CenterViewLoader | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the student's outputs."""
        return LabelStore.open(self._config.store).class_names()

    def setup(self, stage: str) -> None:
        """Open what the stage reads, for the trainer's device and processes; Lightning calls it."""
        trainer = self._trainer()
        device = trainer.strategy.root_device
        share: dict[str, Any] = {"rank": trainer.global_rank, "num_ranks": trainer.world_size}
        if stage == "fit":
            settings = self._given | {"epochs": self._epochs(trainer), "device": str(device)}
            self._loader = StudentLoader(self._config.store, **settings, **share)
        if stage in ("fit", "validate"):
            self._val_loader = CenterViewLoader.beside(
                self._config, device=device, **self._val, **share
            )

    def train_dataloader(self) -> StudentLoader:
        """Return the loader of stored crops."""
        if self._loader is None:
            raise ConfigError(
                "a StudentDataModule has no crops before setup('fit'); Trainer.fit calls it"
            )
        return self._loader

    def val_dataloader(self) -> CenterViewLoader | Sequence[Any]:
        """Return the loader of the `val` folder, or an empty list where there is none."""
        return [] if self._val_loader is None else self._val_loader

    def state_dict(self) -> dict[str, Any]:
        """Return where the training stands, as JSON values: after the batch that was trained on last."""
        return {} if self._loader is None else self._loader.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to where a checkpoint's training stood; what only validates has no use for that."""
        if self._loader is not None:
            self._loader.load_state_dict(state_dict)

    def teardown(self, stage: str) -> None:
        """End the threads of the loader."""
        if stage == "fit" and self._loader is not None:
            self._loader.close()

    def on_exception(self, exception: BaseException) -> None:
        """End the threads of the loader: Lightning tears nothing down after an error or Ctrl-C."""
        if self._loader is not None:
            self._loader.close()

    def _trainer(self) -> Trainer:
        if self.trainer is None:
            raise ConfigError("a StudentDataModule is set up by a Trainer; give it to Trainer.fit")
        return self.trainer

    def _epochs(self, trainer: Trainer) -> float:
        """Return how many epochs to plan; raises `ConfigError` where the trainer would take more."""
        given, taken = self._given.get("epochs"), trainer.max_epochs
        if taken is None or taken < 0:
            if given is None:
                raise ConfigError(
                    "the Trainer has no max_epochs, so nothing says how many epochs the student learns; "
                    "give StudentDataModule(epochs=…), or Trainer(max_epochs=…)"
                )
            trainer.fit_loop.max_epochs = math.ceil(self._config.epochs)
            note_once(
                "the Trainer has no max_epochs; it stops after the "
                f"{as_count(self._config.epochs, 'epoch')} of StudentDataModule, if not before"
            )
            return self._config.epochs
        if given is None:
            return taken
        planned = self._config.epochs
        if math.ceil(planned) < taken:
            raise ConfigError(
                f"StudentDataModule has epochs={planned:g}, the Trainer max_epochs={taken}; leave epochs "
                "out, or give both the same"
            )
        if math.ceil(planned) > taken:
            note_once(f"the Trainer stops after {as_count(taken, 'epoch')} of {planned:g}")
        return planned
