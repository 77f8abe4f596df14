"""Imports run one way: walks the syntax tree of every module of both packages."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POLICY, TRAINING = "roboalign_policy", "roboalign_training"
MESSAGES = {
    *("action_msgs", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs"),
    *("rcl_interfaces", "roboalign_msgs", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs"),
    *("trajectory_msgs", "unique_identifier_msgs"),
}
ROS = MESSAGES | {"rclpy", "ament_index_python"}
# Only on machines with a whole ROS 2, so never in a module; the launch files are not modules.
WHOLE_ROS = {"launch", "launch_ros", "rosbag2_py", "cv_bridge", "tf2_ros", "message_filters"}


@dataclass(frozen=True)
class Rule:
    """What a part of roboalign_policy may import.

    Attributes:
        parts: parts of the same package, beside itself.
        packages: packages beside the standard library.
        inside: packages that only functions may import, because they are optional there.
    """

    parts: frozenset[str]
    packages: frozenset[str]
    inside: frozenset[str] = frozenset()


def rule(parts: str, packages: str, inside: str = "", ros: bool = False) -> Rule:
    """A rule from words."""
    names = set(packages.split()) | (ROS if ros else set())
    return Rule(frozenset(parts.split()), frozenset(names), frozenset(inside.split()))


RULES = {
    "core": rule("", "numpy yaml", inside="PIL cv2"),
    "fast": rule("core", "numpy scipy tokenizers numba"),
    "models": rule(
        "core fast", "numpy yaml PIL torch transformers tokenizers safetensors huggingface_hub"
    ),
    "sim": rule("core kinematics", "numpy mujoco"),
    "kinematics": rule("core", "numpy mujoco"),
    "remote": rule("core", "numpy msgpack websockets"),
    "ros": rule(
        "core kinematics",
        "numpy yaml mcap lz4 zstandard",
        inside="control_msgs cv_bridge",
        ros=True,
    ),
    "nodes": rule(
        "core fast models sim kinematics remote ros",
        "numpy yaml mcap msgpack",
        inside="control_msgs",
        ros=True,
    ),
    "__init__": rule("", ""),
}


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes:
        name: its full dotted name.
        line: where it is imported.
        inside: whether a function imports it when called, rather than the module when loaded.
        typing: whether it is for annotations alone, below ``if TYPE_CHECKING``.
    """

    name: str
    line: int
    inside: bool
    typing: bool = False


def imports_of(source: str, module: str) -> list[Import]:
    """Every import of a module, also those that are calls of importlib with a fixed name.

    Args:
        source: text of the module.
        module: its full dotted name; a package's ends in ``.__init__``.
    """
    found: list[Import] = []

    def visit(node: ast.AST, inside: bool, typing: bool) -> None:
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(node, ast.If):
            typing = typing or ast.unparse(node.test).endswith("TYPE_CHECKING")
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, inside, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level]
                base = ".".join([*above, *([base] if base else [])])
            # `from package import part` names a part, `from module import thing` does not: the
            # longer name is right for the first, and harmless for the second.
            found.extend(
                Import(f"{base}.{a.name}", node.lineno, inside, typing) for a in node.names
            )
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).split(".")[-1]
            first = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(first, ast.Constant):
                found.append(Import(str(first.value), node.lineno, inside, typing))
        for child in ast.iter_child_nodes(node):
            visit(child, inside, typing)

    visit(ast.parse(source), inside=False, typing=False)
    return found


def part_of(name: str) -> str:
    """The part of a package that a module belongs to; the module's own name at the top level."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def policy_faults(source: str, module: str) -> list[str]:
    """Imports that a module of roboalign_policy may not have."""
    part, faults = part_of(module), []
    if part not in RULES:
        return [f"{module}: {part} has no rule in {Path(__file__).name}"]
    allowed = RULES[part]
    for item in imports_of(source, module):
        top = item.name.split(".")[0]
        if top == POLICY:
            good = part_of(item.name) in allowed.parts | {part}
        else:
            good = top in sys.stdlib_module_names or top in allowed.packages
            good = good or (item.inside and top in allowed.inside)
        if not good:
            faults.append(f"{module}:{item.line}: {part} may not import {item.name}")
    return faults


def training_faults(source: str, module: str) -> list[str]:
    """Imports that a module of roboalign_training may not have.

    What is not a node runs where no ROS is installed, so it must not load one either.
    """
    part, faults = part_of(module), []
    for item in imports_of(source, module):
        top = item.name.split(".")[0]
        own = top in {POLICY, TRAINING} and part_of(item.name) in {"ros", "nodes"}
        if top in WHOLE_ROS:
            faults.append(f"{module}:{item.line}: {item.name} exists with a whole ROS 2 only")
        elif part not in {"ros", "nodes"} and (top in ROS or (own and not item.inside)):
            faults.append(f"{module}:{item.line}: {part} may not import {item.name}")
    return faults


def modules(package: str) -> list[tuple[str, Path]]:
    """Dotted name and file of every module of a package."""
    folder = ROOT / package
    files = sorted((folder / package).rglob("*.py"))
    return [(".".join(file.relative_to(folder).with_suffix("").parts), file) for file in files]


def test_roboalign_policy_keeps_its_import_rules():
    files = modules(POLICY)
    assert len(files) > 20, "the package was not found"
    faults = [fault for name, file in files for fault in policy_faults(file.read_text(), name)]
    assert not faults, "\n".join(faults)


def test_roboalign_training_keeps_its_import_rules():
    files = modules(TRAINING)
    assert len(files) > 20, "the package was not found"
    faults = [fault for name, file in files for fault in training_faults(file.read_text(), name)]
    assert not faults, "\n".join(faults)


def module_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """By module, the modules that it imports, also inside functions; not those for annotations.

    Args:
        sources: by full dotted name, the text of each module; a package's ends in ``.__init__``.
    """
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        graph[module] = set()
        for item in imports_of(source, module):
            if item.typing:
                continue
            whole, part = item.name, item.name.rsplit(".", 1)[0]
            names = (whole, f"{whole}.__init__", part, f"{part}.__init__")
            found = next((name for name in names if name in sources), None)
            if found not in (None, module):
                graph[module].add(found)
    return graph


def folder_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same between the folders that the modules stand in."""
    folders: dict[str, set[str]] = {}
    for module, others in graph.items():
        own = module.rsplit(".", 1)[0]
        folders.setdefault(own, set()).update(other.rsplit(".", 1)[0] for other in others)
        folders[own].discard(own)
    return folders


