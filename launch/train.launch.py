"""Brings up the trainer nodes: action servers that run SFT, GRPO and VLA on request."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import AnySubstitution, EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import Node

from roboalign_policy.core.host.ending import ENDS_WITH, ends_with_this_process


def generate_launch_description():
    kind = LaunchConfiguration("kind")

    def starts(*kinds):
        return IfCondition(AnySubstitution(*(EqualsSubstitution(kind, name) for name in kinds)))

    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "kind",
                default_value="all",
                choices=["sft", "grpo", "vla", "both", "all"],
                description="Which trainer nodes to start; both: those of SFT and GRPO.",
            ),
            DeclareLaunchArgument(
                "namespace",
                default_value="",
                description="Namespace of the nodes.",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="Least severity that is logged.",
            ),
            Node(
                package="roboalign_training",
                executable="sft_node",
                namespace=LaunchConfiguration("namespace"),
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                output="screen",
                additional_env={ENDS_WITH: ends_with_this_process()},
                # A running job writes its checkpoint before the end.
                sigterm_timeout="180",
                sigkill_timeout="30",
                condition=starts("sft", "both", "all"),
            ),
            Node(
                package="roboalign_training",
                executable="grpo_node",
                namespace=LaunchConfiguration("namespace"),
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                output="screen",
                additional_env={ENDS_WITH: ends_with_this_process()},
                # A running job writes its checkpoint before the end.
                sigterm_timeout="180",
                sigkill_timeout="30",
                condition=starts("grpo", "both", "all"),
            ),
            Node(
                package="roboalign_training",
                executable="vla_node",
                namespace=LaunchConfiguration("namespace"),
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                output="screen",
                additional_env={ENDS_WITH: ends_with_this_process()},
                # A running job writes its checkpoint before the end.
                sigterm_timeout="180",
                sigkill_timeout="30",
                condition=starts("vla", "all"),
            ),
        ]
    )
