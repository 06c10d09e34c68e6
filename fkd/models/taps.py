"""What inner layers of a network say, beside its answer.

A layer has the name of a submodule, as `named_modules` has it. Two names mean something else: "" is what
the network returns, and "features" is what goes into its last linear layer.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from fkd.errors import ModelError

OUTPUT, FEATURES = "", "features"

_SHOWN = 12  # names of layers in a message


class Tapped(nn.Module):
    """A network that returns its answer, and by name what some of its layers said.

    A layer that is passed several times says what it said last, and what is done to that in place
    afterwards, as by a ReLU, is not in it. "features" is the input of the last linear layer that the
    network has, in the order of its modules; a submodule of that name, as MobileNet has one, is not
    meant. Hooks stand in the network until `remove` is called. Raises `ModelError` for a layer that it
    does not have.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], what: str) -> None:
        """Tap `layers` of a model, which messages call `what`."""
        super().__init__()
        self.model, self._what = model, what
        self.layers = tuple(dict.fromkeys(layers))
        self._caught: dict[str, Any] = {}
        self._hooks = [self._tap(layer) for layer in self.layers if layer != OUTPUT]

    def _tap(self, layer: str) -> Any:
        if layer == FEATURES:
            return last_linear(self.model, self._what).register_forward_pre_hook(self._note_input)

        def note_output(module: nn.Module, inputs: Any, output: Any) -> None:
            self._caught[layer] = _apart(output)

        return find_layer(self.model, layer, self._what).register_forward_hook(note_output)

    def _note_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._caught[FEATURES] = inputs[0]

    def forward(self, pixels: Tensor) -> tuple[Any, dict[str, Any]]:
        """Return what the model returns, and what each tapped layer said.

        Raises `ModelError` for a layer that was not passed.
        """
        self._caught.clear()
        answer = self.model(pixels)
        said = {layer: self._caught.get(layer, answer) for layer in self.layers}
        passed = {OUTPUT, *self._caught}
        for layer in self.layers:
            if layer not in passed:
                raise ModelError(f"{self._what} does not pass its layer {layer}; choose another")
        self._caught.clear()
        return answer, said

    def remove(self) -> None:
        """Take the hooks out of the network."""
        for hook in self._hooks:
            hook.remove()


def _apart(said: Any) -> Any:
    """Copy the tensors of what a layer said, which the next layer may write over."""
    if isinstance(said, Tensor):
        return said.clone()
    if type(said) in (tuple, list):
        return type(said)(map(_apart, said))
    return {key: _apart(part) for key, part in said.items()} if type(said) is dict else said


def last_linear(model: nn.Module, what: str) -> nn.Linear:
    """Return the last linear layer of a model; raises `ModelError` where it has none."""
    found = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not found:
        raise ModelError(
            f"{what} has no linear layer, so nothing says which are its features; name a layer: "
            f"{_some(name for name in layer_names(model) if name != FEATURES)}"
        )
    return found[-1]


def without_head(model: nn.Module, what: str) -> nn.Module:
    """Put the identity in the place of a model's last linear layer, and return the model.

    What went into that layer then comes out in its place. Raises `ModelError` where there is none.
    """
    head = last_linear(model, what)
    if head is model:
        return nn.Identity()
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is head:
            model.set_submodule(name, nn.Identity())
    return model


def find_layer(model: nn.Module, layer: str, what: str) -> nn.Module:
    """Return the submodule of a name; raises `ModelError`, with names like it, where there is none."""
    found: dict[str, nn.Module] = dict(model.named_modules())
    if layer and layer in found:
        return found[layer]
    names = layer_names(model)
    near = get_close_matches(layer, names, 3) or stage_names(model) or names
    raise ModelError(f"{what} has no layer {layer}; it has {FEATURES}, {_some(near)}")


def stage_names(model: nn.Module) -> list[str]:
    """Return the names of what a model of timm calls its stages, in their order; none of others."""
    told, known = getattr(model, "feature_info", ()), set(layer_names(model))
    entries = told if isinstance(told, (list, tuple)) else ()
    names = [str(entry.get("module")) for entry in entries if isinstance(entry, Mapping)]
    return [name for name in dict.fromkeys(names) if name in known]


def layer_names(model: nn.Module) -> list[str]:
    """Return the names of a model's submodules, the shallow ones first."""
    names = [name for name, _ in model.named_modules() if name]
    return sorted(names, key=lambda name: name.count("."))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
