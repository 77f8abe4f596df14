"""Which action of which chunk belongs to which step; what is refused; that empty means none."""

import numpy as np
import pytest

from roboalign_policy.core.drive.chunk_buffer import ActionSpace, Chunk, ChunkBuffer
from roboalign_policy.core.drive.cross_fade import make_fade
from roboalign_policy.core.policy.accept import ChunkError

NAMES = ("dx", "gripper")
STEP_NS = 100_000_000
SPACE = ActionSpace(NAMES, np.array([-1.0, -1.0]), np.array([1.0, 1.0]), horizon=4)


def actions(base=0.0):
    """(4, 2) float32 in which dx tells the step: base + 0, 0.1, 0.2, 0.3."""
    chunk = np.zeros((4, 2), np.float32)
    chunk[:, 0] = base + 0.1 * np.arange(4)
    return chunk


def chunk(buffer, sequence=1, observed_ns=0, base=0.0, place=None, **values):
    place = buffer.commanded if place is None else place
    return Chunk(sequence, observed_ns, place, values.pop("actions", actions(base)), **values)


@pytest.fixture
def buffer():
    return ChunkBuffer(SPACE, max_age_s=1.0)


def test_empty_gives_none_and_says_why(buffer):
    assert buffer.take(0) is None
    assert buffer.commanded == 0
    assert buffer.empty_reason == "no chunk yet"


def test_actions_come_in_order_once_each(buffer):
    buffer.offer(chunk(buffer), 0)
    taken = [buffer.take(step * STEP_NS) for step in range(5)]
    assert [a.index for a in taken[:4]] == [0, 1, 2, 3]
    np.testing.assert_allclose([a.values[0] for a in taken[:4]], [0.0, 0.1, 0.2, 0.3], atol=1e-6)
    assert taken[4] is None
    assert buffer.empty_reason == "chunk 1 is used up"


def test_steps_commanded_during_inference_are_skipped(buffer):
    buffer.offer(chunk(buffer), 0)
    buffer.take(0)
    place = buffer.commanded  # the observation of the next chunk is taken here ...
    buffer.take(STEP_NS)
    buffer.take(2 * STEP_NS)  # ... and two more steps are commanded before it arrives
    buffer.offer(chunk(buffer, sequence=2, base=0.5, place=place), 3 * STEP_NS)
    action = buffer.take(3 * STEP_NS)
    assert (action.sequence, action.index) == (2, 2)
    assert action.values[0] == pytest.approx(0.7)


def test_holding_still_skips_nothing(buffer):
    place = buffer.commanded
    assert [buffer.take(step * STEP_NS) for step in range(3)] == [None] * 3
    buffer.offer(chunk(buffer, place=place), 3 * STEP_NS)
    assert buffer.take(3 * STEP_NS).index == 0


@pytest.mark.parametrize("pattern", ["oo.o", ".o.oo", "oooo"])
def test_every_step_belongs_to_one_action_whatever_ticks_are_missed(buffer, pattern):
    """Ticks that come late or not at all neither repeat nor lose an action."""
    buffer.offer(chunk(buffer), 0)
    taken = [buffer.take(n * STEP_NS).index for n, tick in enumerate(pattern) if tick == "o"]
    assert taken == list(range(len(taken)))


def test_newer_chunk_replaces_the_rest_of_the_older(buffer):
    buffer.offer(chunk(buffer), 0)
    buffer.take(0)
    buffer.offer(chunk(buffer, sequence=2, observed_ns=STEP_NS, base=0.5), STEP_NS)
    assert buffer.remaining == 4
    assert buffer.take(STEP_NS).sequence == 2


def test_too_old_at_offer(buffer):
    with pytest.raises(ChunkError, match=r"too_old: .* 1\.500 s old, limit 1\.000 s") as fault:
        buffer.offer(chunk(buffer), int(1.5e9))
    assert fault.value.kind == "too_old"
    assert buffer.take(int(1.5e9)) is None


def test_too_old_while_executed(buffer):
    buffer.offer(chunk(buffer), 0)
    assert buffer.take(int(0.9e9)) is not None
    assert buffer.take(int(1.1e9)) is None
    assert "too old" in buffer.empty_reason
    assert buffer.take(int(0.9e9)) is None  # and it does not come back


