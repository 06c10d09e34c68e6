"""Stored soft labels in `transformers.Trainer`: no teacher, and evaluation as it was.

    loader = StudentLoader("labels.zarr", batch_size=256, epochs=100, **settings_of(processor))
    model = ViTForImageClassification(ViTConfig(**classes_of(loader)))
    trainer = StudentTrainer(model, args, train_dataset=loader, eval_dataset=val)
    trainer.train(resume_from_checkpoint=…)

Needs no private name of transformers. Tested with transformers 5.0 and 5.24, and accelerate 1.15.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import Trainer

from fkd.amounts import as_count
from fkd.errors import ConfigError
from fkd.feeding import StudentLoader
from fkd.integrations.transformers_epochs import LoaderEpochs, LoaderPlace, require_fit
from fkd.labels import SoftLabels
from fkd.losses import DistillationLoss, Targets
from fkd.models import divides_by_255, find_logits, processed_size, processed_tone


class StudentTrainer(Trainer):  # type: ignore[misc]  # of no types here
    """A `Trainer` that learns from stored soft labels where its `train_dataset` is a `StudentLoader`.

        trainer = StudentTrainer(model, args, train_dataset=loader, eval_dataset=val)

    It takes the arguments of `Trainer`, and `distillation_loss(logits, labels, targets)`, which gets
    logits [B, C], `SoftLabels` and class ids int64 [B], or `MixedTargets` where the store's views are
    mixed, and returns a loss or f32 [B]. The default is `DistillationLoss()`, cross-entropy to the soft
    labels. The model is called with `pixel_values`, f32
    [B, 3, H, W]; its logits are what it returns as `logits`.

    The loader is what is trained on: it is not sampled, collated or split among processes again. Epochs
    are its epochs, no crop comes twice before it must, and a run that is resumed in the middle of an
    epoch goes on with the next batch, without decoding those before. Evaluation, prediction and a
    `train_dataset` of another kind are as `Trainer` has them. With a subclass of one's own it is combined
    as `class Mine(StudentTrainer, MyTrainer)`.

    Raises `ConfigError` where the arguments and the loader contradict each other.
    """

    def __init__(
        self,
        *args: Any,
        distillation_loss: Callable[[Tensor, SoftLabels, Targets], Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.distillation_loss = distillation_loss or DistillationLoss()
        if isinstance(self.train_dataset, StudentLoader):
            self._require_fit(self.train_dataset)
            self.add_callback(LoaderPlace())

    def get_train_dataloader(self) -> Any:
        """Return the batches of the loader; of another `train_dataset`, what `Trainer` does."""
        if not isinstance(self.train_dataset, StudentLoader):
            return super().get_train_dataloader()
        self._require_fit(self.train_dataset)  # a search for hyperparameters changes the arguments
        return LoaderEpochs(self.train_dataset, self.args.device)

    def num_examples(self, dataloader: Any) -> int:
        """Return the views of an epoch, all processes together; of other data, its examples."""
        if isinstance(dataloader, LoaderEpochs):
            return len(dataloader) * dataloader.loader.schedule.batch_size
        return int(super().num_examples(dataloader))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss to stored soft labels; to classes, as in an evaluation, that of `Trainer`."""
        labels = inputs.get("labels")
        if not isinstance(labels, SoftLabels):
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        outputs = model(pixel_values=inputs["pixel_values"])
        logits = find_logits(outputs, len(labels), type(self.model).__name__)
        loss = self.distillation_loss(logits, labels, inputs["targets"]).mean()
        return (loss, outputs) if return_outputs else loss

    def _require_fit(self, loader: StudentLoader) -> None:
        require_fit(self.args, loader)
        loader.require_labels()
        if self.compute_loss_func is not None:
            raise ConfigError(
                "compute_loss_func is called with classes, and stored labels are none; give "
                "StudentTrainer a distillation_loss, which is called with logits, labels and targets"
            )
        outputs = getattr(getattr(self.model, "config", None), "num_labels", None)
        if outputs not in (None, len(loader.classes)):
            raise ConfigError(
                f"the model has {as_count(outputs, 'output')}, the store "
                f"{as_count(len(loader.classes), 'class')}; build it with **classes_of(loader)"
            )


def classes_of(loader: StudentLoader) -> dict[str, Any]:
    """Return `num_labels`, `id2label` and `label2id` of a store's classes, for a model's configuration.

    They are in the order of the store. The names are those for people to read, where no two classes
    share one, else the class names.
    """
    titles = loader.titles if len(set(loader.titles)) == len(loader.titles) else loader.classes
    names = dict(enumerate(titles))
    return {
        "num_labels": len(names),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
    }


def settings_of(image_processor: Any) -> dict[str, Any]:
    """Return `size`, `mean` and `std` of an image processor, as settings of a `StudentLoader`.

    `size`, (height, width), is what the processor gives the model: its centre crop, or what it resizes
    to; where that is the shortest edge alone, a square. Raises `ConfigError` for a processor whose
    pixels are not (x / 255 - mean) / std, and for one whose images have no size of their own.
    """
    name = type(image_processor).__name__
    if not divides_by_255(image_processor):
        raise ConfigError(
            f"{name} does not divide pixels by 255; give the loader its mean and std by hand, for pixels "
            "in [0, 1]"
        )
    size = processed_size(image_processor)
    if size is None:
        raise ConfigError(
            f"{name} gives images no size of their own; give the loader a size by hand"
        )
    mean, std = processed_tone(image_processor)
    return {"size": size, "mean": mean, "std": std}
