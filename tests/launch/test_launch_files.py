"""The launch files users start: by syntax trees everywhere, for real where launch is installed."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import os
import re
import runpy
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from starting import alive, children, domain, drives_and_stops, wait_for

from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.parameters.sim_robot import SimRobotParameters
from roboalign_policy.core.recording.parameters import RecorderParameters
from roboalign_training.commands import up

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
NAMES = ["real_robot", "record", "sim_robot", "train"]
PARAMETERS = {
    "policy_node": PolicyParameters,
    "sim_robot_node": SimRobotParameters,
    "recorder_node": RecorderParameters,
    "safety_gate_node": GateParameters,
}


def calls(path, name):
    """Keyword arguments (and positional ones under their index) of every call of ``name``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
            values = {keyword.arg: keyword.value for keyword in node.keywords}
            found.append({**dict(enumerate(node.args)), **values})
    return found


def text(node):
    """Value of a literal."""
    return ast.literal_eval(node)


@functools.cache
def package_facts(package):
    """What a package's setup.py hands to setuptools."""
    facts = {}
    setuptools = pytest.importorskip("setuptools")
    here = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **values: facts.update(values))
        patch.chdir(ROOT / package)
        runpy.run_path("setup.py")
    assert Path.cwd() == here
    return facts


def executables(package):
    """Names of the console scripts that a package's setup.py declares."""
    scripts = package_facts(package)["entry_points"]["console_scripts"]
    return {script.split(" = ")[0] for script in scripts}


def started(path):
    """Executables of a launch file's nodes, in order."""
    return [text(node["executable"]) for node in calls(path, "Node")]


