"""What is kept of a label: which arrays, what they mean, what is wrong with them, how they are read.

The store writes and reads arrays without knowing what they say; whoever needs to know asks here. A
store has one `KeptLabels`, its `spec.labels`. Another kind of label is another class with the same
questions.

Legend: n images, m crops of each, C classes, K kept classes, G positions of a grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fkd.config import MAX_POSITIONS, Grid, Scheme, grid_text, grids_words, is_line, num_positions
from fkd.errors import ConfigError

if TYPE_CHECKING:
    from fkd.labels.quantization import Quantized
    from fkd.labels.soft import SoftLabels

# An array of a store, of the dtype that its `Field` or its layout names.
StoredArray = NDArray[Any]

# How the numbers of a field are laid out for the compressor: ids through a palette of an image's
# classes, draws likewise but in no order, codes rank by rank as differences, dense numbers as they are,
# and planes place by place. Those of the cells of maps lie in the order of what is expected of them.
Packing = Literal["ids", "draws", "codes", "dense", "planes", "cell ids", "cell codes"]


@dataclass(frozen=True)
class Field:
    """One array that is kept of each view: `length` numbers of a numpy `dtype`."""

    name: str
    dtype: str
    length: int
    packing: Packing

    @property
    def num_bytes(self) -> int:
        """Bytes of one view's numbers in memory."""
        return self.length * np.dtype(self.dtype).itemsize

    def zeros(self, num_images: int, num_crops: int) -> StoredArray:
        """Return zeros to be filled, [n, m, length]."""
        return np.zeros((num_images, num_crops, self.length), self.dtype)


