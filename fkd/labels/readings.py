"""Which schemes a stored one can be read as, and kept as."""

from collections.abc import Sequence

from fkd.config import Scheme
from fkd.errors import SoftLabelError


def check_reading(
    stored: Scheme, wanted: Scheme, temperature: float = 1.0, num_classes: int | None = None
) -> None:
    """Raise `SoftLabelError`, with the list of what is possible, unless `stored` reads as `wanted`.

    Where all of the `num_classes` are kept, any K reads as all. A temperature other than 1 of labels that
    are only samples is refused, too.
    """
    if wanted.coarse or wanted.deviation:
        raise SoftLabelError(
            f"--compress {wanted} is a way to store labels; read them as {wanted.reading}"
        )
    if wanted.kind == "none":
        raise SoftLabelError(
            f"--compress none is of a store without labels, and this one holds {stored}, which reads as "
            f"{stored.readings()}"
        )
    if stored.kind == "samples":
        _check_samples(stored, wanted, temperature)
    if not stored.can_be_read_as(wanted, num_classes):
        raise SoftLabelError(
            f"--compress {wanted} asks for more than the store keeps: it holds {stored}, "
            f"which reads as {stored.readings()}"
        )


def check_narrowing(stored: Scheme, wanted: Scheme, where: object) -> None:
    """Raise `SoftLabelError` unless labels of the store at `where` can be kept as `wanted`."""
    if stored == wanted:
        return
    if "none" in (stored.kind, wanted.kind):
        what = "no labels, but vectors" if stored.kind == "none" else f"labels ({stored})"
        raise SoftLabelError(
            f"--compress {wanted}: {where} holds {what}, which stay; leave --compress out"
        )
    if "samples" in (stored.kind, wanted.kind):
        why = "what is drawn comes from a teacher's own label"
        if stored.kind == "samples":
            why = "its draws are no label that has another part"
        if stored.kind == wanted.kind:
            why = f"{wanted} draws others, not some of them"
        raise SoftLabelError(
            f"--compress {wanted}: {where} holds {stored}, and {why}; leave --compress out, or label by "
            f"`fkd label --compress {wanted}`"
        )
    if not stored.can_be_read_as(wanted.whole):
        raise SoftLabelError(
            f"--compress {wanted} asks for more than {where} keeps: it holds {stored}, which can be kept "
            f"as {_keepings(stored)}"
        )
    if wanted.deviation and not (stored.deviation or stored.kind == "full"):
        raise SoftLabelError(
            f"--compress {wanted}: {where} holds {stored}, which does not tell the deviation of the "
            f"teacher's logits; choose {wanted.without_deviation}, or label by "
            f"`fkd label --compress {wanted}`"
        )


def _keepings(stored: Scheme) -> str:
    """Name, for a message, every scheme that labels of a stored one can be kept as."""
    if stored.kind == "hard":
        return "hard"
    also = ", the last two also with -std" if stored.deviation or stored.kind == "full" else ""
    if stored.kind == "full":
        return f"full, full-8bit, hard, smooth, topkK and topkK-coarse for any K{also}"
    if stored.k == 1:
        return f"hard, smooth, topk1 and topk1-coarse{also}"
    return f"hard, smooth, topkK and topkK-coarse for K = 1 to {stored.k}{also}"


def mean_scheme(asked: Scheme | None, first: Scheme) -> Scheme:
    """Return how a mean is kept: as asked for, or as `first` but for its deviation."""
    return asked or first.without_deviation


def check_averaging(stored: Sequence[tuple[object, Scheme]], wanted: Scheme) -> None:
    """Raise `SoftLabelError` unless labels of stores, each a place and a scheme, have a mean in `wanted`.

    The first classes of teachers have none: where two name different ones, nothing says which of them is
    likelier, and the tie would be broken by chance. Draws have none that is a draw of the mean. The
    deviation of a mean's logits follows from labels of all classes alone.
    """
    for where, scheme in stored:
        if scheme.kind in ("hard", "samples"):
            what = "a class of each label" if scheme.kind == "hard" else "draws from each label"
            raise SoftLabelError(
                f"{where} holds {scheme}, {what} and no probabilities that could be averaged; label by "
                f"`fkd label --compress {scheme}` with all teachers at once"
            )
        if wanted.deviation and scheme.kind != "full":
            raise SoftLabelError(
                f"--compress {wanted}: {where} holds {scheme}, and the deviation of a mean follows from "
                f"labels of all classes alone; choose {wanted.without_deviation}"
            )
        check_narrowing(scheme, wanted, where)


def _check_samples(stored: Scheme, wanted: Scheme, temperature: float) -> None:
    if wanted != stored:
        drawn = "a class" if stored.k == 1 else f"{stored.k} classes"
        raise SoftLabelError(
            f"--compress {wanted} cannot be read from a store of {stored}, which holds {drawn} drawn "
            f"from each label; give --compress {stored}"
        )
    if temperature != 1:
        raise SoftLabelError(
            f"--label-temperature {temperature:g} cannot be applied to samples, which are drawn at the "
            f"store's own temperature; label by "
            f"`fkd label --temperature {temperature:g} --compress {stored}`"
        )
