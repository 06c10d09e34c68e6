"""A store's attributes as JSON: signed when they are written, and verified to the last key when read.

A store may come from a stranger, and a signature that anyone can compute stops no one. So every
value must have the type and the bounds of what a labeller writes.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, cast, get_args

from fkd.config import (
    AMPS,
    INTERPOLATIONS,
    MAX_CROPS,
    Preprocessing,
    Scheme,
    SchemeKind,
    Triple,
    ViewPolicy,
)
from fkd.errors import ConfigError, StoreError
from fkd.store.layout import oversize
from fkd.store.spec import FORMAT_VERSIONS, StoreSpec, TeacherRecord
from fkd.views import SAMPLERS, STORED

_MAX_TEXT = 4096
_MAX_TEACHERS = 256

_COUNTS = {
    "num_images": 2**40,
    "num_crops": MAX_CROPS,
    "num_classes": 2**31,
    "block_images": 65_536,
    "chunk_crops": 65_536,
    "size": 4096,
    "path_bytes": 2**40,
    "class_name_bytes": 2**40,
}
_TEXTS = ("sampler", "renderer", "probe", "images_root", "fingerprint", "created")
_OTHERS = ("scheme", "views", "interpolation", "temperature", "teachers", "versions")
_KEYS = {"format_version", *_COUNTS, *_TEXTS, *_OTHERS}
# What a key says more would change what a label is, or where a view lies.
_INNER_KEYS = {"scheme": {"kind", "k", "step"}, "views": {"seed", "scale", "ratio"}}
_OPTIONAL = {"amp", "probes", "part", "unlabelled", "class_title_bytes"}
# Of the optional ones, those that are left out where there is nothing to say: older stores have none.
_LEFT_OUT = {"probes", "part", "unlabelled", "class_title_bytes"}


def to_attributes(spec: StoreSpec) -> dict[str, Any]:
    """Return the attributes of a store's group: the spec, and a SHA-256 over it."""
    content = json.loads(json.dumps(to_json(spec)))
    return {"fkd": content, "sha256": digest(content)}


def to_json(spec: StoreSpec) -> dict[str, Any]:
    """Return a spec as plain JSON values."""
    content = {"format_version": spec.format_version} | asdict(spec)
    content["scheme"] = {"kind": spec.scheme.kind, "k": spec.scheme.k}
    if spec.scheme.coarse:
        content["scheme"]["step"] = spec.scheme.step
    return {k: v for k, v in content.items() if v or k not in _LEFT_OUT}


