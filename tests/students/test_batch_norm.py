"""Batch norm: how much of its statistics is what they began with, and what an estimate is."""

import copy

import pytest
import torch
from torch import nn

from fkd.students import initial_share, re_estimated


def network(momentum=0.01, kind=nn.BatchNorm2d):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), kind(5, momentum=momentum), nn.ReLU(), nn.Dropout(0.5),
        nn.Flatten(), nn.LazyLinear(2),
    )  # fmt: skip


def batches(count=4, size=16):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 8, 8, generator=generator) * n + n for n in range(1, count + 1)]


def test_the_share_of_initial_values_is_what_a_constant_input_leaves_of_them():
    model = network()
    assert initial_share(model) == 0  # no batch has been seen: there is nothing to distrust yet
    model[1].bias.data += 3.0
    ones = torch.ones(4, 3, 8, 8)
    with torch.no_grad():
        for _ in range(150):
            model.train()(ones)
        constant = model[0](ones).mean((0, 2, 3))
    left = 1 - (model[1].running_mean / constant).mean().item()
    assert initial_share(model) == pytest.approx(left, rel=1e-3) == pytest.approx(0.2215, rel=1e-3)
    model[1].momentum = None
    assert initial_share(model) == 0
    model[1].momentum, model[1].num_batches_tracked = 0.01, None
    assert initial_share(model) == 0
    assert initial_share(nn.Linear(2, 2)) == 0


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_an_estimate_is_of_all_batches_and_ends_with_its_block(kind):
    model = network(kind=kind).train()
    model(batches()[0])
    before = copy.deepcopy(model.state_dict())
    buffers = model[1].running_mean, model[1].running_var
    with torch.no_grad():
        everything = model[0](torch.cat(batches())).transpose(0, 1).flatten(1)
    with re_estimated(model, batches()) as own:
        assert torch.allclose(model[1].running_mean, everything.mean(1), atol=1e-5)
        assert torch.allclose(model[1].running_var, everything.var(1, correction=0), rtol=1e-4)
        assert own.keys() == {"1.running_mean", "1.running_var"}
        assert all(torch.equal(own[name], before[name]) for name in own)
        kept = model.state_dict()
    assert (model[1].running_mean, model[1].running_var) == buffers
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.allclose(kept["1.running_mean"], everything.mean(1), atol=1e-5)


def test_an_estimate_draws_nothing_and_runs_no_dropout():
    model = network().train()
    model(batches()[0])
    state = torch.random.get_rng_state()
    with re_estimated(model, batches()):
        first = model[1].running_mean.clone()
    with re_estimated(model, batches()):
        assert torch.equal(model[1].running_mean, first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_layer_that_keeps_its_statistics_keeps_them():
    model = network().train()
    model(batches()[0])
    model[1].eval()
    with re_estimated(model, batches()) as own:
        assert own == {}
    with re_estimated(model, iter([])):  # and without views nothing is known
        assert model[1].running_mean is not None


def test_what_fails_inside_leaves_the_model_as_it_was():
    model = network().train()
    model(batches()[0])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError), re_estimated(model, [torch.zeros(2, 4, 8, 8)]):
        pass
    assert model.training
    assert not model[1]._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
