"""What an image processor of transformers makes of an image: a size, and numbers around 0."""

from collections.abc import Mapping, Sequence
from typing import Any

from fkd.config import IMAGENET_MEAN, IMAGENET_STD, Triple
from fkd.errors import ModelError

_BY = 255


def divides_by_255(processor: Any) -> bool:
    """Say whether its pixels are (x / 255 - mean) / std, as all are here."""
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    return abs(factor * _BY - 1) <= 1e-6 and not getattr(processor, "rescale_offset", False)


def processed_size(processor: Any) -> tuple[int, int] | None:
    """Return height and width of what it gives a model, None where they depend on the image.

    That is its centre crop, or what it resizes to; where that is the shortest edge alone, a square.
    """
    cropped = getattr(processor, "do_center_crop", False) and processor.crop_size
    size: Mapping[str, int] = dict(cropped or processor.size)
    if "height" in size and "width" in size:
        return size["height"], size["width"]
    edge = size.get("shortest_edge")
    return None if edge is None or "longest_edge" in size else (edge, edge)


def processed_tone(processor: Any) -> tuple[Triple, Triple]:
    """Return mean and std of its channels, of pixels in [0, 1]; raises `ModelError` for others than 3."""
    if not processor.do_normalize:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = processor.image_mean or IMAGENET_MEAN, processor.image_std or IMAGENET_STD
    return _of_three(processor, mean), _of_three(processor, std)


def _of_three(processor: Any, numbers: Sequence[float]) -> Triple:
    if len(numbers) != 3:
        raise ModelError(
            f"{type(processor).__name__} makes images of {len(numbers)} channels; those of views are 3"
        )
    red, green, blue = map(float, numbers)
    return red, green, blue
