"""The sections of the page: figures with what a reader should know of them, and their numbers."""

import math
from collections.abc import Sequence

from fkd.config import grid_text, is_line, size_text
from fkd.orders import ShowConfig
from fkd.progress import progress
from fkd.showing.area_figures import area_picture
from fkd.showing.class_figures import class_picture, confusion_picture
from fkd.showing.crops import CropViewer
from fkd.showing.label_figures import certainty_pictures, divergence_picture, size_picture
from fkd.showing.page import Section
from fkd.showing.picture import Picture, Table
from fkd.showing.position_figures import line_section, position_section, truth_section
from fkd.statistics import (
    Comparison,
    LabelStatistics,
    LineStatistics,
    NotableCrop,
    TruthStatistics,
    bytes_per_crop,
    num_crops_labelled,
    num_finished,
)
from fkd.store import LabelStore


def sample_section(
    store: LabelStore, viewer: CropViewer, indices: Sequence[int], config: ShowConfig
) -> Section | None:
    """Return images of these indices with their first crops; None where there are none."""
    if not indices:
        return None
    num_crops = min(config.crops, num_finished(store))
    pictures = [
        viewer.sample(index, num_crops, number)
        for number, index in enumerate(progress(indices, "draw", unit="image", delay=1), 1)
    ]
    first = store.spec.labels.keeps_first
    said = (
        "the teacher's most likely classes" if first else "classes drawn from the teacher's label"
    )
    which = "Images that were asked for" if config.chosen else f"Images drawn by seed {config.seed}"
    said = f", with {said}" if store.spec.labels.there and not store.spec.grid else ""
    of_lines = is_line(store.spec.grid)
    boxes = "colours" if of_lines else "numbers and colours"
    mixed = ""
    if store.spec.mixes:
        mixed = (
            " The crops are mixed with those of the images below, whose boxes have the same numbers; the "
            "share in a crop's corner is that of its own image, and a broken line is around what was cut "
            "out."
        )
    bold = "the classes of both images" if store.spec.mixes else "the class of the image's folder"
    return Section(
        "Images and crops",
        f"{which}, with their first {num_crops} of {store.spec.num_crops} crops, "
        f"{size_text(store.spec.size)} px, {store.spec.interpolation}. Boxes have the "
        f"{boxes} of their crops. These are as the student gets them{said}; ↔ is mirrored"
        + (f", bold is {bold}." if store.spec.labels.there and not store.spec.unlabelled else ". ")
        + _position_words(store)
        + mixed,
        viewer.taken(),
        tuple(picture for picture in pictures if picture is not None),
    )


def _position_words(store: LabelStore) -> str:
    """Say what stands below a crop whose labels are a map or a line."""
    spec = store.spec
    if is_line(spec.grid):
        below = f"Below a crop is what its {grid_text(spec.grid)} labels read, frame by frame"
        if spec.texts:
            below += ", under the text of its image; places where these differ are red"
        return below + (
            ". On its left is the mean of their largest probabilities. "
            if spec.labels.keeps_values
            else ". "
        )
    if not spec.grid:
        return ""
    below = f"the likeliest class at each of {grid_text(spec.grid)} positions"
    if spec.masks:
        below = f"the classes of its mask, grey where there is none, and {below}"
    if spec.labels.keeps_values:
        most = math.log(spec.num_classes)
        below += f", and the entropy of the label there, from 0 nats (black) to {most:.2f} (bright)"
    return f"Below each is {below}."


def label_sections(
    store: LabelStore,
    viewer: CropViewer | None,
    statistics: LabelStatistics,
    truth: TruthStatistics | LineStatistics | None,
    names: Sequence[str],
    formats: Sequence[str],
) -> list[Section | None]:
    """Return what labels say; None stands for a section of which the store keeps nothing."""
    return [
        certainty_section(store, statistics, formats),
        position_section(store, statistics, names, formats),
        (
            line_section(store, truth)
            if isinstance(truth, LineStatistics)
            else truth_section(store, truth, names, formats)
        ),
        area_section(statistics, formats),
        class_section(store, statistics, names, formats),
        *notable_sections(store, viewer, statistics, names),
    ]


def certainty_section(
    store: LabelStore, statistics: LabelStatistics, formats: Sequence[str]
) -> Section | None:
    """Return how sure the teacher is; None where no values are kept."""
    if statistics.certainty is None:
        return None
    of, count = "crops", f"{statistics.num_crops:,} crops"
    if store.spec.grid:
        of = "labels"
        count += f" of {grid_text(store.spec.grid)} labels"
    return Section(
        "How sure the teacher is",
        f"From the first {statistics.crops_per_image} of {store.spec.num_crops} crops of each of "
        f"{statistics.num_images:,} images: {count}, as {store.spec.scheme} at "
        f"temperature {store.spec.temperature:g} keeps them.",
        pictures=tuple(certainty_pictures(statistics.certainty, formats, of)),
        narrow=True,
    )


def area_section(statistics: LabelStatistics, formats: Sequence[str]) -> Section | None:
    """Return what the labels have to do with the crop's area; None where neither curve is known.

    A mixed view has crops of two areas.
    """
    picture = None if statistics.area is None else area_picture(statistics.area, formats)
    if picture is None:
        return None
    return Section(
        "Small crops and large ones",
        pictures=(picture,),
        narrow=statistics.certainty is None or statistics.agreement is None,
    )


