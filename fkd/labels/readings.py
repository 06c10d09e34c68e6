"""Which schemes a stored one can be read as."""

from dataclasses import replace

from fkd.config import Scheme
from fkd.errors import SoftLabelError


def check_reading(stored: Scheme, wanted: Scheme) -> None:
    """Raise `SoftLabelError`, with the list of what is possible, unless `stored` reads as `wanted`."""
    if wanted.coarse:
        raise SoftLabelError(
            f"--compress {wanted} is a way to store labels; read them as {replace(wanted, coarse=False)}"
        )
    if not stored.can_be_read_as(wanted):
        raise SoftLabelError(
            f"--compress {wanted} asks for more than the store keeps: it holds {stored}, "
            f"which reads as {stored.readings()}"
        )
