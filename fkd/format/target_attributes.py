"""What a store's attributes say of the vectors that it keeps, as JSON."""

from collections.abc import Mapping
from typing import Any

from fkd.config import MAX_TARGETS, POOLS, Target, VectorScheme
from fkd.errors import ConfigError
from fkd.format.attribute_values import Wrong, choice, json_object, shown, text
from fkd.format.records import TargetRecord
from fkd.vectors import MAX_NUMBERS

_KEYS = {"name", "layer", "pool", "keep", "shape"}
_OPTIONAL = {"constants"}
_MAX_CONSTANTS = 2**28  # bytes of what a scheme has learned


def target_json(record: TargetRecord) -> dict[str, Any]:
    """Return what is said of a target."""
    said = {
        "name": record.name,
        "layer": record.layer,
        "pool": record.pool,
        "keep": str(record.keep),
        "shape": list(record.shape),
    }
    return said | ({"constants": record.constants_hash} if record.constants_hash else {})


def newer_target(content: Any) -> str | None:
    """Name what a later fkd says of a target, or return None."""
    for said in content if isinstance(content, list) else ():
        if not isinstance(said, Mapping):
            continue
        for key in sorted(set(said) - _KEYS - _OPTIONAL):
            return f"key {shown(f'targets.{key}')}"
        keep = said.get("keep")
        if isinstance(keep, str) and not VectorScheme.is_named(keep):
            return f"scheme {shown(keep)}"
    return None


def targets_of(content: Any, version: int) -> tuple[TargetRecord, ...]:
    """Read all targets; raises `Wrong` for what no labeller writes."""
    if not isinstance(content, list) or len(content) > MAX_TARGETS:
        raise Wrong(f"targets is {shown(content)}")
    if content and version < 3:
        raise Wrong("vectors are of version 3")
    records = tuple(_record(json_object({"target": each}, "target")) for each in content)
    names = [record.name.lower() for record in records]
    if len(set(names)) < len(names):
        raise Wrong("two targets have one name")
    return records


def _record(said: Mapping[str, Any]) -> TargetRecord:
    missing = _KEYS - set(said)
    if missing:
        raise Wrong(f"key {shown(min(missing))} of a target is missing")
    shape = said["shape"]
    sides = isinstance(shape, list) and all(type(n) is int and 0 < n <= MAX_NUMBERS for n in shape)
    if not sides or len(shape) not in (1, 3):
        raise Wrong(f"the shape of a target is {shown(shape)}")
    try:
        named = Target(
            text(said, "layer"), pool=choice(said, "pool", POOLS), name=text(said, "name")
        )
        keep = VectorScheme.parse(text(said, "keep"))
        record = TargetRecord(
            named.name, named.layer, named.pool, keep, tuple(shape), str(said.get("constants", ""))
        )
        vectors = record.vectors
    except ConfigError as error:
        raise Wrong(str(error)) from error
    if vectors.constant_bytes > _MAX_CONSTANTS:
        raise Wrong(f"a target of shape {shown(shape)} is too large")
    return record
