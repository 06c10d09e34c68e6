"""What a teacher that joins is given: a store and weights. What has no mean is refused at once.

This room loads no torch.
"""

from pathlib import Path

from fkd.config import AddTeacherConfig
from fkd.copying import refuse_vectors
from fkd.errors import ConfigError, StoreError
from fkd.labelling import check_files
from fkd.labels import check_averaging, mean_scheme
from fkd.originals import image_root
from fkd.store import LabelStore
from fkd.views import RENDERER


def check_adding(config: AddTeacherConfig) -> LabelStore:
    """Return the store that is added to; raises `FkdError` for what cannot be averaged.

    This loads no torch, so it refuses at once.
    """
    old = LabelStore.open(config.to)
    old.require_complete()
    refuse_vectors(old)
    spec = old.spec
    if isinstance(config.to, Path):
        source, target = config.to.resolve(), config.out.resolve()
        if target.is_relative_to(source) or source.is_relative_to(target):
            raise StoreError(
                f"--out {config.out} is not apart from the store that --to names; name another place"
            )
    check_averaging([(config.to, spec.scheme)], mean_scheme(config.scheme, spec.scheme))
    if config.amp not in (None, spec.amp):
        raise ConfigError(
            f"--amp {config.amp} is not that of {config.to}, whose labels were made with "
            f"--amp {spec.amp}; leave it out"
        )
    if spec.renderer != RENDERER:
        raise StoreError(
            f"{config.to} has views of renderer {spec.renderer!r}, which this fkd does not know; use an "
            "fkd that does"
        )
    if config.images is not None:
        image_root(old, config.images)
    for teacher in config.teachers:
        check_files(teacher)
    return old
