"""Real-time chunking: the frozen beginning of the running chunk is kept, its end is free."""

import math

import pytest
import torch

from roboalign_policy.models.flow_head.chunking import guided, make_guide, soft_mask
from roboalign_policy.models.flow_head.flow import solve


def test_the_soft_mask_is_that_of_the_paper():
    # Equation 5 with H = 8, d = 2, and s = 2 actions of the new chunk beyond the old one.
    found = soft_mask(8, 6, 2)
    for i in range(8):
        c = (6 - i) / (6 - 2 + 1)
        wanted = 1.0 if i < 2 else c * math.expm1(c) / math.expm1(1) if i < 6 else 0.0
        assert float(found[i]) == pytest.approx(wanted, abs=1e-6), i
    assert soft_mask(8, 0, 0).tolist() == [0.0] * 8
    assert soft_mask(4, 4, 4).tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="soft mask: found frozen 3, overlap 2, horizon 8"):
        soft_mask(8, 2, 3)


def two_ways(x, time):
    """A flow to one of two chunks, all 1 or all -1, whichever the noise is nearer to.

    Its velocity is that of a mixture of the two, and couples the actions: the mean decides.
    """
    left = (1 - time)[..., None, None].clamp(min=0.05)
    side = torch.tanh(8 * x.mean(dim=(-1, -2), keepdim=True) / left)
    return (side - x) / left


@pytest.mark.parametrize("guidance", ["jacobian", "constant"])
def test_the_frozen_prefix_is_kept(guidance):
    torch.manual_seed(0)
    noise = torch.randn(64, 1, 8, 3)
    remaining = torch.ones(6, 3)
    guide = make_guide(remaining, 8, frozen=3)
    plain = solve(two_ways, noise, 5, "euler")
    found = solve(guided(two_ways, guide, guidance), noise, 5, "euler")
    before = (plain[:, :, :3] - 1.0).abs().mean()
    after = (found[:, :, :3] - 1.0).abs().mean()
    assert float(before) > 0.5  # about half of the chunks go the other way
    assert float(after) < 0.1


def test_the_jacobian_takes_the_free_actions_along():
    torch.manual_seed(0)
    noise = torch.randn(64, 1, 8, 3)
    guide = make_guide(torch.ones(3, 3), 8, frozen=3)
    ends = {
        name: solve(guided(two_ways, guide, name), noise, 5, "euler")[:, :, 3:]
        for name in ("jacobian", "constant")
    }
    sides = {name: (end.mean(dim=(1, 2, 3)) > 0).float().mean() for name, end in ends.items()}
    free = (solve(two_ways, noise, 5, "euler").mean(dim=(1, 2, 3)) > 0).float().mean()
    assert float(free) < 0.7
    assert float(sides["jacobian"]) > 0.95


def test_the_guidance_is_the_vector_jacobian_product():
    torch.manual_seed(0)
    mix = torch.randn(6, 6, dtype=torch.float64) * 0.3

    def linear(x, time):
        return (x.flatten(-2) @ mix.T).unflatten(-1, (3, 2))

    noisy = torch.randn(1, 1, 3, 2, dtype=torch.float64)
    guide = make_guide(torch.randn(2, 2, dtype=torch.float64), 3, frozen=1)
    time = torch.full((1, 1), 0.6, dtype=torch.float64)
    found = guided(linear, guide)(noisy, time)
    # estimate = x + (1 - t) M x, so its Jacobian is 1 + (1 - t) M.
    jacobian = torch.eye(6, dtype=torch.float64) + 0.4 * mix
    estimate = (jacobian @ noisy.flatten()).reshape(3, 2)
    error = guide.weights[:, None] * (guide.actions - estimate)
    pull = (jacobian.T @ error.flatten()).reshape(3, 2)
    weight = min(5.0, (0.6**2 + 0.4**2) / (0.6 * 0.4))
    wanted = linear(noisy, time) + weight * pull
    torch.testing.assert_close(found, wanted)


def test_what_remains_may_be_nothing_or_more_than_a_chunk():
    nothing = make_guide(torch.zeros(0, 3), 8, frozen=4)
    noise = torch.randn(2, 1, 8, 3, generator=torch.Generator().manual_seed(1))
    found = solve(guided(two_ways, nothing), noise, 4, "euler")
    torch.testing.assert_close(found, solve(two_ways, noise, 4, "euler"))
    guide = make_guide(torch.arange(30.0).reshape(10, 3), 8, frozen=9)
    assert guide.actions.shape == (8, 3) and guide.weights.tolist() == [1.0] * 8
    with pytest.raises(ValueError, match="guidance: found 'none', expected one of jacobian"):
        guided(two_ways, nothing, "none")
