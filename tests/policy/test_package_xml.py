"""What a package imports is what its package.xml asks rosdep to install, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = {"roboalign_msgs", "roboalign_policy", "roboalign_training"}
#: Keys of rosdep/python.yaml for what is imported under another name.
KEYS = {
    **{name: f"python3-{name}" for name in ("hypothesis", "jinja2", "matplotlib", "msgpack")},
    **{name: f"python3-{name}" for name in ("numba", "numpy", "pandas", "pytest", "rich")},
    **{name: f"python3-{name}" for name in ("scipy", "websockets", "yaml")},
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
}
#: No key, a key that asks pip (which newer distributions refuse outside an environment), or one
#: whose versions are too old. Import -> name in docs/install.md.
BY_PIP = {
    **{name: name for name in ("av", "datasets", "isal", "lz4", "markupsafe", "mcap", "mujoco")},
    **{name: name for name in ("peft", "pyarrow", "rosbags", "safetensors", "tokenizers")},
    "torch": "torch",
    **{name: name for name in ("transformers", "trl", "zstandard")},
    "rerun": "rerun-sdk",
}
#: Started as programs, not imported: `ros2 launch`, `ros2 bag record --storage mcap`.
PROGRAMS = {"ros2bag", "ros2launch", "rosbag2_storage_mcap"}
#: Of the training tests: what they compare with, where it is installed.
OPTIONAL = {"lerobot", "torchcodec"}
PACKAGES = {
    "roboalign_policy": (["roboalign_policy/roboalign_policy", "launch"],
                         ["tests/policy", "tests/ros", "tests/launch"]),
    "roboalign_training": (["roboalign_training/roboalign_training"], ["tests/training"]),
}  # fmt: skip


def imports(folders):
    """Top-level names that the Python files below some folders import, the standard's left out."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 3
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)


def depends(package, *tags):
    """What a package.xml names under some tags."""
    root = ElementTree.parse(ROOT / package / "package.xml").getroot()
    return {element.text for tag in tags for element in root.iter(tag)}


def wanted(names):
    """Keys that rosdep has to be asked for: ROS packages have their own names."""
    return {KEYS.get(name, name) for name in names if name not in BY_PIP}


@pytest.mark.parametrize("package", PACKAGES)
def test_rosdep_is_asked_for_what_the_code_imports(package):
    expected = wanted(imports(PACKAGES[package][0])) - {package}
    programs = PROGRAMS if package == "roboalign_policy" else set()
    assert depends(package, "exec_depend", "depend") == expected | programs


@pytest.mark.parametrize("package", PACKAGES)
def test_rosdep_is_asked_for_what_the_tests_import_beside_it(package):
    code, tests = PACKAGES[package]
    folders = [ROOT / name for name in ("tests", "bench", "scripts")]
    helpers = {path.stem for folder in folders for path in folder.rglob("*") if path.is_dir()}
    helpers |= {path.stem for folder in folders for path in folder.rglob("*.py")}
    found = imports(tests) - imports(code) - helpers - OWN - OPTIONAL
    # Tests that need both packages skip where the other is not installed.
    expected = wanted(found) | {"python3-pytest-timeout"}
    assert depends(package, "test_depend") == expected


def test_what_pip_has_to_install_is_required_and_named_in_the_docs():
    text = (ROOT / "docs/install.md").read_text("utf-8")
    (line,) = [line for line in text.splitlines() if "rosdep" in line and "requirements/" in line]
    named = set(re.findall(r"`([a-z0-9-]+)`", line.split("requirements/", 1)[1]))
    used = set().union(*(imports(part) for parts in PACKAGES.values() for part in parts))
    assert named == {BY_PIP[name] for name in used & set(BY_PIP)}


def test_interfaces_of_actions_need_action_msgs():
    assert {"action_msgs", "builtin_interfaces", "std_msgs"} <= depends("roboalign_msgs", "depend")
