"""`fkd eval --knn` and `--probe`: how good a student's features are, whatever its head is."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import Size, as_path, fit
from fkd.errors import ConfigError, ImagesError
from fkd.evaluation.checkpoint import Opened, open_evaluation
from fkd.evaluation.classes import Accuracy, Tally
from fkd.evaluation.features import Features, gather_features
from fkd.evaluation.images import match_classes
from fkd.evaluation.judging import K
from fkd.images import ImageList, match_names
from fkd.machine import device_memory, place, resolve_device
from fkd.probing import Probe, check_k, knn_top1, linear_probe
from fkd.progress import note
from fkd.sources import dataset_root, list_images
from fkd.students import feature_layer


@dataclass(frozen=True)
class FeatureAccuracy:
    """What features tell of `num_images` images, as shares in [0, 1]; None is what was not asked for.

    `knn` is how often neighbours vote for an image's class, and `probe` how often a linear classifier
    names it. `accuracy` is that of the student's own head, in the same pass; None where it has not
    learned the classes of these folders. The `num_unusable` images that cannot be decoded are missed.
    `k` is the number of neighbours, 0 where none were asked. `bank_images` is the number of images that
    were compared with and trained on, 0 without a bank.
    """

    knn: float | None
    k: int
    probe: Probe | None
    accuracy: Accuracy | None
    num_images: int
    num_unusable: int
    bank_images: int = 0


def evaluate_features(  # noqa: PLR0913  one argument an option
    checkpoint: str | Path,
    folder: str | Path,
    *,
    knn: bool = True,
    k: int | None = None,
    probe: bool = False,
    bank: str | Path | None = None,
    layer: str | None = None,
    ema: bool = False,
    student: str | None = None,
    eval_size: Size | str | None = None,
    eval_crop: float | None = None,
    batch_size: int = 128,
    workers: int = 2,
    device: str = "auto",
) -> FeatureAccuracy:
    """Evaluate the features of a checkpoint on an image folder, or on the `val` folder inside it.

    Features are what a `layer` of this name says; without one, what goes into the student's last linear
    layer. Of tokens and maps they are the mean. `knn` asks the `k` nearest neighbours, by cosine, in the
    `bank`, an image folder or the `train` folder inside it; without one, among the other images
    (Wu et al., CVPR 2018, votes weighted by exp(cos / 0.07)). They are 20, or all where there are fewer.
    `probe` trains a linear classifier on the bank. Classes are those of the folders, which need not be
    the student's. The rest is as in `evaluate_checkpoint`. Raises `FkdError` for a bank without the
    folder's classes, or with fewer images than `k`, and for a student that has no such layer.
    """
    if not (knn or probe):
        raise ConfigError("neither --knn nor --probe is asked for; give one of them, or both")
    if probe and bank is None:
        raise ConfigError(
            "--probe trains a linear classifier on other images; name them with --bank"
        )
    opened = open_evaluation(
        checkpoint, folder, ema=ema, student=student, eval_size=eval_size, eval_crop=eval_crop,
        batch_size=batch_size, workers=workers,
    )  # fmt: skip
    if opened.truth is not None:
        raise ConfigError(
            f"--knn and --probe are of whole images, and checkpoint {checkpoint} says "
            f"{'maps' if opened.card.maps else 'lines'}; leave them "
            "out"
        )
    images, network = opened.images, resolve_device(device)
    known = None if bank is None else _list_bank(as_path("bank", bank), images)
    if knn and k is not None:
        check_k(fit("k", k, int), len(images) - 1 if known is None else len(known.images))
    model, tally = place(opened.model, network), _tally(opened)
    layer = feature_layer(model, opened.card) if layer is None else fit("layer", layer, str)

    def gather(of: ImageList, unusable: str, tally: Tally | None = None) -> Features:
        found = gather_features(
            model, opened.card, of, batch_size, workers, layer=layer, tally=tally
        )
        found.note_unusable(unusable)
        return found

    seen, compared = gather(images, "counted as missed", tally), None
    if known is not None:
        note(f"compared with {as_count(len(known.images), 'image')} of {known.images.root}")
        compared = gather(known.images, "left out").to(network)
        seen = replace(seen, classes=known.position[seen.classes])
    seen = seen.to(network)
    share, voted = _knn(seen, compared, k) if knn else (None, 0)
    return FeatureAccuracy(
        share,
        voted,
        _probe(seen, compared) if probe and compared is not None else None,
        None if tally is None else tally.accuracy(),
        len(images),
        len(seen.errors),
        0 if compared is None else len(compared.vectors),
    )


@dataclass(frozen=True)
class _Bank:
    """Images to compare with, and where in their classes each class that is evaluated is, int64 [C]."""

    images: ImageList
    position: Tensor


def _list_bank(bank: Path, images: ImageList) -> _Bank:
    """List the images to compare with; raises `FkdError` where they lack a class, or are the same."""
    known = list_images(dataset_root(bank), split="train")
    if (
        os.path.realpath(known.root) == os.path.realpath(images.root)
        and known.paths == images.paths
    ):
        raise ConfigError(
            f"--bank {bank} has the images that are evaluated, and each is its own nearest neighbour; "
            "leave it out for kNN among the others, and name other images for --probe"
        )
    position = match_names(images.classes, known.classes)
    missing = [n for n, at in zip(images.classes, position, strict=True) if at is None]
    if missing:
        raise ImagesError(
            f"--bank {bank}: {len(missing)} of the {len(images.classes)} classes of {images.root} are "
            f"not among its class folders: {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}; "
            "give images of the same classes"
        )
    return _Bank(known, torch.tensor(position))


def _tally(opened: Opened) -> Tally | None:
    """Return what counts top-1; None, with a line that says why, where it would mean nothing."""
    card, images = opened.card, opened.images
    if not card.learned_classes:
        note("top-1 is left out: no loss was on the student's outputs, so they name no classes")
    elif (match_classes(images, card.classes, others=True) < 0).any():
        note(f"top-1 is left out: the class folders of {images.root} are not the student's classes")
    else:
        return Tally(images, card)
    return None


def _knn(seen: Features, compared: Features | None, k: int | None) -> tuple[float, int]:
    """Return the share that is right, and how many neighbours voted."""
    others = len(seen.vectors) - 1 if compared is None else len(compared.vectors)
    k = min(K, others) if k is None else k
    bank = None if compared is None else (compared.vectors, compared.classes)
    with device_memory("choose --device cpu"):
        return seen.share(knn_top1(seen.vectors, seen.classes, bank, k)), k


def _probe(seen: Features, compared: Features) -> Probe:
    with device_memory("choose --device cpu"):
        found = linear_probe(compared.vectors, compared.classes, seen.vectors, seen.classes)
    return replace(found, top1=seen.share(found.top1))
