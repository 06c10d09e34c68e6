"""What a store's attributes say of the teachers that labelled, as JSON."""

from collections.abc import Mapping
from typing import Any, cast

from fkd.config import INTERPOLATIONS, Preprocessing, Triple
from fkd.format.attribute_values import Wrong, choice, json_object, numbers, shown, size, text
from fkd.format.records import TeacherRecord

_MAX_TEACHERS = 256
_ROUNDING = 1e-6


def teachers_of(records: Any) -> tuple[TeacherRecord, ...]:
    """Read all teachers; raises `Wrong` for what no labeller writes."""
    if not isinstance(records, list) or not 1 <= len(records) <= _MAX_TEACHERS:
        raise Wrong(f"teachers is {shown(records)}")
    return tuple(_teacher(json_object({"teacher": record}, "teacher")) for record in records)


def weights_of(content: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the weights of the teachers, each positive and all together 1; none where they are equal."""
    if "weights" not in content:
        return ()
    weights = numbers(content, "weights", len(content["teachers"]))
    if min(weights) <= 0 or abs(sum(weights) - 1) > _ROUNDING:
        raise Wrong("its weights are no shares of 1")
    return weights


def _teacher(record: Mapping[str, Any]) -> TeacherRecord:
    preprocessing = json_object(record, "preprocessing")
    return TeacherRecord(
        text(record, "name"),
        text(record, "weights_hash"),
        text(record, "outputs_hash"),
        Preprocessing(
            size(preprocessing),
            cast("Triple", numbers(preprocessing, "mean", 3)),
            cast("Triple", numbers(preprocessing, "std", 3)),
            choice(preprocessing, "interpolation", INTERPOLATIONS),
        ),
    )
