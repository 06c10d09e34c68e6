"""What a labelling run says of itself: what it is about to do, and what it has done."""

from collections import Counter

import torch

from fkd.amounts import as_bytes, as_count, as_duration, as_large, as_rate
from fkd.config import LabelConfig, TeacherChoice, grid_text, size_text
from fkd.format import (
    StoreSpec,
)
from fkd.images import ImageList
from fkd.info import bad_images, bytes_per_crop, fidelity_words, target_words
from fkd.labelling.batches import views_at_a_time
from fkd.labelling.processes import Ranks
from fkd.store import (
    LabelStore,
)
from fkd.teachers import Ensemble, Teacher, kind_of
from fkd.views import device_renders

_PRECISIONS = {"off": "float32"}

Lines = list[tuple[str, str]]


def opening_lines(
    config: LabelConfig, images: ImageList, teachers: Ensemble, spec: StoreSpec, ranks: Ranks
) -> Lines:
    """Say what a run works with that begins a store: a name and a text each."""
    blocks = f"{as_count(spec.num_blocks, 'block')} of {as_count(spec.block_images, 'image')}"
    return _opening(config, images, teachers, spec, ranks, [("store", f"{config.out}, {blocks}")])


def going_on_lines(
    config: LabelConfig, images: ImageList, teachers: Ensemble, store: LabelStore, ranks: Ranks
) -> Lines:
    """Say what a run works with that goes on with a store; `images` are the store's."""
    done, total = len(store.done_blocks()), store.num_blocks
    blocks = f"{as_count(total, 'block')} of {as_count(store.spec.block_images, 'image')}"
    if done:
        blocks = f"goes on: {done:,} of {as_count(total, 'block')} are labelled"
    lines = [("store", f"{config.out}, {blocks}")]
    added = _added(store)
    return _opening(
        config, images, teachers, store.spec, ranks, lines + [("adds", added)] * bool(added)
    )


def _added(store: LabelStore) -> str:
    """Say which crops of which images are added to a store, and are not labelled yet."""
    pending, said = {*store.pending_blocks()}, []
    for segment, blocks in zip(store.segments, store.blocks_by_segment(), strict=True):
        images, crops = segment.images, segment.crops
        if not segment.spec.root or not pending.intersection(blocks):
            continue
        if crops.start:
            which = as_count(len(crops), "more crop")
            said.append(f"{which} of {as_count(len(images), 'image')}")
        else:
            said.append(f"{as_count(len(images), 'new image')}")
    return ", ".join(said)


def _opening(
    config: LabelConfig,
    images: ImageList,
    teachers: Ensemble,
    spec: StoreSpec,
    ranks: Ranks,
    store: Lines,
) -> Lines:
    """Say what a run works with; `store` are the lines about its store."""
    views = spec.num_images * spec.num_crops
    at_a_time = views_at_a_time(config, teachers.device)
    return [
        ("images", _images(config, images, spec)),
        *(
            [("classes", _outputs(teachers, spec))]
            if images.unlabelled and spec.labels.there
            else []
        ),
        *store,
        ("crops", f"{spec.num_crops} per image, kept as {spec.kept_words}"),
        *_fewer_classes(spec),
        *[("vectors", target_words(record)) for record in spec.targets],
        *([("views", ", ".join(spec.views.manner))] if spec.views.manner else []),
        *([] if spec.views.tone.plain else [("tone", str(spec.views.tone))]),
        *([("mixed", _mixed(spec))] if spec.mixes else []),
        *[
            ("teacher", _teacher(choice, teacher))
            for choice, teacher in zip(config.teachers, teachers.teachers, strict=True)
        ],
        ("device", _device(config, teachers.device, ranks.num_ranks)),
        ("rendering", _rendering(config, teachers.device)),
        ("views", f"{views:,} in all, {at_a_time:,} a batch"),
    ]


def _fewer_classes(spec: StoreSpec) -> Lines:
    """Say that every class is kept, where the K of the labels is more than there are."""
    if spec.scheme.kind != "topk" or spec.scheme.k <= spec.num_classes:
        return []
    classes = as_count(spec.num_classes, "class")
    return [("kept", f"all {classes}, which are fewer than the K of {spec.scheme}")]


def closing_lines(store: LabelStore, num_views: int, seconds: float) -> Lines:
    """Say what a run has done: `num_views` labelled in `seconds`, into a store that is complete now."""
    size, per_crop = sum(store.stored_bytes().values()), bytes_per_crop(store)["total"]
    reasons = Counter(reason for _, reason in bad_images(store))
    unusable = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    lines = [
        (
            "labelled",
            f"{as_count(num_views, 'view')} in {as_duration(seconds)}, "
            f"{as_rate(num_views / seconds, 'view')}",
        ),
        ("store", f"{store.path}, {as_bytes(size)}, {per_crop:.1f} bytes per crop"),
    ]
    fidelity = fidelity_words(store)
    if fidelity:
        lines.append(("fidelity", fidelity))
    if reasons:
        lines.append(("unusable", f"{as_count(reasons.total(), 'image')}: {unusable}"))
    return lines


def _images(config: LabelConfig, images: ImageList, spec: StoreSpec) -> str:
    classes = f"with {spec.truth}" if spec.truth else "without classes"
    if not images.unlabelled:
        classes = f"of {as_count(len(images.classes), 'class')}"
    part = "" if config.part.takes_all else f" ({config.part})"
    return f"{as_count(len(images), 'image')} {classes} in {images.root}{part}"


def _mixed(spec: StoreSpec) -> str:
    """Say how views are mixed."""
    if spec.stored_mixes:
        return "with views of other images, as the store says"
    return f"{spec.views.mix}; another partner after {as_count(spec.views.mix.period, 'crop')}"


def _outputs(teachers: Ensemble, spec: StoreSpec) -> str:
    """Say which classes the labels of images without classes, or with masks, are over."""
    whose = f"{spec.truth}'" if spec.truth else "teacher's"
    names = teachers.classes.names
    few = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"the {whose} {as_count(len(names), 'class')}: {few}"


def _teacher(choice: TeacherChoice, teacher: Teacher) -> str:
    seen, columns = teacher.preprocessing, teacher.class_map.columns
    kept = "" if columns is None else f"{len(columns):,} of its "
    positions = f" at each of {grid_text(teacher.grid)} positions" if teacher.grid else ""
    return ", ".join(
        [
            teacher.name,
            *([f"{as_large(teacher.num_parameters)} parameters"] if teacher.num_parameters else []),
            _weights(choice),
            f"{kept}{as_count(teacher.num_outputs, 'output')}{positions}",
            f"{size_text(seen.size)} px, {seen.interpolation}",
        ]
    )


def _weights(choice: TeacherChoice) -> str:
    if choice.weights == "none":
        return "random weights"
    if choice.weights != "default":
        return f"weights {choice.weights}"
    if choice.ema:
        return "the moving average of its weights"
    return "the library's weights" if kind_of(choice.name) == "library" else "its own weights"


def _device(config: LabelConfig, device: torch.device, num_ranks: int) -> str:
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    amp = config.engine.amp
    compiled = ", compiled" if config.engine.compile else ""
    processes = f", {num_ranks} processes" if num_ranks > 1 else ""
    return f"{device}{name}, {_PRECISIONS.get(amp, amp)}{compiled}{processes}"


def _rendering(config: LabelConfig, device: torch.device) -> str:
    threads = as_count(config.workers, "thread")
    if device_renders(device, config.render):
        decode = "decodes" if config.workers == 1 else "decode"
        return f"by the device; {threads} {decode}"
    return f"by {threads} of the CPU"
