"""The distances of a loss: between distributions, or between vectors; and which settings each has."""

from typing import Literal

from fkd.errors import ConfigError

Distance = Literal[
    "ce", "kl", "symmetric_kl", "mse", "wttm", "dist", "nkd",
    "l1", "l2", "smooth_l1", "cosine", "relation", "channel_kl", "ctc",
]  # fmt: skip
CLASS_DISTANCES: tuple[Distance, ...] = ("ce", "kl", "symmetric_kl", "mse", "wttm", "dist", "nkd")
VECTOR_DISTANCES: tuple[Distance, ...] = (
    "l1", "l2", "smooth_l1", "cosine", "relation", "channel_kl",
)  # fmt: skip
# Of what images themselves say: of a class or a mask, and of a text.
TRUTH_DISTANCES: tuple[Distance, ...] = ("ce", "ctc")
DISTANCES: tuple[Distance, ...] = (*CLASS_DISTANCES, *VECTOR_DISTANCES, "ctc")

STORE, TRUTH, PEERS = "store", "truth", "peers"
STORED = f"{STORE}:"  # before the name of vectors that a store keeps

NKD_GAMMA = 1.5  # of Yang et al. (ICCV 2023), for all their pairs of teacher and student

# What brings a layer to the shape that it is compared with.
Adapt = Literal["auto", "linear", "mlp", "none"]
ADAPTS: tuple[Adapt, ...] = ("auto", "linear", "mlp", "none")

# Distances that divide logits or vectors, and so have a temperature.
_TEMPERED = ("ce", "kl", "symmetric_kl", "wttm", "dist", "nkd", "channel_kl")


def check_sentence(to: str, by: Distance, layer: str) -> None:
    """Raise `ConfigError` where what is compared and the distance do not belong together."""
    on_vectors, stored = by in VECTOR_DISTANCES, to.startswith(STORED)
    if to == TRUTH and by not in TRUTH_DISTANCES:
        raise ConfigError(
            f"a loss to truth is by ce, not by {by}, or of a text by ctc; a class has no shares"
        )
    if by == "ctc" and to != TRUTH:
        raise ConfigError(f'ctc is to a text, not to {to}; say to="{TRUTH}"')
    if to == STORE and on_vectors:
        raise ConfigError(
            f"{by} compares vectors, and the store's labels are distributions; name the vectors, as in "
            f'to="{STORED}output", or take a distance of distributions: {", ".join(CLASS_DISTANCES)}'
        )
    if stored and not on_vectors:
        raise ConfigError(
            f"a loss to {to} is on vectors, and {by} compares distributions; choose from "
            f"{', '.join(VECTOR_DISTANCES)}"
        )
    if layer and to in (STORE, TRUTH):
        raise ConfigError(
            f"layer does nothing in a loss to {to}, which is on the student's output; leave it out, or "
            f'name vectors of the store, as in to="{STORED}output"'
        )
    if layer and not on_vectors:
        raise ConfigError(
            f"{by} compares distributions, and layer {layer} says vectors; choose from "
            f"{', '.join(VECTOR_DISTANCES)}"
        )


def has_place(setting: str, to: str, by: Distance, layer: str, *, reads_labels: bool) -> bool:
    """Say whether a sentence has a place for a setting; `reads_labels` at a temperature of their own."""
    soft, on_peers = to != TRUTH, to not in (STORE, TRUTH) and not to.startswith(STORED)
    places = {
        "temperature": soft and by in _TEMPERED,
        "label_temperature": reads_labels,
        "label_smoothing": not soft and by == "ce",
        "standardize": soft and by in ("ce", "kl"),
        "gamma": soft and by == "nkd",
        # Outputs of students have one shape.
        "adapt": by in VECTOR_DISTANCES and bool(layer or not on_peers),
    }
    return places.get(setting, True)
