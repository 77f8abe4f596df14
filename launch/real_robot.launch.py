"""Brings up a robot's policy; `use_sim:=true` puts the simulated arm in place of the robot.

The robot itself (drivers, servo_node, controllers) is started by its own launch files: here is
only what reads its topics and writes its commands, as the contract says: policy_node, whose
candidates reach nobody but safety_gate_node, which alone writes commands. Nothing is commanded
before the gate is enabled.
"""

import sys

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, LogInfo, OpaqueFunction
from launch.conditions import IfCondition, UnlessCondition
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch.substitutions import (
    EnvironmentVariable,
    EqualsSubstitution,
    IfElseSubstitution,
    LaunchConfiguration,
    PathJoinSubstitution,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from roboalign_policy.core.host.ending import ENDS_WITH, ends_with_this_process
from roboalign_policy.core.parameters.launch_check import arguments_given_to, check_arguments
from roboalign_policy.core.policy.default_place import find_policy

FILES = ("params", "gate_params")  # arguments that name a parameter file


def text(name):
    """Launch argument as a string parameter, even when it looks like a number."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)


def checked(context, declared):
    """Refuse arguments that nobody takes and parameter files that are not there."""
    given = arguments_given_to(__file__, "roboalign_policy", sys.argv, context.argv)
    values = context.launch_configurations
    check_arguments(values, FILES, declared, given)
    try:
        values["policy"] = str(find_policy(values["policy"]))
    except FileNotFoundError as error:
        if not values["contract"]:  # with one, the policy may be on another machine
            raise FileNotFoundError(f"policy: {error}") from None


def generate_launch_description():
    config = PathJoinSubstitution([FindPackageShare("roboalign_policy"), "config"])
    use_sim = LaunchConfiguration("use_sim")
    arguments = [
        DeclareLaunchArgument(
            "policy",
            default_value=EnvironmentVariable("ROBOALIGN_POLICY", default_value=""),
            description="Folder of the checkpoint that drives (default: $ROBOALIGN_POLICY, else "
            "the one that the demo chose, out/demo/best.json, here or in the checkout).",
        ),
        DeclareLaunchArgument(
            "contract",
            default_value="",
            description="Robot contract, path or packaged name; "
            "empty: the one stored in the checkpoint.",
        ),
        DeclareLaunchArgument(
            "decoder",
            default_value="auto",
            choices=["auto", "fast", "flow"],
            description="Tokens (fast) or action head (flow), where the checkpoint has both; "
            "auto: as the parameter file says, else as the checkpoint does.",
        ),
        DeclareLaunchArgument(
            "use_sim",
            default_value="false",
            choices=["true", "false"],
            description="Start the simulated arm instead of expecting a robot.",
        ),
        DeclareLaunchArgument(
            "enabled",
            default_value=use_sim,
            choices=["true", "false"],
            description="Enable the gate, and drive as soon as there is an instruction "
            "(default: only with use_sim); otherwise ~/enable of both nodes does it.",
        ),
        DeclareLaunchArgument(
            "dry_run",
            default_value="false",
            choices=["true", "false"],
            description="Send what passes the gate to dry_run/... topics, not to the controllers.",
        ),
        DeclareLaunchArgument(
            "namespace",
            default_value="",
            description="Namespace of all nodes and topics; one a robot.",
        ),
        DeclareLaunchArgument(
            "params",
            default_value=PathJoinSubstitution([config, "policy.yaml"]),
            description="Parameter file of policy_node; arguments here win over it.",
        ),
        DeclareLaunchArgument(
            "gate_params",
            default_value=PathJoinSubstitution([config, "safety_gate.yaml"]),
            description="Parameter file of safety_gate_node; arguments here win over it.",
        ),
        DeclareLaunchArgument(
            "suite",
            default_value="object",
            choices=["object", "spatial", "goal", "long"],
            description="With use_sim: suite of the simulated task.",
        ),
        DeclareLaunchArgument(
            "task",
            default_value="",
            description="With use_sim: name of the task; empty: the first of the suite.",
        ),
        DeclareLaunchArgument(
            "seed",
            default_value="0",
            description="With use_sim: seed of scene and start pose, 0 or more.",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severity that is logged.",
        ),
    ]
    nodes, over = [], []

    def ended(event, context):
        """End the others too: one alone drives nothing. The gate ends with the safe action."""
        if context.is_shutdown or over:
            return []
        over.append(event)
        text = f"{event.process_name} ended with code {event.returncode}; ending the others"
        others = [node for node in nodes if node is not event.action]
        return [
            LogInfo(msg=text),
            *(EmitEvent(event=ShutdownProcess(process_matcher=matches_action(n))) for n in others),
        ]

    nodes += [
        Node(
            package="roboalign_policy",
            executable="sim_robot_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                {
                    "mode": "realtime",
                    "suite": text("suite"),
                    "task": text("task"),
                    "seed": ParameterValue(LaunchConfiguration("seed"), value_type=int),
                }
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            additional_env={ENDS_WITH: ends_with_this_process()},
            on_exit=ended,
            condition=IfCondition(use_sim),
        ),
        Node(
            package="roboalign_policy",
            executable="safety_gate_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("gate_params"),
                {
                    "policy": text("policy"),
                    "contract": text("contract"),
                    "enabled": ParameterValue(LaunchConfiguration("enabled"), value_type=bool),
                    "dry_run": ParameterValue(LaunchConfiguration("dry_run"), value_type=bool),
                },
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            additional_env={ENDS_WITH: ends_with_this_process()},
            on_exit=ended,
        ),
        Node(
            package="roboalign_policy",
            executable="policy_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params"),
                # What a parameter file says is not overwritten unasked.
                IfElseSubstitution(
                    EqualsSubstitution(LaunchConfiguration("decoder"), "auto"),
                    LaunchConfiguration("params"),
                    [
                        PathJoinSubstitution([config, "decoder", LaunchConfiguration("decoder")]),
                        ".yaml",
                    ],
                ),
                {
                    "policy": text("policy"),
                    "contract": text("contract"),
                    "execution": "realtime",
                    "output": "candidate",
                    "autostart": True,
                    "enabled": ParameterValue(LaunchConfiguration("enabled"), value_type=bool),
                },
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            additional_env={ENDS_WITH: ends_with_this_process()},
            on_exit=ended,
        ),
    ]
    return LaunchDescription(
        [
            *arguments,
            OpaqueFunction(function=checked, args=[[a.name for a in arguments]]),
            LogInfo(msg="simulated arm", condition=IfCondition(use_sim)),
            LogInfo(msg="waiting for the robot's topics", condition=UnlessCondition(use_sim)),
            *nodes,
        ]
    )
