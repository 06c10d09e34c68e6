"""Teachers together: they are loaded, label the same classes, and their probabilities are averaged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import Engine, Grid, Target, TeacherChoice, check_targets, grid_words, is_line
from fkd.errors import FkdError, ModelError
from fkd.teachers.classes import (
    OF_FOLDER,
    OF_MASKS,
    OF_STORE,
    OF_TEXTS,
    ClassMap,
    Whose,
    map_classes,
)
from fkd.teachers.grids import kept_grid, on_kept_grid
from fkd.teachers.output_names import output_names, store_names
from fkd.teachers.source import Source
from fkd.teachers.sources import open_source
from fkd.teachers.teacher import Teacher

T = TypeVar("T")

_PLAIN = Engine()

# Whose classes the positions of a view are of, by the sides of a teacher's grid.
_WHOSE = (OF_FOLDER, OF_TEXTS, OF_MASKS)


class Ensemble:
    """One or more teachers whose probabilities are averaged over the same boxes.

    `view_formats` are the distinct sizes and interpolations in which they want to see a crop. `grid` is
    that of the labels: of G positions a view has as many rows, and () is one label a view. It
    `classifies` where a teacher itself names the classes that its outputs are.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        weights: Sequence[float] = (),
        grid: Grid | int | None = None,
        *,
        classifies: bool = False,
    ) -> None:
        """Gather teachers of the same classes; their `weights`, in sum 1, where they are not equal.

        Maps are brought to a `grid`, or to one of so many pixels a cell. Raises `ModelError` for those
        that cannot be, or have no grid in common.
        """
        self.teachers, self._weights = tuple(teachers), tuple(weights)
        self.grid, self.classifies = kept_grid(self.teachers, grid), classifies
        self.view_formats = tuple(dict.fromkeys(t.preprocessing.view_format for t in teachers))

    @property
    def device(self) -> torch.device:
        """Where the teachers are."""
        return self.teachers[0].device

    @property
    def classes(self) -> ClassMap:
        """How the folder's classes stand in the store; the same for every teacher."""
        return self.teachers[0].class_map

    def probs(self, views: Sequence[Tensor], count: int, temperature: float) -> Tensor:
        """Label the first `count` views of a batch, given once for each view format.

        The probabilities are f32 [count · G, C].
        """
        total: Tensor | None = None
        for number, (teacher, seen) in enumerate(self.each(views)):
            probs = self._kept(teacher, teacher.probs(seen, count, temperature))
            if self._weights:
                probs = probs * self._weights[number]
            total = probs if total is None else total + probs
        assert total is not None
        return total if self._weights or len(self.teachers) == 1 else total / len(self.teachers)

    def say(
        self, views: Sequence[Tensor], count: int, temperature: float, *, labels: bool
    ) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """Label the first `count` views, f32 [count · G, C], unless no `labels` are kept; say vectors.

        Vectors f32 [count, …], by target, are those of the one teacher that has them.
        """
        if len(self.teachers) > 1:
            return self.probs(views, count, temperature), {}
        (teacher,) = self.teachers
        said = teacher.say(views[0], count)
        if not labels:
            return None, said.vectors
        return self._kept(teacher, teacher.as_probs(said.outputs, temperature)), said.vectors

    def _kept(self, teacher: Teacher, probs: Tensor) -> Tensor:
        return on_kept_grid(probs, teacher.grid, self.grid)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the vectors that are kept, by target."""
        return self.teachers[0].shapes

    def each(self, views: Sequence[Tensor]) -> Iterator[tuple[Teacher, Tensor]]:
        """Yield every teacher with its own views of a batch, which is given once for each view format."""
        for teacher in self.teachers:
            yield teacher, views[self.view_formats.index(teacher.preprocessing.view_format)]


def load_teachers(  # noqa: PLR0913  who labels, which classes, and what is kept
    choices: Sequence[TeacherChoice],
    folder_classes: Sequence[str] | None,
    device: torch.device,
    engine: Engine = _PLAIN,
    *,
    only: Sequence[str] | None = None,
    truth_classes: Sequence[str] | None = None,
    targets: Sequence[Target] = (),
    labels: bool = True,
    grid: Grid | int | None = None,
    joins: bool = False,
    again: bool = False,
) -> Ensemble:
    """Load the teachers of a run; without `folder_classes` images have no classes.

    Of a teacher that `joins` those of a store, they are the classes of that store in messages. Of those
    that are asked `again` for labels that there are, messages offer no other way to keep these.

    `targets` are the vectors that are kept of the only teacher; several raise `ConfigError`. Where no
    `labels` are kept, its outputs need not be the folder's classes. Maps of labels are brought to the
    `grid`, that of a store, or one of so many pixels a cell.

    With `only`, the store's classes are these of the folder's, and outputs are matched to all of them.
    Without folder classes, teachers that say maps or lines are matched to the `truth_classes`, those of
    masks or the characters of texts, where there are any.
    The store's classes are then the outputs of the teachers, which one of them names. Raises `ModelError`
    where they do not label the same classes, and for maps or lines of images that have classes.
    """
    check_targets(targets, len(choices))  # before any of them is downloaded
    known = truth_classes if folder_classes is None else folder_classes
    num_classes = None if known is None else len(known)
    sized = num_classes if labels else None  # what has no labels needs no head for the folder
    sources = [
        _told_apart(choices, n, partial(open_source, choice, sized, device))
        for n, choice in enumerate(choices)
    ]
    of_images = OF_STORE if joins else OF_FOLDER
    whose = of_images if folder_classes is not None else _WHOSE[len(sources[0].outputs.grid)]
    wanted = folder_classes if whose in (OF_FOLDER, OF_STORE) else truth_classes
    if labels and wanted is not None and whose is OF_FOLDER and not isinstance(grid, tuple):
        for n, (choice, source) in enumerate(zip(choices, sources, strict=True)):
            _told_apart(choices, n, partial(_refuse_positions, choice, source))
    of_positions = whose in (OF_MASKS, OF_TEXTS)
    if again:
        whose = whose.of_labels_there_are()
    maps = (
        _match_all(choices, sources, wanted, whose, of_positions=of_positions)
        if labels
        else [ClassMap.of_no_outputs(folder_classes, sources[0].num_outputs)]
    )
    if folder_classes is not None and only is not None and tuple(only) != tuple(folder_classes):
        place = {name: number for number, name in enumerate(folder_classes)}
        chosen = np.array([place[name] for name in only])
        maps = [
            class_map.of_folders(chosen, all_classes=choice.all_classes)
            for choice, class_map in zip(choices, maps, strict=True)
        ]
    for choice, class_map in zip(choices, maps, strict=True):
        if class_map.names != maps[0].names:
            raise ModelError(
                f"teachers {choices[0].name} and {choice.name} label other classes; with --all-classes "
                "their --teacher-classes must hold the same names in the same order"
            )
    each = zip(choices, sources, maps, strict=True)
    loaded = [Teacher(c.name, s, m, device, engine, c.output, targets) for c, s, m in each]
    classifies = any(s.names is not None and s.no_logits is None for s in sources)
    return Ensemble(loaded, grid=grid, classifies=classifies)


def _match_all(
    choices: Sequence[TeacherChoice],
    sources: Sequence[Source],
    folder: Sequence[str] | None,
    whose: Whose,
    *,
    of_positions: bool,
) -> list[ClassMap]:
    """Match each teacher's outputs to the folder's classes or, without any, to those of the store.

    Classes of masks or texts are of positions, and no image has one.
    """
    given = list(enumerate(zip(choices, sources, strict=True)))
    for number, (choice, source) in given:
        _told_apart(choices, number, partial(_require_logits, choice, source))
    if folder is not None:
        match = partial(map_classes, whose=whose)
        matched = [
            _told_apart(choices, n, partial(match, folder, s.num_outputs, choice, s.names))
            for n, (choice, s) in given
        ]
        return [one.unlabelled() for one in matched] if of_positions else matched
    names = _store_classes(choices, sources)
    maps = []
    for choice, source in zip(choices, sources, strict=True):
        all_kept = replace(choice, all_classes=False)
        try:
            class_map = map_classes(names, source.num_outputs, all_kept, source.names)
        except ModelError as error:  # it speaks of class folders, of which there are none
            raise _other_classes(choices, choice, source, names) from error
        if class_map.columns is not None and len(class_map.columns) < source.num_outputs:
            raise _other_classes(choices, choice, source, names)
        maps.append(class_map.unlabelled())
    return maps


def _require_logits(choice: TeacherChoice, source: Source) -> None:
    """Raise `ModelError` for a teacher that is known to return something else."""
    if source.no_logits is not None:
        raise ModelError(f"teacher {choice.name} {source.no_logits}")


def _refuse_positions(choice: TeacherChoice, source: Source) -> None:
    """Raise `ModelError` for a teacher of maps or lines where images have the classes of folders."""
    grid = source.outputs.grid
    if grid:
        truth = "texts" if is_line(grid) else "masks"
        raise ModelError(
            f"teacher {choice.name} says {grid_words(grid)}, and the images have classes, which say "
            f"nothing of its positions; give --unlabelled, or images with {truth} beside them"
        )


def _other_classes(
    choices: Sequence[TeacherChoice], choice: TeacherChoice, source: Source, names: Sequence[str]
) -> ModelError:
    together = " and ".join(one.name for one in choices)
    few = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return ModelError(
        f"teachers {together} label other classes: the store would have {as_count(len(names), 'class')} "
        f"({few}), {choice.name} has {as_count(source.num_outputs, 'output')} of other names or none; "
        "give --teacher-classes with the same names for each, or label with one of them"
    )


def _store_classes(choices: Sequence[TeacherChoice], sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the classes of a store of images without classes, as one of the teachers names them."""
    known = [
        _told_apart(choices, n, partial(output_names, choice, source.num_outputs, source.names))
        for n, (choice, source) in enumerate(zip(choices, sources, strict=True))
    ]
    return store_names(known, sources[0].num_outputs)


def _told_apart(choices: Sequence[TeacherChoice], number: int, work: Callable[[], T]) -> T:
    """Do what may fail for one of the teachers, and say for which: an error of an option names none."""
    try:
        return work()
    except FkdError as error:
        if len(choices) == 1:
            raise
        # Two may have the same name.
        raise ModelError(
            f"teacher {number + 1} of {len(choices)}, {choices[number].name}: {error}"
        ) from error
