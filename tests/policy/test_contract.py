"""The contract: loading, hashing, round trips, packaged robots."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from roboalign_policy.core.contract.check import check_contract, contract_check_main
from roboalign_policy.core.contract.contract import (
    ContractError,
    contract_from_dict,
    contract_from_yaml,
    find_contract,
    load_contract,
)
from roboalign_policy.core.contract.files import packaged_contract_path, packaged_contracts
from roboalign_policy.core.contract.key import REQUIRED
from roboalign_policy.core.contract.schema import SCHEMA
from roboalign_policy.core.contract.units import parse_unit
from roboalign_policy.core.hashing import (
    canonical_json,
    sha256_file,
    sha256_json,
)

ROBOTS = ("bimanual_so101", "franka_fr3", "sim_panda", "sim_panda_wrist", "so101", "ur5e")
DOCS = Path(__file__).parents[2] / "docs" / "contract.md"


def test_packaged_robots_are_found():
    assert tuple(packaged_contracts()) == ROBOTS
    assert packaged_contract_path("sim_panda").name == "sim_panda.yaml"


@pytest.mark.parametrize("name", ROBOTS)
def test_packaged_contract_has_no_fault_and_no_warning(name, capsys):
    path = packaged_contract_path(name)
    assert check_contract(path) == []
    assert contract_check_main(path) == 0
    assert capsys.readouterr().out == f"{path}: ok\n"
    assert load_contract(name).name == name


@pytest.mark.parametrize("name", ROBOTS)
def test_round_trips_keep_contract_and_hash(name):
    contract = load_contract(name)
    for again in (
        contract_from_dict(contract.to_dict()),
        contract_from_yaml(contract.to_yaml()),
        pickle.loads(pickle.dumps(contract)),
    ):
        assert again == contract
        assert again.hash == contract.hash
        assert hash(again) == hash(contract)


def test_hash_is_sha256_of_canonical_json_and_changes_with_any_value():
    contract = load_contract("sim_panda")
    assert contract.hash == sha256_json(contract.to_dict())
    assert len(contract.hash) == 64
    data = contract.to_dict()
    data["observations"][0]["max_age_s"] = 0.31
    assert contract_from_dict(data).hash != contract.hash
    reordered = dict(reversed(list(contract.to_dict().items())))
    assert contract_from_dict(reordered).hash == contract.hash


def test_sim_panda_is_the_embedded_arm():
    contract = load_contract("sim_panda")
    assert [s.key for s in contract.observations] == [
        "image.front",
        "state.joints",
        "state.ee",
        "state.gripper",
    ]
    assert [s.value_shape for s in contract.observations] == [(128, 128, 3), (7,), (7,), (1,)]
    assert [s.key for s in contract.images] == ["image.front"]
    assert contract.rate_hz == 10.0 and contract.period_ns == 100_000_000
    action = contract.action
    assert action.names == ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
    assert action.horizon == 8 and action.control_mode == "ee_delta"
    np.testing.assert_array_equal(action.low, -np.ones(7, np.float32))
    np.testing.assert_array_equal(action.high, np.ones(7, np.float32))
    assert [parse_unit(d.unit) for d in action.dims] == [(0.05, "m")] * 3 + [(0.5, "rad")] * 3 + [
        (1.0, "1")
    ]
    twist, gripper = action.commands
    assert (twist.topic, twist.fields["dx"].gain, twist.fields["dyaw"].gain) == (
        "servo_node/delta_twist_cmds",
        2.0,
        0.2,
    )
    assert gripper.fields["gripper"].path == "points[0].positions[0]"
    assert gripper.joint_names == ("gripper",)
    assert contract.task.topic == "task"
    assert [e.topic for e in contract.extra_topics] == ["scene"]


def test_franka_limits_are_the_makers():
    joints = load_contract("franka_fr3").stream("state.joints")
    assert [f.limits for f in joints.fields][3] == (-3.0421, -0.1518)
    assert [f.max_rate for f in joints.fields] == [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]


def test_ur5e_pose_is_turned_into_base_link():
    """UR's `base` is base_link turned by half a turn about z; checked with rotation matrices."""
    fields = load_contract("ur5e").stream("state.ee").fields
    measured = {"position.x": 0.3, "position.y": -0.2, "position.z": 0.5}
    quaternion = np.array([0.1, -0.5, 0.3, 0.8]) / np.linalg.norm([0.1, -0.5, 0.3, 0.8])
    measured |= {f"orientation.{a}": q for a, q in zip("xyzw", quaternion, strict=True)}
    x = [measured[f.path.removeprefix("pose.")] * f.gain for f in fields]
    turn = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(x[:3], turn @ [0.3, -0.2, 0.5])
    np.testing.assert_allclose(_matrix(x[3:]), turn @ _matrix(quaternion), atol=1e-12)


