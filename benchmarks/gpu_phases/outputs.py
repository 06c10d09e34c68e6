"""Right: what a device says of maps, of lines and in vectors, and what is kept of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fkd import Engine, Scheme, TeacherChoice
from fkd.config import AMPS, Amp, Target, VectorScheme
from fkd.labels import quantize, row_fidelity
from fkd.sources import dataset_root, list_images
from fkd.teachers import load_teachers
from fkd.vectors import KeptVectors, StoredVectors

from .drawn import CHARACTERS, CLASSES
from .findings import Finding, Setting
from .precision import percent, some_views
from .small_models import MAP_TEACHER, MIXING_READER, READER, SMALL_TEACHER

SCHEMES = ("topk2", "topk2-coarse", "topk2-coarse-std", "full", "full-8bit", "hard")
VECTORS = (Target("features"), Target("layer3"))


def maps_lines_and_vectors(setting: Setting) -> Iterator[Finding]:
    """Compare labels of maps, lines and two teachers, and vectors, on the device with float32 on the CPU.

    KL is in nats, of a position; a code is what a store keeps. Rows of "the same" are of the same
    numbers, kept on both devices: of labels by every scheme.
    """
    for kind in _kinds(setting):
        expected = _said(kind, setting, torch.device("cpu"), "off")
        for amp in AMPS:
            said = _said(kind, setting, setting.device, amp)
            if isinstance(said, Tensor) and isinstance(expected, Tensor):
                yield _labels_apart(f"{kind.name}, --amp {amp}", said, expected)
            elif not isinstance(said, Tensor) and not isinstance(expected, Tensor):
                yield from _vectors_apart(f"{kind.name}, --amp {amp}", said, expected)
        if isinstance(expected, Tensor):
            yield from _kept_labels(kind.name, expected, setting.device)
        else:
            yield from _kept_vectors(kind.name, expected, setting.device)


@dataclass(frozen=True)
class _Kind:
    """Teachers of classes, of the pictures or at positions, or, without `classes`, one of vectors."""

    name: str
    choices: Sequence[TeacherChoice]
    classes: Sequence[str] = ()
    of_folder: bool = False


def _kinds(setting: Setting) -> list[_Kind]:
    side, line = (32, (16, 64)) if setting.tiny else (64, (32, 128))
    small, resnet = (
        TeacherChoice(SMALL_TEACHER, size=side),
        TeacherChoice("resnet18", "none", size=side),
    )
    folders = list_images(dataset_root(setting.pictures())).classes
    return [
        _Kind("two teachers", (small, resnet), folders, True),
        _Kind("maps", [TeacherChoice(MAP_TEACHER, size=side)], CLASSES),
        _Kind("lines, LSTM", [TeacherChoice(READER, size=line)], CHARACTERS),
        _Kind("lines, attention", [TeacherChoice(MIXING_READER, size=line)], CHARACTERS),
        _Kind("vectors of resnet18", [resnet]),
    ]


def _said(
    kind: _Kind, setting: Setting, device: torch.device, amp: Amp
) -> Tensor | Mapping[str, Tensor]:
    """Return the probabilities of all positions, f32 [n · G, C], or vectors by name, on the CPU."""
    images = list_images(dataset_root(setting.pictures()))
    views = some_views(images, 16 if setting.tiny else 256, kind.choices[0].size or 224)
    teachers = load_teachers(
        kind.choices, kind.classes if kind.of_folder else None, device, Engine(amp),
        truth_classes=kind.classes or None,
        targets=() if kind.classes else VECTORS, labels=bool(kind.classes),
    )  # fmt: skip
    probs, vectors = teachers.say([views], len(views), 1.0, labels=bool(kind.classes))
    return {name: v.cpu() for name, v in vectors.items()} if probs is None else probs.cpu()


def _labels_apart(what: str, said: Tensor, expected: Tensor) -> Finding:
    kl = (expected * (expected.clamp(min=1e-12).log() - said.clamp(min=1e-12).log())).sum(1)
    not_finite = int((~torch.isfinite(said)).sum())
    figures = {
        "KL, mean": f"{kl.mean():.2e}", "KL, worst": f"{kl.max():.2e}",
        "same top-1, %": percent(said.argmax(1) == expected.argmax(1)),
        **_codes_apart(quantize(said, Scheme("topk", 2)), quantize(expected, Scheme("topk", 2))),
        "not finite": not_finite,
    }  # fmt: skip
    return Finding(what, figures, not not_finite and float(kl.mean()) < 0.05)


def _vectors_apart(
    what: str, said: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Iterator[Finding]:
    for target in VECTORS:
        here, there = expected[target.name], said[target.name]
        cosine = functional.cosine_similarity(there.flatten(1), here.flatten(1))
        not_finite = int((~torch.isfinite(there)).sum())
        for kept in _stored(target, here):
            figures = {
                "cosine, worst": round(float(cosine.min()), 6),
                **_codes_apart(kept.quantize(there), kept.quantize(here)),
                "not finite": not_finite,
            }
            name = f"{what}, {target.name} as {kept.kept.scheme}"
            yield Finding(name, figures, not not_finite and float(cosine.min()) > 0.98)


def _stored(target: Target, vectors: Tensor) -> list[StoredVectors]:
    """Return the ways in which vectors are kept: as codes, and those of no map as components."""
    keeps = ["int8"] if vectors.dim() > 2 else ["int8", "pca16"]
    found = []
    for keep in keeps:
        kept = KeptVectors(target.name, VectorScheme.parse(keep), tuple(vectors.shape[1:]))
        found.append(StoredVectors(kept, kept.fit(vectors.flatten(1))))
    return found


def _kept_labels(what: str, probs: Tensor, device: torch.device) -> Iterator[Finding]:
    here: dict[str, Tensor] = {}
    there: dict[str, Tensor] = {}
    apart = 0.0
    for scheme in map(Scheme.parse, SCHEMES):
        measured = []
        for one, kept in ((probs, here), (probs.to(device), there)):
            said = quantize(one, scheme)
            measured.append(row_fidelity(one, said, scheme).cpu())
            kept |= {f"{scheme} {name}": values for name, values in said.items()}
        apart = max(apart, float((measured[1] - measured[0]).abs().nan_to_num(0).max()))
    figures = {**_codes_apart(there, here), "fidelity differs by": f"{apart:.1e}"}
    yield Finding(f"{what}, the same", figures, not figures["codes that differ"])


def _kept_vectors(
    what: str, expected: Mapping[str, Tensor], device: torch.device
) -> Iterator[Finding]:
    """Keep the same vectors on both devices; components are sums, of which few may be rounded apart."""
    for target in VECTORS:
        vectors = expected[target.name]
        for kept in _stored(target, vectors):
            figures = _codes_apart(kept.quantize(vectors.to(device)), kept.quantize(vectors))
            few = kept.kept.scheme.kind == "pca" and float(str(figures["of them, %"])) < 0.1
            name = f"{what}, the same {target.name} as {kept.kept.scheme}"
            yield Finding(name, figures, few or not figures["codes that differ"])


def _codes_apart(said: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, object]:
    """Count the numbers that a store keeps which differ, of all its arrays."""
    total = sum(values.numel() for values in expected.values())
    differ = sum(int((said[name].cpu() != values).sum()) for name, values in expected.items())
    return {"codes that differ": differ, "of them, %": round(100 * differ / total, 3)}
