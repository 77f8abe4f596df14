"""Who of those that listen on a command topic is a controller, and when one is lost."""

from __future__ import annotations

import pytest

from roboalign_policy.core.gate.controller_watch import ControllerWatch, Listener

TOPIC = "/arm/joint_trajectory"


def one(process, node, number=1, *, hears=True):
    """A subscription: its process, its node, and which one of that process it is."""
    return Listener((*[process] * 12, 0, 0, number, 4), node, hears)


ARM, RECORDER = one(1, "/arm_controller"), one(2, "/rosbag2_recorder")
PLOTTER, ECHO = one(3, "/plotter"), one(4, "/_ros2cli_4711")


def enabled(*listeners, named=()):
    watch = ControllerWatch(TOPIC, named)
    watch.look(listeners)
    assert watch.missing() == ""
    watch.take()
    return watch


@pytest.mark.parametrize(
    "others",
    [
        (RECORDER,),
        (RECORDER, one(5, "/rosbag2_recorder")),  # a second one beside the first
        (one(5, "/rosbag2_recorder"),),  # one that was started anew
        (ECHO, PLOTTER),
        (one(6, "/plotter"),),
        (one(7, ""),),  # its name is not known yet
        (one(1, "/arm_controller", 2),),  # the controller's own second subscription
        (one(8, "/gauge", hears=False),),
    ],
)
def test_who_only_listens_comes_and_goes(others):
    watch = enabled(ARM)
    for listeners in ((ARM,), (ARM, *others), (ARM,), (ARM, *others)):
        watch.look(listeners, ended=[])
        assert watch.lost() == "" and watch.missing() == ""
    watch.look((ARM, *others), ended=[other.gid for other in others if other.node != ARM.node])
    assert watch.lost() == ""


@pytest.mark.parametrize("tool", [RECORDER, ECHO, one(5, "/rqt_gui_py_node_9")])
def test_a_tool_that_was_there_when_the_gate_was_enabled_may_leave(tool):
    watch = enabled(ARM, tool)
    watch.look((ARM,))
    assert watch.lost() == ""


def test_a_tool_whose_name_came_late_may_leave():
    watch = enabled(ARM, one(4, ""))
    watch.look((ARM, ECHO))
    watch.look((ARM,))
    assert watch.lost() == ""


def test_who_was_there_when_the_gate_was_enabled_must_not_leave():
    watch = enabled(ARM, PLOTTER)
    watch.look((ARM,))
    assert watch.lost().startswith(f"/plotter on {TOPIC} has left; it listened when")
    assert "key controllers" in watch.lost()


@pytest.mark.parametrize("beside", [(), (RECORDER,), (PLOTTER,)])
def test_a_controller_that_leaves_ends_or_is_started_anew_is_lost(beside):
    watch = enabled(ARM, *beside)
    watch.look((ARM, *beside), ended=[ARM.gid])
    assert watch.lost() == f"/arm_controller on {TOPIC} has ended"
    watch = enabled(ARM, *beside)
    watch.look(beside)
    assert f"/arm_controller on {TOPIC} has left" in watch.lost()
    anew = one(9, "/arm_controller")
    watch.look((anew, *beside))
    assert f"/arm_controller on {TOPIC} was started anew" in watch.lost()
    watch = enabled(ARM, *beside)
    watch.look((ARM, anew, *beside))  # killed elsewhere, it stays known for a while
    assert watch.lost() == f"/arm_controller on {TOPIC} was started anew"
    watch.take()
    assert watch.lost() == ""  # enabled anew with what is there
    watch.look((anew, *beside))
    assert watch.lost() == ""  # only the dead one of two of a name has gone


def test_a_dead_controller_that_is_still_known_is_no_newcomer():
    """It was killed, started anew, and the gate reset and enabled: nothing is wrong any more."""
    watch = enabled(ARM, RECORDER)
    anew = one(9, "/arm_controller")
    watch.look((ARM, RECORDER, anew), ended=[ARM.gid])
    assert watch.missing() == ""
    watch.take()
    for listeners in ((ARM, RECORDER, anew), (RECORDER, anew)):
        watch.look(listeners, ended=[ARM.gid])
        assert watch.lost() == ""
    watch.look((RECORDER, anew, one(10, "/arm_controller")))
    assert watch.lost() == f"/arm_controller on {TOPIC} was started anew"


def test_without_a_controller_the_gate_is_told_who_is_there():
    watch = ControllerWatch(TOPIC)
    assert watch.missing() == f"no subscriber with matching QoS on {TOPIC}"
    watch.look([RECORDER, ECHO])
    assert watch.missing() == f"nobody but observers on {TOPIC}: /rosbag2_recorder, /_ros2cli_4711"
    watch.look([one(1, "/arm_controller", hears=False)])
    assert watch.missing() == f"no subscriber with matching QoS on {TOPIC}"
    watch.look([ARM], ended=[ARM.gid])
    assert watch.missing()


def test_named_controllers_are_needed_and_nobody_else_counts():
    named = ("/arm_controller", "/logger")
    watch = ControllerWatch(TOPIC, named)
    watch.look([PLOTTER, ARM])
    assert (
        watch.missing() == f"no controller /logger on {TOPIC} (there: /plotter, /arm_controller)"
    )
    watch.look([ARM, one(5, "/logger", hears=False)])
    assert watch.missing() == f"/logger on {TOPIC} takes another type or QoS"
    logger = one(5, "/logger")
    watch = enabled(ARM, PLOTTER, logger, named=named)
    watch.look([ARM, logger, one(6, "/plotter")], ended=[PLOTTER.gid])
    assert watch.lost() == ""
    watch.look([ARM])
    assert watch.lost() == f"/logger on {TOPIC} has left"
    watch.look([one(9, "/arm_controller"), ARM, logger])
    assert watch.lost() == f"/arm_controller on {TOPIC} was started anew"
    recorder = enabled(one(2, "/rosbag2_recorder"), named=("/rosbag2_recorder",))
    recorder.look([])
    assert "has left" in recorder.lost()  # named is named
