"""Teachers of transformers, by their name on a hub or a folder: `hf:facebook/dinov2-small`, `hf:FOLDER`.

A checkpoint with a head of classes says them, of an image or of each position of a map. Any other says
its embedding: the projected one of images and texts, else what its pooler returns, else its first token
or the mean of its positions.
"""

import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fkd import models
from fkd.config import Interpolation, Preprocessing, Size, TeacherChoice, size_text
from fkd.errors import ModelError, first_line
from fkd.machine import place
from fkd.progress import note
from fkd.teachers.kinds import HUB
from fkd.teachers.output_names import OutputNames
from fkd.teachers.source import Source, asking_hub, override, try_on_views

_BILINEAR = 2  # as Pillow numbers the ways of resampling
_HEADS = ("ForImageClassification", "ForSemanticSegmentation")
_PROJECTED = "WithProjection"
_POOLER = "pooler."
_NAMELESS = "LABEL_"  # how classes are called that nobody named


def open_hub_model(choice: TeacherChoice, device: torch.device) -> Source:
    """Load a vision model of transformers, with its own preprocessing and names of classes."""
    transformers = _import(choice)
    where = choice.name.removeprefix(HUB)
    with _quiet(transformers), _downloads(choice):
        config = transformers.AutoConfig.from_pretrained(where, trust_remote_code=False)
        if hasattr(config, "mask_ratio"):  # a masked autoencoder hides most of what it sees
            config.mask_ratio = 0.0
        processor = _processor(transformers, where)
    preprocessing = override(_recorded(choice, config, processor), choice)
    with _quiet(transformers), _downloads(choice), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same in every run
        model = _load(transformers, choice, config, where)
    model = _asked_for_images(model, choice, preprocessing.size, config)
    # Checkpoints in half precision are loaded as they are, and views are float32.
    model = place(model.float().eval().requires_grad_(False), device)
    remedy = "give the --size that it was made for"
    outputs = try_on_views(model, choice, preprocessing.size, device, remedy)
    made_for = None if processor is None else _side(processor)
    names = _names(config) if _has_head(config) else None
    return Source(model, preprocessing, models.weights_hash(model), outputs, made_for, names)


def _import(choice: TeacherChoice) -> Any:
    """Import transformers, an extra."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ModelError(
            f"teacher {choice.name} needs transformers; install it with `pip install transformers`"
        ) from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep its bars and reports to itself: what matters of them is said here."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


@contextmanager
def _downloads(choice: TeacherChoice) -> Iterator[None]:
    """Say in one line why a model cannot be had."""
    try:
        with asking_hub(choice):
            yield
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds
        here = os.path.isdir(choice.name.removeprefix(HUB))
        what = "cannot be read" if here else "could not be downloaded from its hub"
        remedy = (
            "give a folder that `save_pretrained` wrote" if here else "give hf:FOLDER of a copy"
        )
        raise ModelError(
            f"teacher {choice.name} {what} ({type(error).__name__}: {first_line(error)}); {remedy}"
        ) from error


def _processor(transformers: Any, where: str) -> Any | None:
    """Return the image processor of a checkpoint, None where it has none."""
    try:
        return transformers.AutoImageProcessor.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError):
        return None


def _recorded(choice: TeacherChoice, config: Any, processor: Any | None) -> Preprocessing:
    """Return what a checkpoint says of its input."""
    if processor is None:
        size = getattr(getattr(config, "vision_config", config), "image_size", None)
        usual = Preprocessing(size if isinstance(size, int) else Preprocessing.size)
        if choice.mean is None or choice.std is None:
            note(
                f"warning: teacher {choice.name} has no preprocessor_config.json; it sees "
                f"{size_text(usual.size)} px with ImageNet's mean and std, where --size, --mean and "
                "--std say nothing else"
            )
        return usual
    if not models.divides_by_255(processor) and (choice.mean is None or choice.std is None):
        raise ModelError(
            f"teacher {choice.name}: its image processor does not divide pixels by 255; give --mean and "
            "--std for pixels in [0, 1]"
        )
    side = choice.size or _side(processor)
    if side is None:
        raise ModelError(
            f"teacher {choice.name}: its image processor makes no square images of one size; give --size"
        )
    mean, std = models.processed_tone(processor)
    resampling: Interpolation = "bilinear" if processor.resample == _BILINEAR else "bicubic"
    return Preprocessing(side, mean, std, resampling)


def _side(processor: Any) -> int | None:
    """Return the side of a processor's images in pixels, None where they are no squares of one size."""
    size = models.processed_size(processor)
    return None if size is None or size[0] != size[1] else size[0]


