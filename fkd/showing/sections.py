"""Sections of figures of all labels: what a reader should know of them, and their numbers."""

from collections.abc import Sequence

from fkd.amounts import as_count
from fkd.config import grid_text, size_text
from fkd.info import bytes_per_crop, num_crops_labelled
from fkd.pictures import CropViewer, Picture
from fkd.showing.area_figures import area_picture
from fkd.showing.class_figures import class_picture, confusion_picture
from fkd.showing.crop_sections import notable_sections
from fkd.showing.label_figures import certainty_pictures, divergence_picture, size_picture
from fkd.showing.page import Section
from fkd.showing.position_figures import line_section, position_section, truth_section
from fkd.statistics import Comparison, LabelStatistics, LineStatistics, TruthStatistics
from fkd.store import LabelStore


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
    of, count = "crops", as_count(statistics.num_crops, "crop")
    if store.spec.grid:
        of = "labels"
        count += f" of {grid_text(store.spec.grid)} labels"
    return Section(
        "How sure the teacher is",
        f"From the first {statistics.crops_per_image} of {store.spec.num_crops} crops of each of "
        f"{as_count(statistics.num_images, 'image')}: {count}, as {store.spec.scheme} at "
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
        f"{as_count(comparison.crops_per_image, 'crop')} of {as_count(comparison.num_images, 'image')} "
        "the teachers' top-1 agree in "
        f"{comparison.agreement:.1%}{' of positions' if other.spec.grid else ''}.",
        () if soft is not None else ("A hard store keeps no values: there is no cross-entropy.",),
        pictures,
        narrow=True,
    )


def size_section(store: LabelStore, formats: Sequence[str]) -> Section:
    """Return what a crop takes on disk, part by part."""
    num_bad, num_crops = store.num_bad(), max(1, num_crops_labelled(store))
    return Section(
        "Size",
        f"{sum(store.stored_bytes().values()):,} bytes on disk for {as_count(num_crops, 'crop')}"
        + (f", of which those of {num_bad:,} unusable images are empty." if num_bad else "."),
        pictures=(size_picture(bytes_per_crop(store), num_crops, formats),),
    )
