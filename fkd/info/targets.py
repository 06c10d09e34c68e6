"""What a store keeps of its teacher's layers, in words."""

from fkd.amounts import as_bytes, as_count
from fkd.format import TargetRecord

_LAYERS = {"": "what the teacher returns", "features": "the input of its last linear layer"}


def target_words(record: TargetRecord) -> str:
    """Say in one line what a target is: of which layer, of which shape, and how it is kept."""
    layer = "" if record.layer == record.name else f"layer {record.layer}, "
    if record.layer in _LAYERS:
        layer = f"{_LAYERS[record.layer]}, "
    pooled = {"mean": "its mean, ", "cls": "its first token, "}.get(record.pool, "")
    return f"{record.name}: {layer}{pooled}{shape_words(record)}, kept as {record.keep}"


def shape_words(record: TargetRecord) -> str:
    """Say how many numbers a vector has, or a map, and how many bytes those are before compression."""
    numbers = as_count(record.shape[0], "number")
    if len(record.shape) > 1:
        numbers = f"a map of {' × '.join(f'{side:,}' for side in record.shape)}"
    return f"{numbers}, {as_bytes(record.vectors.num_bytes)} a view"
