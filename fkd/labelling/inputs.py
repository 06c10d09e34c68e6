"""What a labelling run is given: images and weights. What cannot be is refused at once.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

import os
from pathlib import Path

from fkd.config import LabelConfig, TeacherChoice
from fkd.errors import ImagesError, StoreError
from fkd.images import ImageList, require_files, require_titles
from fkd.models import require_weights
from fkd.progress import note
from fkd.sources import dataset_root, list_images, require_images
from fkd.teachers import check_teacher
from fkd.truth import lined_root, list_lines, masked_root, unnamed_masks


def check_inputs(config: LabelConfig) -> Path:
    """Return where the images are; raises `FkdError` for what cannot be labelled.

    Where they have masks or texts beside them, they need no folders of classes.
    """
    split = "train" if config.split else None
    root = None
    if not config.unlabelled:
        root = lined_root(config.images, split) or masked_root(config.images, split)
    if root is None:
        root = dataset_root(config.images, split=config.split, unlabelled=config.unlabelled)
        require_images(root, unlabelled=config.unlabelled)
    require_files(config.part)
    if config.class_names is not None:
        require_titles(config.class_names)
    for teacher in config.teachers:
        check_files(teacher)
    return root


def check_files(teacher: TeacherChoice) -> None:
    """Raise `FkdError` for a teacher that is not there, and for weights that are no file of weights."""
    check_teacher(teacher)
    if teacher.weights not in ("default", "none"):
        require_weights(Path(teacher.weights), f"--teacher-weights {teacher.weights}")


def refuse_no_store(config: LabelConfig) -> None:
    """Raise `StoreError` where --out is a folder or a file that is there and is no store.

    `--overwrite` has words of its own for it.
    """
    out = config.out
    if not config.overwrite and os.path.lexists(out) and not os.path.lexists(out / "zarr.json"):
        raise StoreError(
            f"--out {out} is there, and it is no label store; name another place for the store with --out"
        )


def refuse_alone(config: LabelConfig, images: ImageList) -> None:
    """Raise `ImagesError` where views are to be mixed and there is one image alone."""
    if config.views.mix.mixes and len(images) == 1:
        raise ImagesError(
            f"{images.root} has one image to label, and there is no other one to mix it with; leave "
            "--mixup and --cutmix out"
        )


def all_images(config: LabelConfig, root: Path) -> ImageList:
    """List the images at `root`; `config.part` says which of them are labelled.

    Images that have masks or texts have no classes by their folders. With texts, labels.txt says which
    images there are.
    """
    if not config.unlabelled and lined_root(root, split=None) == root:
        return list_lines(root)
    if config.unlabelled or masked_root(root, split=None) == root:
        return list_images(root, unlabelled=True)
    images = list_images(root)
    masks = unnamed_masks(root)
    if masks is not None:
        note(
            f"warning: folders in {root} are taken for classes, and their images have masks in {masks}; "
            "name the values of these in a classes.txt beside both, a line each, to label maps of them"
        )
    return images
