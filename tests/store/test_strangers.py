"""A downloaded store is untrusted: whatever is in it, reading gives sound labels or one clear error.

More inputs: `FKD_FUZZ_INPUTS=100000 pytest tests/store/test_strangers.py`, which is what scripts/fuzz
runs.
"""

import os
import resource
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import strangers
from helpers.stores import make_store
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fkd import CheckConfig, LabelStore, Scheme, ViewPolicy, check_store
from fkd.config import MixPolicy, VectorScheme
from fkd.errors import FkdError
from fkd.format import TargetRecord
from fkd.format.layout import array_layouts
from fkd.images import REASONS
from fkd.info import info_lines
from fkd.store import StoredMixes
from fkd.views import SAMPLER, STORED, hole_pixels, outside

INPUTS = int(os.environ.get("FKD_FUZZ_INPUTS", "0"))
FEW = 30
_MOST_BYTES, _MOST_SECONDS = 400 * 2**20, 20

# Labels of each kind; "drawn-" ones have boxes by seed, and "mixed-" ones views that are mixed. "none"
# are vectors alone, of each scheme.
KINDS = ["topk3", "hard", "full", "drawn-topk5-coarse", "drawn-samples2", "drawn-full-8bit"]
KINDS += ["drawn-topk2-coarse-std", "drawn-mixed-topk3", "mixed-hard", "drawn-none"]
KINDS += ["drawn-map-topk3", "map-hard"]  # one of which has masks
KINDS += ["drawn-line-topk3"]  # with texts
VECTORS = (
    TargetRecord("output", "", "auto", VectorScheme("pca", 2), (5,)),
    TargetRecord("mid", "layer3", "mean", VectorScheme("int8"), (4,)),
    TargetRecord("map", "layer2", "none", VectorScheme("f16"), (2, 2, 1)),
)
CHANGES = {
    "drawn-none": {"targets": VECTORS},
    "drawn-mixed-topk3": {"views": ViewPolicy(mix=MixPolicy(1, 1, 0.9, 2))},
    "mixed-hard": {"stored_mixes": True},
    "drawn-map-topk3": {"grid": (4, 3), "unlabelled": True, "masks": True},
    "map-hard": {"grid": (2, 5), "unlabelled": True},
    "drawn-line-topk3": {"grid": (7,), "unlabelled": True, "texts": True},
}

