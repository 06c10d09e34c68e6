"""`fkd pack`: copy images from any source, large ones made smaller, so that training decodes less."""

from collections.abc import Iterator

from fkd.config import as_config
from fkd.orders import PackConfig
from fkd.packing.place import alone, prepare, refuse_overlap
from fkd.packing.report import Outcome, PackReport
from fkd.packing.split import Split, list_splits
from fkd.packing.to_folder import pack_to_folder
from fkd.packing.to_tar import pack_to_tar
from fkd.progress import progress_bar

_WRITE = {"folder": pack_to_folder, "tar": pack_to_tar}


def pack_images(config: PackConfig) -> PackReport:
    """Copy the images of a folder, of archives, tables or a list to `config.out`, or go on with a copy.

    `train` and `val` stay apart where there are both. Raises `FkdError` for bad input, before anything is
    written.
    """
    as_config(config, PackConfig)
    refuse_overlap(config.images, config.out)
    splits = list_splits(config)
    for split in splits:
        refuse_overlap(split.images.root, config.out)
    prepare(config, splits)
    with alone(config.out):
        before = sum(int(split.images.num_bytes.sum()) for split in splits)
        return PackReport.of(_pack(config, splits), before)


def _pack(config: PackConfig, splits: list[Split]) -> Iterator[Outcome]:
    """Yield what becomes of every image, and show how far that is."""
    total = sum(len(split.images) for split in splits)
    with progress_bar("pack", unit="image", total=total) as bar:
        for outcome in _WRITE[config.to](config, splits):
            if outcome.found:
                bar.initial += 1  # its copy took no time now
            bar.update()
            yield outcome
