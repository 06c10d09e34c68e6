"""What a run is given: a store, folders of images, a folder to write. What cannot be is refused at once.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

from dataclasses import replace
from pathlib import Path

from fkd.config import (
    CONFIG,
    NO_VAL,
    OUTPUT_TARGET,
    STORE,
    STORED,
    TRUTH,
    Objective,
    Scheme,
    Term,
    TrainConfig,
    crops_before,
    grids_words,
    is_line,
    read_config,
)
from fkd.errors import ConfigError, SoftLabelError
from fkd.format import to_json
from fkd.loader import as_stored, find_store
from fkd.models import require_weights
from fkd.originals import image_root
from fkd.runs import folder_of, holds_run, refuse_other_store, require_trackers
from fkd.sources import evaluated_folder, require_images
from fkd.store import LabelStore
from fkd.truth import require_lined_root, require_masked_root


def settled(config: TrainConfig, store: LabelStore) -> TrainConfig:
    """Return the configuration as a store without labels settles it: none are read.

    The loss, where nobody said one, is cosine of the features to the vectors `output`, or to the only
    ones; of the student's output where images are unlabelled and it has as many numbers. Raises
    `ConfigError` for a loss to labels that are not there.
    """
    if store.spec.labels.there:
        return config
    config, names = replace(config, scheme=Scheme("none")), list(store.spec.vectors)
    if config.objective == Objective():
        target = names[0] if len(names) == 1 else OUTPUT_TARGET
        if target not in names:
            raise ConfigError(
                f"{store.path} holds vectors and no labels: {', '.join(names)}; say by --loss which to "
                f'learn, as in {{to="store:{names[0]}", by="cosine", layer="features"}}'
            )
        alike = store.spec.vectors[target].shape == (store.spec.num_classes,)
        layer = "" if store.spec.unlabelled and alike else "features"
        term = Term(f"{STORED}{target}", "cosine", layer=layer)
        return replace(config, objective=Objective(loss=(term,)))
    said = config.objective.terms
    wrong = next((term for term in said if term.to == STORE), None)
    if wrong is not None:
        raise ConfigError(
            f"--loss {wrong}: {store.path} holds vectors and no labels: {', '.join(names)}; name them, "
            f'as in {{to="store:{names[0]}", by="cosine", layer="features"}}'
        )
    return config


def refuse_without_classes(config: TrainConfig, store: LabelStore) -> None:
    """Raise `ConfigError` for settings that look at an image's class, mask or text, where it has none."""
    objective, lacking = config.objective, _lacking_truth(store)
    asked = {
        "--hard-weight": objective.hard_weight,
        "--hard-weight-end": objective.hard_weight_end,
        "--label-smoothing": objective.label_smoothing,
    }
    for flag, value in asked.items():
        if value and lacking:
            raise ConfigError(
                f"{flag} {value:g}: the hard part of the loss {lacking}; leave it out"
            )
        if value and is_line(store.spec.grid):
            raise ConfigError(
                f"{flag} {value:g}: the hard part of the loss is on a class, and {store.path} holds "
                "lines, which have a text; give the loss in terms, as --loss kl --loss ctc"
            )


def _lacking_truth(store: LabelStore) -> str:
    """Say what a loss to truth would be on that is not there; "" where it is."""
    if store.spec.truth:
        return ""
    if store.spec.grid:
        what, where = (
            ("text of a view", "texts")
            if is_line(store.spec.grid)
            else ("class of each pixel", "masks")
        )
        return f"is on the {what}, and the images had no {where} when {store.path} was labelled"
    missing = f"the images of {store.path} have none"
    return f"is on an image's own class, and {missing}" if store.spec.unlabelled else ""


def refuse_terms(config: TrainConfig, store: LabelStore) -> None:
    """Raise `ConfigError` for explicit terms that the labels, as they are read, cannot serve."""
    if not isinstance(config.objective.loss, tuple):
        return
    lacking = _lacking_truth(store)
    for term in config.objective.loss:
        if store.spec.grid and term.by == "nkd":
            raise ConfigError(
                f"--loss {term}: nkd looks at the one class of a view, and {store.path} holds "
                f"{grids_words(store.spec.grid)}; take kl, and a term to truth beside it"
            )
        if lacking and (term.to == TRUTH or term.by == "nkd"):
            raise ConfigError(f"--loss {term}: it {lacking}; leave the term out")
        fits = "ctc" if is_line(store.spec.grid) else "ce"
        if term.to == TRUTH and term.by != fits:
            held = grids_words(store.spec.grid)
            raise ConfigError(
                f"--loss {term}: {store.path} holds {held}, whose loss to truth is by {fits}; take that"
            )
        if term.target and term.target not in store.spec.vectors:
            raise ConfigError(
                f"--loss {term}: {store.path} has no vectors named {term.target}; it has "
                f"{', '.join(store.spec.vectors) or 'none'} (`fkd label --features` keeps them)"
            )
        if term.by == "relation" and _fewest_together(config) < 3:
            raise ConfigError(
                f"--loss {term}: relations are between three views that go through a student together, "
                f"and {config.batch_size} views in micro-batches of {config.micro_batch or 'all'} are "
                "fewer; choose a larger --micro-batch or --batch-size"
            )
        if term.to == STORE:
            _refuse_reading(config, store, term)


