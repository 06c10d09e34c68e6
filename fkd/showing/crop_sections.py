"""Sections of crops that are drawn: those of some images, and those that deserve a look."""

import math
from collections.abc import Sequence

from fkd.config import grid_text, is_line, size_text
from fkd.info import num_finished
from fkd.orders import ShowConfig
from fkd.pictures import CropViewer, Picture, Table
from fkd.progress import progress
from fkd.showing.page import Section
from fkd.statistics import LabelStatistics, NotableCrop
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
