"""Look before you leap: does the teacher know the images that it is about to label?

A wrong normalisation, a wrong order of classes or a wrong file still gives labels, and a GPU-week later
a useless store. So do probabilities in the place of logits. A few centre crops tell at once.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import LabelConfig, Preprocessing, as_typed, sides_of, size_text
from fkd.errors import DecodeError, ModelError
from fkd.images import ImageList
from fkd.labelling.line_look import LineLook, SampleLines
from fkd.labelling.map_look import MapLook, SampleMaps
from fkd.labelling.vector_look import CENTRE_CROP, SampleVectors, several_of_each
from fkd.progress import note
from fkd.teachers import Ensemble, Teacher, suspicion
from fkd.truth import Masks, Texts, Truth
from fkd.views import RenderPool, evaluation_batches

# Images that are looked at: a hundredth of the run's views, within these bounds.
_LEAST, _MOST = 64, 256
_BATCH = 32
_POSITIONS = 256  # of a map that are looked at


@dataclass(frozen=True)
class SampleAccuracy:
    """How many of `count` centre crops a teacher assigns to their folder's class, and how sure it is.

    `vectors` say what those that are kept tell; without `labels` nothing else is asked. `hits` is None
    where images have no classes. `confidence` is the mean top probability. `made_for` is the size in
    pixels that its weights were made for, None where that is not known. `odd` says what is suspicious
    about its outputs, if anything is. `at_positions` says how they agree with masks or texts, where there
    are any, and `unusable` why the first image that cannot be used is none. `view` is what is seen of an
    image, in the words of a message.
    """

    teacher: str
    hits: int | None
    count: int
    num_classes: int
    preprocessing: Preprocessing
    made_for: int | None = None
    odd: str | None = None
    confidence: float = math.nan
    labels: bool = True
    vectors: tuple[SampleVectors, ...] = ()
    at_positions: SampleMaps | SampleLines | None = None
    unusable: str = ""
    view: str = CENTRE_CROP

    @property
    def top1(self) -> float | None:
        """Share of hits, in [0, 1]."""
        return None if self.hits is None else self.hits / max(1, self.count)

    @property
    def near_chance(self) -> bool:
        """Whether guessing would do as well, within three standard deviations.

        Where all is right it is not said: of very few images, guessing may find them all.
        """
        if self.hits is None or self.top1 is None:
            return False
        chance = 1 / self.num_classes
        spread = 3 * math.sqrt(chance * (1 - chance) / max(1, self.count))
        return self.hits < self.count and self.top1 <= chance + spread

    @property
    def warnings(self) -> list[str]:
        """What may be wrong with the teacher's labels, and what to do."""
        name, size = f"teacher {self.teacher}", self.preprocessing.size
        found = []
        if not self.count:
            found.append(f"{name}: no image that was looked at can be used ({self.unusable})")
        if self.num_classes == 1 and self.labels:
            whose = "it" if self.hits is None else "the folder"
            found.append(f"{name}: {whose} has one class, so that all labels are the same")
        if self.near_chance:
            found.append(
                f"{name} is no better than guessing among {self.num_classes} classes; "
                "check --teacher-weights, --teacher-classes, --mean, --std and --size"
            )
        if self.made_for is not None and min(sides_of(size)) < self.made_for:
            found.append(
                f"{name} sees {size_text(size)} px, and its weights were made for {self.made_for} px; "
                f"leave --size out, or compare the {'top-1' if self.labels else 'kNN'} of both by "
                "--dry-run"
            )
        if self.odd is not None:
            found.append(f"{name} {self.odd}")
        found_there = self.at_positions
        of_positions = [] if found_there is None or not self.count else found_there.warnings
        of_vectors = [warning for one in self.vectors for warning in one.warnings]
        found += [f"{name} {warning}" for warning in of_positions]
        return found + [f"{name}: {warning}" for warning in of_vectors]

    @property
    def lines(self) -> list[str]:
        """What was found, of labels and of each target's vectors."""
        seen = "" if self.labels else f" of {self._seen}"
        of_vectors = [f"{self.teacher}: {one}{seen}" for one in self.vectors]
        return [str(self)] * self.labels + of_vectors

    def __str__(self) -> str:
        found = f"mean top probability {self.confidence:.1%}, without classes to compare with,"
        if self.top1 is not None:
            found = f"top-1 {self.top1:.1%}"
        if self.at_positions is not None:
            found = str(self.at_positions)
        return f"{self.teacher}: {found} on {as_count(self.count, self.view)} of {self._seen}"

    @property
    def _seen(self) -> str:
        """How the teacher sees a view."""
        seen = self.preprocessing
        return (
            f"{size_text(seen.size)} px, {seen.interpolation}, mean {as_typed(seen.mean)}, "
            f"std {as_typed(seen.std)}"
        )