FAST = settings(
    max_examples=max(FEW, INPUTS // (4 * len(KINDS))),
    deadline=None,
    database=None,
    derandomize=not INPUTS,
    phases=[Phase.generate] if INPUTS else [Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=KINDS)
def good(request, tmp_path_factory):
    """A store in memory where there is such a folder, its files, and how its arrays are cut."""
    shm = Path("/dev/shm")
    root = tmp_path_factory.mktemp("good") / "s.zarr"
    drawn, changes = request.param.startswith("drawn-"), CHANGES.get(request.param, {})
    name = request.param.removeprefix("drawn-")
    scheme = Scheme.parse(name.removeprefix("mixed-").removeprefix("map-").removeprefix("line-"))
    sampler = SAMPLER if drawn else STORED
    opened, _ = make_store(root, n=5, m=6, scheme=scheme, block=4, sampler=sampler, **changes)
    files = {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}
    layouts = array_layouts(opened.spec)
    counts = {
        name: 0 if a.shards is None else int(np.prod(a.shards) // np.prod(a.chunks))
        for name, a in layouts.items()
    }
    dtypes = {name: a.dtype for name, a in layouts.items()}
    where = Path(shm if shm.is_dir() and os.access(shm, os.W_OK) else root.parent)
    where = where / f"fkd-strangers-{os.getpid()}-{request.param}.zarr"
    strangers.write(where, files)
    yield where, strangers.Store(files, counts, dtypes)
    shutil.rmtree(where)


def read_all(root):
    """Read all that a store holds as training and the commands do; return nothing unsound."""
    store = LabelStore.open(root)
    spec = store.spec
    paths, names = store.image_paths(), store.class_names()
    slab = store.read_crops(range(spec.num_crops))
    assert len(paths) == spec.num_images
    assert not any(part in ("", ".", "..") for path in paths for part in path.split("/"))
    assert len(names) == spec.num_classes
    labelled = store.labelled_images()
    assert not outside(slab.box, slab.size).any()
    assert (slab.target < spec.num_classes).all()
    if spec.labels.there:
        rows = {n: torch.from_numpy(v[:1, 0]) for n, v in slab.kept.items() if "." not in n}
        labels = spec.labels.restore(rows)
        assert len(labels) == spec.labels.num_positions
        assert labels.value.isfinite().all()
    if "index" in slab.kept:
        assert (slab.kept["index"] < spec.num_classes).all()
    elif "log_code" in slab.kept:
        assert (slab.kept["log_code"].min(axis=2) == 0).all()
    elif "log_prob" in slab.kept:
        assert np.isfinite(slab.kept["log_prob"]).all()
    for name in spec.vectors:
        kept = {array: torch.from_numpy(v[:, 0]) for array, v in slab.kept.items() if "." in array}
        assert store.vectors(name).restore(kept).isfinite().all()
    mixes = StoredMixes.of_store(store)
    if mixes is not None:
        found = mixes.of(labelled, np.arange(spec.num_crops))
        assert ((found.image >= 0) & (found.image < spec.num_images)).all()
        sizes = store.sizes()[found.image].reshape(-1, 2)
        beyond = outside(found.box.reshape(-1, 1, 4), sizes)[:, 0]
        assert not beyond[found.mixed.reshape(-1)].any()
        assert ((found.own_share >= 0) & (found.own_share <= 1)).all()
        assert hole_pixels(found.hole, 32).max(initial=0) <= 32
    assert len(store.num_bytes()) == spec.num_images
    assert len(labelled) <= spec.num_images
    assert (store.status() < len(REASONS)).all()
    store.content_hashes()
    fidelity = store.fidelity()
    assert fidelity is None or all(0 <= share < 1.001 for share in fidelity.kept_shares)
    assert all("\n" not in line[0] for line in info_lines(root))


def survive(good, changed, *, check=False):
    """Read a changed store: sound, or an error in words; neither much memory nor much time."""
    where, store = good
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        strangers.write(where, changed)
        with suppress(FkdError):
            read_all(where)
        if check:
            with suppress(FkdError):
                check_store(CheckConfig(where, workers=1))
    finally:
        for name in changed:
            path = where / name
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
        strangers.write(where, {name: store.files.get(name) for name in changed})
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert used * 1024 < _MOST_BYTES, f"{used // 1024} MiB"
    assert time.monotonic() - began < _MOST_SECONDS


@FAST
@given(data=st.data())
def test_strange_attributes(good, data):
    survive(good, data.draw(strangers.strange_attributes(good[1])))


@FAST
@given(data=st.data())
def test_strange_metadata(good, data):
    survive(good, data.draw(strangers.strange_metadata(good[1])))


@FAST
@given(data=st.data())
def test_strange_chunks(good, data):
    survive(good, data.draw(strangers.strange_chunks(good[1])))


@FAST
@given(data=st.data())
def test_strange_values(good, data):
    changed = data.draw(strangers.strange_values(good[1]))
    survive(good, changed, check=data.draw(st.integers(0, 9)) == 0)


@settings(FAST, max_examples=max(FEW // 2, INPUTS // (20 * len(KINDS))))
@given(data=st.data())
def test_bombs(good, data):
    survive(good, data.draw(strangers.bombs(good[1])))


@settings(FAST, max_examples=max(FEW // 2, INPUTS // (20 * len(KINDS))))
@given(data=st.data())
def test_strange_files(good, data):
    survive(good, data.draw(strangers.strange_files(good[1])), check=True)
