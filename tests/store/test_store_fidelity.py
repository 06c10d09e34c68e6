"""A store says what its labels give up of the teacher's: the mean over what is labelled, and no more."""

import numpy as np
import pytest
import torch
from helpers.folders import label_config
from helpers.stores import begin_older, make_store

from fkd import LabelStore, Scheme, label_images
from fkd.errors import BlockError
from fkd.info import info_lines
from fkd.labels import row_fidelity
from fkd.store import InspectedStore


def crops_of(store, labelled):
    """Return the quantized labels of all crops of the labelled images, in one batch."""
    slabs = [store.read_block(number) for number in range(store.spec.num_blocks)]
    names = slabs[0].kept
    kept = {name: np.concatenate([slab.kept[name] for slab in slabs])[labelled] for name in names}
    return {name: torch.from_numpy(v.reshape(-1, v.shape[-1])) for name, v in kept.items()}


def test_it_is_the_mean_over_labelled_crops_however_the_run_went(image_folder, tmp_path, capsys):
    for name in ("circle/002", "circle/003", "square/001"):  # the first two are a block
        (image_folder / "train" / f"{name}.jpg").write_bytes(b"no image")
    config = label_config(
        image_folder, tmp_path / "s.zarr", scheme=Scheme("topk", 2), block_images=2, max_bad=1
    )
    store = label_images(config)
    found, line = store.fidelity(), dict(info_lines(store.path))["fidelity"]
    assert f"fidelity  {line}" in capsys.readouterr().err
    assert line == (
        f"KL {found.kl:.2g} nats to the teacher's whole label, {found.quantization:.2g} of them by "
        "quantization; the 2 kept classes hold {:.1%} of it ({:.1%} at temperature 2, {:.1%} at 4, "
        "{:.1%} at 10)".format(*found.kept_shares)
    )
    full = label_images(
        label_config(image_folder, tmp_path / "full.zarr", scheme=Scheme("full"), max_bad=1)
    )
    labelled = np.flatnonzero(store.status() == 0)
    assert len(labelled) == 15
    probs = full.spec.labels.restore(crops_of(full, labelled)).value
    rows = row_fidelity(probs, crops_of(store, labelled), store.spec.scheme)
    wanted = rows.double().mean(0).tolist()
    assert [found.kl, found.quantization, *found.kept_shares] == pytest.approx(wanted, rel=5e-3)

    InspectedStore.open(store.path, writable=True).unseal([1, 2, 5])
    assert LabelStore.open(store.path).fidelity() != found
    again = label_images(config).fidelity()
    assert again.kl == pytest.approx(found.kl, rel=1e-5)
    assert again.kept_shares == pytest.approx(found.kept_shares, rel=1e-5)


def test_what_no_labeller_measures_is_refused(tmp_path):
    store, blocks = make_store(tmp_path / "s.zarr", skip=[1])
    assert store.fidelity() is None  # these labels came without a teacher's
    blocks[1].fidelity[:] = [0.3, 0.4, 1, 1, 1, 1]
    LabelStore.open(store.path, writable=True).commit_block(1, blocks[1])
    with pytest.raises(BlockError, match=r"block 1.*its fidelity: rounding costs more than all is"):
        LabelStore.open(store.path).fidelity()
    inspected = InspectedStore.open(store.path)
    assert inspected.fidelity_fault(1) == "rounding costs more than all is"
    assert inspected.fidelity_fault(0) is None


@pytest.mark.parametrize(
    ("scheme", "measures", "words"),
    [
        (
            Scheme("hard"),
            [np.nan, np.nan, 0.5, 0.4, 0.3, 0.2],
            "the kept class holds 50.0% of the teacher's label (40.0% at temperature 2, 30.0% at 4, "
            "20.0% at 10)",
        ),
        (
            Scheme("full"),
            [2e-7, 2e-7, 1, 1, 1, 1],
            "KL 2e-07 nats to the teacher's whole label; all classes are kept",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Scheme) else "",
)
def test_what_does_not_apply_is_not_said(tmp_path, scheme, measures, words):
    store, blocks = make_store(tmp_path / "s.zarr", scheme=scheme, skip=range(9))
    blocks[0].fidelity[:] = measures
    LabelStore.open(store.path, writable=True).commit_block(0, blocks[0])
    assert dict(info_lines(store.path))["fidelity"] == words


def test_a_store_of_an_older_format_does_not_know_it(tmp_path):
    store, blocks = make_store(tmp_path / "s.zarr")
    older = begin_older(store, tmp_path / "older.zarr")
    for number, block in enumerate(blocks):
        block.fidelity[:] = 0.1
        older.commit_block(number, block)
    assert older.fidelity() is None
    assert not (older.path / "fidelity").exists()
    assert "fidelity" not in dict(info_lines(older.path))
