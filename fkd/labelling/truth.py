"""What is true of the images that a run labels: whether it looks at it, and of which classes it is."""

from collections.abc import Sequence

from fkd.amounts import as_count
from fkd.config import LabelConfig, is_line
from fkd.errors import ConfigError, ImagesError
from fkd.format import OTHER_OUTPUTS, StoreSpec
from fkd.images import ImageList, difference_words
from fkd.progress import note, note_once
from fkd.store import LabelStore
from fkd.teachers import Ensemble
from fkd.truth import Masks, Texts, Truth, find_masks, find_texts, require_blank, require_named

# Crops that show a line nearly whole: the share of its area, and how far its shape may be another.
_WHOLE, _ALIKE = 0.5, 1.25


def truth_beside(config: LabelConfig, listed: ImageList, images: ImageList) -> Truth | None:
    """Find the masks or texts of a run's images, which are all `listed` ones or a part of them.

    None where images have classes, or are to have no truth. Raises `ImagesError` where some images have
    masks and others have not, for texts of images that are not there, and for characters without a blank.
    """
    if config.unlabelled or not images.unlabelled or config.kept.kind == "none":
        return None
    texts = find_texts(listed)
    if texts is not None:
        require_named(texts)
        require_blank(texts)
        return texts.of(images)
    masks = find_masks(images)
    if masks is None:  # images without classes were listed for the masks of others
        raise ImagesError(
            f"{config.part} chooses images of {images.root} that have no masks, and others have some; "
            "choose others, or leave the masks alone with --unlabelled"
        )
    return masks


def of_labels(config: LabelConfig, teachers: Ensemble, truth: Truth | None) -> Truth | None:
    """Return truth in the numbers of the store's classes; None where labels are of another kind.

    Masks belong to maps, and texts to lines. Raises `ConfigError` where views are to be mixed, and
    `ImagesError` for classes that labels have not.
    """
    if isinstance(truth, Texts) and not teachers.grid and all("/" in key for key in truth.keys):
        note_once(
            f"warning: {truth.file} has texts of these images, so their folders are not taken for "
            "classes; to label classes, move that file elsewhere"
        )
    if truth is None or not teachers.grid or is_line(teachers.grid) == isinstance(truth, Masks):
        return None
    if isinstance(truth, Texts) and config.views.flip:
        raise ConfigError(
            f"views are mirrored by a coin, and lines with texts in {truth.file} cannot be read then; "
            "add --no-flip, or leave the texts alone with --unlabelled"
        )
    mix = config.views.mix
    if mix.mixes:
        asked = " ".join(
            f"--{n} {a:g}" for n, a in (("mixup", mix.mixup), ("cutmix", mix.cutmix)) if a
        )
        what = (
            f"a pixel that is mixed of two images has no class of its own, and these have masks in "
            f"{truth.folder}; leave it out, or leave the masks alone with --unlabelled"
            if isinstance(truth, Masks)
            else f"two lines that are mixed have no text, and these have one each in {truth.file}; leave "
            "it out, or leave the texts alone with --unlabelled"
        )
        raise ConfigError(f"{asked}: {what}")
    return truth.matched(teachers.classes.names, "the classes of the labels")


def other_classes_words(store: LabelStore, spec: StoreSpec, names: Sequence[str]) -> str:
    """Say how the classes of a run, `names`, differ from those of a store, and who names them."""
    others = difference_words(names, store.class_names())
    if others is None:
        return OTHER_OUTPUTS
    of_truth = "charset.txt" if spec.texts else "classes.txt" if spec.masks else ""
    owner = of_truth or ("--teacher-classes" if spec.unlabelled else "the folder")
    return f"{owner} has other classes than the store: {others}"


def say_what_is_left_out(config: LabelConfig, truth: Truth | None) -> None:
    """Warn of texts that count for nothing, and of crops that do not show the whole of theirs."""
    if truth is None or isinstance(truth, Masks):
        return
    if truth.num_strange:
        note(
            f"warning: {as_count(truth.num_strange, 'text')} of {len(truth):,} have characters that are "
            f"no classes ({truth.strange_words}): no loss will be to them; their labels are kept"
        )
    views = config.views
    narrow, wide = views.ratio
    if views.fit == "fill" or views.scale[0] < _WHOLE or not 1 / _ALIKE <= narrow <= wide <= _ALIKE:
        note(
            "warning: crops may show a part of a line, and texts are of whole ones; give --fit pad "
            "--scale 0.9 1 --ratio 0.9 1.1"
        )