def _matrix(q):
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_joint_contracts_command_what_they_observe():
    for name in ("ur5e", "so101"):
        contract = load_contract(name)
        limits = {f.name: f.limits for s in contract.states for f in s.fields}
        for dim in contract.action.dims:
            assert limits[dim.name] == dim.limits


def test_defaults_are_filled_in_and_the_command_takes_the_base_frame():
    data = yaml.safe_load(packaged_contract_path("sim_panda").read_text(encoding="utf-8"))
    for part in ("task", "prompt", "extra_topics", "description"):
        del data[part]
    for stream in data["observations"]:
        del stream["qos"], stream["align"]
    command = data["action"]["commands"][1]
    del command["qos"], command["align"], command["frame_id"]
    contract = contract_from_dict(data)
    assert contract.task.qos.durability == "transient_local"
    assert (contract.prompt_state, contract.extra_topics, contract.description) == ((), (), "")
    stream = contract.observations[0]
    assert (stream.qos.reliability, stream.qos.depth) == ("best_effort", 5)
    assert (stream.align.method, stream.align.clock, stream.align.tolerance_ns) == (
        "hold",
        "header",
        50_000_000,
    )
    command = contract.action.commands[1]
    assert (command.qos.reliability, command.qos.depth) == ("reliable", 10)
    assert command.align.method == "asof" and command.frame_id == "base_link"


def test_a_partly_given_section_keeps_the_default_of_its_place():
    data = load_contract("sim_panda").to_dict()
    data["task"]["qos"] = {"depth": 3}
    data["action"]["commands"][0]["qos"] = {"depth": 2}
    contract = contract_from_dict(data)
    assert contract.task.qos.durability == "transient_local" and contract.task.qos.depth == 3
    assert contract.action.commands[0].qos.reliability == "reliable"


def test_stream_names_those_it_has():
    with pytest.raises(KeyError, match="no stream 'state.arm', only image.front, state.joints"):
        load_contract("sim_panda").stream("state.arm")


def test_find_contract_by_name_and_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sim_panda").write_text("a file of that name changes nothing", encoding="utf-8")
    assert find_contract("sim_panda") == packaged_contract_path("sim_panda")
    own = tmp_path / "own.yaml"
    own.write_text(load_contract("so101").to_yaml(), encoding="utf-8")
    assert find_contract("own.yaml") == Path("own.yaml")
    assert load_contract(own).name == "so101"
    with pytest.raises(ContractError, match="did you mean 'sim_panda'"):
        load_contract("sim_pandas")
    with pytest.raises(ContractError, match=r"missing\.yaml: found no such file.*franka_fr3"):
        load_contract("missing.yaml")


def test_installed_package_is_found_through_the_ament_prefix(tmp_path, monkeypatch):
    robots = tmp_path / "share" / "roboalign_policy" / "config" / "robots"
    robots.mkdir(parents=True)
    (robots / "other.yaml").write_text(load_contract("so101").to_yaml(), encoding="utf-8")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'nothing'}:{tmp_path}")
    assert packaged_contract_path("other") == robots / "other.yaml"


def schema_rows(section: str) -> list[str]:
    """Return the rows of a section's table in docs/contract.md."""
    rows = []
    for name, key in SCHEMA[section].items():
        if key.default is REQUIRED:
            default = "required"
        elif key.default is None:
            default = "none"
        elif key.kind == "section" and not key.default:
            default = "its defaults"
        elif isinstance(key.default, dict):
            default = ", ".join(f"{k}: {v}" for k, v in key.default.items())
        else:
            default = f"{key.default}" if key.default not in ("", ()) else "empty"
        rows.append(f"| `{name}` | {key.unit or '-'} | {default} | {key.range_text} | {key.doc} |")
    return rows


@pytest.mark.parametrize("section", SCHEMA)
def test_docs_explain_every_key(section):
    text = DOCS.read_text(encoding="utf-8")
    missing = [row for row in schema_rows(section) if row not in text]
    assert not missing, f"docs/contract.md lacks these rows of {section}:\n" + "\n".join(missing)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0.05 m", (0.05, "m")),
        ("rad", (1.0, "rad")),
        ("1", (1.0, "1")),
        ("1e-2 N.m", (0.01, "N.m")),
    ],
)
def test_units(text, unit):
    assert parse_unit(text) == unit


@pytest.mark.parametrize("text", ["deg", "", "0 m", "-1 m", "nan m", "inf m", "x m", "0.05 m s"])
def test_bad_units_are_refused(text):
    with pytest.raises(ValueError, match="unit"):
        parse_unit(text)


def test_hashes(tmp_path):
    assert canonical_json({"b": 1, "a": [1.5, math.inf]}) == '{"a":[1.5,"float:inf"],"b":1}'
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})
    with pytest.raises(TypeError):
        canonical_json({"a": object()})
    (tmp_path / "a").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_file(tmp_path / "a") == empty  # SHA-256 of nothing
