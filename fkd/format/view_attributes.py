"""The attribute `views` of a store: the policy that its views are drawn by, and by which rules."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from fkd.config import (
    MAX_ALPHA,
    MAX_CROPS,
    MAX_SEED,
    Fit,
    MixPolicy,
    TonePolicy,
    ViewPolicy,
)
from fkd.format.attribute_values import Wrong, json_object, number, numbers, shown, whole

# What is added changes what a label is of, so a reader refuses keys that it does not know.
VIEW_KEYS = {"seed", "scale", "ratio", "mix", "tone", "flip", "fit"}

# What partners, shares and tones mean, and how pixels are worked out; a rule never changes.
_RULES = {"mix": "pairs-uint8-1", "tone": "tone-uint8-1", "fit": "pad-corner-127-1"}
_WORDS = {"mix": "mixing", "tone": "tone", "fit": "fitting crops into views"}


def views_json(policy: ViewPolicy) -> dict[str, Any]:
    """Return a policy as JSON values; what it does not do is left out."""
    content = asdict(policy)
    mix, tone = content.pop("mix"), content.pop("tone")
    if policy.mix.mixes:
        content["mix"] = {"rule": _RULES["mix"], **mix}
    if not policy.tone.plain:
        content["tone"] = {"rule": _RULES["tone"], **tone}
    if content.pop("fit") == "pad":
        content["fit"] = {"rule": _RULES["fit"]}
    if content["flip"]:
        del content["flip"]
    return content


def views_of(views: Mapping[str, Any], version: int) -> ViewPolicy:
    """Return the policy that attributes say; raises `Wrong`."""
    return ViewPolicy(
        whole(views, "seed", 0, MAX_SEED),
        cast("tuple[float, float]", numbers(views, "scale", 2)),
        cast("tuple[float, float]", numbers(views, "ratio", 2)),
        _mix(views, version),
        _tone(views, version),
        flip=_flip(views, version),
        fit=_fit(views, version),
    )


def newer_rule(views: Any) -> str | None:
    """Name a rule that a later fkd has added, or return None."""
    for name, rule in _RULES.items():
        said = views.get(name) if isinstance(views, dict) else None
        other = said.get("rule", rule) if isinstance(said, dict) else rule
        if other != rule:
            return f"rule of {_WORDS[name]} {shown(other)}"
    return None


def _mix(views: Mapping[str, Any], version: int) -> MixPolicy:
    if "mix" not in views:
        return MixPolicy()
    mix = _of_rule(views, "mix", {"mixup", "cutmix", "share", "period"}, version)
    mixup, cutmix = (number(mix, name, 0, MAX_ALPHA) for name in ("mixup", "cutmix"))
    if not mixup + cutmix:
        raise Wrong("views.mix mixes nothing")
    share, period = number(mix, "share", 0, 1), whole(mix, "period", 1, MAX_CROPS)
    return MixPolicy(mixup, cutmix, share, period)


def _tone(views: Mapping[str, Any], version: int) -> TonePolicy:
    if "tone" not in views:
        return TonePolicy()
    names = ("brightness", "contrast", "saturation", "erase")
    tone = _of_rule(views, "tone", {*names}, version)
    policy = TonePolicy(*(number(tone, name, 0, 1) for name in names))
    if policy.plain:
        raise Wrong("views.tone changes nothing")
    return policy


def _flip(views: Mapping[str, Any], version: int) -> bool:
    """Return whether views are mirrored; where the key is there, it says that none are."""
    if "flip" in views and (views["flip"] is not False or version < 3):
        raise Wrong(f"views.flip is {shown(views['flip'])}, in version {version}")
    return "flip" not in views


def _fit(views: Mapping[str, Any], version: int) -> Fit:
    if "fit" not in views:
        return "fill"
    _of_rule(views, "fit", set(), version)
    return "pad"


def _of_rule(
    views: Mapping[str, Any], name: str, keys: set[str], version: int
) -> Mapping[str, Any]:
    """Return an object of a rule, with these keys and no others."""
    content = json_object(views, name)
    keys = {"rule", *keys}
    for odd in sorted(set(content) ^ keys):
        what = "missing" if odd in keys else "unknown"
        raise Wrong(f"key {shown(f'views.{name}.{odd}')} is {what}")
    if version < 3:
        raise Wrong(f"views.{name} is of version 3")
    return content
