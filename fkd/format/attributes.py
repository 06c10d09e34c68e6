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

from fkd.amounts import as_count
from fkd.config import (
    AMPS,
    INTERPOLATIONS,
    MAX_CROPS,
    MAX_POSITIONS,
    Grid,
    Scheme,
    SchemeKind,
    num_positions,
)
from fkd.errors import ConfigError, StoreError
from fkd.format.attribute_values import (
    Wrong,
    choice,
    count,
    json_object,
    named_texts,
    number,
    said,
    shown,
    size,
    text,
    whole,
)
from fkd.format.contradictions import refuse_contradictions
from fkd.format.spec import FORMAT_VERSIONS, StoreSpec
from fkd.format.target_attributes import newer_target, target_json, targets_of
from fkd.format.teacher_attributes import teachers_of, weights_of
from fkd.format.view_attributes import VIEW_KEYS, newer_rule, views_json, views_of
from fkd.views import SAMPLERS, STORED

_SIDES = (1, 2)  # of a grid: frames of a line, or height and width of a map

_COUNTS = {
    "num_images": 2**40,
    "num_crops": MAX_CROPS,
    "num_classes": 2**31,
    "block_images": 65_536,
    "chunk_crops": 65_536,
    "path_bytes": 2**40,
    "class_name_bytes": 2**40,
}
_TEXTS = ("sampler", "renderer", "probe", "images_root", "fingerprint", "created")
_OTHERS = ("size", "scheme", "views", "interpolation", "temperature", "teachers", "versions")
_KEYS = {"format_version", *_COUNTS, *_TEXTS, *_OTHERS}
# What a key says more would change what a label is, or where a view lies.
_INNER_KEYS = {
    "scheme": {"kind", "k", "step", "deviation"},
    "views": VIEW_KEYS,
}
# Left out where there is nothing to say: older stores have none.
_LEFT_OUT = {"probes", "part", "unlabelled", "class_title_bytes"}
_LEFT_OUT |= {"numbered", "weights", "made_by", "root", "first_image", "first_crop"}
_LEFT_OUT |= {"stored_mixes", "targets", "grid", "masks", "texts"}
_OPTIONAL = {"amp", *_LEFT_OUT}


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
    if spec.scheme.deviation:
        content["scheme"]["deviation"] = True
    content["views"] = views_json(spec.views)
    content["targets"] = [target_json(record) for record in spec.targets]
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
            f"{where} has format version {shown(version)}, this fkd reads versions 1 to "
            f"{FORMAT_VERSIONS[-1]}; use the fkd that made it, or label anew"
        )
    newer = _of_newer(content) if version >= 3 else None
    if newer is not None:
        raise StoreError(f"{where} has the {newer}, which a newer fkd knows; update fkd to read it")
    try:
        spec = _parse(content)
        refuse_contradictions(spec)
    except (Wrong, ConfigError) as error:
        raise StoreError(
            f"{where} has damaged attributes ({error}); restore it or label anew"
        ) from error
    return spec


def _of_newer(content: Mapping[str, Any]) -> str | None:
    """Name what a later fkd has added to version 3, or return None: all that it adds has a name."""
    for key in sorted(set(content) - _KEYS - _OPTIONAL):
        return f"key {shown(key)}"
    for name, known_keys in _INNER_KEYS.items():
        inner = content.get(name)
        for key in sorted(set(inner) - known_keys) if isinstance(inner, dict) else ():
            return f"key {shown(f'{name}.{key}')}"
    scheme, sampler = content.get("scheme"), content.get("sampler")
    kind = scheme.get("kind") if isinstance(scheme, dict) else None
    if isinstance(kind, str) and kind not in get_args(SchemeKind):
        return f"scheme {shown(kind)}"
    known = sampler in (*SAMPLERS, STORED)
    if isinstance(sampler, str) and not known:
        return f"sampler {shown(sampler)}"
    grid = content.get("grid")
    if isinstance(grid, list) and len(grid) not in (0, *_SIDES):
        return f"grid of {as_count(len(grid), 'number')}"
    return newer_rule(content.get("views")) or newer_target(content.get("targets"))


def _parse(content: Mapping[str, Any]) -> StoreSpec:
    odd = sorted((_KEYS ^ set(content)) - _OPTIONAL)
    if odd:
        raise Wrong(f"key {shown(odd[0])} is {'missing' if odd[0] in _KEYS else 'unknown'}")
    counts: dict[str, Any] = {n: whole(content, n, 1, most) for n, most in _COUNTS.items()}
    scheme, views = json_object(content, "scheme"), json_object(content, "views")
    versions = json_object(content, "versions")
    texts: dict[str, Any] = {name: text(content, name) for name in _TEXTS}
    if not re.fullmatch(r"sha256:[0-9a-f]*", texts["fingerprint"]):
        raise Wrong(f"fingerprint is {shown(texts['fingerprint'])}")
    return StoreSpec(
        **counts,
        **texts,
        format_version=content["format_version"],
        size=size(content),
        scheme=_scheme(scheme, content["format_version"]),
        views=views_of(views, content["format_version"]),
        interpolation=choice(content, "interpolation", INTERPOLATIONS),
        temperature=number(content, "temperature", 1e-3, 1e3),
        teachers=teachers_of(content["teachers"]),
        versions=named_texts(versions),
        amp=choice({"amp": "off", **content}, "amp", AMPS),
        probes=named_texts(json_object({"probes": {}, **content}, "probes")),
        part=said(content, "part"),
        unlabelled=said(content, "unlabelled"),
        class_title_bytes=count(content, "class_title_bytes"),
        numbered=said(content, "numbered"),
        weights=weights_of(content),
        made_by=text({"made_by": "", **content}, "made_by"),
        root=text({"root": "", **content}, "root"),
        first_image=count(content, "first_image"),
        first_crop=count(content, "first_crop"),
        stored_mixes=said(content, "stored_mixes"),
        targets=targets_of(content.get("targets", []), content["format_version"]),
        grid=_grid(content),
        masks=said(content, "masks"),
        texts=said(content, "texts"),
    )


def _grid(content: Mapping[str, Any]) -> Grid:
    """Return how many rows and columns of labels a view has, or how many frames; () of one label."""
    if "grid" not in content:
        return ()
    sides = content["grid"]
    if content["format_version"] < 3:
        raise Wrong("maps and lines are of version 3")
    good = isinstance(sides, list) and all(type(n) is int and 0 < n <= MAX_POSITIONS for n in sides)
    good = good and len(sides) in _SIDES and num_positions(tuple(sides)) <= MAX_POSITIONS
    if not good:
        raise Wrong(f"grid is {shown(sides)}")
    return tuple(sides)


def _scheme(content: Mapping[str, Any], version: int) -> Scheme:
    kind = text(content, "kind")
    if kind == "samples" and version < 3:
        raise Wrong("samples are of version 3")
    deviation = said(content, "deviation")
    if deviation and version < 3:
        raise Wrong("deviations are of version 3")
    scheme = Scheme(cast("Any", kind), whole(content, "k", 0, 65_536), deviation=deviation)
    if "step" not in content:
        return scheme
    coarse = replace(scheme, coarse=True)
    if version < 3 or content["step"] != coarse.step:
        raise Wrong(f"the step of its codes is {shown(content['step'])}")
    return coarse
