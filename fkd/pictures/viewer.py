"""Pictures of a store's crops, each with a title, a caption and words for who cannot see it."""

from collections.abc import Sequence

from fkd.amounts import as_count
from fkd.config import is_line
from fkd.errors import ImagesError
from fkd.format import StoreSpec
from fkd.images import ImageList
from fkd.originals import LabelledMasks, LabelledTexts
from fkd.pictures.crop_figures import gallery_figure, sample_figure
from fkd.pictures.crop_reader import CropReader
from fkd.pictures.line_figures import line_gallery_figure, line_sample_figure
from fkd.pictures.map_figures import map_gallery_figure, map_sample_figure
from fkd.pictures.picture import Picture
from fkd.pictures.shown import OtherImage, Pixels, ShownImage
from fkd.statistics import NotableCrop
from fkd.store import LabelStore


class CropViewer:
    """Draws images of a store; `skipped` says which could not be drawn, and why."""

    def __init__(
        self,
        store: LabelStore,
        images: ImageList,
        names: Sequence[str],
        formats: Sequence[str],
        masks: LabelledMasks | None = None,
        texts: LabelledTexts | None = None,
    ) -> None:
        """Take the names of the classes as they are to be read, and the formats of the figures.

        Maps of labels are drawn with the `masks` of their images, where there are any, and what lines
        read is compared with their `texts`.
        """
        self._store, self._names, self._formats = store, names, formats
        self._reader = CropReader(store, images, names, masks, texts)
        self.skipped: list[str] = []

    def sample(self, image_index: int, num_crops: int, number: int) -> Picture | None:
        """Draw an image with its first crops; None where it cannot be drawn."""
        shown = self._read(image_index, range(num_crops))
        if shown is None:
            return None
        first, spec = shown.crops[0], self._store.spec
        what = "most likely class" if spec.labels.keeps_first else "class drawn most often"
        says = f"; the first one's {what}: {first.likely[0][0]}" if first.likely else ""
        if first.line is not None:
            says = f"; the first one reads {first.line.said!r}"
            figure = line_sample_figure(shown, self._formats)
        elif self._of_maps:
            says = ", each with the classes that the teacher sees in it"
            figure = map_sample_figure(shown, self._names, self._formats)
        else:
            figure = sample_figure(shown, self._formats)
        return Picture(
            f"sample-{number}",
            figure,
            shown.path,
            f"Class {shown.title}{_mixed_with(shown.others)}." if shown.title else "",
            f"{shown.path} with {num_crops} boxes, and the crops{says}.",
        )

    def view(self, image_index: int) -> Pixels | None:
        """Draw the first crop of an image, u8 [S, S, 3]; None where it cannot be drawn."""
        shown = self._read(image_index, range(1))
        return None if shown is None else shown.crops[0].pixels

    def class_of(self, image_index: int) -> str | None:
        """Return the name of an image's class, None where images have none."""
        targets = self._store.targets()
        return None if targets is None else self._names[int(targets[image_index])]

    def taken(self) -> tuple[str, ...]:
        """Return why images were not drawn, and forget it."""
        skipped = tuple(dict.fromkeys(self.skipped))
        self.skipped.clear()
        return skipped

    def gallery(self, name: str, notable: Sequence[NotableCrop], title: str) -> Picture | None:
        """Draw crops of several images, each with its image's class; None where none can be drawn."""
        crops, texts = [], []
        for one in notable:
            shown = self._read(one.image_index, range(one.crop, one.crop + 1))
            if shown is None:
                continue
            (crop,), own = shown.crops, shown.title
            crops.append(crop)
            if own and crop.mixing is not None:
                own += f" {crop.mixing.own_share:.2f} + {self._names[crop.mixing.other_target]}"
            texts.append(f"{own} · {one.entropy:.2f} nats" if own else f"{one.entropy:.2f} nats")
        if not crops:
            return None
        what = f"{as_count(len(crops), 'crop')} with the teacher's most likely classes."
        if crops[0].line is not None:
            what = f"{as_count(len(crops), 'crop')} with what their labels read."
            figure = line_gallery_figure(crops, texts, self._formats)
        elif self._of_maps:
            figure = map_gallery_figure(crops, texts, self._names, self._formats)
        else:
            figure = gallery_figure(crops, texts, self._formats)
        caption = _gallery_caption(self._store.spec)
        return Picture(name, figure, title, caption, what)

    @property
    def _of_maps(self) -> bool:
        """Whether labels are of the cells of maps."""
        return len(self._store.spec.grid) == 2

    def _read(self, image_index: int, slots: range) -> ShownImage | None:
        """Read crops of an image, or note why they are not drawn."""
        try:
            return self._reader.read(image_index, slots)
        except ImagesError as error:
            self.skipped.append(f"Not drawn: {error}.")
            return None


def _gallery_caption(spec: StoreSpec) -> str:
    """Say what stands beside or below each crop of a gallery."""
    if is_line(spec.grid):
        over = "its text and what its labels read, red where these differ"
        over = over if spec.texts else "what its labels read"
        return (
            f"One crop an image, over {over}. On the left are the mean of their largest probabilities, "
            "and of their entropies."
        )
    if spec.grid:
        return "One crop an image; below it the mean entropy of its labels."
    if spec.unlabelled:
        return "One crop an image; below it the label's entropy."
    if spec.mixes:
        return (
            "One crop an image; below it the classes of both images, the share of the first one, and "
            "the label's entropy. These classes are bold where they are among the most likely."
        )
    return (
        "One crop an image; below it the folder's class and the label's entropy. The class is bold where "
        "it is among the most likely."
    )


def _mixed_with(others: Sequence[OtherImage]) -> str:
    """Name the classes of the images that crops are mixed with, if any."""
    names = list(dict.fromkeys(other.title for other in others))
    return f", mixed with {', '.join(names)}" if names else ""
