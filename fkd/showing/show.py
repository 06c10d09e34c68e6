"""`fkd show`: a page about a label store, to look at before training and to take figures from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fkd.amounts import as_count
from fkd.config import as_config, grid_text
from fkd.errors import ImagesError
from fkd.images import read_titles, visible_name
from fkd.info import info_lines
from fkd.orders import ShowConfig
from fkd.originals import (
    LabelledMasks,
    LabelledTexts,
    PresentImages,
    drift,
    find_labelled_masks,
    find_labelled_texts,
    find_present,
    image_root,
)
from fkd.pictures import CropViewer
from fkd.progress import note, note_lines
from fkd.showing.crop_sections import sample_section
from fkd.showing.head import headline, notes_on, settings_of, what_is_read
from fkd.showing.neighbours import vector_section
from fkd.showing.page import (
    MARK,
    Page,
    Section,
    check_folder,
    default_folder,
    render_page,
    write_folder,
)
from fkd.showing.sampling import sampled_images
from fkd.showing.sections import (
    against_section,
    label_sections,
    size_section,
)
from fkd.statistics import (
    Comparison,
    LabelStatistics,
    LineStatistics,
    TruthStatistics,
    compare,
    label_statistics,
    line_statistics,
    truth_statistics,
    vector_statistics,
)
from fkd.store import LabelStore


def show_store(config: ShowConfig) -> Path:
    """Write a page about a store, finished or not, and return its path; its pictures lie beside it.

    Where the images are not found and neither `config.images` nor `config.chosen` is given, the page is
    made without them. Raises `FkdError` for a store that cannot be read or compared, class names that do
    not fit it, an image that it does not have, and a folder that is not ours.
    """
    as_config(config, ShowConfig)
    opened = _open(config)
    store, other = opened.store, opened.other
    note_lines(what_is_read(store, other, opened.images_root, opened.out))
    present, notes = _images(store, config)
    viewer, indices, truth = None, [], None
    if present is not None:
        masks, more = _masks(store, present)
        texts, more_of_texts = _texts(store, present)
        more += more_of_texts
        viewer = CropViewer(store, present.images, opened.names, config.formats, masks, texts)
        indices = sampled_images(store, present, config)
        notes += more
    sections = [None if viewer is None else sample_section(store, viewer, indices, config)]
    statistics = label_statistics(store) if store.spec.labels.there else None
    if present is not None:
        truth, more = _truth(store, masks, texts, present)
        notes += more
    comparison = None if other is None else compare(store, other)
    if statistics is not None:
        note(_headline_text(store, statistics, truth, comparison))
        sections += label_sections(store, viewer, statistics, truth, opened.names, config.formats)
    for name in store.spec.vectors:
        vectors = vector_statistics(store, name, seed=config.seed)
        note(str(vectors))
        sections.append(vector_section(store, viewer, vectors, config.formats))
    if comparison is not None and other is not None:
        sections.append(against_section(other, comparison, config.formats))
    sections.append(size_section(store, config.formats))
    page = Page(
        store.path.name or str(store.path),
        settings_of(store),
        headline(store, statistics, truth),
        [*notes_on(store, drift(store.spec, store.path)), *notes],
        info_lines(store.path),
        [section for section in sections if section is not None],
    )
    return write_folder(opened.out, render_page(page), _files(page.sections))


@dataclass(frozen=True)
class _Opened:
    """All that is settled before anything is read at length."""

    store: LabelStore
    other: LabelStore | None
    images_root: Path
    out: Path
    names: tuple[str, ...]


def _open(config: ShowConfig) -> _Opened:
    """Open the stores, and refuse a folder that may not be written and names that do not fit."""
    store = LabelStore.open(config.store)
    other = None if config.against is None else LabelStore.open(config.against)
    out = config.out or default_folder(config.store)
    root = image_root(store, config.images) if config.images else Path(store.spec.images_root)
    check_folder(out, [s.path for s in (store, other) if s is not None], root, MARK)
    names = store.class_titles()
    if config.class_names is not None:
        names = read_titles(config.class_names, store.class_names())
    return _Opened(store, other, root, out, tuple(map(visible_name, names)))


def _images(store: LabelStore, config: ShowConfig) -> tuple[PresentImages | None, list[str]]:
    """Find the images, or say on the page which are not there; those that the user named must be."""
    try:
        present = find_present(store, config.images)
    except ImagesError as error:
        if config.images is not None or config.chosen:
            raise
        return None, [f"No image is drawn: {error}."]
    missing = np.flatnonzero(~present.there)
    if not len(missing):
        return present, []
    first, total = present.images.paths[int(missing[0])], as_count(len(present.there), "image")
    others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
    gone = f"{len(missing):,} of {total} are not in {present.images.root}: {first}{others}"
    return present, [f"{gone}; what is missing is not drawn."]


def _masks(store: LabelStore, present: PresentImages) -> tuple[LabelledMasks | None, list[str]]:
    """Find the masks of a store's images, if they had any, or say on the page why there are none."""
    if not store.spec.masks:
        return None, []
    try:
        return find_labelled_masks(store, present.images), []
    except ImagesError as error:
        return None, [f"No mask is drawn: {error}."]


def _texts(store: LabelStore, present: PresentImages) -> tuple[LabelledTexts | None, list[str]]:
    """Find the texts of a store's images, if they had any, or say on the page why there are none."""
    if not store.spec.texts:
        return None, []
    try:
        return find_labelled_texts(store, present.images), []
    except ImagesError as error:
        return None, [f"Labels are not compared with texts: {error}."]


def _truth(
    store: LabelStore,
    masks: LabelledMasks | None,
    texts: LabelledTexts | None,
    present: PresentImages,
) -> tuple[TruthStatistics | LineStatistics | None, list[str]]:
    """Compare maps with masks and lines with texts, or say on the page why that is not done."""
    try:
        if texts is not None:
            return line_statistics(store, texts, present.there), []
        return None if masks is None else truth_statistics(store, masks, present.there), []
    except ImagesError as error:
        return None, [f"Labels are not compared with {store.spec.truth}: {error}."]


def _files(sections: Sequence[Section]) -> dict[str, bytes]:
    pictures = [picture for section in sections for picture in section.pictures]
    return {
        f"{picture.name}.{suffix}": content
        for picture in pictures
        for suffix, content in picture.files.items()
    }


def _headline_text(
    store: LabelStore,
    statistics: LabelStatistics,
    truth: TruthStatistics | LineStatistics | None,
    comparison: Comparison | None,
) -> str:
    known = " of images without classes" if store.spec.unlabelled else ""
    if store.spec.grid:
        known = f" of {grid_text(store.spec.grid)} labels" + ("" if truth is None else f": {truth}")
    if not store.spec.labels.keeps_first:
        known += f", kept as {store.spec.scheme}"
    if statistics.agreement is not None:
        whose = "a class in the view for" if store.spec.mixes else "the class of"
        known = f": top-1 is {whose} {statistics.agreement:.1%}"
    parts = [f"{as_count(statistics.num_crops, 'crop')}{known}"]
    if statistics.certainty is not None:
        parts.append(str(statistics.certainty))
    if comparison is not None:
        parts.append(f"teachers agree on {comparison.agreement:.1%}")
        if comparison.divergences is not None:
            parts.append(f"cross-entropy {comparison.divergences.cross_entropy:.3f} nats")
    return ", ".join(parts)
