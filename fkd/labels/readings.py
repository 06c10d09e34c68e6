"""Which schemes a stored one can be read as."""

from dataclasses import replace

from fkd.config import Scheme
from fkd.errors import SoftLabelError


def check_reading(stored: Scheme, wanted: Scheme, temperature: float = 1.0) -> None:
    """Raise `SoftLabelError`, with the list of what is possible, unless `stored` reads as `wanted`.

    So does a temperature other than 1 of labels that are only samples.
    """
    if wanted.coarse:
        raise SoftLabelError(
            f"--compress {wanted} is a way to store labels; read them as {replace(wanted, coarse=False)}"
        )
    if stored.kind == "samples":
        _check_samples(stored, wanted, temperature)
    if not stored.can_be_read_as(wanted):
        raise SoftLabelError(
            f"--compress {wanted} asks for more than the store keeps: it holds {stored}, "
            f"which reads as {stored.readings()}"
        )


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