@dataclass(frozen=True)
class KeptLabels:
    """What a `scheme` keeps of the distributions over `num_classes` classes.

    A view has one at each position of its `grid`, and where that is () one of its own. The numbers of a
    grid lie position after position: of K kept ones a view has G · K, which `rows` takes apart.
    """

    scheme: Scheme
    num_classes: int
    grid: Grid = ()

    def __post_init__(self) -> None:
        if num_positions(self.grid) > MAX_POSITIONS:
            raise ConfigError(
                f"labels of {grid_text(self.grid)} positions a view are too many, a store keeps at most "
                f"{MAX_POSITIONS:,}; keep fewer{'' if is_line(self.grid) else ' with --map-stride'}"
            )
        if self.grid and self.scheme.kind == "samples":
            raise ConfigError(
                f"--compress {self.scheme} draws classes from one label a view, and these are "
                f"{grids_words(self.grid)}; choose topk3"
            )

    @property
    def num_positions(self) -> int:
        """G, how many labels a view has: 1 where it has one of its own."""
        return num_positions(self.grid)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The arrays of a view: those of a label, as `quantize` names them, at every position."""
        return tuple(self._at_positions(field) for field in self._of_label)

    def _at_positions(self, field: Field) -> Field:
        if not self.grid:
            return field
        packing: dict[Packing, Packing] = {"ids": "cell ids", "codes": "cell codes"}
        small = field.packing == "ids" and self.num_classes <= 2**8
        return Field(
            field.name,
            "uint8" if small else field.dtype,
            field.length * self.num_positions,
            packing.get(field.packing, "dense"),
        )

    def rows(self, kept: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
        """Return labels [n, m, G · K] by position, [n, m · G, K]; those of whole views as they are.

        Arrays of other things than labels are left out.
        """
        if not self.grid:
            return {field.name: kept[field.name] for field in self.fields}
        return {
            field.name: (values := kept[field.name]).reshape(
                len(values),
                values.shape[1] * self.num_positions,
                field.length // self.num_positions,
            )
            for field in self.fields
        }

    def by_view(self, rows: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
        """Undo `rows`: return labels by position, [n, m · G, K], by the view that they are of."""
        count = self.num_positions
        return {
            name: values.reshape(len(values), values.shape[1] // count, count * values.shape[2])
            for name, values in rows.items()
        }

    @cached_property
    def _of_label(self) -> tuple[Field, ...]:
        if self.scheme.kind == "none":
            return ()
        if self.scheme.kind == "full" and self.scheme.coarse:
            return (Field("log_code", "uint8", self.num_classes, "dense"),)
        if self.scheme.kind == "full":
            return (Field("log_prob", "float16", self.num_classes, "dense"),)
        if self.scheme.kind == "samples":
            return (Field("index", "uint32", self.scheme.k, "draws"),)
        k = self.scheme.kept(self.num_classes)
        ids = Field("index", "uint32", k, "ids")
        if not self.keeps_values:
            return (ids,)
        values = Field("code", "uint8", k, "codes")
        # The steps of a single number are that number.
        deviation = Field("deviation", "uint8", 1, "codes")
        return (ids, values, deviation) if self.scheme.deviation else (ids, values)

    @property
    def keeps_values(self) -> bool:
        """Whether a label says how sure the teacher was, and not its first class or samples alone."""
        return self.scheme.kind not in ("hard", "none", "samples")

    @property
    def keeps_first(self) -> bool:
        """Whether a label says which class the teacher took for the most likely one."""
        return self.scheme.kind not in ("none", "samples")

    @property
    def there(self) -> bool:
        """Whether there are labels at all; a store of vectors alone has none."""
        return self.scheme.kind != "none"

    @property
    def keeps_all(self) -> bool:
        """Whether every class is kept."""
        return self.scheme.kind == "full"

    @property
    def num_ranks(self) -> int:
        """Classes kept of a label: K, or C where all are; of samples the draws."""
        return self._of_label[0].length if self.there else 0

    @property
    def num_bytes(self) -> int:
        """Bytes of one view's labels in memory."""
        return sum(field.num_bytes for field in self.fields)

    def empty(self, num_images: int, num_crops: int) -> dict[str, StoredArray]:
        """Return zeros to be filled, [n, m, length] by name."""
        return {field.name: field.zeros(num_images, num_crops) for field in self.fields}

    def fault(self, kept: Mapping[str, StoredArray]) -> tuple[str, str] | None:
        """Return the part of labels [n, m, …] that is unreadable, "ids" or "values", and why; or None."""
        if not self.there:
            return None
        kept = self.rows(kept)
        if "log_code" in kept:
            # Others may all vanish at a low temperature.
            none = (kept["log_code"].min(axis=2) != 0).any()
            return ("values", "no class has code 0, the largest one's") if none else None
        if self.keeps_all:
            finite = np.isfinite(kept["log_prob"]).all()
            return None if finite else ("values", "a log-probability is not finite")
        largest = int(kept["index"].max(initial=0))
        if largest >= self.num_classes:
            return "ids", f"class id {largest} is not below {self.num_classes}"
        return None

    def disordered(self, kept: Mapping[str, StoredArray]) -> NDArray[np.bool_]:
        """Return which views have a label that no labeller can have written, bool [n, m].

        Ids of a label differ, codes never fall with rank, and probabilities of all classes sum to 1.
        Any samples can have been drawn. Such labels can be read; `fkd check` reports them.
        """
        shape = next(iter(kept.values())).shape[:2]
        if not self.there:
            return np.zeros(shape, np.bool_)
        by_row = self._disordered_rows(self.rows(kept))
        return np.asarray(by_row.reshape(*shape, -1).any(axis=2))

    def _disordered_rows(self, kept: Mapping[str, StoredArray]) -> NDArray[np.bool_]:
        wrong: NDArray[np.bool_]
        if not self.keeps_first or "log_code" in kept:  # `fault` has said all of codes
            wrong = np.zeros(next(iter(kept.values())).shape[:2], np.bool_)
        elif self.keeps_all:
            total = np.exp(kept["log_prob"].astype(np.float32)).sum(axis=2)
            wrong = ~(np.abs(total - 1) <= 0.02)
        else:
            ids = np.sort(kept["index"], axis=2)
            wrong = np.any(ids[..., 1:] == ids[..., :-1], axis=2)
            if self.keeps_values:
                wrong = wrong | np.any(kept["code"][..., 1:] < kept["code"][..., :-1], axis=2)
        return wrong

    def restore(
        self, kept: "Quantized", wanted: Scheme | None = None, temperature: float = 1.0
    ) -> "SoftLabels":
        """Read labels [B, …] as `wanted`, or as all that is kept; as `fkd.labels.restore` does it.

        Of B views with a grid they are B · G labels, position after position.
        """
        from fkd.labels.quantization import restore  # with torch, which nothing else here needs

        reading = self.scheme.whole if wanted is None else wanted
        if self.grid:
            count = self.num_positions
            kept = {
                field.name: (values := kept[field.name]).reshape(
                    len(values) * count, field.length // count
                )
                for field in self.fields
            }
        return restore(kept, self.scheme, reading, self.num_classes, temperature)
