"""How large the views of each step are: the store's size, the student's own, or sizes that grow.

Boxes are stored in pixels of their image, so a student may see them at any size. Sizes that grow over a
run (progressive resizing; Tan and Le, EfficientNetV2, 2021) make its early steps cheap. Which size a step
has is a function of the step alone.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fkd.amounts import as_count
from fkd.config import Grid, Interpolation, LoaderConfig, Size, sides_of, size_text
from fkd.errors import ConfigError
from fkd.format import (
    StoreSpec,
)
from fkd.loader.schedule import Schedule
from fkd.vectors import StoredVectors
from fkd.views import stand_elsewhere

_MOST_NAMED = 6  # changes of size


@dataclass(frozen=True)
class SizePlan:
    """The sizes of a run's views, and the interpolation by which all of them are rendered.

    Each of `stages` is a first step and a size; the first begins at step 0.
    """

    stages: tuple[tuple[int, Size], ...]
    interpolation: Interpolation

    @classmethod
    def of(
        cls,
        config: LoaderConfig,
        spec: StoreSpec,
        schedule: Schedule,
        vectors: Mapping[str, StoredVectors] | None = None,
    ) -> "SizePlan":
        """Return the plan of a run: its sizes share the steps evenly.

        A run of fewer steps than sizes leaves the first ones out. `vectors` are those that it reads.
        Raises `ConfigError` for padded views on which a grid that is read would not lie as it is stored.
        """
        sizes = [spec.size] if config.size is None else config.size.steps(config.size_multiple)
        sizes = sizes[-schedule.total_steps :]
        grids = [spec.grid, *(stored.shape[1:] for stored in (vectors or {}).values())]
        if spec.views.fit == "pad":
            _refuse_other_padding(config, spec, sizes, [grid for grid in grids if grid])
        first = [-(-n * schedule.total_steps // len(sizes)) for n in range(len(sizes))]
        stages = tuple(zip(first, sizes, strict=True))
        return cls(stages, config.interpolation or spec.interpolation)

    @classmethod
    def of_store(cls, spec: StoreSpec) -> "SizePlan":
        """Return the plan of a run that sees what the teacher saw."""
        return cls(((0, spec.size),), spec.interpolation)

    def __str__(self) -> str:
        """Return the sizes, and the steps with which they change, in words."""
        (_, first), *later = self.stages
        if len(later) > _MOST_NAMED:
            text = f"{size_text(first)} to {size_text(self.last)} px, {len(self.stages)} sizes of about "
            return text + as_count(later[0][0], "step")
        changes = (f", {size_text(size)} px from step {step + 1:,}" for step, size in later)
        return f"{size_text(first)} px" + "".join(changes)

    def at(self, step: int) -> Size:
        """Return the size of a step's views."""
        stage = bisect_right(self.stages, step, key=lambda stage: stage[0]) - 1
        return self.stages[stage][1]

    @property
    def last(self) -> Size:
        """The size at the end of the run, which no other is larger than."""
        return self.stages[-1][1]

    def most_bytes(self, *, masks: bool) -> int:
        """Return the bytes of one view of the last size, with its mask where there are `masks`."""
        height, width = sides_of(self.last)
        return (3 + masks) * height * width


def _refuse_other_padding(
    config: LoaderConfig, spec: StoreSpec, sizes: Sequence[Size], grids: Sequence[Grid]
) -> None:
    """Raise `ConfigError` where crops stand elsewhere in a view than in the one that grids are of."""
    for size in sizes:
        if any(stand_elsewhere(spec.size, size, grid) for grid in grids):
            raise ConfigError(
                f"--size {size_text(size)}: the views of {config.store} are padded, and its grids lie on "
                f"them as they are at {size_text(spec.size)} px; choose a size of that proportion"
            )
