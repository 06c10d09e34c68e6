"""Selection by confidence: the right crops, each once before any twice, from any step, on any rank."""

import itertools
import json
import os
import re
import runpy
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.networks import STUDENT
from helpers.processes import losses, refused, trained
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd import FkdError, LabelStore, Scheme, Selection, StudentLoader, TrainConfig, train_student
from fkd.errors import Stopped
from fkd.images import decode
from fkd.labels import KeptLabels, quantize, restore
from fkd.loader import Picks, Schedule, select_crops, student_batches, training_labels
from fkd.loader.labels import harden
from fkd.runs.run import Run
from fkd.sources import list_images
from fkd.store import Block
from fkd.views import RenderPool, empty_views, render

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "selection.py"
UNUSABLE = 5  # an image of the store below that has no labels


def make_store(path, shared_store, shared_folder, scheme="topk2"):
    """Write a store of the shared images in blocks of 7, labelled by a teacher that is often unsure."""
    scheme, classes = Scheme.parse(scheme), len(shared_store.class_names())
    spec = replace(shared_store.spec, scheme=scheme, block_images=7, chunk_crops=4)
    n, crops = spec.num_images, spec.num_crops
    logits = torch.randn(n, crops, classes, generator=torch.Generator().manual_seed(1))
    probs = (logits * torch.linspace(0.1, 4, crops)[:, None]).softmax(dim=2)
    slab, hashes = shared_store.read_crops(range(crops)), shared_store.content_hashes()
    images = list_images(shared_folder / "train")
    store = LabelStore.create(path, spec, images, slab.target, shared_store.class_names())
    kept = quantize(probs.reshape(n * crops, classes), scheme)
    kept = {name: values.reshape(n, crops, -1).numpy() for name, values in kept.items()}
    status = (np.arange(n) == UNUSABLE).astype(np.uint8)
    for number in range(spec.num_blocks):
        rows = list(spec.block_range(number))
        few = {name: values[rows] for name, values in kept.items()}
        block = Block(
            slab.box[rows], slab.flip[rows], slab.size[rows], status[rows], hashes[rows], few
        )
        store.commit_block(number, block)
    return store


