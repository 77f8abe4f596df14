"""Packages what runs offline; a file to install that is missing fails the build."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "roboalign_training"
PAGE_SCRIPTS = ["figures.js", "charts.js", "tokens.js", "player.js"]


def files(folder: str, pattern: str) -> list[str]:
    """Files of a folder, by name; an empty glob would be installed as nothing, without a word."""
    found = sorted(str(path) for path in Path(folder).glob(pattern))
    if not found:
        raise FileNotFoundError(f"{NAME}/{folder}: found no {pattern}, expected at least one")
    return found


setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    description="All of RoboAlign that runs offline",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["py.typed"],
        f"{NAME}.evaluate": ["report.html.j2", "report.css"],
        f"{NAME}.look": ["page.html.j2", "player.html.j2", "page.css", *PAGE_SCRIPTS],
    },
    data_files=[
        # Sourcing the workspace puts bin/ on the PATH; console scripts go where ros2 run looks.
        ("bin", ["bin/roboalign"]),
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/config", files("config", "*.yaml")),
        (f"share/{NAME}/config/experiments", files("config/experiments", "*.yaml")),
    ],
    python_requires=">=3.10,<3.14",
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # without it, colcon test runs no test and says OK
    zip_safe=False,
    entry_points={
        "console_scripts": [
            f"sft_node = {NAME}.nodes.sft_node:main",
            f"grpo_node = {NAME}.nodes.grpo_node:main",
            f"vla_node = {NAME}.nodes.vla_node:main",
            f"roboalign = {NAME}.cli:main",
        ],
    },
)
