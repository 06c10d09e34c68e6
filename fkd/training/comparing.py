"""What students say beside their logits: layers, and these as they are compared with vectors."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fkd.config import PEERS, STORED, Adapt, Size, Term, TrainConfig, is_of, sides_of, size_text
from fkd.errors import ConfigError, ModelError
from fkd.losses import Pairs, on_one_grid
from fkd.models import (
    OUTPUT,
    Adaptor,
    Shape,
    Tapped,
    as_vectors,
    find_cubes_last,
    find_logits,
    is_function,
    on_grid,
    shape_words,
    shapes_alone,
)
from fkd.store import LabelStore
from fkd.students import StudentCard
from fkd.vectors import StoredVectors


@dataclass(frozen=True)
class Link:
    """A layer of a student, and whose shape it is brought to.

    `to` is "store:NAME" or another student. Terms of one link share what adapts it.
    """

    layer: str
    to: str
    adapt: Adapt


@dataclass(frozen=True)
class Said:
    """What a student said of b views: logits [b, C], layers by name, and links as they are compared."""

    logits: Tensor
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    links: Mapping[Link, Tensor] = field(default_factory=dict)

    @property
    def nothing(self) -> Tensor:
        """A sum of no numbers, through which all weights get a gradient of zero.

        Processes exchange the gradients of all weights, and it may be that no term is on logits, or on a
        layer that another student is compared with.
        """
        every = [self.logits, *self.layers.values(), *self.links.values()]
        return torch.stack([said[:0].float().sum() for said in every]).sum()


class Compared(nn.Module):
    """A student with what its terms compare, and what adapts that."""

    def __init__(
        self,
        student: nn.Module,
        layers: Sequence[str],
        adaptors: Mapping[Link, Adaptor],
        what: str,
        cubes_last: Collection[str] = (),
    ) -> None:
        """Tap `layers` of a student, which messages call `what`; `find_cubes_last` finds `cubes_last`."""
        super().__init__()
        self.tapped = Tapped(student, layers, what)
        self.adaptors = nn.ModuleList(adaptors.values())
        self.links, self._what, self._cubes_last = tuple(adaptors), what, cubes_last

    @property
    def by_link(self) -> dict[Link, Adaptor]:
        """What adapts each link."""
        return dict(zip(self.links, cast("Iterable[Adaptor]", self.adaptors), strict=True))

    def forward(self, pixels: Tensor) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """Return logits [b, C], what each layer says, and each link as it is compared, [b, …]."""
        logits, said = _logits_and_layers(self.tapped, pixels, self._what, self._cubes_last)
        pairs = zip(self.links, self.adaptors, strict=True)
        return logits, said, [adaptor(said[link.layer]) for link, adaptor in pairs]


def _logits_and_layers(
    tapped: Tapped, pixels: Tensor, what: str, cubes_last: Collection[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    answer, caught = tapped(pixels)
    logits: Tensor = find_logits(answer, len(pixels), what)
    if OUTPUT in caught:
        caught[OUTPUT] = logits
    count, sides = len(pixels), pixels.shape[2:]
    return logits, {
        name: as_vectors(
            said, "auto", count, _named(name, what), sides, cubes_last=name in cubes_last
        )
        for name, said in caught.items()
    }


@dataclass(frozen=True)
class Comparisons:
    """What terms on vectors compare: `stored` ones by target, and `of` each student what it says."""

    stored: Mapping[str, StoredVectors] = field(default_factory=dict)
    of: Mapping[str, Callable[[nn.Module], Compared]] = field(default_factory=dict)


def pairs_of(name: str, said: Mapping[str, Said], vectors: Callable[[str], Tensor]) -> Pairs:
    """Return what the terms of a student compare, of what all students `said` of the same views.

    `vectors` is asked for stored ones, f32 [b, …], by target.
    """
    own, names = said[name], list(said)

    def pairs(term: Term) -> list[tuple[Tensor, Tensor]]:
        if term.target:
            return [(own.links[Link(term.layer, term.to, term.adapt)], vectors(term.target))]
        others = _others(term, name, names)
        if not term.layer:
            known = [said[other].logits for other in others]
            return [on_one_grid(own.logits, logits) for logits in known]
        compared = [own.links[Link(term.layer, other, term.adapt)] for other in others]
        known = [said[other].layers[term.layer] for other in others]
        # The grid that a student's maps are brought to is that of the run's last size.
        return [(o, on_grid(k, o.shape[2:])) for o, k in zip(compared, known, strict=True)]

    return pairs


def links_of(terms: Iterable[Term], name: str, students: Sequence[str]) -> tuple[Link, ...]:
    """Return the links of a student: its layers, with stored vectors or the same layer of others."""
    links = {
        Link(term.layer, to, term.adapt): None
        for term in terms
        if term.on_vectors and is_of(term, name) and (term.target or term.layer)
        for to in _others(term, name, students)
    }
    return tuple(links)


def _others(term: Term, name: str, students: Sequence[str]) -> list[str]:
    if term.to == PEERS:
        return [other for other in students if other != name]
    return [term.to]


def layers_of(terms: Sequence[Term], name: str, students: Sequence[str]) -> tuple[str, ...]:
    """Return the layers of a student that it, or another one, compares."""
    links = {other: links_of(terms, other, students) for other in students}
    own = [link.layer for link in links[name]]
    asked = [link.layer for other in links.values() for link in other if link.to == name]
    return tuple(dict.fromkeys([*own, *asked]))


def comparisons(
    config: TrainConfig,
    store: LabelStore,
    sizes: Sequence[Size],
    cards: Sequence[StudentCard],
    built: Sequence[nn.Module],
) -> Comparisons | None:
    """Return what the terms of a run compare beside logits, None where they compare nothing else.

    Each student is run on views of all `sizes` of the run, so that the shapes of its layers are known.
    What adapts them, to the shapes of the last size, has initial weights by the run's seed. Raises
    `FkdError` for a layer that a student does not have, and for shapes that cannot be brought together.
    """
    terms, names = config.objective.terms, [choice.name for choice in config.students]
    stored = {t.target: store.vectors(t.target) for t in terms if t.target}
    layers = {name: layers_of(terms, name, names) for name in names}
    if not any(layers.values()):
        return None
    known = {
        name: _layer_shapes(student, card, layers[name], sizes)
        for name, card, student in zip(names, cards, built, strict=True)
    }
    shapes = {name: each for name, (each, _) in known.items()}

    def wanted(link: Link) -> Shape:
        target = link.to.removeprefix(STORED)
        return stored[target].shape if link.to != target else shapes[link.to][link.layer]

    compared = {}
    for number, (name, card) in enumerate(zip(names, cards, strict=True)):
        key, what = np.random.SeedSequence(config.seed, spawn_key=(number, 1)), _student(card)
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        adaptors = {
            link: _adaptor(link, shapes[name][link.layer], wanted(link), what)
            for link in links_of(terms, name, names)
        }
        if layers[name]:
            compared[name] = partial(
                Compared,
                layers=layers[name],
                adaptors=adaptors,
                what=what,
                cubes_last=known[name][1],
            )
    return Comparisons(stored, compared)


def _layer_shapes(
    student: nn.Module, card: StudentCard, layers: Sequence[str], sizes: Sequence[Size]
) -> tuple[dict[str, Shape], frozenset[str]]:
    """Run a student on two views of each size; return what its layers have of a view of the last one.

    Beside that are the layers that `find_cubes_last` names at any size.
    A library's is run without data. A user's is run as it is evaluated, and stays as it was. Raises
    `ModelError` for a layer whose numbers, or channels, are not as many at all sizes.
    """
    what, was_training, device = _student(card), student.training, "cpu"
    if not is_function(card.name):
        student, device = shapes_alone(student), "meta"
    tapped = Tapped(student, layers, what)
    shapes: dict[str, Shape] = {}
    cubes_last = frozenset[str]()
    try:
        for size in sizes:
            views, before = torch.zeros(2, 3, *sides_of(size), device=device), shapes
            with torch.no_grad():
                cubes_last |= find_cubes_last(tapped.eval(), views, what)
                _, said = _logits_and_layers(tapped, views, what, cubes_last)
            shapes = {layer: tuple(each.shape[1:]) for layer, each in said.items()}
            _refuse_growing(before, shapes, size, what)
    finally:
        tapped.remove()
        student.train(was_training)
    return shapes, cubes_last


def _refuse_growing(
    before: Mapping[str, Shape], shapes: Mapping[str, Shape], size: Size, what: str
) -> None:
    for layer, shape in before.items():
        if shape[0] != shapes[layer][0]:
            raise ModelError(
                f"{_named(layer, what)} says {shape_words(shapes[layer])} of views of {size_text(size)} "
                f"px, and {shape_words(shape)} of smaller ones; choose another layer, or one --size"
            )


def _adaptor(link: Link, own: Shape, wanted: Shape, what: str) -> Adaptor:
    try:
        return Adaptor(own, wanted, link.adapt)
    except ModelError as error:
        raise ConfigError(f"--loss to {link.to}: {_named(link.layer, what)}: {error}") from error


def _student(card: StudentCard) -> str:
    return f"student {card.name}"


def _named(layer: str, what: str) -> str:
    return f"layer {layer} of {what}" if layer else f"the output of {what}"
