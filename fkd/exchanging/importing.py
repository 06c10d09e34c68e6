"""`fkd import`: the labels that another program made become a store."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from fkd.amounts import as_count
from fkd.config import as_config
from fkd.errors import ImagesError
from fkd.exchanging.converting import Filling, Rows, convert
from fkd.exchanging.fkd_folder import FkdLabels
from fkd.exchanging.inputs import check_import
from fkd.exchanging.joint import ForeignLabels
from fkd.exchanging.opening import Plan, held_store, plan_import
from fkd.exchanging.report import closing_lines, opening_lines
from fkd.format import StoreSpec
from fkd.images import ImageList
from fkd.orders import ImportConfig
from fkd.progress import note, note_lines, progress_bar
from fkd.sources import list_images
from fkd.store import LabelStore

# Numbers of a run's labels. Of more, torch would share each small step out among all cores, while other
# threads are at work on them.
_RUN_NUMBERS, _MOST_IMAGES = 2**15, 32
_AHEAD = 4  # runs a thread that are read ahead


def import_labels(config: ImportConfig) -> LabelStore:
    """Make a store of the labels that another program made, or go on with one, and return it.

    Finished blocks are not read again. Raises `FkdError` for bad input; a file that would run code ends
    the import, and nothing of it runs.
    """
    as_config(config, ImportConfig)
    images = list_images(check_import(config))
    source = FkdLabels.find(config.labels, images)
    _refuse_missing(config, source, images)
    plan = plan_import(config, images, source.traits())
    with held_store(config, plan, images) as store:
        pending = store.pending_blocks()
        if not pending:
            note(f"{config.out} is complete: there is nothing to do (`fkd check` looks into it)")
            return store
        note_lines(opening_lines(config, images, plan, len(pending)))
        began = time.perf_counter()
        done = _Import(config, source, images, plan, store).run(pending)
        seconds = time.perf_counter() - began
    store = LabelStore.open(config.out)
    note_lines(closing_lines(store, plan, source, done.num_images, done.clamped, seconds))
    return store


def _refuse_missing(config: ImportConfig, source: ForeignLabels, images: ImageList) -> None:
    """Refuse labels that too many of the images lack, before anything is read."""
    missing = source.missing()
    if len(missing) > config.max_bad * len(images):
        few = ", ".join(images.paths[row] for row in missing[:3].tolist())
        raise ImagesError(
            f"{len(missing):,} of {len(images):,} images have no labels in {config.labels} ({few}"
            f"{' …' if len(missing) > 3 else ''}), more than --max-bad {config.max_bad:g} allows; name "
            "other images or labels, or give --max-bad to import the rest"
        )


@dataclass
class _Import:
    """One run over pending blocks, and what it has done so far."""

    config: ImportConfig
    source: ForeignLabels
    images: ImageList
    plan: Plan
    store: LabelStore
    num_images: int = 0
    clamped: int = 0

    def run(self, pending: list[int]) -> "_Import":
        """Convert the pending blocks: threads read and convert, and another one writes."""
        spec = self.store.spec
        todo = sum(len(spec.block_range(number)) for number in pending)
        with (
            ThreadPoolExecutor(self.config.workers, thread_name_prefix="fkd-import") as pool,
            ThreadPoolExecutor(1, thread_name_prefix="fkd-write") as writer,
            progress_bar(
                "import", unit="image", total=spec.num_images, initial=spec.num_images - todo
            ) as bar,
        ):
            written: Future[None] | None = None
            runs = (run for number in pending for run in _runs(spec, number))
            for rows in _in_order(pool, self._convert, runs, _AHEAD * self.config.workers):
                self._count(rows)
                bar.update(len(rows.run))
                block = self._filled.add(rows)
                if block is not None:
                    if written is not None:
                        written.result()
                    written = writer.submit(self.store.commit_block, *block)
            if written is not None:
                written.result()
        return self

    def _convert(self, run: range) -> Rows:
        return convert(self.source, self.plan.traits, self.images, self.store.spec, run)

    @cached_property
    def _filled(self) -> "Filling":
        return Filling(self.store.spec)

    @cached_property
    def _known_bad(self) -> int:
        return self.store.num_bad()

    def _count(self, rows: Rows) -> None:
        """Count images and those without labels; raises the error of one image more than is allowed."""
        known = self._known_bad + len(rows.refused)
        self.num_images += len(rows.run)
        self.clamped += rows.clamped
        self._known_bad = known
        if known > self.config.max_bad * len(self.images):
            last = rows.refused[-1]
            raise ImagesError(
                f"{last}; that makes {as_count(known, 'image')} of {len(self.images):,} without labels, "
                f"more than --max-bad {self.config.max_bad:g} allows; mend the file, or allow more"
            )


def _runs(spec: StoreSpec, number: int) -> Iterator[range]:
    """Cut a block into runs of images that are converted at once."""
    block = spec.block_range(number)
    numbers = spec.num_crops * spec.labels.num_ranks
    each = max(1, min(_MOST_IMAGES, _RUN_NUMBERS // numbers))
    for first in range(block.start, block.stop, each):
        yield range(first, min(first + each, block.stop))


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[range], Rows], runs: Iterable[range], ahead: int
) -> Iterator[Rows]:
    """Yield the result of each run, in order, with some of them under way."""
    todo = iter(runs)
    under_way = deque(pool.submit(work, run) for run in islice(todo, ahead))
    try:
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(pool.submit(work, run) for run in islice(todo, 1))
    finally:
        for future in under_way:
            future.cancel()
