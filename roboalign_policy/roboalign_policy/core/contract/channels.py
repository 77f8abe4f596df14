"""Where a robot is driven: the topics, and actions, that lead to its controllers."""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_policy.core import keys
from roboalign_policy.core.contract.parts import Action, Command, Qos

_OUTPUT_TYPES = {
    keys.JOINT_TRAJECTORY_OUTPUT: keys.JOINT_TRAJECTORY_TYPE,
    keys.JOINT_GROUP_OUTPUT: keys.FLOAT_ARRAY_TYPE,
    keys.POSE_OUTPUT: keys.POSE_STAMPED_TYPE,
    keys.GRIPPER_ACTION_OUTPUT: "control_msgs/action/GripperCommand",
}


@dataclass(frozen=True)
class CommandChannel:
    """One topic, or action, on which the robot is driven.

    Attributes:
        where: its place in the contract.
        topic, type, qos: of the topic or action.
        controllers: names of the nodes that the contract takes for its controllers; empty: any.
    """

    where: str
    topic: str
    type: str
    qos: Qos
    controllers: tuple[str, ...] = ()

    @property
    def is_action(self) -> bool:
        """Whether goals are sent instead of messages."""
        return "/action/" in self.type


def sent_commands(action: Action) -> tuple[int, ...]:
    """Indices of the commands that are sent; outputs take the place of those of their dimensions.

    Only whole commands are replaced: the rules of a contract see to it.
    """
    replaced: set[str] = set()
    for output in action.outputs:
        gripper = output.kind == keys.GRIPPER_ACTION_OUTPUT
        replaced.update({keys.GRIPPER_DIM} if gripper else keys.EE_DIMS)
    commands = enumerate(action.commands)
    return tuple(index for index, command in commands if not set(command.fields) <= replaced)


def command_channels(action: Action) -> tuple[CommandChannel, ...]:
    """Return where the robot is driven: the commands that are sent, then the outputs."""
    parts = [(f"action.commands[{i}]", action.commands[i]) for i in sent_commands(action)]
    parts += [(f"action.outputs[{i}]", output) for i, output in enumerate(action.outputs)]
    return tuple(
        CommandChannel(
            where,
            part.topic,
            part.type if isinstance(part, Command) else _OUTPUT_TYPES[part.kind],
            part.qos,
            part.controllers,
        )
        for where, part in parts
    )