def test_clock_that_went_back_drops_the_chunk(buffer):
    buffer.offer(chunk(buffer, observed_ns=int(5e9)), int(5e9))
    assert buffer.take(int(1e9)) is None
    assert "the clock went back" in buffer.empty_reason


def test_wholly_overtaken_chunk_is_too_old(buffer):
    buffer.offer(chunk(buffer), 0)
    for _ in range(4):
        buffer.take(0)
    with pytest.raises(ChunkError, match="4 steps were commanded since its observation"):
        buffer.offer(chunk(buffer, sequence=2, place=0), 0)


def test_place_in_the_future_is_refused(buffer):
    with pytest.raises(ChunkError, match="too_old"):
        buffer.offer(chunk(buffer, place=3), 0)


def test_clear_forgets_and_keeps_the_count(buffer):
    buffer.offer(chunk(buffer), 0)
    buffer.take(0)
    buffer.clear("stop")
    assert buffer.take(0) is None
    assert (buffer.remaining, buffer.commanded, buffer.empty_reason) == (0, 1, "stop")


def faded(steps=2, mode="joint_position"):
    return ChunkBuffer(SPACE, 1.0, make_fade(NAMES, mode, steps, SPACE.low, SPACE.high))


def test_rest_is_what_is_still_to_come(buffer):
    assert buffer.rest().shape == (0, 2)
    buffer.offer(chunk(buffer), 0)
    buffer.take(0)
    np.testing.assert_array_equal(buffer.rest(), actions()[1:])
    for _ in range(3):
        buffer.take(0)
    assert buffer.rest().shape == (0, 2)


def test_new_chunk_fades_in_over_the_rest_of_the_old_one():
    buffer = faded(steps=2)
    buffer.offer(chunk(buffer), 0)  # 0, 0.1, 0.2, 0.3
    buffer.take(0)
    place = buffer.commanded
    buffer.take(0)  # commanded while the next one is computed, so its first step is skipped
    given = buffer.offer(chunk(buffer, sequence=2, base=0.5, place=place), 0)
    np.testing.assert_array_equal(given.actions, actions(0.5))  # the model's own answer
    values = [buffer.take(0).values[0] for _ in range(3)]
    # old 0.2, 0.3 and new 0.6, 0.7, 0.8: one third, two thirds, all
    np.testing.assert_allclose(values, [0.2 + 0.4 / 3, 0.3 + 0.8 / 3, 0.8], atol=1e-6)


def test_nothing_is_faded_from_a_chunk_that_is_too_old():
    buffer = faded()
    buffer.offer(chunk(buffer), 0)
    buffer.take(0)
    late_ns = int(1.1e9)
    buffer.offer(chunk(buffer, sequence=2, observed_ns=late_ns, base=0.5), late_ns)
    assert buffer.take(late_ns).values[0] == pytest.approx(0.5)


def test_steps_make_up_for_what_was_commanded_meanwhile():
    buffer = faded(steps=0, mode="ee_delta")
    buffer.offer(chunk(buffer), 0)  # 0, 0.1, 0.2, 0.3
    place = buffer.commanded
    buffer.take(0)
    buffer.take(0)  # 0.1 in all, where the new one would have gone 1.1
    given = buffer.offer(chunk(buffer, sequence=2, base=0.5, place=place), 0)
    assert given.place == place
    np.testing.assert_array_equal(given.actions, actions(0.5))  # the model's own answer
    values = [buffer.take(0).values[0] for _ in range(2)]
    np.testing.assert_allclose(values, [1.0, 1.0], atol=1e-6)  # 1.7 and 1.5, within the limits


def test_a_switch_that_the_arm_has_not_made_is_not_left_out():
    """A gripper that is to close needs all the steps that the chunk gives it."""
    buffer = faded(steps=0, mode="ee_delta")
    buffer.offer(chunk(buffer), 0)
    place = buffer.commanded
    for _ in range(3):
        buffer.take(0)
    closing = actions(0.0)
    closing[:, 1] = [-1.0, 1.0, 1.0, 1.0]
    given = buffer.offer(chunk(buffer, sequence=2, place=place, actions=closing), 0)
    assert (buffer.commanded - given.place, buffer.remaining) == (1, 3)
    action = buffer.take(0)
    assert (action.index, action.values[1]) == (1, 1.0)