def circles(graph: dict[str, set[str]]) -> set[str]:
    """Nodes of a graph that lie on a circle, or between two: what is left without its ends."""
    left = {node: set(others) for node, others in graph.items()}
    for towards in (left, {node: {m for m in left if node in left[m]} for node in left}):
        while ends := [node for node, others in towards.items() if not others & left.keys()]:
            for node in ends:
                left.pop(node, None)
                towards.pop(node, None)
    return set(left)


def test_no_circle_of_imports_between_files_or_folders():
    sources = {n: f.read_text() for package in (POLICY, TRAINING) for n, f in modules(package)}
    graph = module_graph(sources)
    assert sum(map(len, graph.values())) > 1000, "the imports were not found"
    assert circles(graph) == set()
    assert circles(folder_graph(graph)) == set()


def test_a_circle_of_imports_is_found():
    sources = {
        "a.one": "from b.two import thing",
        "a.three": "from a.one import thing",
        "b.two": "import typing",
        "b.four": "def f():\n    from a import three",
    }
    graph = module_graph(sources)
    assert graph == {
        "a.one": {"b.two"}, "a.three": {"a.one"}, "b.two": set(), "b.four": {"a.three"}
    }  # fmt: skip
    assert circles(graph) == set()
    assert circles(folder_graph(graph)) == {"a", "b"}
    sources["b.two"] = "if TYPE_CHECKING:\n    from b.four import thing"
    assert circles(module_graph(sources)) == set()
    sources["b.two"] = "import b.four"
    assert circles(module_graph(sources)) == set(sources)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.frames", "import rclpy"),
        ("core.frames", "import torch"),
        ("core.frames", "from PIL import Image"),
        ("core.images", "import cv2"),
        ("ros.pictures", "import cv_bridge"),
        ("core.frames", "from roboalign_policy import fast"),
        ("core.frames", "from ..fast.grammar import ActionGrammar"),
        ("core.frames", "def f():\n    import roboalign_training"),
        ("core.frames", "import importlib\nimportlib.import_module('torch')"),
        ("fast.tokenizer", "from roboalign_policy.models.policy import Policy"),
        ("fast.tokenizer", "import torch"),
        ("models.policy", "from sensor_msgs.msg import Image"),
        ("models.policy", "from roboalign_policy.nodes import policy_node"),
        ("sim.env", "from rosgraph_msgs.msg import Clock"),
        ("ros.qos", "from roboalign_policy.models import policy"),
        ("nodes.policy_node", "import torch"),
        ("nodes.policy_node", "import cv_bridge"),
        ("nodes.policy_node", "from roboalign_training import sft"),
        ("tools.new", "import os"),
    ],
)
def test_a_forbidden_import_is_found_in_the_policy(module, source):
    assert len(policy_faults(source, f"{POLICY}.{module}")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.frames", "import numpy as np\nfrom . import keys\nfrom .keys import TASK"),
        ("core.images", "def f():\n    from PIL import Image"),
        ("fast.__init__", "from .tokenizer import FastTokenizer"),
        ("models.policy", "from roboalign_policy.fast import FastTokenizer\nimport torch"),
        ("nodes.policy_node", "import rclpy\nfrom roboalign_policy.ros.qos import qos"),
    ],
)
def test_a_permitted_import_passes_in_the_policy(module, source):
    assert policy_faults(source, f"{POLICY}.{module}") == []


@pytest.mark.parametrize(
    ("module", "source", "faults"),
    [
        ("data.bags", "import rclpy", 1),
        ("data.bags", "def f():\n    from std_msgs.msg import String", 1),
        ("evaluate.report", "from roboalign_policy.ros import qos", 1),
        ("cli", "from roboalign_training.nodes import sft_node", 1),
        ("cli", "def f():\n    from roboalign_training.nodes import sft_node", 0),
        ("nodes.sft_node", "import rclpy\nfrom roboalign_policy.ros import qos", 0),
        ("nodes.sft_node", "import launch", 1),
        ("sft", "import torch\nfrom roboalign_policy.models.policy import Policy", 0),
    ],
)
def test_imports_of_the_training_package(module, source, faults):
    assert len(training_faults(source, f"{TRAINING}.{module}")) == faults
