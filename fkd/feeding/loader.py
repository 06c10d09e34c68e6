"""Stored crops and their soft labels for a training loop of one's own."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Unpack

import torch
from torch.utils.data import IterableDataset

from fkd.amounts import as_count
from fkd.config import LoaderConfig, LoaderSettings, check_count, grids_words
from fkd.errors import ConfigError
from fkd.feeding.augmenting import Augmentation
from fkd.feeding.batch import ViewBatch
from fkd.feeding.feed import Feed
from fkd.feeding.ranks import own_share, refuse_to_repeat
from fkd.feeding.state import state_of, step_of_state
from fkd.loader import Schedule, SizePlan


class StudentLoader(IterableDataset[ViewBatch]):
    """Yields the views and soft labels that `fkd train` would train on, on a device, epoch by epoch.

        loader = StudentLoader("labels.zarr", crops_per_image=4, epochs=300)
        for epoch in range(loader.current_epoch, loader.epochs):
            for images, soft_labels in loader.epoch(epoch):
                loss = soft_cross_entropy(student(images), soft_labels).mean()

    One iteration, `for batch in loader`, goes from where the loader stands to the end of that epoch, and
    the next one takes the next epoch. So no crop comes twice unless an epoch is named again. An epoch
    is `len(loader)` steps, N / B rounded, so that every epoch has equally many. An iteration begins with
    its first batch: `set_epoch` may come after `iter`, as trainers call it.

    Each batch is a `ViewBatch`. Its images are f32 [B, 3, H, W] in channels-last memory, normalised by
    `mean` and `std` or, with `normalized=False`, uint8. `sizes.at(step)` says how large they are. With
    `stagger=0` the m views of an image stand in a row of one batch. `augment` is a function of one's own
    that takes views uint8 [B, 3, H, W] and returns as many, uint8 or floats in [0, 1]. It is called with
    generators of torch, `random` and `numpy.random` that are seeded for the step. `vectors` name stored
    vectors that batches have, too, as `("output",)`; None are none, or all of a store without labels.
    With `masks`, batches of a store of maps have the class of each pixel, as `batch.truth`, where its
    images had masks. There, `augment` must leave pixels at their place. With `texts`, those of a store of
    lines have the text of each view alike.
    `settings` are the fields of `LoaderConfig`; those of its `Part` and `Selection` are given directly.

    Of several ranks each gets its share of every batch, so `batch_size` is that of all. They are those of
    torch.distributed, or of torchrun, where `rank` and `num_ranks` are not given.

    It decodes and renders in threads of its own, `workers` of them, which prepare the next batches while
    the loop does other things, between epochs too; `close()` ends them. Where a trainer wants a
    `DataLoader`, `DataLoader(loader, batch_size=None)` yields the same batches. Worker processes would
    each yield all of them, so they are refused. A loader can be pickled; its copy stands at the same
    step.
    Raises `FkdError` for what `fkd train` refuses.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        rank: int | None = None,
        num_ranks: int | None = None,
        normalized: bool = True,
        augment: Augmentation | None = None,
        vectors: Collection[str] | None = None,
        masks: bool = False,
        texts: bool = False,
        **settings: Unpack[LoaderSettings],
    ) -> None:
        given = {"rank": rank, "num_ranks": num_ranks, "normalized": normalized, "augment": augment}
        asked = {"vectors": vectors, "masks": masks, "texts": texts}
        self._given: dict[str, Any] = {"store": store, **asked, **given, **settings}
        config = LoaderConfig.of(store=store, **settings)
        self._feed = Feed.of(config, *own_share(rank, num_ranks), vectors, masks=masks, texts=texts)
        self._given["num_crops"] = self._feed.config.num_crops
        self._normalized, self._augment = normalized, augment
        self._step = 0
        self._turn = object()  # of the iteration that may take batches
        self._batches: Generator[ViewBatch] | None = None
        self._next_prepared = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._given, self._step)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the student's outputs."""
        return self._feed.store.class_names()

    @property
    def titles(self) -> tuple[str, ...]:
        """Names of these classes for people to read; the class names where the store has no others."""
        return self._feed.store.class_titles()

    @property
    def device(self) -> torch.device:
        """Where its batches are."""
        return self._feed.device

    @property
    def rank(self) -> int:
        """Which of the `num_ranks` shares of each batch it yields."""
        return self._feed.rank

    @property
    def num_ranks(self) -> int:
        """How many processes share each batch."""
        return self._feed.num_ranks

    @property
    def schedule(self) -> Schedule:
        """Which crops of which images each step takes."""
        return self._feed.schedule

    @property
    def sizes(self) -> SizePlan:
        """How large the views of each step are."""
        return self._feed.sizes

    @property
    def mixed(self) -> bool:
        """Whether views are mixed with other images' before the teacher saw them, and so here."""
        return self._feed.store.spec.mixes

    def require_labels(self) -> None:
        """Raise `ConfigError` where crops have no label, or one at each position: not all learn these."""
        spec, where = self._feed.store.spec, self._feed.config.store
        if spec.labels.there and not spec.grid:
            return
        holds, takes = "vectors and no labels", "labels"
        if spec.grid:
            holds, takes = grids_words(spec.grid), "one label a crop"
        raise ConfigError(
            f"{where} holds {holds}, and this trainer learns from {takes}; train by `fkd train`, or by a "
            "loop of your own with a StudentLoader"
        )

    @property
    def sampler(self) -> "StudentLoader":
        """The loader itself: a trainer tells the `sampler` of a loader which epoch it begins."""
        return self

    def __len__(self) -> int:
        """Return the steps of one epoch: N / B, rounded, at least one."""
        return self._feed.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.schedule.total_steps

    @property
    def epochs(self) -> int:
        """Epochs of the whole run; the last is shorter where a fraction of one was asked for."""
        return -(-self.total_steps // len(self))

    @property
    def step(self) -> int:
        """The number of the next step, from 0; `total_steps` at the end of the run."""
        return self._step

    @property
    def current_epoch(self) -> int:
        """The number of the epoch that the next step is of, from 0; `epochs` at the end of the run."""
        return self.epochs if self._step == self.total_steps else self._step // len(self)

    def __repr__(self) -> str:
        config, taken = self._feed.config, self._feed.taken
        read = config.reading if self._feed.store.spec.labels.there else "vectors"
        whole = config.part.takes_all and not len(taken.missing)
        selected = "" if whole else f", {as_count(len(taken.chosen), 'image')}"
        selected += "" if self._feed.picks is None else ", selected crops"
        return (
            f"StudentLoader({config.store}: {as_count(self.epochs, 'epoch')} of "
            f"{as_count(len(self), 'step')} of {as_count(config.batch_size, 'view')}, "
            f"m = {config.crops_per_image}, {read}{selected}, {self.device})"
        )

    # -- its batches ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[ViewBatch]:
        """Yield the batches from where it stands to the end of that epoch.

        Its first batch raises `ConfigError` where the last epoch is over.
        """
        return self._hand_out(self._end_of_epoch)

    def epoch(self, number: int) -> Iterator[ViewBatch]:
        """Yield the batches of an epoch, from 0: what is left of it where the loader stands in it."""
        self.set_epoch(number)
        return iter(self)

    def batches(self, first_step: int | None = None) -> Iterator[ViewBatch]:
        """Yield all batches to the end of the run, from a step on or from where it stands."""
        if first_step is not None:
            check_count("first_step", first_step, 0, self.total_steps)
            self._go_to(int(first_step))
        return self._hand_out(lambda: self.total_steps)

    def set_epoch(self, number: int) -> None:
        """Go to the beginning of an epoch, from 0; stay where it stands if that is in this epoch."""
        if number == self.epochs:
            self._refuse_more()
        check_count("epoch", number, 0, self.epochs - 1)
        if number != self.current_epoch:
            self._go_to(int(number) * len(self))

    def state_dict(self) -> dict[str, Any]:
        """Return where it stands, as JSON values: after the batch that was taken last."""
        return state_of(self._feed, self._step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where the loader stood that returned `state`, in the middle of an epoch too.

        The number of ranks, the place of the store and of the images, and who renders may differ. Raises
        `ConfigError` where anything else does.
        """
        self._go_to(step_of_state(state, self._feed))

    def close(self) -> None:
        """End its threads. Asked for more batches, it starts them anew and goes on from the same step."""
        batches, self._batches = self._batches, None
        if batches is not None:
            batches.close()

    def _go_to(self, step: int) -> None:
        self._turn = object()
        self._step = step

    def _end_of_epoch(self) -> int:
        if self._step == self.total_steps:
            self._refuse_more()
        return min((self.current_epoch + 1) * len(self), self.total_steps)

    def _refuse_more(self) -> NoReturn:
        raise ConfigError(
            f"this StudentLoader was planned for {as_count(self.epochs, 'epoch')}, and all of that "
            "is over; plan more by epochs=…, or begin anew by set_epoch(0)"
        )

    def _hand_out(self, end: Callable[[], int]) -> Iterator[ViewBatch]:
        """Yield the batches to the step that `end` names at the first of them; another iteration ends."""
        refuse_to_repeat(self.rank, self.num_ranks, told=self._given["rank"] is not None)
        stop, self._turn = end(), object()
        turn = self._turn
        while turn is not self._turn or self._step < stop:
            if turn is not self._turn:
                raise ConfigError(
                    "this iteration of a StudentLoader is over, because another one was begun or the "
                    "loader was sent elsewhere; take the batches of one at a time, or build two loaders"
                )
            batch = self._next()
            self._step += 1
            yield batch

    def _next(self) -> ViewBatch:
        """Return the batch of the next step; threads prepare it ahead, while steps follow each other."""
        if self._batches is None or self._next_prepared != self._step:
            self.close()
            self._batches = self._feed.batches(self._step, self._normalized, self._augment)
        try:
            batch = next(self._batches)
        except BaseException:
            self._batches = None
            raise
        self._next_prepared = self._step + 1
        if self._next_prepared == self.total_steps:
            self.close()
        return batch


def _restored(kind: type[StudentLoader], given: Mapping[str, Any], step: int) -> StudentLoader:
    loader = kind(**given)
    loader._go_to(step)
    return loader
