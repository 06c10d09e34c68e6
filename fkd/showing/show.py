"""`fkd show`: a page about a label store, to look at before training and to take figures from."""

from pathlib import Path

import numpy as np

from fkd.config import ShowConfig, as_config
from fkd.errors import ImagesError
from fkd.images import ImageList, dataset_root
from fkd.progress import note, progress
from fkd.showing.class_figures import class_picture
from fkd.showing.crops import CropViewer
from fkd.showing.label_figures import (
    Picture,
    Table,
    certainty_pictures,
    divergence_picture,
    size_picture,
)
from fkd.showing.page import (
    MARK,
    Page,
    Section,
    check_folder,
    default_folder,
    render_page,
    write_folder,
)
from fkd.statistics import (
    Comparison,
    LabelStatistics,
    bytes_per_crop,
    compare,
    info_lines,
    label_statistics,
    num_labelled,
    reached,
)
from fkd.store import LabelStore, drift, find_images


def show_store(config: ShowConfig) -> Path:
    """Write a page about a store, finished or not, and return its path; its pictures lie beside it.

    Where the images are not found and `config.images` is None, the page is made without them. Raises
    `FkdError` for a store that cannot be read or compared, and a folder that is not ours.
    """
    as_config(config, ShowConfig)
    store = LabelStore.open(config.store)
    other = None if config.against is None else LabelStore.open(config.against)
    out = config.out or default_folder(config.store)
    images_root = dataset_root(config.images) if config.images else Path(store.spec.images_root)
    check_folder(out, [s.path for s in (store, other) if s is not None], images_root, MARK)
    names = store.class_names()
    viewer, notes = _viewer(store, config, names)
    statistics = label_statistics(store)
    comparison = None if other is None else compare(store, other)
    note(_headline_text(statistics, comparison))
    sections = [
        _samples(store, viewer, config),
        _certainty(store, statistics),
        _classes(statistics, names),
        _least_sure(store, viewer, statistics, names),
    ]
    if comparison is not None and other is not None:
        sections.append(_against(other, comparison))
    sections.append(_size(store))
    page = Page(
        store.path.name or str(store.path),
        _headline(store, statistics),
        [*_notes(store), *notes],
        info_lines(store.path),
        [section for section in sections if section is not None],
    )
    pictures = {picture.name: picture.png for part in page.sections for picture in part.pictures}
    return write_folder(out, render_page(page), pictures)


def _viewer(
    store: LabelStore, config: ShowConfig, names: tuple[str, ...]
) -> tuple[CropViewer | None, list[str]]:
    """Find the images, or say on the page why there are none; those that the user named must be there."""
    try:
        images: ImageList = find_images(store, config.images)
    except ImagesError as error:
        if config.images is not None:
            raise
        return None, [f"No image is drawn: {error}."]
    return CropViewer(store, images, names), []


def _notes(store: LabelStore) -> list[str]:
    notes, pending = [], len(store.pending_blocks())
    if pending:
        notes.append(
            f"The store is unfinished: {pending} of {store.spec.num_blocks} blocks are not labelled, and "
            "all numbers are of the others. The same `fkd label` command goes on."
        )
    changed = drift(store.spec, store.path)
    if changed:
        notes.append(f"{changed}. The crops below are drawn by today's libraries.")
    if not store.spec.labels.keeps_values:
        notes.append(
            "The store keeps the top class alone (hard), so probabilities, entropies, kept mass and the "
            "least sure crops are not known."
        )
    return notes


def _headline(store: LabelStore, statistics: LabelStatistics) -> list[tuple[str, str]]:
    spec, known = store.spec, num_labelled(store)
    lines = [
        ("labelled images", f"{known[0] - known[1]:,}"),
        ("crops an image, M", f"{spec.num_crops:,}"),
        ("classes", f"{spec.num_classes:,}"),
        ("top-1 is the class", f"{statistics.agreement:.1%}"),
    ]
    if statistics.certainty is not None:
        lines += [
            ("mean top probability", f"{statistics.certainty.top_probability.mean:.3f}"),
            ("mean entropy, nats", f"{statistics.certainty.entropy.mean:.3f}"),
        ]
    return [*lines, ("bytes a crop", f"{bytes_per_crop(store)['total']:.1f}")]