def class_section(
    store: LabelStore, statistics: LabelStatistics, names: Sequence[str], formats: Sequence[str]
) -> Section | None:
    """Return how often the teacher names the folder's class, and what it names instead.

    None where images have no classes.
    """
    classes, confusion, agreement = statistics.classes, statistics.confusion, statistics.agreement
    if classes is None or confusion is None or agreement is None:
        return None
    mixed = store.spec.mixes
    confused = confusion_picture(confusion, names, formats, mixed=mixed)
    text = (
        "A crop may miss the object, so less than 100 % is no fault: there the soft label tells the "
        "student what the crop shows."
    )
    if mixed:
        text += (
            " Views are mixed of two images: the class of either counts as named, and a view is one of "
            "the class with the larger share."
        )
    return Section(
        f"Does the teacher name {'a class of the view' if mixed else 'the class of the image'}?",
        text,
        pictures=(
            class_picture(classes, names, agreement, formats, mixed=mixed),
            *(() if confused is None else (confused,)),
        ),
    )


def notable_sections(
    store: LabelStore,
    viewer: CropViewer | None,
    statistics: LabelStatistics,
    names: Sequence[str],
) -> list[Section]:
    """Return the crops on which the teacher is sure of another class, and the least sure ones."""
    if statistics.certainty is None:
        return []
    sure, unsure = statistics.certainty.sure_of_another, statistics.certainty.least_sure
    sections, mixed = [], store.spec.mixes
    whose = "a class of either image" if mixed else "the folder's class"
    if sure:
        pictures = _gallery(viewer, sure, "sure-of-another", "Surest of another class")
        sections.append(
            Section(
                "Sure, and not of the folder's class",
                f"The highest top probabilities where the top-1 is not {whose}: crops of "
                "something else, classes that overlap, images in a wrong folder, errors of the teacher.",
                () if viewer is None else viewer.taken(),
                pictures,
                table=_notable_table(store, sure, names),
            )
        )
    pictures = _gallery(viewer, unsure, "least-sure", "Lowest top probability")
    mean = "mean " if store.spec.grid else ""
    least = Section(
        "Least sure crops",
        f"Of each image the crop with the lowest {mean}top probability, and of those the lowest: what is "
        "hard to tell, what two classes share, and labels that deserve a look."
        + (" Much of two images makes a label flat, too." if mixed else ""),
        () if viewer is None else viewer.taken(),
        pictures,
        table=_notable_table(store, unsure, names),
    )
    return [*sections, least]


def _gallery(
    viewer: CropViewer | None, crops: Sequence[NotableCrop], name: str, title: str
) -> tuple[Picture, ...]:
    if viewer is None:
        return ()
    picture = viewer.gallery(name, crops, title)
    return () if picture is None else (picture,)


def _notable_table(store: LabelStore, crops: Sequence[NotableCrop], names: Sequence[str]) -> Table:
    paths, targets = store.image_paths(), store.targets()
    rows = tuple(
        (
            paths[crop.image_index],
            str(crop.crop),
            *(() if targets is None else (names[targets[crop.image_index]],)),
            *(() if is_line(store.spec.grid) else (names[crop.top_class],)),
            f"{crop.top_probability:.3f}",
            f"{crop.entropy:.3f}",
        )
        for crop in crops
    )
    own = () if targets is None else ("folder's class",)
    of_each: tuple[str, ...] = ("top-1", "top probability", "entropy, nats")
    if store.spec.grid:
        of_each = ("top-1 of most", "mean top probability", "mean entropy, nats")
    if is_line(store.spec.grid):
        of_each = of_each[1:]  # that of most frames is the blank
    return Table(("image", "crop", *own, *of_each), rows)


def against_section(other: LabelStore, comparison: Comparison, formats: Sequence[str]) -> Section:
    """Return how far the labels of another store are from this one's."""
    teachers = ", ".join(teacher.name for teacher in other.spec.teachers)
    soft = comparison.divergences
    of = "labels" if other.spec.grid else "crops"
    pictures: tuple[Picture, ...] = ()
    if soft is not None:
        pictures = (divergence_picture(soft, formats, of),)
    return Section(
        "Against another store",
        f"{other.path} ({teachers}, {size_text(other.spec.size)} px, {other.spec.scheme}). On the first "
        f"{comparison.crops_per_image} crops of {comparison.num_images:,} images the teachers' top-1 "
        f"agree in {comparison.agreement:.1%}{' of positions' if other.spec.grid else ''}.",
        () if soft is not None else ("A hard store keeps no values: there is no cross-entropy.",),
        pictures,
        narrow=True,
    )


def size_section(store: LabelStore, formats: Sequence[str]) -> Section:
    """Return what a crop takes on disk, part by part."""
    num_bad, num_crops = store.num_bad(), max(1, num_crops_labelled(store))
    return Section(
        "Size",
        f"{sum(store.stored_bytes().values()):,} bytes on disk for {num_crops:,} crops"
        + (f", of which those of {num_bad:,} unusable images are empty." if num_bad else "."),
        pictures=(size_picture(bytes_per_crop(store), num_crops, formats),),
    )
