"""Packages what runs beside a robot; a file to install that is missing fails the build."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "roboalign_policy"
LAUNCH_FILES = ("real_robot", "sim_robot", "record", "train")


def files(folder: str, pattern: str) -> list[str]:
    """Files of a folder, by name; an empty glob would be installed as nothing, without a word."""
    found = sorted(str(path) for path in Path(folder).glob(pattern))
    if not found:
        raise FileNotFoundError(f"{NAME}/{folder}: found no {pattern}, expected at least one")
    return found


files(f"{NAME}/models/roboalign_tiny", "model.safetensors")  # package_data takes what it finds

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    description="All of RoboAlign that runs beside a robot",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"], f"{NAME}.models": ["roboalign_tiny/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        # The launch files stand at the root of the workspace, where users look for them.
        (f"share/{NAME}/launch", [f"../launch/{name}.launch.py" for name in LAUNCH_FILES]),
        (f"share/{NAME}/config", ["config/fastdds_profile.xml", *files("config", "*.yaml")]),
        (f"share/{NAME}/config/decoder", files("config/decoder", "*.yaml")),
        (f"share/{NAME}/config/robots", files("config/robots", "*.yaml")),
    ],
    python_requires=">=3.10,<3.14",
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # without it, colcon test runs no test and says OK
    zip_safe=False,
    entry_points={
        "console_scripts": [
            f"{node} = {NAME}.nodes.start:{node}"
            for node in ("policy_node", "recorder_node", "safety_gate_node", "sim_robot_node")
        ],
    },
)
