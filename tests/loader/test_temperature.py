"""What a label temperature does to labels is said by what was measured when they were made."""

from pathlib import Path

import pytest
import torch

from fkd import Fidelity, Scheme
from fkd.config import LoaderConfig, TrainConfig
from fkd.labels import KeptLabels, quantize
from fkd.loader.labels import temper_warning

CLASSES = 1000
STORED = KeptLabels(Scheme("topk", 5), CLASSES)
MEASURED = Fidelity(0.36, 0.007, (0.7, 0.33, 0.12, 0.04))


@pytest.fixture(scope="module")
def kept():
    torch.manual_seed(0)
    return quantize((4 * torch.randn(50, CLASSES)).softmax(1), STORED.scheme)


def said(kept, temperature, compress, fidelity=MEASURED):
    config = LoaderConfig(
        store=Path("s.zarr"), scheme=Scheme.parse(compress), label_temperature=temperature
    )
    return temper_warning(config.scheme, config.hottest_label, STORED, kept, fidelity)


def test_it_says_what_the_kept_classes_hold(kept):
    text = said(kept, 4.0, "topk5")
    assert (
        "at that temperature the 5 classes that it reads hold 12% of the teacher's probability "
        "(70% at 1), and re-norm drops the rest; "
    ) in text
    assert "--compress full-8bit" in text
    assert "fkd label --temperature 4" in text
    assert " hold 33% of " in said(kept, 2.0, "topk5")
    assert "the class that it reads holds " in said(kept, 4.0, "smooth")
    assert said(kept, 4.0, "topk5", None).count("may hold as little as") == 1


def test_fewer_classes_than_are_kept_hold_less(kept):
    ranks = STORED.restore(kept, STORED.scheme, 4.0).value[:, :2].sum(1).mean()
    assert f"the 2 classes that it reads hold {0.12 * ranks:.0%} of" in said(kept, 4.0, "topk2")


def test_smoothing_that_spreads_most_of_a_label_is_told(kept):
    text = said(kept, 4.0, "topk5-smooth")
    assert "hold 12% of the teacher's probability" in text
    assert "smoothing shares the rest evenly, as no teacher does" in text
    mild = Fidelity(0.36, 0.007, (0.9, 0.8, 0.7, 0.6))
    assert said(kept, 4.0, "topk5-smooth", mild) is None
    assert said(kept, 4.0, "topk5-smooth", None) is None


def test_a_loss_that_tempers_labels_itself_is_told_of_what_is_dropped(kept):
    config = TrainConfig.of(loss={"by": "wttm", "temperature": 4}, scheme=Scheme("topk", 5))
    text = temper_warning(config.scheme, config.hottest_label, STORED, kept, MEASURED)
    assert text.startswith("--loss wttm to store, T = 4, weight 1 with --compress topk5: ")
    assert "hold 12% of" in text
    assert "fkd label --temperature" not in text  # then its weights of views would be lost
    moving = TrainConfig.of(loss=({"by": "kl", "temperature": [2, 4]}, {"to": "truth"}))
    assert moving.hottest_label[:2] == (4.0, "--loss kl to store, T = 2 to 4, weight 1")
    assert TrainConfig.of(loss={"to": "truth"}).hottest_label.temperature == 1
