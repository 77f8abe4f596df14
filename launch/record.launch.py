"""Brings up the recorder: one MCAP bag an episode, on request of RecordEpisode or its services."""

import sys

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from roboalign_policy.core.host.ending import ENDS_WITH, ends_with_this_process
from roboalign_policy.core.parameters.launch_check import arguments_given_to, check_arguments

FILES = ("params",)  # arguments that name a parameter file


def text(name):
    """Launch argument as a string parameter, even when it looks like a number."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)


def checked(context, declared):
    """Refuse arguments that nobody takes and parameter files that are not there."""
    given = arguments_given_to(__file__, "roboalign_policy", sys.argv, context.argv)
    check_arguments(context.launch_configurations, FILES, declared, given)


def generate_launch_description():
    config = PathJoinSubstitution([FindPackageShare("roboalign_policy"), "config"])
    arguments = [
        DeclareLaunchArgument(
            "contract",
            default_value="sim_panda",
            description="Robot contract whose topics are recorded, path or packaged name.",
        ),
        DeclareLaunchArgument(
            "bag_dir",
            default_value="bags",
            description="Folder of the episodes; made where it is missing.",
        ),
        DeclareLaunchArgument(
            "dataset_dir",
            default_value="",
            description="Data set to which each finished episode is appended; empty: none.",
        ),
        DeclareLaunchArgument(
            "storage",
            default_value="mcap",
            choices=["mcap", "rosbag2"],
            description="The suite's own writer, or one `ros2 bag record` an episode.",
        ),
        DeclareLaunchArgument(
            "namespace",
            default_value="",
            description="Namespace of the node and its topics; one a robot.",
        ),
        DeclareLaunchArgument(
            "params",
            default_value=PathJoinSubstitution([config, "recorder.yaml"]),
            description="Parameter file of recorder_node; arguments here win over it.",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severity that is logged.",
        ),
    ]
    return LaunchDescription(
        [
            *arguments,
            OpaqueFunction(function=checked, args=[[a.name for a in arguments]]),
            Node(
                package="roboalign_policy",
                executable="recorder_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    LaunchConfiguration("params"),
                    {
                        "contract": text("contract"),
                        "bag_dir": text("bag_dir"),
                        "dataset_dir": text("dataset_dir"),
                        "storage": text("storage"),
                    },
                ],
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                output="screen",
                additional_env={ENDS_WITH: ends_with_this_process()},
                # An episode is brought to the disk, and to the data set, before the end.
                sigterm_timeout="180",
                sigkill_timeout="30",
            ),
        ]
    )