def _headline_text(statistics: LabelStatistics, comparison: Comparison | None) -> str:
    parts = [f"{statistics.num_crops:,} crops: top-1 is the class of {statistics.agreement:.1%}"]
    if statistics.certainty is not None:
        parts.append(f"mean top probability {statistics.certainty.top_probability.mean:.3f}")
        parts.append(f"mean entropy {statistics.certainty.entropy.mean:.3f} nats")
    if comparison is not None:
        parts.append(f"teachers agree on {comparison.agreement:.1%}")
        if comparison.divergences is not None:
            parts.append(f"cross-entropy {comparison.divergences.cross_entropy:.3f} nats")
    return ", ".join(parts)


def _samples(store: LabelStore, viewer: CropViewer | None, config: ShowConfig) -> Section | None:
    if viewer is None or not config.samples:
        return None
    labelled = np.flatnonzero(reached(store) & (store.status() == 0))
    drawn = np.random.default_rng(config.seed).permutation(labelled)[: config.samples]
    num_crops = min(config.crops, store.spec.num_crops)
    pictures = [
        viewer.sample(index, num_crops, number)
        for number, index in enumerate(progress(drawn.tolist(), "draw", unit="image", delay=1), 1)
    ]
    return Section(
        "Images and crops",
        f"Images drawn by seed {config.seed}, with their first {num_crops} of {store.spec.num_crops} "
        f"crops, {store.spec.size} px, {store.spec.interpolation}.",
        _taken(viewer),
        tuple(picture for picture in pictures if picture is not None),
    )


def _taken(viewer: CropViewer) -> tuple[str, ...]:
    """Return why images were not drawn, and forget it."""
    skipped = tuple(viewer.skipped)
    viewer.skipped.clear()
    return skipped


def _certainty(store: LabelStore, statistics: LabelStatistics) -> Section | None:
    if statistics.certainty is None:
        return None
    return Section(
        "How sure the teacher is",
        f"From the first {statistics.crops_per_image} of {store.spec.num_crops} crops of each of "
        f"{statistics.num_images:,} images: {statistics.num_crops:,} crops, as {store.spec.scheme} at "
        f"temperature {store.spec.temperature:g} keeps them.",
        pictures=tuple(certainty_pictures(statistics.certainty)),
        narrow=True,
    )


def _classes(statistics: LabelStatistics, names: tuple[str, ...]) -> Section:
    picture = class_picture(statistics.classes, names, statistics.agreement)
    return Section(
        "Does the teacher name the image's class?",
        "A crop may miss the object, so less than 100 % is no fault: there the soft label tells the "
        "student what the crop shows.",
        pictures=(picture,),
    )


def _least_sure(
    store: LabelStore,
    viewer: CropViewer | None,
    statistics: LabelStatistics,
    names: tuple[str, ...],
) -> Section | None:
    if statistics.certainty is None:
        return None
    unsure, paths = statistics.certainty.least_sure, store.image_paths()
    gallery = None if viewer is None else viewer.gallery(unsure)
    rows = tuple(
        (
            paths[crop.image_index],
            str(crop.crop),
            f"{crop.top_probability:.3f}",
            f"{crop.entropy:.3f}",
        )
        for crop in unsure
    )
    return Section(
        "Least sure crops",
        "Of each image the crop with the lowest top probability, and of those the lowest: what is hard "
        "to tell, what two classes share, and labels that deserve a look.",
        () if viewer is None else _taken(viewer),
        () if gallery is None else (gallery,),
        table=Table(("image", "crop", "top probability", "entropy, nats"), rows),
    )


def _against(other: LabelStore, comparison: Comparison) -> Section:
    teachers = ", ".join(teacher.name for teacher in other.spec.teachers)
    soft = comparison.divergences
    pictures: tuple[Picture, ...] = () if soft is None else (divergence_picture(soft),)
    return Section(
        "Against another store",
        f"{other.path} ({teachers}, {other.spec.size} px, {other.spec.scheme}). On the first "
        f"{comparison.crops_per_image} crops of {comparison.num_images:,} images the teachers' top-1 "
        f"agree in {comparison.agreement:.1%}.",
        () if soft is not None else ("A hard store keeps no values: there is no cross-entropy.",),
        pictures,
        narrow=True,
    )


def _size(store: LabelStore) -> Section:
    reached_images, num_bad = num_labelled(store)
    num_crops = max(1, reached_images) * store.spec.num_crops
    return Section(
        "Size",
        f"{sum(store.stored_bytes().values()):,} bytes on disk for {num_crops:,} crops"
        + (f", of which those of {num_bad:,} unusable images are empty." if num_bad else "."),
        pictures=(size_picture(bytes_per_crop(store), num_crops),),
    )
