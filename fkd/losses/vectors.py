"""Distances between vectors, or maps, that a student and a teacher say of the same views.

Legend: b views, D numbers of a vector or channels of a map, P positions of a map; s the student's, t what
it is compared with, T the temperature.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fkd.config import PEERS, VECTOR_DISTANCES, Distance, Term, check_choice
from fkd.errors import SoftLabelError
from fkd.losses.given import check_temperature, in_precision, shown
from fkd.losses.mixing import Mix
from fkd.losses.positions import on_one_grid

# What a term on vectors compares: the student's, as they are adapted, and the others', several of peers.
Pairs = Callable[[Term], Sequence[tuple[Tensor, Tensor]]]

# How much more angles weigh than distances in "relation": in all pairs of weights of its paper.
_ANGLES = 2.0

# Views that are nearer than this share of the mean squared distance count as so far apart: of two that
# are alike, rounding would make an angle. Where all are alike, a floor keeps numbers.
_NEAREST, _FLOOR = 1e-6, 1e-12


def vector_distance(
    own: Tensor, known: Tensor, by: Distance = "cosine", temperature: float = 1.0
) -> Tensor:
    """Return how far a student's vectors are from known ones, f32 [b], for two of one shape.

    They are [b, D], or maps [b, D, h, w], floats of any type, and work is done in float32; of float64
    ones the distance is f64. `known` are constants. `by` is one of

    - "l1", "l2", "smooth_l1": the mean over all numbers of |d|, of d², of Huber's loss with β = 1.
    - "cosine": 1 - s · t / (‖s‖ ‖t‖) over D, of a map the mean over its positions.
    - "relation": `relational`, over the b views.
    - "channel_kl": T² · `channel_divergence`.

    Raises `SoftLabelError` for vectors that do not fit each other, `ConfigError` for a setting.
    """
    check_choice("by", by, VECTOR_DISTANCES)
    check_temperature(temperature)
    own, known = _fitting(own, known)
    match by:
        case "l1":
            return _mean((own - known).abs())
        case "l2":
            return _mean((own - known).square())
        case "smooth_l1":
            return _mean(functional.smooth_l1_loss(own, known, reduction="none"))
        case "cosine":
            return _mean(1 - functional.cosine_similarity(own, known, dim=1))
        case "relation":
            return relational(own.flatten(1), known.flatten(1))
    return temperature**2 * channel_divergence(own, known, temperature)


def _mean(numbers: Tensor) -> Tensor:
    return numbers.flatten(1).mean(dim=1) if numbers.dim() > 1 else numbers


def channel_divergence(own: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Return (1/D) Σ_c Σ_p φ(t)_cp log(φ(t)_cp / φ(s)_cp), [b], with φ the softmax of z / T over P.

    Channel-wise distillation of Shu et al., ICCV 2021, arXiv:2011.13256, whose loss is this times T². A
    vector [b, D] is one channel of D positions. PaddlePaddle's SegChannelwiseLoss has no T² and takes the
    softmax over the last axis of a tensor as it is, so of a map [b, D, h, w] over each row apart; it
    means over positions, too. Of tensors that are flattened to [b, D, P] it is this divided by P.
    """
    own, known = (_by_position(side) / temperature for side in (own, known))
    wanted = known.log_softmax(dim=2)
    return (wanted.exp() * (wanted - own.log_softmax(dim=2))).sum(dim=2).mean(dim=1)


def _by_position(vectors: Tensor) -> Tensor:
    """Return maps as [b, D, P], and vectors as [b, 1, D]."""
    by_position = vectors.reshape(len(vectors), vectors.shape[1], -1)
    return by_position if by_position.shape[2] > 1 else by_position.transpose(1, 2)


def relational(own: Tensor, known: Tensor) -> Tensor:
    """Return how far views lie from each other otherwise than known vectors [b, D] do, per view, [b].

    Relational knowledge distillation of Park et al., CVPR 2019, arXiv:1904.05068: the mean over the
    other views of Huber(ψ(t_i, t_j) - ψ(s_i, s_j)) with ψ the distance over the mean distance of all
    pairs, plus twice the mean over two others of Huber(∠ t_i t_j t_k - ∠ s_i s_j s_k) with ∠ the cosine
    of the angle at view j. The paper's weights of both are 1 and 2, or 25 and 50, so 25 is the weight of
    the latter. The b views are those that stand together, and [b, b, b] cosines are held of each side;
    fewer than two have no distance, and fewer than three no angle.
    """
    with torch.autocast(own.device.type, enabled=False):
        mine, theirs = _Relations(own), _Relations(known)
        others = len(own) - 1
        apart = functional.smooth_l1_loss(mine.distances, theirs.distances, reduction="none")
        angles = functional.smooth_l1_loss(mine.cosines, theirs.cosines, reduction="none")
        at_vertex = angles.sum(dim=(1, 2)) / max(1, others * (others - 1))
        return apart.sum(dim=1) / max(1, others) + _ANGLES * at_vertex


