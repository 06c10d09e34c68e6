"""Networks of a library by name: torchvision, or `timm:NAME`."""

import difflib
import importlib
import os
from typing import Any

import torchvision
from torch import nn

from fkd.config import Size, sides_of, size_text
from fkd.errors import ModelError, first_line
from fkd.models.segmentation import is_segmentation


def _known() -> list[str]:
    """Return the names of torchvision's models that say classes, of a view or of its positions."""
    libraries = (torchvision.models, torchvision.models.segmentation)
    return [
        name for library in libraries for name in torchvision.models.list_models(module=library)
    ]


def is_known(name: str) -> bool:
    """Say whether torchvision has a model of classification or segmentation of this name."""
    return name in _known()


def check_name(name: str, role: str) -> None:
    """Refuse a name that torchvision does not have, and offer the nearest ones."""
    known = _known()
    if name not in known and os.path.isfile(name):
        option = "--teacher-weights" if role == "teacher" else "--init"
        raise ModelError(
            f"{role} {name} is a file; give a file of weights with {option}, and its model's name as "
            f"--{role}"
        )
    if name not in known:
        hint = _near(name, known) or "see torchvision.models.list_models()"
        raise ModelError(
            f"{role} {name!r} is not a torchvision classification or segmentation model; {hint}"
        )


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else ""


def import_timm(name: str) -> Any:
    """Import timm, an extra, for the model `name`."""
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(f"{name} needs timm; install it with `pip install timm`") from error


def timm_name(name: str, role: str) -> str:
    """Return NAME of `timm:NAME`; refuse a name that timm does not have, and offer the nearest."""
    timm, bare = import_timm(name), name.removeprefix("timm:")
    if not timm.is_model(bare):
        hint = _near(bare, timm.list_models()) or "see timm.list_models()"
        raise ModelError(f"{role} {name!r} is not a model of timm; {hint}")
    return bare


def build(name: str, num_classes: int, size: Size | None = None) -> nn.Module:
    """Build an untrained model of torchvision or timm with `num_classes` outputs.

    `size` is that of its views in pixels; it matters only to architectures that are built for one.
    """
    if name.startswith("timm:"):
        return _build_timm(name, num_classes, size)
    settings: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if size is not None and name.startswith("vit_"):
        if not isinstance(size, int):
            raise ModelError(
                f"{name} cannot be built for views of {size_text(size)} px, it takes square ones; choose "
                "another model or another --size"
            )
        settings["image_size"] = size
    if is_segmentation(name):
        settings["weights_backbone"] = None
    if size is not None and name.startswith("maxvit_"):
        settings["input_size"] = sides_of(size)
    if name in ("googlenet", "inception_v3"):
        # Auxiliary heads return a tuple in training and are no part of what is evaluated.
        settings |= {"aux_logits": False, "init_weights": True}
    try:
        model: nn.Module = torchvision.models.get_model(name, **settings)
    except (ValueError, AssertionError) as error:
        raise ModelError(
            f"{name} cannot be built{_for_views(size)} ({first_line(error)}); "
            "choose another model or another --size"
        ) from error
    return model


def _for_views(size: Size | None) -> str:
    return "" if size is None else f" for views of {size_text(size)} px"


def _build_timm(name: str, num_classes: int, size: Size | None) -> nn.Module:
    create, bare = import_timm(name).create_model, timm_name(name, "model")
    if size is not None:
        try:  # transformers are built for one size; others do not know the argument
            model: nn.Module = create(bare, num_classes=num_classes, img_size=size)
            return model
        except TypeError:
            pass
        except (ValueError, AssertionError) as error:
            raise ModelError(
                f"{name} cannot be built{_for_views(size)} ({first_line(error)}); "
                "choose another model or another --size"
            ) from error
    plain: nn.Module = create(bare, num_classes=num_classes)
    return plain
