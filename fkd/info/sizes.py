"""Bytes on disk of what a store holds, by crop and by label, part by part."""

from collections.abc import Mapping

from fkd.format import StoreSpec
from fkd.info.labelled import num_crops_labelled
from fkd.store import LabelStore

# Which part of a crop's label an array holds; everything else is counted as "rest".
_PARTS = {
    "box": "box",
    "flip": "flip",
    "palette": "ids",
    "slot": "ids",
    "index": "ids",
    "code": "values",
    "deviation": "deviation",
    "log_prob": "values",
    "log_code": "values",
    **dict.fromkeys(("mix_hash", "partner", "partner_box", "partner_flip", "share", "hole"), "mix"),
}

_VECTOR_PARTS = ("vector ", "learned")


def bytes_per_crop(store: LabelStore) -> dict[str, float]:
    """Return bytes on disk per labelled crop: box, flip, ids, values, rest and their total.

    A store that keeps the deviation of logits has that part, too, and one of mixed views "mix". Vectors
    have a part each, "vector NAME", and what their schemes have learned is "learned", which a store has
    once. A store of vectors alone has no ids and values.
    """
    crops, spec = max(1, num_crops_labelled(store)), store.spec
    names = ["box", "flip"]
    names += ["ids", "values"] if spec.labels.there else []
    names += ["deviation"] if spec.scheme.deviation else []
    names += ["mix"] if spec.mixes else []
    part_of = _PARTS | {
        field.name: f"vector {name}" for name, kept in spec.vectors.items() for field in kept.fields
    }
    part_of |= {name: "learned" for kept in spec.vectors.values() for name in kept.constants}
    names += [f"vector {name}" for name in spec.vectors]
    names += ["learned"] if "learned" in part_of.values() else []
    parts = dict.fromkeys([*names, "rest"], 0.0)
    for array, size in store.stored_bytes().items():
        parts[part_of.get(array, "rest")] += size / crops
    return parts | {"total": sum(parts.values())}


def bytes_per_label(spec: StoreSpec, parts: Mapping[str, float]) -> float:
    """Return the bytes of one label, of parts by crop: all of them but those of vectors."""
    vectors = sum(size for name, size in parts.items() if name.startswith(_VECTOR_PARTS))
    return (parts["total"] - vectors) / spec.labels.num_positions


def per_label(spec: StoreSpec, parts: Mapping[str, float]) -> str:
    """Say what one label of a map or a line takes, of parts by crop; all else is the "rest"."""
    total = bytes_per_label(spec, parts)
    each = {
        name: parts[name] / spec.labels.num_positions for name in ("ids", "values") if name in parts
    }
    each["rest"] = total - sum(each.values())
    words = ", ".join(f"{name} {size:.2f}" for name, size in each.items())
    return f"{total:.2f} bytes ({words})"
