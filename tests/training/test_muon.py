"""Muon and AdamW as one optimiser: which parameter goes where, schedules, checkpoints."""

import copy

import pytest
import torch
from torch import nn

from roboalign_policy.models.loading import load_mllm
from roboalign_training.pretraining import muon
from roboalign_training.pretraining.muon import MuonAdamW, orthogonal, split_parameters


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3))


def make_optimizer(model):
    return MuonAdamW(model, muon_learning_rate=0.01, learning_rate=0.1, weight_decay=0.1)


def train(model, optimizer, steps, scheduler=None):
    for step in range(steps):
        ids = torch.arange(step, step + 8) % 11
        loss = nn.functional.cross_entropy(model(ids), ids % 3)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()
    return loss.item()


def test_hidden_matrices_go_to_muon_and_the_rest_to_adamw(tiny_base):
    model = load_mllm(tiny_base).model
    model.model.visual.requires_grad_(False)
    matrices, others = split_parameters(model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("proj" in names[id(p)] for p in matrices)
    assert any("embed_tokens" in names[id(p)] for p in others)
    assert not any(".visual." in names[id(p)] for p in [*matrices, *others])
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in [*matrices, *others]}
    assert len(trainable) == len(matrices) + len(others)


def test_it_learns_and_a_schedule_reaches_both():
    model = make_model()
    optimizer = make_optimizer(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))
    first = train(model, optimizer, 1, scheduler)
    assert optimizer.muon.param_groups[0]["lr"] == pytest.approx(0.005)
    assert optimizer.adamw.param_groups[0]["lr"] == pytest.approx(0.05)
    assert train(model, optimizer, 60) < 0.5 * first


def steps_of_both():
    """Parameters after three steps, of ours and of torch's own optimisers, and as they began."""
    model, twin = make_model(), make_model()
    optimizer = make_optimizer(model)
    matrices, others = split_parameters(twin)
    own = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others, lr=0.1, betas=(0.9, 0.98), weight_decay=0.1)
    for step in range(3):
        ids = torch.arange(step, step + 8) % 11
        for net in (model, twin):
            nn.functional.cross_entropy(net(ids), ids % 3).backward()
        optimizer.step()
        own.step()
        adamw.step()
        for net in (model, twin):
            net.zero_grad()
    return list(model.parameters()), list(twin.parameters()), list(make_model().parameters())


def test_steps_are_those_of_torchs_own_optimisers(monkeypatch):
    def rounded(matrix, *given):
        return orthogonal(matrix.bfloat16(), *given)

    monkeypatch.setattr(muon, "orthogonal", rounded)
    for ours, theirs, _ in zip(*steps_of_both(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_on_a_cpu_they_differ_by_the_rounding_to_bfloat16():
    differ = 0
    for ours, theirs, before in zip(*steps_of_both(), strict=True):
        ways = (ours - before).ravel(), (theirs - before).ravel()
        assert nn.functional.cosine_similarity(*ways, dim=0) > 0.98
        differ += not torch.equal(ours, theirs)
    assert differ, "the matrices"


@pytest.mark.parametrize("shape", [(40, 40), (64, 16), (16, 64)])
def test_singular_values_become_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 7
    found = orthogonal(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert found.dtype == torch.float32 and found.shape == matrix.shape
    values = torch.linalg.svdvals(found)
    assert 0.3 < float(values.min()) and float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    wanted = left @ right
    assert float((found * wanted).sum() / found.norm() / wanted.norm()) > 0.95
    assert not orthogonal(torch.zeros(3, 3), (1.0, 1.0, 1.0), 5, 1e-7).isnan().any()


def test_a_restored_state_goes_on_alike():
    model = make_model()
    optimizer = make_optimizer(model)
    train(model, optimizer, 3)
    twin = copy.deepcopy(model)
    restored = make_optimizer(twin)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for net, chosen in ((model, optimizer), (twin, restored)):
        for group in chosen.param_groups:  # what a schedule does after a restart
            group["lr"] *= 0.5
        train(net, chosen, 3)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_model_without_matrices_is_refused():
    with pytest.raises(ValueError, match="no trainable hidden matrix"):
        make_optimizer(nn.LayerNorm(4))
