"""What students say is read from a GPU late, and what is counted there, as far as a CPU can tell."""

import pytest
import torch
from helpers.devices import META, SIZE, AGpu, Net, Sent, Waits
from helpers.folders import label_config

from fkd import CheckConfig, FkdError, check_store, estimate_run, label_images
from fkd.config import IGNORED, NetworkInput
from fkd.evaluation.answers import _answer as student_answer
from fkd.evaluation.answers import a_batch_late
from fkd.evaluation.lines import _answer as line_answer
from fkd.evaluation.maps import _Tally as MapTally
from fkd.labels import SoftLabels
from fkd.models import Tapped
from fkd.probing import knn_top1
from fkd.probing import neighbours as neighbours_room
from fkd.students import StudentCard
from fkd.truth import Confusion


def test_maps_are_counted_without_waiting():
    tally = MapTally(4, META)
    for count in (2, 1):
        masks = torch.zeros(count, 16, 24, dtype=torch.uint8)
        with AGpu():
            losses = tally.add(torch.empty(count, 4, 4, 6, device=META), masks)
        assert losses.device == META


def test_a_device_counts_what_the_cpu_does(monkeypatch):
    drawn = torch.Generator().manual_seed(0)
    said = torch.randint(5, (3, 40), generator=drawn)
    truth = torch.randint(6, (3, 40), generator=drawn).to(torch.uint8)
    truth[truth == 5] = IGNORED
    one, other = Confusion(5), Confusion(5)
    one.add(said, truth)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("fkd.truth.confusion._COUNTED_AT_ONCE", ())
        other.add(said, truth)
    assert torch.equal(one.counts, other.counts)
    assert one.num_pixels == int((truth != IGNORED).sum())


@pytest.mark.parametrize("layer", [None, "conv", "features"])
def test_a_student_is_asked_without_waiting(layer, monkeypatch):
    monkeypatch.setattr("fkd.evaluation.answers.Download", Sent)
    tapped = Tapped(Net(()).to(META), [] if layer is None else [layer], "it")
    views = torch.empty(3, 3, *SIZE, dtype=torch.uint8, device=META)
    card = StudentCard("it", tuple("abcdef"), NetworkInput(SIZE))
    # The numbers that pixels are normalised by are new.
    student_answer(tapped, views, card, layer, cubes_last=False)
    with AGpu():
        sent = student_answer(tapped, views, card, layer, cubes_last=False).tensors
    assert {name: t.shape[1] for name, t in sent.items()} == (
        {"logits": 6} | ({} if layer is None else {"features": 4})
    )


def test_lines_are_read_off_where_the_student_is(monkeypatch):
    """CTC itself waits for the lengths of texts; what is sent for are classes, and no logits."""
    monkeypatch.setattr("fkd.evaluation.lines.Download", Sent)
    monkeypatch.setattr(
        "fkd.evaluation.lines.text_loss",
        lambda logits, texts: logits[:, 0, 0] + texts[:, 0],
    )
    card, student = StudentCard("it", tuple("abcdef"), NetworkInput(SIZE)), Net((6,)).to(META)
    views, texts = torch.zeros(3, 3, *SIZE, dtype=torch.uint8), torch.zeros(3, 2, dtype=torch.int64)
    for asked_before in (False, True):
        with AGpu(may_wait=not asked_before):
            sent = line_answer(student, views, card, texts).tensors
    assert {name: tuple(t.shape) for name, t in sent.items()} == {"best": (3, 6), "losses": (3,)}


def test_batches_are_read_once_the_next_is_asked_for():
    log = []

    def asked():
        for number in range(3):
            log.append(f"asked {number}")
            yield number

    log.extend(f"read {number}" for number in a_batch_late(asked()))
    assert log == ["asked 0", "asked 1", "read 0", "asked 2", "read 1", "read 2"]


@pytest.mark.parametrize("bank", [False, True])
def test_neighbours_are_waited_for_as_often_whatever_their_number(bank, monkeypatch):
    features = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    classes, found = torch.arange(40) % 4, []
    given = (features[:9], classes[:9]) if bank else None
    for size in (1024, 3):
        monkeypatch.setattr(neighbours_room, "_QUERIES", size)
        monkeypatch.setattr(neighbours_room, "_BANK", size)
        with Waits() as waits:
            found.append((knn_top1(features, classes, given, k=2), waits.count))
    assert found[0] == found[1]


def test_a_mix_of_labels_waits_for_nothing():
    labels = SoftLabels(
        torch.zeros(4, 2, dtype=torch.int64, device=META),
        torch.zeros(4, 2, device=META), torch.zeros(4, device=META), 9,
    )  # fmt: skip
    with AGpu():
        for share in (0.3, torch.rand(4), torch.rand(4, dtype=torch.float64)):
            assert labels.mix(labels, share).value.shape == (4, 4)


@pytest.mark.parametrize("work", ["label", "estimate", "check"])
def test_a_device_without_memory_for_a_teacher_is_a_line(
    work, shared_store, shared_folder, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("fkd.teachers.libraries.place", full)
    config = label_config(shared_folder, tmp_path / "s.zarr")
    check = CheckConfig(shared_store.path, images=shared_folder, teacher=config.teacher)
    run = {"label": label_images, "estimate": estimate_run, "check": check_store}[work]
    with pytest.raises(FkdError, match="the device is out of memory; choose"):
        run(check if work == "check" else config)
