"""Which columns of a table hold the images and their classes.

Hugging Face's `datasets` writes what its columns are into the schema; tables of others are known by the
types and the names of their columns.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fkd.containers import import_pyarrow
from fkd.errors import ImagesError

_IMAGES = (
    "image", "img", "images", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "data", "picture",
    "photo", "content",
)  # fmt: skip
_PATHS = ("path", "file", "filename", "file_name", "image_path")
_LABELS = (
    "label", "labels", "class", "class_name", "class_id", "target", "category", "cls", "y", "synset",
    "wnid",
)  # fmt: skip

_NEW_CSV = "list paths and classes in a CSV file with the columns path and label"


@dataclass(frozen=True)
class Columns:
    """The columns of one table, the same in all files of a data set.

    `image` holds bytes itself, or in its field `bytes` where it is `nested`; then `path` says whether it
    has a field of that name. `label` holds classes: their names where it is `named`, else numbers, of
    `class_names` where these are declared. It is None where classes are not asked for.
    """

    image: str
    nested: bool
    path: bool
    label: str | None
    named: bool
    class_names: tuple[str, ...] | None


def find_columns(schema: Any, file: str, *, unlabelled: bool) -> Columns:
    """Find the columns in a file's schema (pyarrow's). Raises `ImagesError` where they are not plain."""
    types = {field.name: field.type for field in schema}
    if len(types) < len(schema):
        raise ImagesError(f"{file} has two columns of one name; rename one of them")
    features = {name: value for name, value in _features(schema).items() if name in types}
    image = _image_column(types, features, file)
    fields = _fields(types[image])
    nested = "bytes" in fields
    path = "path" in fields and _is_text(fields["path"])
    if unlabelled:
        return Columns(image, nested, path, None, False, None)
    label = _label_column(types, features, file)
    names: Any = features.get(label, {}).get("names")
    named = _is_text(types[label])
    if not named and _are_names(names):
        if len(set(names)) < len(names):
            raise ImagesError(
                f"{file}: two classes of its column {label!r} have one name; rename one"
            )
        return Columns(image, nested, path, label, named, tuple(names))
    return Columns(image, nested, path, label, named, None)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return what `datasets` says of the columns, by name."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info.get("info", {}).get("features", {}).items()
    except (ValueError, AttributeError, RecursionError):
        return {}
    return {name: value for name, value in features if isinstance(value, dict)}


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(
        isinstance(name, str) and "\0" not in name for name in names
    )


def _image_column(types: dict[str, Any], features: dict[str, dict[str, Any]], file: str) -> str:
    declared = [name for name in features if features[name].get("_type") == "Image"]
    found = [name for name in declared if _holds_bytes(types[name])] or [
        name
        for name, kind in types.items()
        if _holds_bytes(kind) and (name.lower() in _IMAGES or _fields(kind))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ImagesError(
            f"{file}: any of its columns {_listed(found)} may hold the images; keep one of them"
        )
    raise _no_images(types, declared, file)


def _no_images(types: dict[str, Any], declared: list[str], file: str) -> ImagesError:
    for name, kind in types.items():
        if name.lower() in (*_IMAGES, *_PATHS) or name in declared:
            if _is_text(kind):
                refuse_paths(file, name)
            if "_view" in str(kind):
                return ImagesError(
                    f"{file}: its column {name!r} is {kind}, which fkd does not read; write it as "
                    "large_binary (polars: `compat_level=pl.CompatLevel.oldest()`)"
                )
    shown = ", ".join(f"{name} ({kind!s:.40})" for name, kind in types.items())
    return ImagesError(
        f"{file}: no column holds images, only {shown:.300}; put the bytes of their files into a binary "
        "column that is named image"
    )


def refuse_paths(file: str, name: str) -> NoReturn:
    """Refuse a column that names files."""
    raise ImagesError(
        f"{file}: its column {name!r} holds paths, not images; {_NEW_CSV}, or write the table with the "
        "bytes in it (datasets: `dataset.with_format('arrow').map(embed_table_storage, batched=True)`)"
    )


def _label_column(types: dict[str, Any], features: dict[str, dict[str, Any]], file: str) -> str:
    declared = [name for name in features if features[name].get("_type") == "ClassLabel"]
    found = declared or [name for name in types if name.lower() in _LABELS]
    if "label" in found:
        found = ["label"]
    if not found:
        raise ImagesError(
            f"{file}: no column holds classes, only {_listed(list(types))}; name it label, or take the "
            "images without classes (--unlabelled)"
        )
    if len(found) > 1:
        raise ImagesError(
            f"{file}: any of its columns {_listed(found)} may hold the classes; name one of them label"
        )
    if not (_is_text(types[found[0]]) or _is_number(types[found[0]])):
        raise ImagesError(
            f"{file}: its column {found[0]!r} is {types[found[0]]}, not the number or the name of a class"
        )
    return found[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)[:300]


def _fields(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a struct, none of another type."""
    if not import_pyarrow().types.is_struct(kind):
        return {}
    return {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}


def _holds_bytes(kind: Any) -> bool:
    types = import_pyarrow().types
    kind = _fields(kind).get("bytes", kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    types = import_pyarrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    types = import_pyarrow().types
    return bool(types.is_integer(kind) or types.is_boolean(kind))
