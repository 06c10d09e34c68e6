"""`fkd label`: run the teacher once over M views of every image and store what it said."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from fkd.arrays import remove
from fkd.config import LabelConfig
from fkd.crops import RENDERER, SAMPLER
from fkd.errors import ImagesError, SoftLabelError, StoreError
from fkd.images import REASONS, ImageList, dataset_root, fingerprint, first_difference, list_images
from fkd.layout import StoreSpec, TeacherRecord, library_versions, now
from fkd.progress import progress
from fkd.renderer import Renderer
from fkd.slabs import Block
from fkd.softlabels import Quantized, quantize
from fkd.store import LabelStore
from fkd.teachers import ClassMap, Teacher, load_teacher, map_classes
from fkd.views import TeacherBatch, teacher_batches
from fkd.zoo import resolve_device


def label_images(config: LabelConfig) -> LabelStore:
    """Label an image folder into a store and return it; a store that is there is continued.

    Finished blocks are neither decoded nor labelled again. Raises `FkdError` for bad input, before
    the first image is decoded wherever that can be known.
    """
    device = resolve_device(config.device)
    images = list_images(dataset_root(config.images))
    teacher = load_teacher(config.teacher, len(images.classes), device)
    class_map = map_classes(images.classes, teacher.num_outputs, config.teacher)
    spec = _describe(config, images, teacher, class_map)
    store = _open_or_create(config, spec, images, class_map)
    _label_blocks(config, images, teacher, class_map, store)
    return store


def _describe(
    config: LabelConfig, images: ImageList, teacher: Teacher, class_map: ClassMap
) -> StoreSpec:
    """Put into the store's attributes all that a reader needs to read, and to refuse."""
    return StoreSpec.plan(
        num_images=len(images),
        num_crops=config.num_crops,
        num_classes=len(class_map.names),
        block_images=config.block_images,
        scheme=config.scheme,
        views=config.views,
        sampler=SAMPLER,
        renderer=RENDERER,
        size=teacher.preprocessing.size,
        interpolation=teacher.preprocessing.interpolation,
        temperature=config.temperature,
        teachers=(
            TeacherRecord(
                config.teacher.name,
                teacher.weights_hash,
                class_map.outputs_hash(),
                teacher.preprocessing,
            ),
        ),
        images_root=str(images.root),
        fingerprint=fingerprint(images.paths, images.num_bytes),
        versions=library_versions(),
        created=now(),
    )


def _open_or_create(
    config: LabelConfig, spec: StoreSpec, images: ImageList, class_map: ClassMap
) -> LabelStore:
    if config.overwrite:
        remove(config.out)
    if not os.path.lexists(config.out):
        targets = class_map.target_of[images.targets]
        return LabelStore.create(config.out, spec, images, targets, class_map.names)
    store = LabelStore.open(config.out, writable=True)
    if store.spec.fingerprint != spec.fingerprint:
        changed = first_difference(store.image_paths(), store.num_bytes(), images)
        raise ImagesError(
            f"{config.out} was made from other images than {images.root} holds now: {changed}; "
            "restore them, or use --out for another store or --overwrite to start anew"
        )
    difference = store.spec.first_difference(spec)
    if difference:
        raise StoreError(
            f"{config.out} was made with other settings: {difference}; "
            "use the same settings to continue it, --out for another store or --overwrite to start anew"
        )
    return store