def digest(content: Any) -> str:
    """Return a SHA-256 over JSON values, whatever their spacing and the order of their keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def from_attributes(attributes: Mapping[str, Any], where: str) -> StoreSpec:
    """Verify the attributes of the group at `where` and build the spec; raises `StoreError`."""
    content = attributes.get("fkd")
    if not isinstance(content, dict) or "sha256" not in attributes:
        raise StoreError(f"{where} is not a label store of fkd (its attributes are others)")
    if attributes["sha256"] != digest(content):
        raise StoreError(f"{where} has damaged attributes in zarr.json; restore it or label anew")
    version = content.get("format_version")
    if type(version) is not int or version not in FORMAT_VERSIONS:
        raise StoreError(
            f"{where} has format version {_shown(version)}, this fkd reads versions 1 to "
            f"{FORMAT_VERSIONS[-1]}; use the fkd that made it, or label anew"
        )
    newer = _of_newer(content) if version >= 3 else None
    if newer is not None:
        raise StoreError(f"{where} has the {newer}, which a newer fkd knows; update fkd to read it")
    try:
        spec = _parse(content)
        _check_together(spec)
    except (_Wrong, ConfigError) as error:
        raise StoreError(
            f"{where} has damaged attributes ({error}); restore it or label anew"
        ) from error
    return spec


class _Wrong(Exception):
    """An attribute that no labeller writes."""


def _of_newer(content: Mapping[str, Any]) -> str | None:
    """Name what a later fkd has added to version 3, or return None: all that it adds has a name."""
    for key in sorted(set(content) - _KEYS - _OPTIONAL):
        return f"key {_shown(key)}"
    for name, known_keys in _INNER_KEYS.items():
        inner = content.get(name)
        for key in sorted(set(inner) - known_keys) if isinstance(inner, dict) else ():
            return f"key {_shown(f'{name}.{key}')}"
    scheme, sampler = content.get("scheme"), content.get("sampler")
    kind = scheme.get("kind") if isinstance(scheme, dict) else None
    if isinstance(kind, str) and kind not in get_args(SchemeKind):
        return f"scheme {_shown(kind)}"
    known = sampler in (*SAMPLERS, STORED)
    return f"sampler {_shown(sampler)}" if isinstance(sampler, str) and not known else None


def _parse(content: Mapping[str, Any]) -> StoreSpec:
    odd = sorted((_KEYS ^ set(content)) - _OPTIONAL)
    if odd:
        raise _Wrong(f"key {_shown(odd[0])} is {'missing' if odd[0] in _KEYS else 'unknown'}")
    counts: dict[str, Any] = {n: _whole(content, n, 1, most) for n, most in _COUNTS.items()}
    scheme, views = _object(content, "scheme"), _object(content, "views")
    versions = _object(content, "versions")
    texts: dict[str, Any] = {name: _text(content, name) for name in _TEXTS}
    if not re.fullmatch(r"sha256:[0-9a-f]*", texts["fingerprint"]):
        raise _Wrong(f"fingerprint is {_shown(texts['fingerprint'])}")
    return StoreSpec(
        **counts,
        **texts,
        format_version=content["format_version"],
        scheme=_scheme(scheme, content["format_version"]),
        views=ViewPolicy(
            _whole(views, "seed", 0, 2**63 - 1),
            cast("tuple[float, float]", _numbers(views, "scale", 2)),
            cast("tuple[float, float]", _numbers(views, "ratio", 2)),
        ),
        interpolation=_choice(content, "interpolation", INTERPOLATIONS),
        temperature=_number(content, "temperature", 1e-3, 1e3),
        teachers=_teachers(content["teachers"]),
        versions=_named_texts(versions),
        amp=_choice({"amp": "off", **content}, "amp", AMPS),
        probes=_named_texts(_object({"probes": {}, **content}, "probes")),
        part=_said(content, "part"),
        unlabelled=_said(content, "unlabelled"),
        class_title_bytes=_whole(
            {"class_title_bytes": 0, **content}, "class_title_bytes", 0, 2**40
        ),
    )


def _scheme(content: Mapping[str, Any], version: int) -> Scheme:
    kind = _text(content, "kind")
    if kind == "samples" and version < 3:
        raise _Wrong("samples are of version 3")
    scheme = Scheme(cast("Any", kind), _whole(content, "k", 0, 65_536))
    if "step" not in content:
        return scheme
    coarse = replace(scheme, coarse=True)
    if version < 3 or content["step"] != coarse.step:
        raise _Wrong(f"the step of its codes is {_shown(content['step'])}")
    return coarse


def _teachers(records: Any) -> tuple[TeacherRecord, ...]:
    if not isinstance(records, list) or not 1 <= len(records) <= _MAX_TEACHERS:
        raise _Wrong(f"teachers is {_shown(records)}")
    return tuple(_teacher(_object({"teacher": record}, "teacher")) for record in records)


def _teacher(record: Mapping[str, Any]) -> TeacherRecord:
    preprocessing = _object(record, "preprocessing")
    return TeacherRecord(
        _text(record, "name"),
        _text(record, "weights_hash"),
        _text(record, "outputs_hash"),
        Preprocessing(
            _whole(preprocessing, "size", 1, 4096),
            cast("Triple", _numbers(preprocessing, "mean", 3)),
            cast("Triple", _numbers(preprocessing, "std", 3)),
            _choice(preprocessing, "interpolation", INTERPOLATIONS),
        ),
    )


def _check_together(spec: StoreSpec) -> None:
    """Refuse sizes that contradict each other or imply too large arrays, before any is allocated."""
    shortest = len("a\0")
    if spec.path_bytes < shortest * spec.num_images or spec.class_name_bytes < spec.num_classes:
        raise _Wrong("its texts are too short for as many images and classes")
    if 0 < spec.class_title_bytes < spec.num_classes:
        raise _Wrong("its titles are too short for as many classes")
    excess = oversize(spec)
    if excess:
        raise _Wrong(f"they imply {excess}")


# -- one value each -------------------------------------------------------------------------------


def _whole(content: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = content.get(key)
    if type(value) is not int or not low <= value <= high:
        raise _Wrong(f"{key} is {_shown(value)}")
    return value


def _said(content: Mapping[str, Any], key: str) -> bool:
    """Return whether a key is there; it says nothing but true."""
    if key in content and content[key] is not True:
        raise _Wrong(f"{key} is {_shown(content[key])}")
    return key in content


def _number(content: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = content.get(key)
    if type(value) not in (int, float) or not low <= cast("float", value) <= high:
        raise _Wrong(f"{key} is {_shown(value)}")
    return float(cast("float", value))


def _numbers(content: Mapping[str, Any], key: str, count: int) -> tuple[float, ...]:
    values = content.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise _Wrong(f"{key} is {_shown(values)}, not {count} numbers")
    return tuple(_number({key: value}, key, -1e9, 1e9) for value in values)


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or len(value) > _MAX_TEXT or "\0" in value:
        raise _Wrong(f"{key} is {_shown(value)}")
    return value


def _named_texts(content: Mapping[str, Any]) -> dict[str, str]:
    return {_text({"name": name}, "name"): _text(content, name) for name in content}


def _choice(content: Mapping[str, Any], key: str, choices: tuple[Any, ...]) -> Any:
    value = _text(content, key)
    if value not in choices:
        raise _Wrong(f"{key} is {_shown(value)}")
    return value


def _object(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise _Wrong(f"{key} is {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Quote a value for a message, briefly: it may be anything, and of any length."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number far too large"
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"
