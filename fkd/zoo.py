"""Models by name (torchvision, `timm:NAME`), weight files and devices: what both roles share."""

import copy
import difflib
import hashlib
import importlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from fkd.errors import ModelError, first_line

# Where checkpoints of common trainers, ours included, keep the weights.
_WRAPPERS = ("state_dict", "model", "student")


def check_name(name: str, role: str) -> None:
    """Refuse a name that torchvision does not have, and offer the nearest ones."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        hint = _near(name, known) or "see torchvision.models.list_models()"
        raise ModelError(f"{role} {name!r} is not a torchvision classification model; {hint}")


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
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


def build(name: str, num_classes: int, size: int | None = None) -> nn.Module:
    """Build an untrained model of torchvision or timm with `num_classes` outputs.

    `size` is the side of its views in pixels; only architectures that are built for one size ask.
    """
    if name.startswith("timm:"):
        return _build_timm(name, num_classes, size)
    settings: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if size is not None and name.startswith("vit_"):
        settings["image_size"] = size
    if size is not None and name.startswith("maxvit_"):
        settings["input_size"] = (size, size)
    if name in ("googlenet", "inception_v3"):
        # Auxiliary heads return a tuple in training and are no part of what is evaluated.
        settings |= {"aux_logits": False, "init_weights": True}
    try:
        model: nn.Module = torchvision.models.get_model(name, **settings)
    except (ValueError, AssertionError) as error:
        raise ModelError(
            f"{name} cannot be built for views of {size} px ({first_line(error)}); "
            "choose another model or another --size"
        ) from error
    return model


def _build_timm(name: str, num_classes: int, size: int | None) -> nn.Module:
    create, bare = import_timm(name).create_model, timm_name(name, "model")
    if size is not None:
        try:  # transformers are built for one size; others do not know the word
            model: nn.Module = create(bare, num_classes=num_classes, img_size=size)
            return model
        except TypeError:
            pass
        except (ValueError, AssertionError) as error:
            raise ModelError(
                f"{name} cannot be built for views of {size} px ({first_line(error)}); "
                "choose another model or another --size"
            ) from error
    plain: nn.Module = create(bare, num_classes=num_classes)
    return plain


def find_function(name: str) -> Callable[..., Any]:
    """Return the function of `package.module:function`; raises whatever importing it raises."""
    module_name, _, function = name.partition(":")
    module = importlib.import_module(module_name)
    if not hasattr(module, function):
        where = getattr(module, "__file__", None) or "no file"
        raise AttributeError(f"module {module_name} ({where}) has no {function!r}")
    found: Callable[..., Any] = getattr(module, function)
    return found


def try_out(model: nn.Module, num_views: int, size: int, what: str, remedy: str) -> int:
    """Refuse a user's model that cannot take some views, or learn from them; return its outputs."""
    try:
        logits = model(torch.zeros(num_views, 3, size, size))
    except Exception as error:  # it is the user's own code that runs here
        raise ModelError(
            f"{what} cannot take {num_views} views of {size} px ({type(error).__name__}: "
            f"{first_line(error)}); {remedy}"
        ) from error
    outputs = count_outputs(logits, what)
    if len(logits) != num_views:
        raise ModelError(f"{what} returns {len(logits)} rows for {num_views} views; {remedy}")
    if not logits.requires_grad:
        raise ModelError(f"{what} has nothing to learn: its logits need no gradient; {remedy}")
    return outputs


def check_fit(model: nn.Module, num_views: int, size: int, what: str, remedy: str) -> int:
    """Refuse a model that cannot take `num_views` views of `size` pixels in the mode it is in.

    The forward pass runs on shapes alone, on a copy that holds no data. Returns the number of outputs.
    """
    shapes = copy.deepcopy(model).to("meta")
    try:
        with torch.inference_mode():
            return count_outputs(shapes(torch.empty(num_views, 3, size, size, device="meta")), what)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"{what} cannot take {num_views} views of {size} px ({first_line(error)}); {remedy}"
        ) from error


def count_outputs(logits: Any, what: str) -> int:
    """Return C of logits [B, C]; refuse anything else that a model may return."""
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ModelError(f"{what} returns no logits of shape [batch, classes]")
    return logits.shape[1]


def read_file(path: Path) -> Any:
    """Unpickle a file of torch with `weights_only=True`, on the CPU; raises whatever torch does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old or odd pickles, which the caller judges
        return torch.load(path, map_location="cpu", weights_only=True)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a weight file with `weights_only=True`, without wrappers and DDP's `module.` prefix."""
    if not os.path.isfile(path):
        raise ModelError(f"weights {path}: no such file; give a state dict that torch.save wrote")
    try:
        content = read_file(path)
    except Exception as error:  # torch.load fails in a dozen ways, and says a paragraph each time
        raise ModelError(
            f"weights {path}: not a state dict that loads with weights_only=True; save one with "
            "torch.save(model.state_dict(), path)"
        ) from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise ModelError(f"weights {path}: holds no state dict (names to tensors)")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def load_weights(model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load strictly, or name the first tensor that does not fit."""
    expected = model.state_dict()
    # Files from before 2018 have no batch counters; they count training steps and change no output.
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    state = {**counters, **state}
    for name in [*expected, *state]:
        if name not in state or name not in expected:
            problem = "misses" if name not in state else "has an unknown tensor"
            raise ModelError(f"{what} {problem} {name!r}; is it of another architecture?")
        if state[name].shape != expected[name].shape:
            raise ModelError(
                f"{what}: tensor {name!r} has shape {tuple(state[name].shape)}, "
                f"the model needs {tuple(expected[name].shape)}"
            )
    model.load_state_dict(state)


def num_outputs(
    name: str, state: Mapping[str, Tensor], build_with: Callable[[int], nn.Module], what: str
) -> int:
    """Read from a weight file how many outputs its head has.

    The head is what changes between the model with 2 and with 3 outputs.
    """
    heads = head_tensors(build_with)
    for key in heads:
        if key in state and state[key].dim():
            return int(state[key].shape[0])
    raise ModelError(
        f"{what} has no tensor {heads[-1]!r}, so it is not of {name}; give the weights' own model"
    )


def head_tensors(build_with: Callable[[int], nn.Module]) -> list[str]:
    """Name the tensors of a model that change with its number of outputs."""
    with torch.device("meta"):
        few, many = (build_with(n).state_dict() for n in (2, 3))
    return [key for key in few if few[key].shape != many[key].shape]


def weights_hash(model: nn.Module) -> str:
    """Return a SHA-256 over names and values of all tensors: the identity of a model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return "sha256:" + digest.hexdigest()
