"""The objects of a store that is carried: metadata and lists, and what each sealed block has."""

from dataclasses import dataclass, field

from fkd.files import Files
from fkd.store import LabelStore, Segment


@dataclass
class SealedBlock:
    """A sealed block, by its number in all of the store: its objects in the order of the seal."""

    number: int
    shards: list[str]
    small: set[str]  # those of its shards that are not cut into chunks
    seal_key: str
    seal: bytes


@dataclass
class Plan:
    """The objects of a store, by key: metadata and lists, and what each sealed block has."""

    whole: list[str] = field(default_factory=list)
    blocks: list[SealedBlock] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)


def plan_of(store: LabelStore, files: Files) -> Plan:
    """List the objects of a store, and their sizes. Files of unlabelled blocks are no data."""
    plan, first = Plan(), 0
    for number, segment in enumerate(store.segments):
        prefix = f"segment-{number}/" if number else ""
        plan.whole += [prefix + key for key in _metadata(segment)]
        for own, seal in sorted(segment.seals.items()):
            plan.blocks.append(_block(segment, prefix, own, first + own, seal))
        first += segment.spec.num_blocks
    keys = [*plan.whole, *(key for b in plan.blocks for key in (*b.shards, b.seal_key))]
    plan.sizes = {key: files.size(key) for key in keys}
    return plan


def _block(segment: Segment, prefix: str, own: int, number: int, seal: bytes) -> SealedBlock:
    files = segment.block_files
    keys = {name: prefix + key for name, key in files.shards(own).items()}
    small = {key for name, key in keys.items() if files.layouts[name].shards is None}
    return SealedBlock(number, list(keys.values()), small, prefix + files.seal_file(own), seal)


def _metadata(segment: Segment) -> list[str]:
    """Return the objects of a segment that belong to no block, the group's metadata first."""
    return segment.block_files.sealed_files(set())
