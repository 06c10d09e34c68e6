"""One teacher: a frozen model that labels views.

Legend: n views, G positions of the teacher's grid, 1 where it says one row of outputs a view, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fkd.amounts import as_count
from fkd.config import Engine, Target, TeacherOutput, is_line, sides_of
from fkd.errors import ModelError, first_line, of_compiler
from fkd.labels import rows_of
from fkd.machine import autocast, upload, widest_float
from fkd.models import OUTPUT, Tapped, as_vectors, find_cubes_last, find_logits
from fkd.teachers.classes import ClassMap
from fkd.teachers.outputs import misread
from fkd.teachers.source import Source
from fkd.views import normalize

_PLAIN = Engine()

_TRIED = 2  # views by which the shapes of vectors are known


@dataclass(frozen=True)
class Said:
    """What a teacher says of n views: `outputs` f32 [n · G, outputs], `vectors` f32 [n, …] by target.

    The outputs of a view's positions lie behind one another.
    """

    outputs: Tensor
    vectors: Mapping[str, Tensor]


class Teacher:
    """A frozen labeller: uint8 views in, probabilities of the store's classes out.

    With `targets` it also says their vectors, whose `shapes`, without the views, are known at once.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        class_map: ClassMap,
        device: torch.device,
        engine: Engine = _PLAIN,
        output: TeacherOutput = "logits",
        targets: Sequence[Target] = (),
    ) -> None:
        """Put a model to work on `device`; its `output` are logits or probabilities.

        Raises `ModelError` for a target that it has no layer for.
        """
        self.name, self._output = name, output
        self.preprocessing = source.preprocessing
        self.weights_hash = source.weights_hash
        self.num_outputs, self.grid = source.num_outputs, source.outputs.grid
        self.made_for = source.made_for
        self.class_map = class_map
        self._fixed_batch = engine.compile  # another batch size would be compiled anew
        self.device = device
        self._amp = engine.amp
        self._model: Any = source.model
        own = source.model.parameters() if isinstance(source.model, nn.Module) else ()
        self.num_parameters = sum(parameter.numel() for parameter in own)
        if engine.compile and not isinstance(source.model, nn.Module):
            raise ModelError(
                f"--compile: teacher {name} is run by onnxruntime, not torch; leave it out"
            )
        self._targets, self._cubes_last = tuple(targets), frozenset[str]()
        if self._targets:
            layers = [target.layer for target in self._targets]
            self._model = Tapped(as_module(source.model, name, layers), layers, f"teacher {name}")
        self.shapes = self._find_shapes()
        if engine.compile:
            self._model = torch.compile(self._model, dynamic=False)
        columns = class_map.columns
        self._columns = None if columns is None else torch.from_numpy(columns).to(device)
        class_of = class_map.class_of
        self._class_of = None if class_of is None else torch.from_numpy(class_of).to(device)

    @torch.inference_mode()
    def probs(self, views: Tensor, count: int, temperature: float) -> Tensor:
        """Label the first `count` of a batch of views, uint8 [B, 3, H, W]: f32 [count · G, C].

        Logits are restricted to the store's classes before the softmax and divided by `temperature`.
        Raises `ModelError` where the model fails, or returns anything but a row of outputs for each view.
        """
        return self.as_probs(self.outputs(views, count), temperature)

    @torch.inference_mode()
    def as_probs(self, outputs: Tensor, temperature: float) -> Tensor:
        """Turn outputs, f32 [n, outputs], into probabilities of the store's classes, f32 [n, C].

        Those of the outputs that are one class are added after the softmax:
        p_c = Σ_{j of class c} exp(z_j / T) / Σ_i exp(z_i / T).
        """
        probs = (self.logits(outputs) / temperature).softmax(dim=1)
        if self._class_of is None:
            return probs
        # A GPU adds in no order: sums of f32 would have other last bits in every run.
        exact = widest_float(probs.device)
        of_classes = probs.new_zeros(len(probs), len(self.class_map.names), dtype=exact)
        return of_classes.index_add_(1, self._class_of, probs.to(exact)).float()

    def logits(self, outputs: Tensor) -> Tensor:
        """Return the logits of the outputs that are kept, f32 [n, K], of outputs, f32 [n, outputs].

        Of probabilities they are the logarithms; a probability of 0 counts as the smallest f32.
        """
        kept = outputs if self._columns is None else outputs[:, self._columns]
        if self._output == "logits":
            return kept
        return kept.clamp_min(torch.finfo(torch.float32).tiny).log()

    def fault(self, outputs: Tensor) -> str | None:
        """Say where outputs, f32 [n, outputs], are not what the user says that they are."""
        return misread(outputs.cpu(), self._output)

    @property
    def outputs_hash(self) -> str:
        """What identifies which output is which class, and how it is read."""
        mapped = self.class_map.outputs_hash()
        return mapped if self._output == "logits" else f"{self._output} {mapped}"

    def outputs(self, views: Tensor, count: int) -> Tensor:
        """Return what the model itself says of the first `count` views: f32 [count · G, outputs]."""
        return self.say(views, count).outputs

    def _find_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of vectors and maps, by target, of a few views that are tried."""
        if not self._targets:
            return {}
        tried = torch.zeros((_TRIED, 3, *sides_of(self.preprocessing.size)), dtype=torch.uint8)
        with torch.inference_mode():
            self._cubes_last = find_cubes_last(
                self._ask, upload(tried.float(), self.device), f"teacher {self.name}"
            )
        said = self.say(tried, _TRIED)
        return {name: tuple(vectors.shape[1:]) for name, vectors in said.vectors.items()}

    @torch.inference_mode()
    def say(self, views: Tensor, count: int) -> Said:
        """Return what the model says of the first `count` views, uint8 [B, 3, H, W], and its layers do.

        All is on the teacher's device, wherever a function of the user's own has it.
        Raises `ModelError` where the model fails, or returns anything but a row for each view.
        """
        if not self._fixed_batch:
            views = views[:count]
        mean, std = self.preprocessing.mean, self.preprocessing.std
        pixels = normalize(upload(views, self.device), mean, std)
        answer, layers = self._ask(pixels.contiguous(memory_format=torch.channels_last))
        outputs = find_logits(answer, len(pixels), f"teacher {self.name}")
        # A look at the first batch is not enough: a `squeeze` strikes a last batch of one view alone.
        of_view = (
            [*self.grid, self.num_outputs] if is_line(self.grid) else [self.num_outputs, *self.grid]
        )
        expected = [len(pixels), *of_view]
        got = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if got != expected:
            raise ModelError(
                f"teacher {self.name} returned {got} for a batch of {as_count(len(pixels), 'view')}, "
                f"where {expected} was expected; it must return a row for each view, and in each row the "
                f"{as_count(self.num_outputs, 'output')} that it had at first"
            )
        vectors = {
            target.name: self._here(
                as_vectors(
                    outputs if target.layer == OUTPUT else layers[target.layer],
                    target.pool,
                    len(pixels),
                    f"teacher {self.name}, layer {target.layer or 'of its output'}",
                    pixels.shape[2:],
                    cubes_last=target.layer in self._cubes_last,
                )[:count]
            )
            for target in self._targets
        }
        return Said(rows_of(self._here(outputs[:count])), vectors)

    def _here(self, said: Tensor) -> Tensor:
        """Return what was said as f32 on the teacher's device."""
        return upload(said, self.device).float()

    def _ask(self, pixels: Tensor) -> tuple[Any, Mapping[str, Any]]:
        """Return the model's answer, and what its tapped layers said."""
        try:
            with autocast(self.device, self._amp):
                answer = self._model(pixels)
            return answer if self._targets else (answer, {})
        except (torch.OutOfMemoryError, ModelError):
            raise
        except Exception as error:  # exported programs and users' models raise whatever they like
            if of_compiler(error):
                raise ModelError(
                    f"--compile: teacher {self.name} cannot be compiled here ({first_line(error)}); "
                    "leave it out"
                ) from error
            raise ModelError(
                f"teacher {self.name} cannot take {as_count(len(pixels), 'view')} of {pixels.shape[-1]} "
                f"px ({type(error).__name__}: {first_line(error)}); choose another --batch-size, or "
                "export it with a batch dimension that is dynamic"
            ) from error


def as_module(model: Any, name: str, layers: Sequence[str]) -> nn.Module:
    """Return a model whose layers can be tapped; raises `ModelError` for one that has none.

    Of any model the output can be kept.
    """
    if isinstance(model, nn.Module):
        return model
    inner = [layer for layer in layers if layer != OUTPUT]
    if inner:
        raise ModelError(
            f"teacher {name} is run by onnxruntime, which shows no layer {inner[0]}; export it with that "
            "layer as its output"
        )
    return _Called(model)


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._function = model

    def forward(self, pixels: Tensor) -> Any:
        """Call it."""
        return self._function(pixels)
