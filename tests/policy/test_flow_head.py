"""The action head: its loss by hand, its masks, what it can learn, and how its flow is solved."""

import dataclasses

import numpy as np
import pytest
import torch

from roboalign_policy.models.flow_head.config import FlowHeadConfig, RobotShape
from roboalign_policy.models.flow_head.flow import (
    Draw,
    draw,
    flow_loss,
    solve,
    velocity_of,
)
from roboalign_policy.models.flow_head.network import FlowHead

ARM, HAND = RobotShape("arm", 4, 5), RobotShape("hand", 2, 3)


def small(robots=(ARM,), **given) -> FlowHeadConfig:
    """A head that computes in milliseconds."""
    return FlowHeadConfig(robots, 8, 24, **{"width": 32, "blocks": 2, "heads": 4, **given})


def wakened(config: FlowHeadConfig, seed: int = 0) -> FlowHead:
    """A head whose zero-initialised layers are not zero: else it answers 0 to everything."""
    torch.manual_seed(seed)
    head = FlowHead(config).eval()
    with torch.no_grad():
        for value in head.parameters():
            if not value.any():
                value.normal_(std=0.1)
    return head


def inputs(config: FlowHeadConfig, samples: int = 3, length: int = 7, seed: int = 1):
    """hidden, mask, state, actions and robots of a batch."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng)

    mask = torch.ones(samples, length)
    robot = torch.arange(samples) % len(config.robots)
    return (
        normal(samples, length, config.context_width),
        mask,
        normal(samples, config.state_dims),
        normal(samples, config.horizon, config.action_dims),
        robot,
    )


def test_the_loss_is_the_one_computed_by_hand():
    config = small((ARM, HAND))
    head = wakened(config)
    hidden, mask, state, actions, robot = inputs(config)
    drawn = draw(config, 3, 2, generator=torch.Generator().manual_seed(5))
    seen = {}

    def record(module, given, out):
        seen.update(noisy=given[0].numpy(), velocity=out.detach().numpy())

    head.register_forward_hook(record)
    found = float(flow_loss(head, hidden, mask, state, actions, robot, drawn))

    noise, time = drawn.noise.numpy(), drawn.time.numpy()
    target, squares, count = actions.numpy(), 0.0, 0
    for b in range(3):
        dims = config.robots[int(robot[b])].action_dims
        for k in range(2):
            t = time[b, k]
            np.testing.assert_allclose(
                seen["noisy"][b, k], (1 - t) * noise[b, k] + t * target[b], atol=1e-6
            )
            wanted = target[b] - noise[b, k]
            squares += ((seen["velocity"][b, k] - wanted)[:, :dims] ** 2).sum()
            count += config.horizon * dims
    assert found == pytest.approx(squares / count, rel=1e-5)


def test_the_loss_of_a_given_prefix_does_not_count():
    config = small()
    head = wakened(config)
    hidden, mask, state, actions, robot = inputs(config)
    drawn = draw(config, 3, 4, longest_prefix=5, generator=torch.Generator().manual_seed(5))
    assert drawn.time.shape == (3, 4, 8)
    assert bool((drawn.time[~drawn.counts] == 1.0).all()) and not drawn.counts.all()
    assert bool((drawn.time[drawn.counts] < 1.0).all())
    found = float(flow_loss(head, hidden, mask, state, actions, robot, drawn))
    time = drawn.time[..., None]
    noisy = (1 - time) * drawn.noise + time * actions[:, None]
    velocity = head(noisy, drawn.time, state, head.read(hidden, mask), robot, drawn.without_state)
    error = (velocity - (actions[:, None] - drawn.noise)) ** 2
    assert found == pytest.approx(float(error[drawn.counts].mean()), rel=1e-5)
    with pytest.raises(ValueError, match="longest_prefix: found 8, expected 0 to 7"):
        draw(config, 3, 4, longest_prefix=8)


def test_times_have_the_distribution_that_the_config_names():
    config = small(state_dropout=0.25)
    drawn = draw(config, 20_000, 1, generator=torch.Generator().manual_seed(0))
    u = 1 - drawn.time.numpy().ravel() / 0.999
    # Beta(1.5, 1): mean 1.5 / 2.5, and u below x with probability x^1.5.
    assert u.mean() == pytest.approx(0.6, abs=0.01)
    assert (u < 0.5).mean() == pytest.approx(0.5**1.5, abs=0.01)
    assert drawn.without_state.float().mean().item() == pytest.approx(0.25, abs=0.01)
    other = dataclasses.replace(config, beta_alpha=2.0, beta_beta=3.0)
    torch.manual_seed(0)
    u = 1 - draw(other, 20_000, 1).time.numpy().ravel() / 0.999
    assert u.mean() == pytest.approx(2 / 5, abs=0.01)
    assert u.std() == pytest.approx((6 / (25 * 6)) ** 0.5, abs=0.01)


def test_padded_dimensions_change_nothing():
    config = small((ARM, HAND))
    head = wakened(config)
    hidden, mask, state, actions, robot = inputs(config, samples=4)
    assert robot.tolist() == [0, 1, 0, 1]
    drawn = draw(config, 4, 2, generator=torch.Generator().manual_seed(5))
    before = flow_loss(head, hidden, mask, state, actions, robot, drawn)
    state, actions = state.clone(), actions.clone()
    state[1::2, 2:] = 1e3
    actions[1::2, :, 3:] = -1e3
    after = flow_loss(head, hidden, mask, state, actions, robot, drawn)
    assert float(after) == pytest.approx(float(before), abs=1e-6)
    velocity = velocity_of(head, head.read(hidden, mask), state, robot)
    chunks = solve(velocity, drawn.noise, 4, "euler")
    noise = drawn.noise.clone()
    noise[1::2, ..., 3:] = 7.0
    others = solve(velocity, noise, 4, "euler")
    torch.testing.assert_close(chunks[::2], others[::2], atol=1e-6, rtol=0)
    torch.testing.assert_close(chunks[1::2, ..., :3], others[1::2, ..., :3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("filling", [1e3, float("nan"), float("inf")])
@pytest.mark.parametrize("left", [True, False])
def test_padded_tokens_of_the_prompt_change_nothing(filling, left):
    config = small()
    head = wakened(config)
    hidden, mask, state, actions, robot = inputs(config)
    noise = torch.randn(3, 2, 8, 5, generator=torch.Generator().manual_seed(3))
    plain = solve(velocity_of(head, head.read(hidden, mask), state, robot), noise, 4, "euler")
    padding = torch.full((3, 4, config.context_width), filling)
    parts = [padding, hidden] if left else [hidden, padding]
    masks = [torch.zeros(3, 4), mask] if left else [mask, torch.zeros(3, 4)]
    context = head.read(torch.cat(parts, 1), torch.cat(masks, 1))
    padded = solve(velocity_of(head, context, state, robot), noise, 4, "euler")
    assert float(plain.abs().max()) > 0.1
    torch.testing.assert_close(padded, plain, atol=1e-6, rtol=0)
    seen = head.read(torch.cat(parts, 1), torch.ones(3, 11)) if filling == 1e3 else None
    if seen is not None:  # without the mask it would
        other = solve(velocity_of(head, seen, state, robot), noise, 4, "euler")
        assert float((other - plain).abs().max()) > 1e-3


def test_draws_of_noise_do_not_see_each_other():
    config = small()
    head = wakened(config)
    hidden, mask, state, _, robot = inputs(config)
    context = head.read(hidden, mask)
    noise = torch.randn(3, 3, 8, 5, generator=torch.Generator().manual_seed(3))
    time = torch.tensor([[0.1, 0.5, 0.9]] * 3)
    together = head(noise, time, state, context, robot)
    for k in range(3):
        alone = head(noise[:, k : k + 1], time[:, k : k + 1], state, context, robot)
        torch.testing.assert_close(alone[:, 0], together[:, k], atol=1e-5, rtol=1e-5)


def test_state_time_context_and_robot_all_count():
    config = small((ARM, HAND))
    head = wakened(config)
    hidden, mask, state, _, robot = inputs(config)
    robot = torch.zeros(3, dtype=torch.int64)
    noise = torch.randn(3, 1, 8, 5, generator=torch.Generator().manual_seed(3))
    time = torch.full((3, 1), 0.3)
    context = head.read(hidden, mask)
    plain = head(noise, time, state, context, robot)
    without = torch.ones(3, 1, dtype=torch.bool)
    other = hidden.clone()
    other[:, 2] = -other[:, 2]
    others = {
        "state": head(noise, time, state + 0.5, context, robot),
        "time": head(noise, time + 0.3, state, context, robot),
        "context": head(noise, time, state, head.read(other, mask), robot),
        "robot": head(noise, time, state, context, robot + 1)[..., :3],
        "no state": head(noise, time, state, context, robot, without),
    }
    for name, found in others.items():
        assert float((found - plain[..., : found.shape[-1]]).abs().max()) > 1e-3, name
    same = head(noise, time, state + 0.5, context, robot, without)
    torch.testing.assert_close(same, others["no state"])


def test_times_that_were_met_before_are_used_again():
    config = small()
    head = wakened(config)
    hidden, mask, state, _, robot = inputs(config)
    noise = torch.randn(3, 1, 8, 5, generator=torch.Generator().manual_seed(3))
    known = {}
    for one in (slice(0, 1), slice(1, 2)):
        context = head.read(hidden[one], mask[one])
        given = head, context, state[one], robot[one]
        plain = solve(velocity_of(*given), noise[one], 4, "euler")
        assert torch.equal(solve(velocity_of(*given, known), noise[one], 4, "euler"), plain)
        wanted = head(noise[one], torch.full((1, 1), 0.25), state[one], context, robot[one])
        found = velocity_of(*given, known)(noise[one], torch.full((1, 1), 0.25))
        assert torch.equal(found, wanted)
    assert sorted(known) == [0.0, 0.25, 0.5, 0.75]
    several = velocity_of(head, head.read(hidden, mask), state, robot, known)
    several(noise, torch.tensor([[0.0], [0.1], [0.2]]))
    several(noise, torch.full((3, 1, 8), 0.3))
    assert len(known) == 4, "of each sample or action its own time"


def test_one_batch_is_learnt_by_heart():
    torch.manual_seed(0)
    config = small(state_dropout=0.0)
    head = FlowHead(config)
    hidden, mask, state, actions, robot = inputs(config, samples=2)
    actions = actions.tanh()
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
    first = None
    for step in range(250):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / 250)
        drawn = draw(config, 2, 16)
        loss = flow_loss(head, hidden, mask, state, actions, robot, drawn)
        first = first or float(loss)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert first > 0.8
    head.eval()
    velocity = velocity_of(head, head.read(hidden, mask), state, robot)
    chunks = solve(velocity, torch.randn(2, 5, 8, 5), config.steps, config.solver)
    assert float((chunks - actions[:, None]).abs().mean()) < 0.05


def test_solvers_follow_a_known_flow():
    # x' = c - x has the solution c + (x0 - c) e^-t.
    noise = torch.randn(
        2, 1, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    goal = torch.full_like(noise, 0.7)
    exact = goal + (noise - goal) * np.exp(-1)
    errors = {}
    for solver in ("euler", "midpoint"):
        for steps in (4, 8, 16):
            found = solve(lambda x, t: goal - x, noise, steps, solver)
            errors[solver, steps] = float((found - exact).abs().max())
    for solver, order in (("euler", 1), ("midpoint", 2)):
        for steps in (4, 8):
            gain = errors[solver, steps] / errors[solver, 2 * steps]
            assert gain == pytest.approx(2**order, rel=0.2), (solver, steps)
    straight = solve(lambda x, t: goal - noise, noise, 4, "euler")
    torch.testing.assert_close(straight, goal)


def test_a_config_reads_back_and_refuses_what_cannot_be():
    config = small((ARM, HAND), layer=3, solver="midpoint")
    assert FlowHeadConfig.from_dict(config.to_dict()) == config
    assert (config.state_dims, config.action_dims) == (4, 5)
    assert small().layer_of(28) == 18 and small().layer_of(4) == 3
    assert small(layer=0.0).layer_of(4) == 0 and small(layer=1.0).layer_of(4) == 4
    with pytest.raises(ValueError, match="layer: found 5, expected at most 4, the layers"):
        small(layer=5).layer_of(4)
    for given, text in (
        ({"width": 30}, "width: found 30, expected a multiple of 4"),
        ({"layer": 1.5}, "layer: found 1.5, expected a whole number of layers, or a fraction"),
        ({"condition": "thinking"}, "condition: found 'thinking', expected one of thought, lang"),
        ({"solver": "heun"}, "solver: found 'heun', expected one of euler, midpoint"),
        ({"time_scale": 1.1}, "time_scale: found 1.1, expected above 0, at most 1"),
        ({"state_dropout": 1.0}, "state_dropout: found 1.0, expected 0 or more, below 1"),
        ({"steps": 0}, "steps: found 0, expected a whole number, 1 or more"),
        ({"robots": ()}, "robots: found none, expected at least one"),
        ({"robots": (ARM, ARM)}, "robots: found arm, arm, expected every name once"),
        (
            {"robots": (RobotShape("a", 0, 1),)},
            "robots.a.state_dims: found 0, expected a whole number, 1 or more",
        ),
    ):
        with pytest.raises(ValueError, match=text):
            dataclasses.replace(config, **given)
    document = config.to_dict()
    with pytest.raises(ValueError, match="action head: found unknown depth, expected beta_alpha"):
        FlowHeadConfig.from_dict({**document, "depth": 3})
    with pytest.raises(ValueError, match="action head: found no width, expected beta_alpha"):
        FlowHeadConfig.from_dict({k: v for k, v in document.items() if k != "width"})


def test_the_sizes_that_are_named():
    tiny = FlowHead(FlowHeadConfig((RobotShape("sim_panda", 4, 7),), 8, 128))
    assert 0.9e6 < sum(p.numel() for p in tiny.parameters()) < 1.6e6
    with torch.device("meta"):
        large = FlowHead(FlowHeadConfig.large((RobotShape("fr3", 8, 7),), 16, 3584))
    assert 0.7e9 < sum(p.numel() for p in large.parameters()) < 1.1e9


def test_a_draw_can_be_repeated():
    config = small()
    one, two = (draw(config, 3, 2, 3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert isinstance(one, Draw)
    for item in dataclasses.fields(Draw):
        assert torch.equal(getattr(one, item.name), getattr(two, item.name)), item.name
