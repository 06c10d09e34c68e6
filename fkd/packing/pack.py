"""`fkd pack`: copy images from any source, large ones made smaller, so that training decodes less."""

from collections.abc import Iterator

from fkd.config import as_config
from fkd.orders import PackConfig
from fkd.packing.beside import files_of_names, write_texts
from fkd.packing.listing import list_splits
from fkd.packing.place import alone, prepare, refuse_overlap, write_copy
from fkd.packing.report import Outcome, PackReport
from fkd.packing.split import Split
from fkd.packing.to_folder import pack_to_folder
from fkd.packing.to_tar import pack_to_tar
from fkd.progress import progress_bar

_WRITE = {"folder": pack_to_folder, "tar": pack_to_tar}


def pack_images(config: PackConfig) -> PackReport:
    """Copy the images of a folder, of archives, tables or a list to `config.out`, or go on with a copy.

    `train` and `val` stay apart where there are both. Masks are made as small as the copies of their
    images, and texts go along. Raises `FkdError` for bad input, before anything is written.
    """
    as_config(config, PackConfig)
    refuse_overlap(config.images, config.out)
    splits = list_splits(config)
    for split in splits:
        refuse_overlap(split.images.root, config.out)
        if split.masks is not None:
            refuse_overlap(split.masks.folder, config.out)
    names = files_of_names(config.out, splits)
    prepare(config, splits)
    with alone(config.out):
        for path, content in names.items():
            write_copy(str(path), content)
        before = sum(split.num_bytes for split in splits)
        report = PackReport.of(_pack(config, splits), before)
        write_texts(config.out, splits)
        return report


def _pack(config: PackConfig, splits: list[Split]) -> Iterator[Outcome]:
    """Yield what becomes of every image, and show how far that is."""
    total = sum(len(split.images) for split in splits)
    with progress_bar("pack", unit="image", total=total) as bar:
        for outcome in _WRITE[config.to](config, splits):
            if outcome.found:
                bar.initial += 1  # its copy took no time now
            bar.update()
            yield outcome