def _refuse_reading(config: TrainConfig, store: LabelStore, term: Term) -> None:
    """Refuse a term to labels that say less than it needs, as they are read."""
    stored, read, classes = store.spec.scheme, config.reading, store.spec.num_classes
    every = read.kind == "full" or (read.kind == "topk" and read.k >= classes)
    shared = read.kind == "smoothing" or (read.kind == "topk" and read.tail == "smooth")
    if read.kind == "samples" and term.by not in ("ce", "kl"):
        raise ConfigError(
            f"--loss {term}: {store.path} holds samples of labels, which ce and kl alone are true "
            "to; use one of these, or label with --compress full-8bit"
        )
    if term.standardize and not every and not (stored.deviation and shared):
        remedy = (
            f"read labels with --compress topk{stored.k}-smooth"
            if stored.deviation
            else f"read labels with --compress full, not as {read}, or label with --compress "
            "topk5-coarse-std, which keeps it, and read topk5-smooth"
        )
        raise ConfigError(
            f"--loss {term}: it divides by the deviation of all logits, which {read} of a store of "
            f"{stored} does not tell; {remedy}"
        )
    if term.by in ("mse", "symmetric_kl") and not (every or shared):
        raise ConfigError(
            f"--loss {term}: {read} leaves classes without a probability, whose logarithm it needs; "
            "read labels with --compress full, or with a smoothed rest as topk5-smooth"
        )


def _fewest_together(config: TrainConfig) -> int:
    """Return how many views of a step go through a student together, in the smallest part."""
    parts = 1 if config.micro_batch is None else -(-config.batch_size // config.micro_batch)
    return config.batch_size // parts


def refuse_mixing(config: TrainConfig, store: LabelStore) -> None:
    """Raise `ConfigError` for mixup or cutmix of views with maps, or that were mixed before already."""
    if store.spec.mixes:
        why = "were mixed before they were labelled, and mixed again the labels would not be theirs"
    elif store.spec.grid:
        why = "have a label at each position, and are mixed with none"
    else:
        return
    for name in ("mixup", "cutmix"):
        value = getattr(config.augment, name)
        if value:
            source = config.source_of(name)
            raise ConfigError(
                f"{f'{source}: ' if source else ''}--{name} {value:g}: the views of {store.path} {why}; "
                f"leave it out, or say --{name} 0"
            )


def _refuse_other_store(config: TrainConfig) -> None:
    """Say that a run is of another store before its settings are held against the one that is named."""
    folder = folder_of(config)
    if not (folder / CONFIG).is_file():
        return
    before, store = read_config(folder), LabelStore.open(config.store)
    crops = crops_before(before) or store.spec.num_crops
    spec = store.of_first_crops(min(crops, store.spec.num_crops)).spec
    refuse_other_store(folder, before, config.store, to_json(spec))


def check_inputs(config: TrainConfig, *, alone: bool = True) -> None:
    """Refuse what a run cannot begin with, as far as files show it; raises `FkdError`.

    A process that is not `alone` leaves the run's folder and its trackers to the leading one, which
    looks when all have met: then they learn what it refuses.
    """
    if config.resume:
        _refuse_other_store(config)
    try:
        store = find_store(config)
    except SoftLabelError as error:
        source = config.source_of("scheme")
        raise (SoftLabelError(f"{source}: {error}") if source else error) from error
    config = settled(as_stored(config, store), store)
    refuse_without_classes(config, store)
    refuse_terms(config, store)
    refuse_mixing(config, store)
    if config.images is not None:
        image_root(store, config.images)
    if config.val is not None and config.val != NO_VAL:
        if is_line(store.spec.grid):
            require_lined_root(Path(config.val))
        elif store.spec.grid:
            require_masked_root(Path(config.val))
        else:
            require_images(evaluated_folder(Path(config.val), store.class_names()))
    for student in config.students:
        if student.init not in (None, "none", "default"):
            require_weights(Path(student.init))
    if alone:
        require_trackers(config.log)
        holds_run(folder_of(config), config)
