"""A copy, a merge and an average that are killed anywhere go on, and no source knows of it."""

import pytest
from helpers.copies import KEYS, labelled, teacher_probs
from helpers.kills import survives_kills

from fkd import LabelStore

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder, probs = tmp_path_factory.mktemp("sources"), teacher_probs()
    labelled(folder / "a.zarr", "topk5", probs[:10], keys=KEYS[:10], block=1)
    labelled(folder / "b.zarr", "topk5", probs[10:], keys=KEYS[10:], block=1)
    labelled(folder / "c.zarr", "topk5", teacher_probs(1)[:10], keys=KEYS[:10], block=1)
    return folder


class Sealed:
    """What is sealed once stays sealed, and can be read."""

    def __init__(self):
        self.done = set()

    def __call__(self, out):
        store = LabelStore.open(out)
        done = set(store.done_blocks())
        assert self.done <= done
        self.done = done
        for number in done:
            store.read_block(number)


@pytest.mark.parametrize(
    ("command", "stores"),
    [
        ("copy a.zarr out.zarr --crops 4 --compress topk3", ["a.zarr"]),
        ("merge a.zarr b.zarr --out out.zarr", ["a.zarr", "b.zarr"]),
        ("average a.zarr c.zarr --weights 0.7 0.3 --out out.zarr", ["a.zarr", "c.zarr"]),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_killed_anywhere(sources, command, stores):
    out = sources / "out.zarr"
    survives_kills(command.split(), sources, [sources / name for name in stores], out, Sealed())
    out.rename(sources / f"{command.split()[0]}-out")
    (sources / "undisturbed").rename(sources / f"{command.split()[0]}-undisturbed")