def check_teachers(
    teachers: Ensemble, images: ImageList, config: LabelConfig, truth: Truth | None = None
) -> None:
    """Say on stderr how well each teacher knows the folder's classes, and warn of what looks wrong.

    What they say at positions is compared with the images' `truth`, masks or texts, where there is any.

    Raises `ModelError` for a teacher whose outputs are not what they should be, logits or probabilities.
    """
    for choice, teacher in zip(config.teachers, teachers.teachers, strict=True):
        if choice.weights == "none":
            what = "labels mean" if config.kept.kind != "none" else "vectors mean"
            note(f"teacher {teacher.name} has random weights: its {what} nothing")
            continue
        count = _sample_size(images, config)
        seen = as_count(count, _view_words(config))
        note(f"teacher {teacher.name} is looked at on {seen}")
        accuracy = sample_accuracy(teacher, images, config, truth)
        for line in accuracy.lines:
            note(f"teacher {line}")
        for warning in accuracy.warnings:
            note(f"warning: {warning}")


def sample_accuracy(
    teacher: Teacher, images: ImageList, config: LabelConfig, truth: Truth | None = None
) -> SampleAccuracy:
    """Measure a teacher's top-1, and how sure it is, on centre crops of images from all over the folder.

    With `truth`, in the numbers of its classes, its maps or lines are compared with it. The sample is the
    same in every run, so that settings can be compared. Raises `ModelError` for a teacher whose outputs
    are not what they should be.
    """
    chosen = _chosen(images, config)
    labels, targets = config.kept.kind != "none", [target.name for target in config.targets]
    hits, top = 0, 0.0
    seen: list[torch.Tensor] = []
    vectors: dict[str, list[torch.Tensor]] = {name: [] for name in targets}
    classes: list[torch.Tensor] = []
    masks = truth.of(images) if isinstance(truth, Masks) else None
    texts = truth.of(images) if isinstance(truth, Texts) else None
    map_look = None if masks is None else MapLook(teacher, config)
    line_look = None if texts is None else LineLook(teacher, config, texts)
    unusable = list[DecodeError]()
    # Batches of these sizes come only here; compiling the teacher for them would take longer.
    with RenderPool(config.workers) as pool, torch.compiler.set_stance("force_eager"):
        batches = [
            chosen[start : start + _BATCH].tolist() for start in range(0, len(chosen), _BATCH)
        ]
        view = teacher.preprocessing.center_view_of(config.views.fit)
        shown = evaluation_batches(pool, images, batches, view, masks)
        for rows, batch in zip(batches, shown, strict=True):
            unusable += batch.errors[:1]
            said = teacher.say(batch.views, len(batch.views))
            usable = batch.usable.to(said.outputs.device)
            outputs = _some_positions(said.outputs, usable)
            seen.append(outputs)
            if map_look is not None and batch.masks is not None:
                map_look.add(said.outputs, batch.masks, batch.usable)
            if line_look is not None:
                line_look.add(said.outputs, rows, batch.usable)
            best = teacher.as_probs(outputs, config.temperature).cpu().max(dim=1)
            top += float(best.values.double().sum())
            if labels and not images.unlabelled:
                wanted = teacher.class_map.target_of[batch.targets[batch.usable].numpy()]
                hits += int((best.indices.numpy() == wanted).sum())
            classes.append(batch.targets[batch.usable])
            for name in targets:  # of a map the mean of its positions
                some = said.vectors[name][usable]
                vectors[name].append((some if some.dim() == 2 else some.mean(dim=(2, 3))).cpu())
    outputs = torch.cat(seen)
    fault = teacher.fault(outputs) if labels else None
    if fault is not None:
        raise ModelError(f"teacher {teacher.name} {fault}")
    known = None if images.unlabelled else torch.cat(classes).numpy()
    return SampleAccuracy(
        teacher.name,
        hits if labels and not images.unlabelled else None,
        sum(len(some) for some in classes),
        len(teacher.class_map.names),
        teacher.preprocessing,
        teacher.made_for,
        suspicion(teacher.logits(outputs).cpu(), config.temperature) if labels else None,
        top / max(1, len(outputs)),
        labels,
        tuple(
            SampleVectors.of(
                target.name,
                teacher.shapes[target.name],
                torch.cat(vectors[target.name]),
                known,
                target.keep,
                _view_words(config),
            )
            for target in config.targets
        ),
        next((look.found() for look in (map_look, line_look) if look is not None), None),
        str(next(iter(unusable), "")),
        _view_words(config),
    )


def _view_words(config: LabelConfig) -> str:
    """Say what is looked at of an image: where views are padded it is all of it."""
    return "padded image" if config.views.fit == "pad" else CENTRE_CROP


def _some_positions(outputs: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """Return outputs of usable views, of n · G rows, at a few positions of each: f32 [rows, outputs]."""
    of_views = outputs.reshape(len(usable), -1, outputs.shape[1])[usable]
    step = -(-of_views.shape[1] // _POSITIONS)
    return of_views[:, ::step].reshape(-1, outputs.shape[1])


def _chosen(images: ImageList, config: LabelConfig) -> NDArray[np.int64]:
    """Choose the images that are looked at; neighbours need several of a class."""
    count = _sample_size(images, config)
    if config.targets and not images.unlabelled:
        return several_of_each(images.targets, count)
    return np.random.default_rng(0).choice(len(images), count, replace=False)


def _sample_size(images: ImageList, config: LabelConfig) -> int:
    hundredth = len(images) * config.crops // 100
    return min(_MOST, len(images), max(_LEAST, hundredth))
