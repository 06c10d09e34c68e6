"""Jitter and mixing: what they do to pixels, and that labels go with them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fkd import Augment, Scheme
from fkd.labels import quantize, restore
from fkd.losses import distillation_loss
from fkd.training.augment import jitter, mix

TOP = Scheme("topk", 3)


def views(count=8, size=32):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_without_augmentation_nothing_is_touched():
    pixels = views()
    mixed, how = mix(pixels, Augment(), np.random.default_rng(0))
    assert mixed is pixels
    assert how is None
    assert torch.allclose(jitter(pixels, 0.0, np.random.default_rng(0)), pixels, atol=1e-6)


def test_mixup_blends_each_view_with_its_partner():
    pixels = views()
    mixed, how = mix(pixels, Augment(mixup=1.0), np.random.default_rng(3))
    assert sorted(how.partner.tolist()) == list(range(8))
    assert 0 < how.share < 1
    assert torch.allclose(
        mixed, how.share * pixels + (1 - how.share) * pixels[how.partner], atol=1e-6
    )


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_pastes_a_rectangle_and_counts_its_pixels(seed):
    pixels = views()
    mixed, how = mix(pixels, Augment(cutmix=1.0), np.random.default_rng(seed))
    foreign = (mixed != pixels).all(dim=1)
    moved = how.partner != torch.arange(8)
    assert (mixed == torch.where(foreign[:, None], pixels[how.partner], pixels)).all()
    for rows in foreign[moved]:
        assert 1 - rows.float().mean() == pytest.approx(how.share, abs=1e-6)
        where = rows.nonzero()
        if len(where):
            height, width = (where.max(dim=0).values - where.min(dim=0).values + 1).tolist()
            assert height * width == len(where)


def test_with_both_each_step_takes_one():
    kinds = set()
    for seed in range(20):
        pixels = views()
        mixed, how = mix(pixels, Augment(mixup=1.0, cutmix=1.0), np.random.default_rng(seed))
        own = ((mixed == pixels) | (mixed == pixels[how.partner])).all()
        kinds.add("cutmix" if own else "mixup")
    assert kinds == {"mixup", "cutmix"}


def test_the_loss_of_a_mix_is_the_loss_to_the_mixed_label():
    torch.manual_seed(0)
    labels = restore(quantize(torch.randn(8, 20).softmax(1), TOP), TOP, TOP, 20)
    targets, logits = torch.randint(20, (8,)), torch.randn(8, 20)
    _, how = mix(views(), Augment(mixup=1.0), np.random.default_rng(1))
    found = distillation_loss(logits, labels, targets, how, hard_weight=0.25)
    wanted = 0.75 * labels.dense(20) + 0.25 * functional.one_hot(targets, 20).float()
    wanted = how.share * wanted + (1 - how.share) * wanted[how.partner]
    assert torch.allclose(found, functional.cross_entropy(logits, wanted), rtol=1e-5)


def test_jitter_changes_each_view_by_its_own_factors():
    grey = torch.full((64, 3, 4, 4), 0.5)
    brightness = jitter(grey, 0.4, np.random.default_rng(0))[:, 0, 0, 0] / 0.5
    assert brightness.min() >= 0.6
    assert brightness.max() <= 1.4
    assert brightness.std() > 0.1
    assert len(brightness.unique()) == 64
    strong = jitter(views(64), 1.0, np.random.default_rng(0))
    assert strong.min() >= 0
    assert strong.max() <= 1
    flat, changed = (
        views(64) * 0.2 + 0.4,
        jitter(views(64) * 0.2 + 0.4, 0.4, np.random.default_rng(0)),
    )
    ratio = changed.std(dim=(1, 2, 3)) / flat.std(dim=(1, 2, 3))
    assert ratio.min() > 0.2
    assert ratio.max() < 1.4**3
    assert ratio.std() > 0.1


def test_what_is_drawn_depends_on_the_seed_alone():
    how = Augment(mixup=0.4, cutmix=1.0)
    one, other, third = (mix(views(), how, np.random.default_rng(s))[0] for s in (5, 5, 6))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
