"""The simulated arm on ROS topics, exactly as a real one would be; in real time or in lock step.

Lock step: an observation goes out, then the node waits for every command stamped with it, steps,
and sends the next. Nothing runs between; an episode takes as long as those that answer need, and
the same commands give the same pixels.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from roboalign_msgs.srv import GetOutcome, ResetSim
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg, values_from_command
from roboalign_policy.core.parameters.sim_robot import SimRobotParameters
from roboalign_policy.nodes.sim.sim_world import SimWorld
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.chunk_msgs import CommandWriter
from roboalign_policy.ros.conversions import (
    clock_to_msg,
    image_to_msg,
    joint_state_to_msg,
    pose_to_msg,
)
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.parameters import declare_parameters
from roboalign_policy.ros.qos import lossless_qos, qos_from_contract, reliable_qos
from roboalign_policy.ros.stamps import NS_PER_S, ns_to_stamp
from roboalign_policy.sim.command_collector import CommandCollector

EARLY = 0.02  # periods by which a timer may be early
SETTLING = 20  # ticks
LOCKSTEP_START_NS = NS_PER_S  # not 0, which ROS reads as "no time yet"
REALTIME_DEPTH = 10
CAMERAS = {"front": "camera/front/image_raw", "wrist": "camera/wrist/image_raw"}
"""The first is always drawn, another one for whoever listens."""
ARM_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
GRIPPER_JOINT = "gripper_width"


class SimRobotNode(Node):
    """Publishes observations, obeys commands, resets on request.

    With ``demonstrator: expert`` it also commands itself.
    """

    def __init__(self) -> None:
        """Declare, load the contract, open topics and services, begin the first episode."""
        super().__init__("sim_robot_node")
        self._settings = declare_parameters(self, SimRobotParameters)
        self._contract = load_contract(find_contract(self._settings.contract))
        self._lockstep = self._settings.mode == "lockstep"
        self._collector = CommandCollector(self._contract)
        self._demonstrating = False
        self._progress = -1
        self._grid_ns, self._ticks = self._now_ns(), 0
        period_s = 1.0 / self._contract.rate_hz
        linger = self._settings.linger_steps if self._settings.demonstrator == "expert" else 0
        self._world = SimWorld(round(period_s * NS_PER_S), LOCKSTEP_START_NS, linger)
        self._open_topics()
        first = self._settings
        self._reset(first.suite, first.task, first.seed, first.action_noise)
        self.create_service(ResetSim, "~/reset", self._on_reset)
        self.create_service(GetOutcome, "~/get_outcome", self._on_get_outcome)
        self.create_service(Trigger, "~/demonstrate", self._on_demonstrate)
        if self._lockstep:
            self._timer = self.create_timer(self._settings.republish_s, self._republish)
        else:
            self._timer = self.create_timer(period_s, self._tick)
        self.get_logger().info(
            f"{self._settings.mode}, demonstrator: {self._settings.demonstrator}"
        )

    def _open_topics(self) -> None:
        """Publishers of the arm, subscriptions, and for the expert publishers of commands."""
        qos = lossless_qos() if self._lockstep else reliable_qos(REALTIME_DEPTH)
        self._time = self.create_publisher(Clock, "/clock", qos)
        self._images = {
            camera: self.create_publisher(Image, topic, qos) for camera, topic in CAMERAS.items()
        }
        self._joints = self.create_publisher(JointState, "joint_states", qos)
        self._pose = self.create_publisher(PoseStamped, "ee_pose", qos)
        self._gripper = self.create_publisher(JointState, "gripper_state", qos)
        self._scene = self.create_publisher(String, "scene", qos)
        self._task = self.create_publisher(
            String, self._contract.task.topic, reliable_qos(1, latched=True)
        )
        self._writer = CommandWriter(self._contract)
        self._expert = []
        for command in self._contract.action.commands:
            kind = message_class(command.type)
            obeyed = lossless_qos() if self._lockstep else qos_from_contract(command.qos)
            self.create_subscription(
                kind, command.topic, functools.partial(self._on_command, command), obeyed
            )
            if self._settings.demonstrator == "expert":
                self._expert.append(self.create_publisher(kind, command.topic, qos))

    def _reset(self, suite: str, task: str, seed: int, action_noise: float) -> None:
        """Begin an episode; the expert waits until it is told to demonstrate.

        Raises:
            ValueError: no such suite or task, or a number out of range; nothing was changed.
        """
        self._world.reset(
            suite, task, seed, action_noise, None if self._lockstep else self._now_ns()
        )
        self._collector.reset(kept=-1.0)
        self._demonstrating = False
        self._progress = -1
        self._task.publish(String(data=self._world.instruction))
        self.get_logger().info(
            f"task {suite}/{self._world.task}, seed {seed}: {self._world.instruction}"
        )
        # A recorder can be started between the reset and the first observation of a demonstration.
        if self._lockstep and self._settings.demonstrator == "none":
            self._observe()

    def _now_ns(self) -> int:
        """Present time of the system's clock."""
        return time.time_ns()

    def _observe(self) -> None:
        """Publish the present observation, and how the episode ended; the expert answers."""
        world, seen = self._world, self._world.observation
        if news := world.news():
            self.get_logger().info(news)
        stamp, frame = world.stamp_ns, self._contract.base_frame
        self._time.publish(clock_to_msg(stamp))
        self._joints.publish(joint_state_to_msg(ARM_JOINTS, seen.joints, stamp))
        self._pose.publish(pose_to_msg(seen.ee_position, seen.ee_rotvec, stamp, frame))
        self._gripper.publish(joint_state_to_msg([GRIPPER_JOINT], [seen.gripper_width], stamp))
        self._scene.publish(String(data=world.scene_json(self._collector.ignored)))
        if self._lockstep:
            self._collector.expect(None if world.done else stamp)
        # The images go last: who steps when they arrive has the rest already.
        for camera, publisher in self._images.items():
            if camera in seen.images or publisher.get_subscription_count():
                lens = f"camera_{camera}_optical_frame"
                publisher.publish(image_to_msg(world.picture(camera), stamp, lens))
        if self._demonstrating and not world.done:
            self._command()

    def _command(self) -> None:
        """Publish what the expert does now on the command topics, as any other commander would."""
        messages = self._writer.write(self._world.expert_action(), self._world.stamp_ns)
        for publisher, msg in zip(self._expert, messages, strict=True):
            publisher.publish(msg)

    def _on_command(self, command: Any, msg: Any) -> None:
        """Take a command; in lock step the one that completes an action steps the world."""
        try:
            values = values_from_command(msg, command)
        except SelectorError as error:
            self._collector.ignored += 1
            self.get_logger().warning(f"{command.topic}: {error}", throttle_duration_sec=1.0)
            return
        self._world.command()
        if not self._lockstep:
            self._collector.offer_held(command.topic, self._now_ns(), values)
            return
        action = self._collector.offer_paired(command.topic, stamp_ns_from_msg(msg) or 0, values)
        if action is not None:
            self._world.step(action)
            self._observe()

    def _tick(self) -> None:
        """Real time: one control step with whatever command is in force."""
        now_ns = self._now_ns()
        stamp_ns, last_ns = self._stamp_of(now_ns), self._world.stamp_ns
        if stamp_ns <= last_ns <= now_ns:
            return  # a late tick, of a time at which the scene was set up
        action = self._collector.held_action(now_ns, self._settings.command_timeout_s)
        self._world.step(action, stamp_ns)
        self._observe()

    def _stamp_of(self, now_ns: int) -> int:
        """Stamp of the observation of a tick.

        Where the expert demonstrates they are whole periods apart, over resets too, as those of a
        camera with a clock of its own are: its commands answer them, and by how much the timer
        misses its time says nothing of when a simulated picture was taken. The first ticks find
        the timer's phase; later ones are no more than `EARLY` periods ahead of the clock.
        """
        if self._settings.demonstrator != "expert":
            return now_ns
        period_ns, self._ticks = round(NS_PER_S / self._contract.rate_hz), self._ticks + 1
        periods, phase = divmod((now_ns - self._grid_ns) / period_ns + EARLY, 1.0)
        stamp_ns = self._grid_ns + int(periods) * period_ns
        set_back = now_ns < self._world.stamp_ns - period_ns
        if set_back or (self._ticks <= SETTLING and phase > 0.5):
            self._grid_ns = stamp_ns = now_ns
        return stamp_ns

    def _republish(self) -> None:
        """Lock step: send an observation again that nobody has answered for a while."""
        waiting = self._settings.demonstrator == "none" and not self._world.done
        if waiting and self._progress == self._world.steps:
            self._observe()
        self._progress = self._world.steps

    def _on_reset(
        self, request: ResetSim.Request, response: ResetSim.Response
    ) -> ResetSim.Response:
        """Service ~/reset."""
        try:
            self._reset(request.suite, request.task, request.seed, request.action_noise)
        except ValueError as error:
            response.ok, response.message = False, str(error)
            return response
        response.ok, response.instruction = True, self._world.instruction
        response.stamp = ns_to_stamp(self._world.stamp_ns)
        return response

    def _on_get_outcome(
        self, _request: GetOutcome.Request, response: GetOutcome.Response
    ) -> GetOutcome.Response:
        """Service ~/get_outcome."""
        world = self._world
        response.success, response.steps, response.done = world.success, world.steps, world.done
        response.suite, response.task, response.seed = world.suite, world.task, world.seed
        return response

    def _on_demonstrate(
        self, _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Service ~/demonstrate: the expert begins.

        In lock step the first observation goes out now.
        """
        if self._settings.demonstrator != "expert":
            response.message = (
                "demonstrator: found 'none', expected 'expert': start the node with that parameter"
            )
        elif self._demonstrating or self._world.done:
            response.message = "the demonstration is running or over: reset first"
        elif unheard := self._unheard():
            topics = ", ".join(unheard)
            response.message = f"nobody listens to {topics}: start a recorder, or await discovery"
        else:
            response.success = self._demonstrating = True
            if self._lockstep:
                self._observe()
        return response

    def _unheard(self) -> list[str]:
        """Topics without a subscriber besides this node.

        What is published on them now would be lost for a recorder.
        """
        named = {stream.topic for stream in self._contract.images}
        images = [
            publisher
            for camera, publisher in self._images.items()
            if camera in self._world.observation.images or CAMERAS[camera] in named
        ]
        observation = (*images, self._joints, self._pose, self._gripper)
        heard = [(publisher, 0) for publisher in observation] + [
            (publisher, 1) for publisher in self._expert
        ]
        return [
            publisher.topic_name
            for publisher, own in heard
            if publisher.get_subscription_count() <= own
        ]


def main() -> int:
    """Run the node until it is told to stop; exit status."""
    return run_node(lambda _: SimRobotNode(), takes_words=False)


if __name__ == "__main__":
    sys.exit(main())
