"""Where a loader stands, as plain values for a checkpoint, and which loader that is true of."""

from collections.abc import Mapping
from typing import Any

from fkd.config import fit
from fkd.errors import ConfigError
from fkd.feeding.feed import Feed
from fkd.loader import missing_identity, part_identity

# What may differ when a run goes on: where things are and who does the work, not what comes out.
_FREE = ("store", "images", "drop_missing", "subset", "classes", "workers", "device", "render")


def state_of(feed: Feed, step: int) -> dict[str, Any]:
    """Return that `step` steps have been taken, and all that the steps follow from: JSON values."""
    spec = feed.store.spec
    run = {name: value for name, value in feed.config.settings().items() if name not in _FREE}
    run["mean"], run["std"] = list(feed.config.mean), list(feed.config.std)
    run["chosen images"] = part_identity(feed.config.part, feed.taken.of_part)
    if len(feed.taken.missing):
        run["missing images"] = missing_identity(feed.taken.missing)
    run["labels"] = f"of {spec.created}, {spec.fingerprint}"
    return {"step": step, "run": run}


def step_of_state(state: Mapping[str, Any], feed: Feed) -> int:
    """Return the steps that were taken; raises `ConfigError` for the state of another loader."""
    own = state_of(feed, 0)["run"]
    try:
        step: int = fit("step", state["step"], int)
        # An older fkd knew no stores that grow, and took all crops.
        run = {"num_crops": feed.store.segments[0].spec.num_crops, **state["run"]}
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            "this is no state of a StudentLoader; give what its state_dict() returned"
        ) from error
    others = [
        f"{name} is {own.get(name)}, the state has {run.get(name)}"
        for name in sorted({*own, *run}, key=str)
        if own.get(name) != run.get(name)
    ]
    if others:
        raise ConfigError(
            f"the state is of another StudentLoader: {'; '.join(others)}; build it with the same settings"
        )
    if not 0 <= step <= feed.schedule.total_steps:
        raise ConfigError(
            f"the state is of step {step:,}, the run has {feed.schedule.total_steps:,}; give what its "
            "state_dict() returned"
        )
    return step
