"""The masks of the images that a run labels: whether it looks at them, and of which classes they are."""

from fkd.config import LabelConfig
from fkd.errors import ConfigError, ImagesError
from fkd.images import ImageList
from fkd.teachers import Ensemble
from fkd.truth import Masks, find_masks


def masks_beside(config: LabelConfig, images: ImageList) -> Masks | None:
    """Find the masks of a run's images; None where images have classes, or are to have no truth.

    Raises `ImagesError` where some images have masks and others have not.
    """
    if config.unlabelled or not images.unlabelled or config.kept.kind == "none":
        return None
    masks = find_masks(images)
    if masks is None:  # images without classes were listed for the masks of others
        raise ImagesError(
            f"{config.part} chooses images of {images.root} that have no masks, and others have some; "
            "choose others, or leave the masks alone with --unlabelled"
        )
    return masks


def of_labels(config: LabelConfig, teachers: Ensemble, masks: Masks | None) -> Masks | None:
    """Return masks in the numbers of the store's classes; None where labels are no maps.

    Raises `ConfigError` where views are to be mixed, and `ImagesError` for classes that labels have not.
    """
    if masks is None or not teachers.grid:
        return None
    mix = config.views.mix
    if mix.mixes:
        asked = " ".join(
            f"--{n} {a:g}" for n, a in (("mixup", mix.mixup), ("cutmix", mix.cutmix)) if a
        )
        raise ConfigError(
            f"{asked}: a pixel that is mixed of two images has no class of its own, and these have masks "
            f"in {masks.folder}; leave it out, or leave the masks alone with --unlabelled"
        )
    return masks.matched(teachers.classes.names, "the classes of the labels")