@pytest.mark.parametrize("overtaken", [1, 2, 3])
def test_a_switch_that_the_arm_made_earlier_is_no_reason_to_go_back(overtaken):
    """The old chunk closes the gripper right after the observation, the new one only later."""
    buffer = faded(steps=0, mode="ee_delta")
    both = actions(0.0)
    both[:, 1] = -1.0
    buffer.offer(chunk(buffer, actions=both), 0)
    buffer.take(0)
    closed = actions(0.0)
    closed[:, 1] = 1.0
    buffer.offer(chunk(buffer, sequence=2, actions=closed), 0)
    place = buffer.commanded
    for _ in range(overtaken):
        assert buffer.take(0).values[1] == 1.0
    later = actions(0.0)
    later[:, 1] = [-1.0, -1.0, -1.0, 1.0]
    given = buffer.offer(chunk(buffer, sequence=3, place=place, actions=later), 0)
    assert given.place == place and buffer.take(0).index == overtaken


def test_place_of_an_observation_is_before_what_it_does_not_show(buffer):
    buffer.offer(chunk(buffer), 0)
    for now_ns in (100, 200, 300):
        buffer.take(now_ns)
    assert [buffer.place_at(ns) for ns in (50, 100, 250, 300)] == [0, 1, 2, 3]
    np.testing.assert_array_equal(buffer.rest_from(1), actions()[1:])
    np.testing.assert_array_equal(buffer.rest_from(3), buffer.rest())
    buffer.forget_times()
    assert buffer.place_at(50) == 3


def bad(index, value):
    chunk_ = actions()
    chunk_[index] = value
    return chunk_


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ({"actions": bad((1, 0), np.nan)}, "non_finite", "dx at step 1 is nan"),
        ({"actions": bad((3, 1), -np.inf)}, "non_finite", "gripper at step 3 is -inf"),
        ({"actions": bad((2, 1), 1.01)}, "out_of_limits", r"gripper at step 2 is 1.01, limits"),
        ({"actions": bad((0, 0), -1.5)}, "out_of_limits", r"dx at step 0 is -1.5"),
        ({"actions": actions()[:3]}, "wrong_shape", r"found \(3, 2\), expected \(4, 2\)"),
        ({"actions": actions()[:, :1]}, "wrong_shape", r"found \(4, 1\), expected \(4, 2\)"),
        ({"actions": actions().ravel()}, "wrong_shape", r"found \(8,\), expected \(4, 2\)"),
        ({"names": ("gripper", "dx")}, "wrong_names", "expected .*'dx', 'gripper'"),
        ({"names": ("dx",)}, "wrong_names", "found .*'dx'.*, expected"),
    ],
)
def test_invalid_chunk_is_refused_whole_and_the_present_one_stays(buffer, values, kind, text):
    buffer.offer(chunk(buffer), 0)
    with pytest.raises(ChunkError, match=text) as fault:
        buffer.offer(chunk(buffer, sequence=2, **values), 0)
    assert fault.value.kind == kind
    assert buffer.take(0).sequence == 1


def test_values_at_the_limits_pass(buffer):
    chunk_ = np.tile(np.array([-1.0, 1.0], np.float32), (4, 1))
    assert buffer.offer(chunk(buffer, actions=chunk_), 0).actions.dtype == np.float32


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ActionSpace(NAMES, np.zeros(2), np.zeros(2), 4), "expected low < high"),
        (lambda: ActionSpace(NAMES, np.zeros(3), np.ones(3), 4), r"expected \(2,\)"),
        (lambda: ActionSpace(NAMES, np.zeros(2), np.ones(2), 0), "horizon: found 0"),
        (lambda: ChunkBuffer(SPACE, 0.0), "max_age_s: found 0.0"),
        (lambda: ChunkError("odd", ""), "'odd' is not a valid ChunkStatus"),
    ],
)
def test_impossible_values_fail_when_declared(make, text):
    with pytest.raises(ValueError, match=text):
        make()
