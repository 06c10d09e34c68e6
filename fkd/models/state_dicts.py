"""Which of the tensors in a checkpoint are a model's weights, and which are their moving average.

Trainers wrap a state dict in dictionaries (`state_dict`, `model`, …) and wrappers of a model put prefixes
before its names (`module.` of DDP, `model.` of Lightning, …). No list of such words decides here: of all
dictionaries in the file and all prefixes in them, those are taken whose names and shapes are the model's.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fkd.errors import ModelError
from fkd.models.weight_files import Inert, read_content
from fkd.models.weights import Shapes, misfit
from fkd.progress import note_lines

# What torch puts into the middle of names: torch.compile, FSDP and activation checkpointing.
_INSERTED = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Words in keys and prefixes that say that the weights below are an average over steps.
_AVERAGE = {"ema", "swa", "avg", "average", "averaged"}
_SHOWN = 6  # keys that a message names
_DEEPEST = 8  # dictionaries inside each other


@dataclass(frozen=True)
class _Found:
    """Tensors by name that may be the model's: where they are, and how many names are right."""

    keys: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]
    matched: int
    problem: str
    counts_updates: bool

    @property
    def where(self) -> str:
        """Name the place as a path, such as `model_ema/module.*`; "" is the file itself."""
        return "/".join((*self.keys, *([f"{self.prefix}*"] if self.prefix else [])))

    @cached_property
    def words(self) -> set[str]:
        """The words that its keys and its prefix are made of."""
        return set(re.split("[^a-z]+", self.where.lower()))

    def is_average(self, others: list["_Found"]) -> bool:
        """Say whether it is an average; a teacher beside a student is one, as in self-distillation."""
        beside = any("student" in other.words for other in others)
        taught = "teacher" in self.words and "student" not in self.words and beside
        return self.counts_updates or bool(self.words & _AVERAGE) or taught


def read_weights(
    path: Path,
    shapes: Shapes,
    model: str,
    *,
    option: str,
    average_option: str,
    average: bool,
    may_miss: Collection[str] = (),
    part: bool = False,
) -> dict[str, Tensor]:
    """Read the weights of a model with these `shapes` from a state dict or a checkpoint.

    Weights that have all tensors come before those without the ones that they `may_miss`, as a backbone
    is without its head. No code in the file is run. With `average` the moving average of the weights is
    taken; without it the weights themselves, or the average where there is nothing else, and stderr says
    so. With `part` the model may be a part of the file's, whose other tensors are left out. Messages name
    the `model` and the options by which the file and its average are chosen. Raises `ModelError` where
    nothing fits, where several weights do, and where an average is asked for and there is none.
    """
    what = f"{option} {path}"
    content = read_content(path, what)
    found = list(_find(content, shapes, part=part))
    if may_miss and all(one.problem for one in found):
        found = list(_find(content, shapes, may_miss, part=part))
    if not found:
        raise ModelError(f"{what} {_what_else(content, model)}")
    found = _before_peers(found)
    averages = [one for one in found if one.is_average(found)]
    if average and not averages:
        raise ModelError(f"{what} has no moving average of the weights; leave {average_option} out")
    fitting = [one for one in (averages if average else found) if not one.problem]
    if not fitting:
        closest = max(averages if average else found, key=lambda one: one.matched)
        where = f" ({closest.where})" if closest.where else ""
        raise ModelError(
            f"{what}{where} {closest.problem}; is it of another architecture than {model}?"
        )
    plain = [one for one in fitting if not any(one is other for other in averages)]
    chosen = _only(plain or fitting, what)
    others = [one.where for one in averages if not one.problem]
    if others and not average:
        here = chosen.where or "the file itself"
        said = f"a moving average, {here}; there are no others in the file"
        if plain:
            said = f"those of {here}; {average_option} takes their moving average, {others[0]}"
        note_lines([("weights", f"{path}: {said}")])
    return dict(chosen.tensors)


def _only(fitting: list[_Found], what: str) -> _Found:
    """Return the one that fits; several may be the same tensors under two names."""
    first = fitting[0]
    for other in fitting[1:]:
        pairs = [(value, other.tensors[name]) for name, value in first.tensors.items()]
        if not all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs):
            raise ModelError(
                f"{what} has several weights of this model ({first.where} and {other.where}); save those "
                "that you mean in a file of their own"
            )
    return first


def _before_peers(found: list[_Found]) -> list[_Found]:
    """Leave out the other students of a run where its first is the model: both may have its shapes."""
    first = [one for one in found if one.keys[:1] != ("peers",)]
    return first if any(not one.problem for one in first) else found


def _find(
    content: object, shapes: Shapes, may_miss: Collection[str] = (), *, part: bool = False
) -> Iterator[_Found]:
    """Yield all tensors that may be the model's, in the order of the file."""
    for keys, table in _tables(content, (), set()):
        for prefix, matched in _prefixes(table, shapes).items():
            tensors = {
                n[len(prefix) :]: value
                for n, value in table.items()
                if n.startswith(prefix) and not (part and n[len(prefix) :] not in shapes)
            }
            counts = f"{prefix.removesuffix('module.')}n_averaged" in table  # torch's AveragedModel
            problem = misfit(tensors, shapes, may_miss)
            yield _Found(keys, prefix, tensors, matched, problem, counts)


def _prefixes(table: Mapping[str, Tensor], shapes: Shapes) -> Counter[str]:
    """Return what stands before the model's names in a table, and how often."""
    counts: Counter[str] = Counter()
    for name in table:
        parts = name.split(".")
        for first in range(len(parts)):
            if ".".join(parts[first:]) in shapes:
                counts["".join(f"{part}." for part in parts[:first])] += 1
    return counts


def _tables(
    content: object, keys: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield the tensors of every dictionary in the content by name, and the keys that lead there."""
    if not isinstance(content, dict) or id(content) in seen or len(keys) > _DEEPEST:
        return
    seen.add(id(content))  # a pickle may hold a dictionary that holds itself
    # A method that is not looked up in the dictionary itself: a pickle may hide those of an OrderedDict.
    items = [(key, value) for key, value in dict.items(content) if isinstance(key, str)]
    table = {_INSERTED.sub("", key): value for key, value in items if _has_data(value)}
    if table:
        yield keys, table
    for key, value in items:
        yield from _tables(value, (*keys, key), seen)


def _has_data(value: object) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_meta and not value.is_nested


def _what_else(content: Any, model: str) -> str:
    """Say what a file holds in which no tensor has a name of the model's."""
    if isinstance(content, Inert):
        name = type(content).__name__
        return f"holds a whole {name}, whose code would have to run; save its state_dict() alone"
    if not isinstance(content, dict):
        return f"holds no state dict (names to tensors): its type is {type(content).__name__}"
    names = [key for key in dict.keys(content) if isinstance(key, str)]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    shown = ", ".join(names[:_SHOWN]) + more
    if any(_has_data(value) for value in dict.values(content)):
        return f"holds no tensor of {model}, but {shown}; is it of another architecture?"
    return f"holds {f'the keys {shown}' if shown else 'no names'}; none is a state dict of {model}"