class _Relations:
    """Distances and angles between b vectors [b, D].

    `distances` [b, b] are shares of their mean. `cosines` [b, b, b] are of the angle at the first view
    between the other two. Both are 0 where a view stands for itself.
    """

    def __init__(self, vectors: Tensor) -> None:
        centred = vectors - vectors.mean(dim=0)
        products = centred @ centred.T
        lengths = products.diagonal()
        squares = lengths[:, None] + lengths - 2 * products
        itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        pairs = max(1, len(vectors) * (len(vectors) - 1))
        nearest = _NEAREST * squares.detach().masked_fill(itself, 0.0).sum() / pairs
        distances = squares.clamp(min=nearest + _FLOOR).sqrt()
        between = distances.masked_fill(itself, 0.0)
        self.distances = between / (between.sum() / pairs).clamp(min=_FLOOR)
        inverse = distances.reciprocal().masked_fill(itself, 0.0)
        inner = products - products[:, :, None] - products[:, None, :] + lengths[:, None, None]
        self.cosines = inner * inverse[:, :, None] * inverse[:, None, :]


def loss_of_vectors(term: Term, pairs: Pairs, temperature: float, mix: Mix | None) -> Tensor:
    """Return the loss of a term on vectors, [b]: to stored ones, or the mean over those of peers.

    With a `mix` that to stored ones is share · loss(own) + (1 - share) · loss(partner's).
    """
    losses = []
    for own, known in pairs(term):
        loss = vector_distance(own, known, term.by, temperature)
        if mix is not None and term.target:
            theirs = vector_distance(own, known[mix.partner], term.by, temperature)
            loss = mix.loss(loss, theirs)
        losses.append(loss)
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean(dim=0)


def pairs_of(
    outputs: Tensor,
    vectors: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    peers: Mapping[str, Tensor],
) -> Pairs:
    """Return what terms compare: a student's `outputs` or its `features` by layer, and known vectors.

    `vectors` are stored ones by name, `peers` the outputs of other students.
    """

    def pairs(term: Term) -> list[tuple[Tensor, Tensor]]:
        if not term.target and term.layer:
            raise SoftLabelError(
                f"the loss is to {term.to} of layer {term.layer}, and a criterion knows the outputs of "
                "peers alone; compare layers by vector_distance"
            )
        own = outputs if not term.layer else _named("features", term.layer, features)
        if term.target:
            return [(own, _named("vectors", term.target, vectors))]
        every = term.to == PEERS and peers
        others = list(peers.values()) if every else [_named("peers", term.to, peers)]
        return [on_one_grid(own, other) for other in others]

    return pairs


def _named(what: str, name: str, given: Mapping[str, Tensor]) -> Tensor:
    if name not in given:
        known = ", ".join(given) or "none"
        raise SoftLabelError(
            f"the loss is on {what} named {name}, and given are: {known}; give "
            f'{what}={{"{name}": …}}'
        )
    return given[name]


def _fitting(own: object, known: object) -> tuple[Tensor, Tensor]:
    """Return both in the precision that is worked in, or raise `SoftLabelError`."""
    for vectors in (own, known):
        if not isinstance(vectors, Tensor) or not vectors.is_floating_point() or vectors.dim() < 2:
            what = shown(vectors) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise SoftLabelError(
                f"vectors are {what}; give floats of shape [views, numbers] or a map's"
            )
    assert isinstance(own, Tensor) and isinstance(known, Tensor)  # noqa: PT018
    if own.shape != known.shape:
        raise SoftLabelError(
            f"the student's vectors are {list(own.shape)}, and they are compared with "
            f"{list(known.shape)}; bring them to one shape, as by a linear layer"
        )
    if own.device != known.device:
        raise SoftLabelError(
            f"vectors are on {known.device}, the student's on {own.device}; move them by .to(device)"
        )
    return in_precision(own), known.detach().to(in_precision(own).dtype)
