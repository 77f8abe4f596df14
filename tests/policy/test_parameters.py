"""Node parameters: ranges, types, and that the YAML files repeat the defaults."""

from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from parameter_files import load_parameters, parameters_to_yaml

from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.parameters.declared import (
    ParameterError,
    check_parameters,
    param,
    parameters_from_dict,
)
from roboalign_policy.core.parameters.sim_robot import SimRobotParameters
from roboalign_policy.core.recording.parameters import RecorderParameters

CONFIG = Path(__file__).resolve().parents[2] / "roboalign_policy" / "config"
FILES = [
    ("sim_robot.yaml", SimRobotParameters),
    ("recorder.yaml", RecorderParameters),
    ("safety_gate.yaml", GateParameters),
]


@dataclass(frozen=True)
class Example:
    """One field of each type."""

    mode: str = param("slow", "how", choices=("slow", "fast"))
    rate_hz: float = param(10.0, "how often", unit="Hz", low=0.1, high=100.0)
    depth: int = param(3, "how many", low=1)
    enabled: bool = param(False, "whether")


@pytest.mark.parametrize(("name", "cls"), FILES)
def test_yaml_file_repeats_the_defaults(name, cls):
    """Every field stands in the file, with its default."""
    path = CONFIG / name
    assert load_parameters(path, cls) == cls()
    text = path.read_text(encoding="utf-8")
    assert [item.name for item in fields(cls) if f"\n    {item.name}: " not in text] == []


@pytest.mark.parametrize(("name", "cls"), FILES)
def test_yaml_file_explains_every_parameter(name, cls):
    """The file is what the dataclass renders to, below its first line."""
    text = (CONFIG / name).read_text(encoding="utf-8")
    assert text.split("\n", 1)[1] == parameters_to_yaml(cls())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"mode": "medium"}, "mode: found 'medium', expected one of slow, fast"),
        ({"rate_hz": 0.0}, "rate_hz: found 0.0, expected at least 0.1 Hz"),
        ({"rate_hz": 1000.0}, "rate_hz: found 1000.0, expected at most 100.0 Hz"),
        ({"rate_hz": float("nan")}, "rate_hz: found nan, expected a finite number"),
        ({"rate_hz": 5}, "rate_hz: found 5, expected float, not int"),
        ({"depth": True}, "depth: found True, expected int, not bool"),
        ({"depth": 0}, "depth: found 0, expected at least 1"),
        ({"colour": 1}, "colour: unknown, expected one of mode, rate_hz, depth, enabled"),
    ],
)
def test_faults_name_source_key_value_and_expectation(values, expected):
    """Each fault says all that is needed to mend it."""
    with pytest.raises(ParameterError) as caught:
        parameters_from_dict(Example, values, "here.yaml")
    assert str(caught.value) == f"here.yaml: {expected}"


def test_all_faults_at_once():
    """Two wrong values give two lines."""
    with pytest.raises(ParameterError) as caught:
        check_parameters(Example(mode="x", depth=0))
    assert [line.split(":")[1].strip() for line in str(caught.value).splitlines()] == [
        "mode",
        "depth",
    ]


def test_rendered_yaml_reads_back(tmp_path):
    """Values that are not the defaults survive, text that looks like another type included."""
    wanted = Example(mode="fast", rate_hz=2.5, depth=7, enabled=True)
    path = tmp_path / "p.yaml"
    path.write_text(parameters_to_yaml(wanted), encoding="utf-8")
    assert load_parameters(path, Example) == wanted


def test_file_of_another_form_is_refused(tmp_path):
    """A file without the ROS 2 header names itself."""
    path = tmp_path / "p.yaml"
    path.write_text("rate_hz: 1.0\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="p.yaml: found no '/\\*\\*: ros__parameters:'"):
        load_parameters(path, Example)