def _architecture(config: Any) -> str:
    return str(next(iter(getattr(config, "architectures", None) or []), ""))


def _has_head(config: Any) -> bool:
    return _architecture(config).endswith(_HEADS)


def _load(transformers: Any, choice: TeacherChoice, config: Any, where: str) -> nn.Module:
    """Build the model with the weights of the checkpoint, or with random ones."""
    name, loader = _architecture(config), transformers.AutoModel
    head = next((head for head in _HEADS if name.endswith(head)), None)
    if head is not None:
        loader = getattr(transformers, f"AutoModel{head}")
    elif name.endswith(_PROJECTED):
        loader = getattr(transformers, name, loader)
    if choice.weights == "none":
        build = loader.from_config if hasattr(loader, "from_config") else loader
        model: nn.Module = build(config)
        return model
    loaded: nn.Module
    loaded, report = loader.from_pretrained(
        where, config=config, trust_remote_code=False, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if all(key.startswith(_POOLER) for key in missing) and missing:
        loaded.pooler = None  # type: ignore[assignment]  # a random one says nothing
    elif missing:
        raise ModelError(
            f"teacher {choice.name}: its weights have no {missing[0]}"
            + (f", and {len(missing) - 1:,} more are missing" if len(missing) > 1 else "")
            + f"; they are of another model than {type(loaded).__name__}"
        )
    return loaded


def _asked_for_images(
    model: nn.Module, choice: TeacherChoice, size: Size, config: Any
) -> nn.Module:
    """Return a model that takes pixels, and returns logits or an embedding."""
    if getattr(model, "main_input_name", "") != "pixel_values":
        if not hasattr(model, "get_image_features"):
            raise ModelError(f"teacher {choice.name} takes no images; give a vision model")
        return _OfImages(model, _size_words(model.get_image_features, size, config))
    words = _size_words(model.forward, size, config)
    if words:
        model.register_forward_pre_hook(
            lambda module, args, kwargs: (args, kwargs | words), with_kwargs=True
        )
    if not _has_head(config):
        # A hook, and no module around the model, so that its layers keep their names.
        model.register_forward_hook(_as_embedding)
    return model


def _size_words(function: Any, size: Size, config: Any) -> dict[str, bool]:
    """Return the arguments by which a model takes another size than it was made for."""
    own = getattr(getattr(config, "vision_config", config), "image_size", size)
    takes = "interpolate_pos_encoding" in inspect.signature(function).parameters
    return {"interpolate_pos_encoding": True} if takes and size != own else {}


class _OfImages(nn.Module):
    """The half of a model of images and texts that takes images."""

    def __init__(self, model: nn.Module, words: Mapping[str, bool]) -> None:
        super().__init__()
        self._words = words
        if hasattr(model, "text_model"):
            model.text_model = None  # type: ignore[assignment]  # its memory is of use elsewhere
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embedding of images, [B, D], where texts have theirs."""
        features: Any = self.model.get_image_features
        return embedding(features(pixel_values=pixels, **self._words))


def _as_embedding(module: nn.Module, inputs: Any, answer: Any) -> Tensor:
    return embedding(answer)


def embedding(answer: Any) -> Tensor:
    """Return the embedding [B, D] in what a model of transformers returns.

    It is the projected one, what its pooler returns, the first token of [B, T, D], or the mean of the
    positions of [B, D, h, w].
    """
    if isinstance(answer, Tensor):
        return answer
    for name in ("image_embeds", "pooler_output"):
        found = answer.get(name) if isinstance(answer, Mapping) else None
        if isinstance(found, Tensor):
            return found.flatten(1)
    hidden: Tensor = answer.last_hidden_state
    return hidden.mean(dim=(2, 3)) if hidden.dim() == 4 else hidden[:, 0]


def _names(config: Any) -> OutputNames | None:
    """Return what a checkpoint calls its classes, None where it has numbers for names."""
    labels: Mapping[Any, str] = config.id2label or {}
    names = tuple(str(labels[number]) for number in sorted(labels))
    if not names or names[0].startswith(_NAMELESS):
        return None
    return OutputNames(names, "its configuration", binding=False)
