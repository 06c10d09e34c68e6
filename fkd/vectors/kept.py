"""What is kept of a vector: which arrays, what they mean, what is wrong with them, how they are read.

Legend: n images, m crops of each, B views, L numbers of a vector, all of a map's [D, h, w] in a row.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fkd.amounts import as_count
from fkd.config import VectorScheme
from fkd.errors import ConfigError
from fkd.labels import Field, StoredArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fkd.vectors.components import Components

# Arrays that a store has once, by name: what a scheme has learned of a sample.
Constants = Mapping[str, StoredArray]

MAX_NUMBERS = 2**26  # of one vector, or one map
_MAX_ROTATION = 2**25  # numbers of a rotation, 64 MiB

_LEARNED = ("mean", "rotation", "step", "root")


def hash_constants(constants: Constants) -> str:
    """Return a SHA-256 over arrays and their names, "" where there are none."""
    digest = hashlib.sha256()
    for name, values in sorted(constants.items()):
        digest.update(name.encode() + b"\0")
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return f"sha256:{digest.hexdigest()}" if constants else ""


@dataclass(frozen=True)
class KeptVectors:
    """What a `scheme` keeps of the target `name`: vectors of `shape` (D,), or maps (D, h, w)."""

    name: str
    scheme: VectorScheme
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.num_numbers > MAX_NUMBERS:
            raise ConfigError(
                f"{self.name} has {as_count(self.num_numbers, 'number')} a view, a store keeps at most "
                f'{MAX_NUMBERS:,}; choose another layer, or a vector of a map (pool="mean")'
            )
        if self.scheme.kind != "pca":
            return
        if len(self.shape) > 1:
            sides = " x ".join(map(str, self.shape))
            raise ConfigError(
                f"keep {str(self.scheme)!r} keeps vectors, and {self.name} is a map of {sides} numbers; "
                'keep it as int8, or make a vector of it (pool="mean")'
            )
        if self.num_components * self.num_numbers > _MAX_ROTATION:
            raise ConfigError(
                f"keep {str(self.scheme)!r}: {self.name} has {as_count(self.num_numbers, 'number')}, of "
                f"which pca{_MAX_ROTATION // self.num_numbers} keeps the most components; choose fewer"
            )

    @property
    def num_numbers(self) -> int:
        """L, all numbers of a vector or a map."""
        return math.prod(self.shape)

    @property
    def num_components(self) -> int:
        """How many principal components are kept: never more than a vector has numbers."""
        return min(self.scheme.size, self.num_numbers)

    @property
    def channels(self) -> int:
        """How many scales a vector has: one, or one for each channel of a map."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of a vector, as `quantize` names them."""
        vector, scale = f"vector.{self.name}", f"scale.{self.name}"
        if self.scheme.kind == "f16":
            return (Field(vector, "float16", self.num_numbers, "dense"),)
        if self.scheme.kind == "pca":
            return (Field(vector, "int8", self.num_components, "planes"),)
        return (
            Field(vector, "int8", self.num_numbers, "dense"),
            Field(scale, "float16", self.channels, "dense"),
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of one vector in memory."""
        return sum(field.num_bytes for field in self.fields)

    @cached_property
    def constants(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """The arrays that a store has once: their dtypes and shapes by name."""
        if self.scheme.kind != "pca":
            return {}
        length, count = self.num_numbers, self.num_components
        return {
            f"mean.{self.name}": ("float32", (length,)),
            f"rotation.{self.name}": ("float16", (count, length)),
            f"step.{self.name}": ("float32", (1,)),
            f"root.{self.name}": ("uint8", (1,)),
        }

    @property
    def constant_bytes(self) -> int:
        """Bytes of the arrays that a store has once."""
        return sum(
            math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in self.constants.values()
        )

    def fit(self, sample: "Tensor") -> Constants:
        """Return the constants of the scheme, learned of a sample of vectors, f32 [n, L]."""
        if self.scheme.kind != "pca":
            return {}
        from fkd.vectors.components import Components  # with torch

        arrays = Components.learned(sample, self.num_components).arrays()
        return {f"{name}.{self.name}": values for name, values in arrays.items()}

    def constants_fault(self, constants: Constants) -> str | None:
        """Say why arrays cannot be what a labeller learned, or return None."""
        for array, values in constants.items():
            if not np.isfinite(values).all():
                return f"a number of '{array}' is not finite"
        if self.scheme.kind == "pca" and not constants[f"step.{self.name}"][0] > 0:
            return f"'step.{self.name}' is not above 0"
        if self.scheme.kind == "pca" and constants[f"root.{self.name}"][0] > 1:
            return f"'root.{self.name}' is neither 0 nor 1"
        return None

    def components(self, constants: Constants, device: "torch.device") -> "Components | None":
        """Return what `quantize` and `restore` use of the constants, on a device; None if nothing."""
        if self.scheme.kind != "pca":
            return None
        from fkd.vectors.components import Components

        arrays = {name: constants[f"{name}.{self.name}"] for name in _LEARNED}
        return Components.of_arrays(arrays, device)

    def fault(self, kept: Mapping[str, StoredArray]) -> str | None:
        """Say why arrays [n, m, …] cannot be vectors that a labeller wrote, or return None."""
        vector = kept[f"vector.{self.name}"]
        if self.scheme.kind == "f16":
            return None if np.isfinite(vector).all() else "a number is not finite"
        scale = kept.get(f"scale.{self.name}", np.zeros(0))
        if not np.isfinite(scale).all() or (scale < 0).any():
            return "a scale is no number of 0 or more"
        return "a code is -128, which no labeller writes" if (vector == -128).any() else None

    def quantize(
        self, vectors: "Tensor", components: "Components | None" = None
    ) -> dict[str, "Tensor"]:
        """Return what is kept of vectors, f32 [B, …], by array [B, length], on their own device."""
        from fkd.vectors.quantization import to_codes, to_half

        vector, *scale = (field.name for field in self.fields)
        if components is not None:
            return {vector: components.to_codes(vectors.reshape(len(vectors), -1))}
        if self.scheme.kind == "f16":
            return {vector: to_half(vectors)}
        return dict(zip((vector, *scale), to_codes(vectors, self.channels), strict=True))

    def restore(
        self, kept: Mapping[str, "Tensor"], components: "Components | None" = None
    ) -> "Tensor":
        """Return the vectors that are kept, f32 [B, *shape], on the device of what is kept."""
        from fkd.vectors.quantization import from_codes

        vector, *scale = (kept[field.name] for field in self.fields)
        if components is not None:
            return components.from_codes(vector)
        restored = from_codes(vector, scale[0]) if scale else vector.float()
        return restored.reshape(len(vector), *self.shape)


@dataclass(frozen=True)
class StoredVectors:
    """The vectors of a store's target: what is `kept` of them, and what their scheme has learned."""

    kept: KeptVectors
    constants: Constants = field(default_factory=dict)
    # A device gets the constants once.
    _on: "dict[torch.device, Components | None]" = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a vector, (D,), or of a map, (D, h, w)."""
        return self.kept.shape

    def quantize(self, vectors: "Tensor") -> dict[str, "Tensor"]:
        """Return what is kept of vectors, f32 [B, *shape], by array [B, length], on their own device."""
        return self.kept.quantize(vectors, self._components(vectors.device))

    def restore(self, kept: Mapping[str, "Tensor"]) -> "Tensor":
        """Return the vectors that are kept, f32 [B, *shape]; `kept` may have other arrays, too."""
        device = kept[self.kept.fields[0].name].device
        return self.kept.restore(kept, self._components(device))

    def _components(self, device: "torch.device") -> "Components | None":
        if device not in self._on:
            self._on[device] = self.kept.components(self.constants, device)
        return self._on[device]