@pytest.fixture(scope="module")
def unsure_store(shared_store, shared_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unsure")
    return make_store(folder / "labels.zarr", shared_store, shared_folder)


def stored_probs(kept):
    """Say what labels of 3 classes hold, from the codes by hand, [N, M, 3] with classes in any order."""
    if "log_prob" in kept:
        entries = np.exp(kept["log_prob"].astype(np.float64))
    else:
        ratio, others = np.exp(kept["code"] / -8), 3 - kept["code"].shape[2]
        tail = ratio[..., -1:].repeat(others, axis=2)
        entries = np.concatenate([np.ones_like(ratio[..., :1]), ratio[..., :-1], tail], axis=2)
    return entries / entries.sum(axis=2, keepdims=True)


# -- which crops ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["full", "topk1", "topk2", "topk3", "smooth"])
def test_the_crops_are_those_whose_labels_are_sure_enough(
    shared_store, shared_folder, tmp_path, scheme, capsys
):
    store = make_store(tmp_path / "s.zarr", shared_store, shared_folder, scheme)
    probs = np.delete(stored_probs(store.read_crops(range(6)).kept), UNUSABLE, axis=0)
    confidence, spread = probs.max(axis=2), -(probs * np.log(probs)).sum(axis=2)
    for how in (
        Selection(min_confidence=0.7),
        Selection(max_entropy=0.6),
        Selection(min_confidence=0.45, max_entropy=0.95, calibrate=True, sure_above=0.9),
    ):
        least, most = how.min_confidence, 99 if how.max_entropy is None else how.max_entropy
        taken = (confidence >= least) & (spread <= most)
        waits = taken & (confidence > how.sure_above) & how.calibrate
        assert 0 < taken.sum() < taken.size
        picks = select_crops(how, store)
        for round_, slot in itertools.product(range(5), range(6)):
            due = (np.arange(17) + slot + round_) % 4 == 0
            expected = taken[:, slot] & (due | ~waits[:, slot])
            assert picks.taken(round_ * 6 + slot).tolist() == expected.tolist()
        said = capsys.readouterr().err
        assert f"{taken.sum()} of 102 crops selected ({taken.mean():.1%})" in said
        assert f"{(~taken.any(axis=1)).sum()} images have none" in said
        shares = re.findall(r"([\d.]+%) (?:of them above 0.9 are|below 0.15 get)", said)
        assert shares == ([f"{waits.sum() / taken.sum():.1%}", "0.0%"] if how.calibrate else [])


def test_all_crops_are_no_selection(unsure_store, capsys):
    assert select_crops(Selection(), unsure_store) is None
    assert capsys.readouterr().err == ""


# -- their order ------------------------------------------------------------------------------------


@st.composite
def runs(draw):
    """A schedule, and which crops [N, M] are taken and sure, at least one."""
    n, num_crops = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    m, images, every = (draw(st.integers(1, high)) for high in (num_crops, 12, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    taken = rng.random((n, num_crops)) < draw(st.sampled_from([0.03, 0.3, 0.9, 1.0]))
    taken[rng.integers(n), rng.integers(num_crops)] = True
    sure = rng.random((n, num_crops)) < draw(st.sampled_from([0.0, 0.4, 1.0]))
    schedule = Schedule(n, num_crops, m, images * m, epochs=draw(st.floats(0.5, 40)), seed=3)
    return schedule, taken, sure, every


def make_picks(schedule, taken, sure, every):
    cuts = np.arange(4, len(taken), 4)  # blocks as a store has them
    blocks = zip(np.split(taken, cuts), np.split(sure, cuts), strict=True)
    return Picks(blocks, schedule.num_crops, every)


def expected_views(schedule, taken, sure, every):
    """Say in a plain loop what is to be seen, for ever: (pass, image, column of the pass)."""
    m = schedule.crops_per_image
    for index in itertools.count():
        for image in schedule.visit_order(index).tolist():
            for column in range(m):
                round_, slot = divmod(index * m + column, schedule.num_crops)
                waits = sure[image, slot] and (image + slot + round_) % every
                if taken[image, slot] and not waits:
                    yield index, image, column


def views_of(parts):
    return [
        (index, image, column)
        for index, positions, which in parts
        for image, row in zip(positions.tolist(), which, strict=True)
        for column in np.flatnonzero(row).tolist()
    ]


@settings(max_examples=60, deadline=None)
@given(runs())
def test_steps_are_filled_with_the_picked_views_in_order(run):
    schedule, taken, sure, _ = run
    steps = [views_of(parts) for parts in make_picks(*run).batches(schedule)]
    assert len(steps) == schedule.total_steps
    assert {len(step) for step in steps} == {schedule.batch_size}
    seen = [view for step in steps for view in step]
    assert seen == list(itertools.islice(expected_views(*run), len(seen)))
    counts = np.zeros(taken.shape, int)
    for index, image, column in seen:
        counts[image, (index * schedule.crops_per_image + column) % schedule.num_crops] += 1
    assert not counts[~taken].any()
    for row, always in zip(counts, taken & ~sure, strict=True):
        assert not always.any() or np.ptp(row[always]) <= 1


@settings(max_examples=40, deadline=None)
@given(runs())
def test_a_sure_crop_comes_once_in_so_many_rounds(run):
    schedule, taken, sure, every = run
    picks, crops = make_picks(*run), schedule.num_crops
    for first in (0, 1, 2 * every + 3):
        numbers = [(first + r) * crops + slot for r in range(every) for slot in range(crops)]
        counts = np.zeros(taken.shape, int)
        for number in numbers:
            counts[:, number % crops] += picks.taken(number)
        assert (counts == np.where(taken, np.where(sure, 1, every), 0)).all()
        assert picks.views_before(numbers[-1] + 1) - picks.views_before(numbers[0]) == counts.sum()


@settings(max_examples=40, deadline=None)
@given(runs(), st.integers(1, 4), st.data())
def test_a_step_takes_the_same_views_from_any_start_on_any_number_of_ranks(run, num_ranks, data):
    schedule = run[0]
    schedule = replace(schedule, batch_size=schedule.batch_size * num_ranks)
    picks = make_picks(schedule, *run[1:])
    whole = [views_of(parts) for parts in picks.batches(schedule)]
    first = data.draw(st.integers(0, schedule.total_steps))
    assert [views_of(parts) for parts in picks.batches(schedule, first)] == whole[first:]
    ranks = [picks.batches(schedule, first, rank, num_ranks) for rank in range(num_ranks)]
    for step, parts in enumerate(zip(*ranks, strict=True), first):
        shares = [views_of(part) for part in parts]
        assert {len(share) for share in shares} == {schedule.batch_size // num_ranks}
        assert list(itertools.chain(*shares)) == whole[step]


def test_a_step_far_into_a_run_is_found_at_once():
    """A year of training on a data set that one image in a thousand of is selected."""
    taken = np.zeros((1000, 200), bool)
    taken[7, 3] = taken[900, 150] = True
    picks = Picks([(taken, taken)], 200, 4)
    schedule = Schedule(1000, 200, 4, 4, epochs=1e6, seed=0)
    (parts,) = itertools.islice(picks.batches(schedule, schedule.total_steps - 1), 1)
    assert {(image, column) for _, image, column in views_of(parts)} == {(7, 3), (900, 2)}


# -- what the student gets --------------------------------------------------------------------------

LOADED = {"crops_per_image": 4, "batch_size": 12, "epochs": 8, "seed": 3, "device": "cpu"}
CHOSEN = {"scheme": Scheme("topk", 2), "min_confidence": 0.5, "calibrate": True, "sure_above": 0.9}


@pytest.mark.parametrize("where", ["cpu", "device"])
def test_batches_hold_the_pixels_and_labels_of_the_picked_crops(unsure_store, shared_folder, where):
    images, slab = list_images(shared_folder / "train"), unsure_store.read_crops(range(6))
    labelled = unsure_store.labelled_images()
    picks = select_crops(Selection(min_confidence=0.6), unsure_store)
    schedule = Schedule(17, 6, 4, 12, epochs=8, seed=0)
    steps = list(picks.batches(schedule))
    with RenderPool(2, render=where) as pool:
        batches = list(
            student_batches(pool, unsure_store, images, schedule, picks=picks, first_step=2)
        )
    assert len(batches) == len(steps) - 2
    for batch, parts in zip(batches, steps[2:], strict=True):
        seen = [(labelled[i], (4 * p + c) % 6) for p, i, c in views_of(parts)]
        visits = [labelled[i] for _, positions, _ in parts for i in positions]
        assert batch.decoded.tolist() == visits
        assert list(zip(batch.image_index, batch.crop_index, strict=True)) == seen
        for row, (image, slot) in enumerate(seen):
            view = empty_views(1, 32)[0]
            flip = bool(slab.flip[image, slot])
            render(decode(images.name(image)), slab.box[image, slot], flip, view, "bilinear")
            assert torch.equal(batch.views[row], view)
            assert batch.targets[row] == slab.target[image]
            for name, values in batch.kept.items():
                assert np.array_equal(values[row].numpy(), slab.kept[name][image, slot])


def test_ranks_share_a_batch_of_picked_views(unsure_store):
    settings = {**LOADED, **CHOSEN, "stagger": 0}
    whole, *shares = (
        list(StudentLoader(unsure_store.path, rank=rank, num_ranks=size, **settings).batches())
        for rank, size in ((0, 1), (0, 3), (1, 3), (2, 3))
    )
    for step, (pixels, labels) in enumerate(whole):
        parts = [share[step] for share in shares]
        assert {len(part) for part, _ in parts} == {4}
        assert torch.equal(pixels, torch.cat([part for part, _ in parts]))
        assert torch.equal(labels.value, torch.cat([part.value for _, part in parts]))
    for (one, _), (other, _) in zip(
        whole[5:], StudentLoader(unsure_store.path, **settings).batches(5), strict=True
    ):
        assert torch.equal(one, other)


READINGS = ["hard", "smooth", "topk1", "topk3", "topk3-smooth", "topk6", "full"]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_an_unsure_label_becomes_the_softened_class(reading, temperature):
    """Below the bound 0.9 on the class and 0.02 on each other, above it what the run reads anyway."""
    torch.manual_seed(0)
    probs = (torch.randn(40, 6) * 3).softmax(dim=1)
    stored, wanted = Scheme("full"), Scheme.parse(reading)
    kept, targets = quantize(probs, stored), torch.randint(6, (40,))
    config = TrainConfig.from_recipe(
        "fkd", scheme=wanted, label_temperature=temperature, calibrate=True, unsure_below=0.6
    )
    labels = training_labels(kept, targets, KeptLabels(stored, 6), config)
    if labels.index is not None:
        assert all(len(set(row)) == len(row) for row in labels.index.tolist())
    plain = restore(kept, stored, wanted, 6, temperature).dense(6)
    softened = torch.full((40, 6), 0.02).scatter(1, targets[:, None], 0.9)
    unsure = probs.amax(dim=1) < 0.6
    assert 5 < unsure.sum() < 35
    expected = torch.where(unsure[:, None], softened, plain)
    assert torch.allclose(labels.dense(6), expected, atol=1e-6)
    assert torch.allclose(labels.dense(6).sum(dim=1), torch.ones(40), atol=1e-6)


def test_one_class_needs_no_softening():
    labels = restore({"index": torch.zeros(3, 1)}, Scheme("hard"), Scheme("hard"), 1)
    rows, targets = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.int64)
    assert torch.equal(harden(labels, rows, targets, 1, 0.1).dense(1), torch.ones(3, 1))


# -- runs -------------------------------------------------------------------------------------------

RUN = {"student": STUDENT, "lr": 0.5, "eval_every": 3.0, "mixup": 0.5, "cutmix": 1.0}
RUN |= {"hard_weight": 0.2, "epochs": 9} | {k: v for k, v in LOADED.items() if k != "epochs"}


def config(store, out, **changes):
    return TrainConfig.from_recipe("fkd", store=store.path, out=out, **RUN | CHOSEN | changes)


def test_weights_are_bit_equal_after_a_stop(unsure_store, tmp_path, monkeypatch, capsys):
    whole = train_student(config(unsure_store, tmp_path / "whole"))
    assert re.search(r"\d+ of 102 crops selected", capsys.readouterr().err)
    log_step = Run.log_step

    def signalled(self, step, **values):
        log_step(self, step, **values)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "log_step", signalled)
    with pytest.raises(Stopped):
        train_student(config(unsure_store, tmp_path / "cut"))
    monkeypatch.setattr(Run, "log_step", log_step)
    cut = train_student(config(unsure_store, tmp_path / "cut", resume=True))
    one, other = (torch.load(run / "last.pt", weights_only=True) for run in (whole, cut))
    assert one["step"] == other["step"] == round(9 * 17 / 12)
    assert all(torch.equal(v, other["student"][k]) for k, v in one["student"].items())
    said = json.loads((cut / "config.json").read_text())
    assert (said["min_confidence"], said["calibrate"], said["max_entropy"]) == (0.5, True, None)
    for changes, words in (
        ({"min_confidence": 0.4}, "--min-confidence is 0.4, the run has 0.5"),
        ({"max_entropy": 1.0}, "--max-entropy is 1.0, the run has None"),
        ({"sure_every": 2}, "--sure-every is 2, the run has 4"),
    ):
        with pytest.raises(FkdError, match=words):
            train_student(config(unsure_store, cut, resume=True, **changes))


def test_a_run_that_knew_no_selection_goes_on_without_one(unsure_store, tmp_path):
    plain = {"min_confidence": 0.0, "calibrate": False, "sure_above": 0.95}
    run = train_student(config(unsure_store, tmp_path / "run", **plain))
    said = json.loads((run / "config.json").read_text())
    for name in vars(Selection()):
        del said[name]
    (run / "config.json").write_text(json.dumps(said))
    train_student(config(unsure_store, run, resume=True, **plain))
    with pytest.raises(FkdError, match=r"--min-confidence is 0\.5, the run has 0\.0"):
        train_student(config(unsure_store, run, resume=True, **plain | {"min_confidence": 0.5}))


def test_two_processes_take_the_steps_of_one(unsure_store, tmp_path):
    more = ["--epochs", 16, "--compress", "topk2", "--min-confidence", 0.5]
    more += ["--calibrate", "--sure-above", 0.9]
    for num_ranks in (1, 2):
        ranks = trained(unsure_store, tmp_path / str(num_ranks), tmp_path, num_ranks, *more)
        said = "".join(done.err for done in ranks)
        assert not any(done.code for done in ranks), said
        assert said.count("crops selected") == 1
    one, two = (losses(tmp_path / name) for name in "12")
    assert one == pytest.approx(two, rel=1e-4)


@pytest.mark.whole
def test_the_benchmark_repeats_a_run_with_every_selection(unsure_store, tmp_path):
    plain = {"min_confidence": 0.0, "calibrate": False, "sure_above": 0.95}
    run = train_student(config(unsure_store, tmp_path / "run", student="squeezenet1_1", **plain))
    benchmark = runpy.run_path(str(BENCHMARK))["main"]
    words = [run, "--epochs", 1, "--seed", 7, "--out", tmp_path / "out"]
    again = []
    for _ in range(2):
        done = CliRunner().invoke(benchmark, [str(word) for word in words])
        assert done.exit_code == 0, done.stderr
        again.append((done.stdout, done.stderr.count(": top-1")))
    assert [said for _, said in again] == [12, 0]  # by the runs and by the benchmark
    rows = [line.split(" | ")[0] for line in again[0][0].splitlines() if line.startswith("| ")]
    assert rows[1:3] == ["| all crops", "| --min-confidence 0.3"]
    assert again[0][0] == again[1][0] == (tmp_path / "out" / "selection.md").read_text("utf-8")
    found = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert [list(by_seed) for by_seed in found["top1"].values()] == [["7"]] * 6


# -- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--min-confidence", "1.5"], "--min-confidence is 1.5; it must lie between 0 and 1"),
        (["--max-entropy", "nan"], "--max-entropy is nan"),
        (["--sure-every", "3"], "--sure-every does nothing without --calibrate"),
        (["--unsure-smoothing", "0.2"], "--unsure-smoothing does nothing without --calibrate"),
        (["--calibrate", "--unsure-below", "0.97"], "is more than --sure-above 0.95"),
        (["--calibrate", "--sure-every", "0"], "--sure-every is 0"),
        (["--min-confidence", "1"], "--min-confidence 1 leaves none of the 102 crops of"),
        (
            ["--max-entropy", "0", "--calibrate"],
            "--max-entropy 0 --calibrate leaves none of the 102",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_selections_are_one_line(unsure_store, tmp_path, more, words):
    command = ["train", unsure_store.path, "--compress", "topk2", "--out", tmp_path / "run"]
    command += ["--batch-size", 8, "--epochs", 4, "--device", "cpu", *more]
    assert words in refused(*command, alone=False)
    assert not (tmp_path / "run").exists()


def test_what_the_store_can_give_is_said(unsure_store):
    with pytest.raises(FkdError, match=r"largest confidence is 0\.\d+, the least entropy \d.*nats"):
        StudentLoader(unsure_store.path, **LOADED | CHOSEN | {"max_entropy": 0.0})


def test_hard_labels_say_nothing_of_confidence(shared_store, shared_folder, tmp_path):
    store = make_store(tmp_path / "s.zarr", shared_store, shared_folder, "hard")
    for chosen in ({"min_confidence": 0.5}, {"calibrate": True}):
        with pytest.raises(FkdError, match="holds hard labels, which say nothing"):
            StudentLoader(store.path, scheme=Scheme("hard"), **LOADED | chosen)
    assert StudentLoader(store.path, scheme=Scheme("hard"), **LOADED)
