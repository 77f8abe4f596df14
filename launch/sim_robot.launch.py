"""Brings up the simulated arm alone, in real time or in lock step."""

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
            "mode",
            default_value="realtime",
            choices=["realtime", "lockstep"],
            description="realtime: steps at the contract's rate; "
            "lockstep: steps when every command for an observation has arrived.",
        ),
        DeclareLaunchArgument(
            "suite",
            default_value="object",
            choices=["object", "spatial", "goal", "long"],
            description="Suite of the first episode's task.",
        ),
        DeclareLaunchArgument(
            "task",
            default_value="",
            description="Name of the first episode's task; empty: the first of the suite.",
        ),
        DeclareLaunchArgument(
            "seed",
            default_value="0",
            description="Seed of scene, start pose and action noise, 0 or more.",
        ),
        DeclareLaunchArgument(
            "action_noise",
            default_value="0.0",
            description="Standard deviation of the noise between command and arm, "
            "in units of the action.",
        ),
        DeclareLaunchArgument(
            "demonstrator",
            default_value="none",
            choices=["none", "expert"],
            description="expert: the scripted expert commands the arm when told to.",
        ),
        DeclareLaunchArgument(
            "namespace",
            default_value="",
            description="Namespace of the node and its topics; one a robot.",
        ),
        DeclareLaunchArgument(
            "params",
            default_value=PathJoinSubstitution([config, "sim_robot.yaml"]),
            description="Parameter file of sim_robot_node; arguments here win over it.",
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
                executable="sim_robot_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    LaunchConfiguration("params"),
                    {
                        "mode": text("mode"),
                        "suite": text("suite"),
                        "task": text("task"),
                        "seed": ParameterValue(LaunchConfiguration("seed"), value_type=int),
                        "action_noise": ParameterValue(
                            LaunchConfiguration("action_noise"), value_type=float
                        ),
                        "demonstrator": text("demonstrator"),
                    },
                ],
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                output="screen",
                additional_env={ENDS_WITH: ends_with_this_process()},
            ),
        ]
    )