def _label_blocks(
    config: LabelConfig, images: ImageList, teacher: Teacher, class_map: ClassMap, store: LabelStore
) -> None:
    """Label what is missing: views → teacher → quantize → block → store, each a step ahead."""
    spec, blocks = store.spec, store.pending_blocks()
    indices = [i for block in blocks for i in spec.block_range(block)]
    columns = None
    if class_map.columns is not None:
        columns = torch.from_numpy(class_map.columns).to(teacher.device)
    assembler = _Assembler(spec, blocks, images, store.num_bad(), config.max_bad)
    with (
        Renderer(
            spec.size, spec.interpolation, config.workers, pin=teacher.device.type == "cuda"
        ) as renderer,
        ThreadPoolExecutor(1, thread_name_prefix="fkd-write") as writer,
        progress(
            None,
            "label",
            unit="view",
            total=spec.num_images * spec.num_crops,
            initial=(spec.num_images - len(indices)) * spec.num_crops,
        ) as bar,
    ):
        written: Future[None] | None = None
        for batch in teacher_batches(
            renderer, images, indices, config.views, spec.num_crops, config.batch_size
        ):
            for number, block in assembler.add(
                batch, _ask(teacher, batch, columns, config, images)
            ):
                if written is not None:
                    written.result()
                written = writer.submit(store.commit_block, number, block)
            bar.update(batch.num_views)
        if written is not None:
            written.result()


def _ask(
    teacher: Teacher,
    batch: TeacherBatch,
    columns: torch.Tensor | None,
    config: LabelConfig,
    images: ImageList,
) -> Quantized:
    """Return the teacher's quantized labels of a batch, on the CPU."""
    if not batch.num_views:
        return {}
    probs = teacher.probs(batch.views[: batch.num_views], columns, config.temperature)
    try:
        kept = quantize(probs, config.scheme)
    except SoftLabelError as error:
        raise SoftLabelError(
            f"teacher {config.teacher.name}, {_culprit(probs, batch, images)}: {error}; "
            "check --teacher-weights, --mean, --std and --temperature"
        ) from error
    return {name: values.cpu() for name, values in kept.items()}


def _culprit(probs: torch.Tensor, batch: TeacherBatch, images: ImageList) -> str:
    """Name the first view whose probabilities are no distribution."""
    row = int((~probs.isfinite().all(dim=1)).int().argmax())
    strip = next(s for s in batch.strips if s.first_row <= row < s.first_row + s.count)
    crop = strip.first_crop + row - strip.first_row
    return f"image {images.file(strip.image_index)}, crop {crop}"


class _Assembler:
    """Collects labelled views, which come in order, into blocks."""

    def __init__(
        self, spec: StoreSpec, blocks: list[int], images: ImageList, num_bad: int, max_bad: float
    ) -> None:
        self._spec = spec
        self._images = images
        self._missing = {b: len(spec.block_range(b)) * spec.num_crops for b in blocks}
        self._open: dict[int, Block] = {}
        self._num_bad = num_bad
        self._max_bad = max_bad

    def add(self, batch: TeacherBatch, kept: Quantized) -> Iterator[tuple[int, Block]]:
        """Take a batch and its labels; yield the blocks that it completes, with their numbers."""
        spec = self._spec
        for image in batch.begun:
            block, row = self._place(image.image_index)
            block.box[row], block.flip[row] = image.boxes, image.flips
            if image.pixels is not None:
                block.size[row] = image.pixels.shape[-2:]
            if image.error is not None:
                block.status[row] = REASONS.index(image.error.reason)
                self._missing[image.image_index // spec.block_images] -= spec.num_crops
                self._count_bad(image.error)
        for strip in batch.strips:
            block, row = self._place(strip.image_index)
            crops = slice(strip.first_crop, strip.first_crop + strip.count)
            rows = slice(strip.first_row, strip.first_row + strip.count)
            for name, values in kept.items():
                block.kept[name][row, crops] = values[rows].numpy()
            self._missing[strip.image_index // spec.block_images] -= strip.count
        for number in [b for b in self._open if self._missing[b] == 0]:
            yield number, self._open.pop(number)

    def _place(self, image_index: int) -> tuple[Block, int]:
        number, row = divmod(image_index, self._spec.block_images)
        if number not in self._open:
            self._open[number] = Block.empty(self._spec, number)
        return self._open[number], row

    def _count_bad(self, error: Exception) -> None:
        self._num_bad += 1
        limit = self._max_bad * self._spec.num_images
        if self._num_bad > limit:
            raise ImagesError(
                f"{self._num_bad} of {self._spec.num_images} images cannot be used, more than "
                f"--max-bad {self._max_bad:g} allows; the last one is {error}"
            )