def test_the_four_files_are_there_and_installed():
    assert [path.name for path in FILES] == [f"{name}.launch.py" for name in NAMES]
    installed = dict(package_facts("roboalign_policy")["data_files"])
    paths = installed["share/roboalign_policy/launch"]
    assert sorted(Path(path).name for path in paths) == [path.name for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_argument_has_a_default_and_a_description(path):
    arguments = calls(path, "DeclareLaunchArgument")
    assert arguments
    for argument in arguments:
        name = text(argument[0])
        assert "default_value" in argument, name
        description = text(argument["description"])
        assert description.endswith(".") and len(description) > 15, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_argument_used_is_declared_and_every_one_declared_is_used(path):
    declared = {text(argument[0]) for argument in calls(path, "DeclareLaunchArgument")}
    used = {
        call[0].value
        for name in ("LaunchConfiguration", "text")
        for call in calls(path, name)
        if isinstance(call[0], ast.Constant)
    }
    assert used == declared


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_executable_is_declared_in_its_package(path):
    nodes = calls(path, "Node")
    assert nodes
    for node in nodes:
        assert text(node["executable"]) in executables(text(node["package"]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_parameter_that_is_set_exists(path):
    for node in calls(path, "Node"):
        if "parameters" not in node:
            continue
        known = {field.name for field in fields(PARAMETERS[text(node["executable"])])}
        tables = [item for item in node["parameters"].elts if isinstance(item, ast.Dict)]
        assert {text(key) for table in tables for key in table.keys} <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_parameter_file_is_there(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    for name in [s for s in strings if isinstance(s, str) and re.fullmatch(r"\w+\.yaml", s)]:
        assert (ROOT / "roboalign_policy" / "config" / name).is_file()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_node_ends_with_the_launch(path):
    for node in calls(path, "Node"):
        assert ast.unparse(node["additional_env"]) == "{ENDS_WITH: ends_with_this_process()}"
        if path.name.startswith("real_robot"):
            assert ast.unparse(node["on_exit"]) == "ended"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_arguments_that_name_a_parameter_file_are_checked(path):
    source = path.read_text(encoding="utf-8")
    declared = {text(argument[0]) for argument in calls(path, "DeclareLaunchArgument")}
    files = {name for name in declared if name.endswith("params")}
    if files:
        (checked,) = re.findall(r"^FILES = (\(.*?\))", source, re.MULTILINE)
        assert set(ast.literal_eval(checked)) == files
        assert calls(path, "OpaqueFunction")


def test_up_starts_what_the_launch_file_starts(tmp_path):
    real_robot = ROOT / "launch" / "real_robot.launch.py"
    options = up.parse_options(["--policy", str(tmp_path), "--sim"])
    programs = up.programs_from_options(options)
    assert [program.executable for program in programs] == started(real_robot)
    assert all(program.executable in executables("roboalign_policy") for program in programs)
    for program, node in zip(programs, calls(real_robot, "Node"), strict=True):
        table = next(item for item in node["parameters"].elts if isinstance(item, ast.Dict))
        assert set(program.parameters) == {text(key) for key in table.keys}
        assert set(program.parameters) <= {f.name for f in fields(PARAMETERS[program.executable])}
    without = up.programs_from_options(up.parse_options(["--policy", str(tmp_path)]))
    assert [p.executable for p in without] == ["safety_gate_node", "policy_node"]
    assert not any(p.parameters["enabled"] for p in without)
    assert without[1].parameters["output"] == "candidate"
    assert programs[-1].parameters["enabled"] is True


def test_up_names_a_missing_checkpoint(capsys):
    with pytest.raises(SystemExit):
        up.parse_options(["--policy", "no/such/folder"])
    assert "--policy: found no folder 'no/such/folder'" in capsys.readouterr().err


def launch_missing():
    """Why launch cannot be imported; empty where it can."""
    # The folder launch/ of this repository passes as an empty package: only a module inside tells.
    for name in ("launch.actions", "launch_ros.actions"):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            package = name.split(".")[0]
            return f"{package} is not installed (it comes with ROS 2 itself, not from PyPI)"
    return ""


needs_launch = pytest.mark.skipif(bool(launch_missing()), reason=launch_missing())


@needs_launch
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_launch_reads_the_file(path):
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(path))
    arguments = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    assert len(arguments) == len(calls(path, "DeclareLaunchArgument"))
    context = LaunchContext()
    for argument in arguments:  # evaluates defaults and holds them against the choices
        argument.execute(context)


LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *arguments = sys.argv[1:]
service = LaunchService(argv=arguments)
source = PythonLaunchDescriptionSource(path)
pairs = [argument.split(":=") for argument in arguments]
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=pairs)]))
sys.exit(service.run())
"""


@needs_launch
def test_launch_file_drives_the_simulated_arm_and_the_stop_reaches_it(untrained_policy, tmp_path):
    arguments = ["use_sim:=true", f"policy:={untrained_policy}"]
    path = str(ROOT / "launch" / "real_robot.launch.py")
    drives_and_stops([sys.executable, "-c", LAUNCH, path, *arguments], tmp_path)


def launched(name, *arguments):
    """What a launch says that ends by itself."""
    command = [
        sys.executable,
        "-c",
        LAUNCH,
        str(ROOT / "launch" / f"{name}.launch.py"),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@needs_launch
@pytest.mark.parametrize(
    ("name", "argument", "said"),
    [
        ("real_robot", "gate_params:=~/none.yaml", "gate_params: found '~/none.yaml' (no such"),
        ("real_robot", "params:=none.yaml", "params: found 'none.yaml' (no such file)"),
        ("real_robot", "gate_parms:=x.yaml", "gate_parms; did you mean gate_params?"),
        ("real_robot", "policy:=none", "policy: found no folder 'none', expected a checkpoint"),
        ("record", "params:=none.yaml", "params: found 'none.yaml' (no such file)"),
        ("sim_robot", "seeds:=3", "found no launch argument seeds; did you mean seed?"),
    ],
)
def test_launch_refuses_what_nobody_would_take(name, argument, said):
    code, output = launched(name, argument)
    assert code == 1 and said in output and "process started" not in output, output


@needs_launch
@pytest.mark.parametrize("victim", ["safety_gate_node", "policy_node"])
def test_a_launch_ends_when_one_of_its_nodes_has_died(untrained_policy, tmp_path, victim):
    with launch_of(untrained_policy, tmp_path) as (process, nodes, log):
        os.kill(nodes[victim], signal.SIGKILL)
        assert process.wait(40) == 0
        wait_for(lambda: not any(map(alive, nodes.values())), 5, "the nodes to end")
        text = f"{victim}-{2 if victim.startswith('safety') else 3} ended with code -9; ending the"
        assert text in log.read_text()


@needs_launch
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_nodes_end_when_their_launch_is_killed(untrained_policy, tmp_path, number):
    with launch_of(untrained_policy, tmp_path) as (process, nodes, _):
        process.send_signal(number)
        process.wait(20)
        wait_for(lambda: not any(map(alive, nodes.values())), 20, "the nodes to end")


@contextlib.contextmanager
def launch_of(policy, tmp_path):
    """real_robot.launch.py with the simulated arm, once its nodes are up; these by name."""
    path, log = str(ROOT / "launch" / "real_robot.launch.py"), tmp_path / "log"
    command = [sys.executable, "-c", LAUNCH, path, "use_sim:=true", f"policy:={policy}"]
    env = {**os.environ, "ROS_DOMAIN_ID": domain(), "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=env)
    try:
        up = ("demonstrator: none", "contract sim_panda", "loading the policy")
        wait_for(lambda: all(text in log.read_text() for text in up), 90, "the nodes")
        names = ("sim_robot_node", "safety_gate_node", "policy_node")
        lines = {p: Path(f"/proc/{p}/cmdline").read_text() for p in children(process.pid)}
        nodes = {name: pid for name in names for pid, line in lines.items() if name in line}
        assert len(nodes) == len(names)
        yield process, nodes, log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(40)


@needs_launch
@pytest.mark.parametrize(("decoder", "files"), [("auto", 1), ("fast", 2), ("flow", 2)])
def test_the_decoder_is_told_only_where_it_is_chosen(tmp_path, decoder, files):
    """What the parameter file says of it stands, unless the argument says otherwise."""
    from launch import LaunchContext
    from launch.launch_description_sources import get_launch_description_from_python_launch_file
    from launch_ros.actions import Node
    from launch_ros.utilities import evaluate_parameters

    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  ros__parameters:\n    decoder: fast\n")
    path = ROOT / "launch" / "real_robot.launch.py"
    description = get_launch_description_from_python_launch_file(str(path))
    context = LaunchContext()
    values = {"policy": "p", "contract": "c", "enabled": "false", "params": str(own)}
    context.launch_configurations.update({**values, "decoder": decoder})
    (node,) = (
        e
        for e in description.entities
        if isinstance(e, Node) and e.node_executable == "policy_node"
    )
    found = evaluate_parameters(context, node._Node__parameters)
    paths = [Path(item) for item in found if not isinstance(item, dict)]
    assert len(set(paths)) == files
    assert paths[0] == own
    if decoder != "auto":
        assert f"\n    decoder: {decoder}\n" in paths[1].read_text()
    (table,) = (item for item in found if isinstance(item, dict))
    assert "decoder" not in table
