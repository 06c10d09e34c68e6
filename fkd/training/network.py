"""One student in training: its weights, their moving average, and what its gradients go through."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from fkd.config import STORED, Term, TrainConfig, Weighed, is_of
from fkd.machine import autocast, place
from fkd.models import Adaptor, find_logits
from fkd.students import MovingAverage, StudentCard, Weights
from fkd.training.comparing import Compared, Link, Said
from fkd.training.processes import Group


class Network:
    """A student of a run. `student` has its weights, `ema` their moving average.

    `prefix` stands before its names among those of a run: nothing for the first, `NAME/` for others.
    """

    def __init__(
        self,
        config: TrainConfig,
        card: StudentCard,
        student: nn.Module,
        device: torch.device,
        group: Group,
        prefix: str,
        compared: Callable[[nn.Module], Compared] | None = None,
    ) -> None:
        """Put a student on `device`; its gradients become the mean over the processes of `group`.

        `compared` adds what its terms compare beside its logits, if any.
        """
        self.card, self.prefix = card, prefix
        if config.sync_bn:
            student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
        self.student = place(student, device).train()
        self.ema = None if config.ema is None else MovingAverage(self.student, config.ema)
        self._device, self._amp, self._num_ranks = device, config.engine.amp, group.num_ranks
        # Hooks come after the copy that is the average.
        self._compared = None if compared is None else compared(self.student).to(device)
        asked = self._compared or self.student
        if self._compared is None and group.num_ranks > 1:
            asked = _LogitsAlone(self.student, f"student {card.name}")
        self._wrapped: Any = group.wrap(asked, device, card.preprocessing.size)
        self._model = _compiled(self._wrapped, config) if config.engine.compile else self._wrapped

    def said(self, pixels: Tensor) -> Said:
        """Return what it says of normalised views, f32 [b, 3, h, w]: logits [b, C], and layers."""
        with autocast(self._device, self._amp):
            answer = self._model(pixels)
        if self._compared is None:
            return Said(find_logits(answer, len(pixels), f"student {self.card.name}"))
        logits, layers, links = answer
        return Said(logits, layers, dict(zip(self._compared.links, links, strict=True)))

    @property
    def adapted(self) -> Mapping[Link, Adaptor]:
        """What stands between its layers and what they are compared with."""
        return {} if self._compared is None else self._compared.by_link

    @property
    def adaptors(self) -> nn.Module | None:
        """What is trained beside the student and stays behind; None where that has no weights."""
        module = None if self._compared is None else self._compared.adaptors
        return module if any(adaptor.learns for adaptor in self.adapted.values()) else None

    def parameters(self) -> list[nn.Parameter]:
        """Return all that is trained: the student's weights, and its adaptors'."""
        beside = [] if self.adaptors is None else self.adaptors.parameters()
        return [*self.student.parameters(), *beside]

    def gradients_sent(self, last: bool) -> AbstractContextManager[Any]:
        """Let processes exchange gradients after the last micro-batch only."""
        return nullcontext() if last or self._num_ranks == 1 else self._wrapped.no_sync()

    def modules(self) -> dict[str, nn.Module]:
        """Return the student and, where there is one, its moving average, by name."""
        average = {} if self.ema is None else {f"{self.prefix}ema": self.ema.module}
        return {f"{self.prefix}student": self.student, **average}

    def weights(self) -> Weights:
        """Return what a checkpoint keeps of it."""
        average = None if self.ema is None else self.ema.module.state_dict()
        return Weights(self.card, self.student.state_dict(), average)

    def load(self, kept: Weights, running: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take up what `weights` returned, with the `running` statistics that were set aside for it."""
        states = {"student": kept.student, "ema": kept.ema or {}}
        for name, module in self.modules().items():
            state = states[name.removeprefix(self.prefix)]
            module.load_state_dict({**state, **running.get(name, {})})


def _compiled(model: nn.Module, config: TrainConfig) -> Any:
    """Let a student be compiled once for each size of views, and of micro-batches.

    torch counts graphs by the code that they are of, which students share, and runs what is beyond 8 of
    them as if it were not compiled.
    """
    sizes = 1 if config.size is None else len(config.size.steps(config.size_multiple))
    limits, graphs = import_module("torch._dynamo.config"), 2 * sizes * len(config.students)
    for name in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(limits, name, max(getattr(limits, name), graphs))
    # Micro-batches have one size or two; a graph of any size would be slower than one of each.
    return torch.compile(model, dynamic=False)


class _LogitsAlone(nn.Module):
    """A student that says its logits and nothing else, such as those of an auxiliary head.

    Processes wait for the gradients of all that is said, and no term is on the rest.
    """

    def __init__(self, student: nn.Module, what: str) -> None:
        super().__init__()
        self.student, self._what = student, what

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = find_logits(self.student(pixels), len(pixels), self._what)
        return logits


class Parts:
    """What students and terms have of a step's loss: sums over micro-batches, by their names in metrics.

    A term of the first student is `loss/kl_to_store`; another one's loss is `NAME/loss`, and has as much.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._every = config.objective.terms
        self._names: dict[str, list[str]] = {}
        self._sums: dict[str, Tensor] = {}

    def add(
        self, student: str, prefix: str, terms: Sequence[Weighed], loss: Tensor, each: Tensor
    ) -> None:
        """Add a student's loss of a micro-batch, and what each of its terms has of it, f32 [terms]."""
        every = [term for term in self._every if is_of(term, student)]
        values = torch.cat([loss.detach()[None], each])
        if prefix in self._sums:
            values += self._sums[prefix]
        self._sums[prefix] = values
        self._names[prefix] = [
            f"{prefix}loss",
            *(f"{prefix}loss/{n}" for n in _names(terms, every)),
        ]

    def by_name(self) -> dict[str, Tensor]:
        """Return scalars by name, without the first student's loss, which is the run's."""
        named = {
            name: value
            for prefix, values in self._sums.items()
            for name, value in zip(self._names[prefix], values, strict=True)
        }
        named.pop("loss", None)
        return named


def _names(terms: Sequence[Weighed], every: Iterable[Term]) -> list[str]:
    """Return what terms are called in metrics; of `every` term, those called alike are numbered.

    A term keeps its number while another one weighs nothing, and so is not among `terms`.
    """
    numbered = iter(_numbered(every))
    return [
        next((name for term, name in numbered if term == each.term), _called(each.term))
        for each in terms
    ]


def _numbered(every: Iterable[Term]) -> Iterator[tuple[Term, str]]:
    alike: Counter[str] = Counter()
    for term in every:
        name = _called(term)
        alike[name] += 1
        yield term, name if alike[name] == 1 else f"{name}-{alike[name]}"


def _called(term: Term) -> str:
    of = f"_of_{term.layer}" if term.layer else ""
    return f"{term.by}{of}_to_{term.to.replace(STORED, 'store.')}"
