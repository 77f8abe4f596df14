"""Contract files that cannot be read, and lines, warnings and printing of the checker."""

from __future__ import annotations

import pickle

import pytest
import yaml

from roboalign_policy.core.contract.check import check_contract, contract_check_main
from roboalign_policy.core.contract.contract import (
    ContractError,
    contract_from_dict,
    load_contract,
)
from roboalign_policy.core.contract.files import packaged_contract_path


def write(tmp_path, text):
    path = tmp_path / "robot.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def text_with(old, new):
    text = packaged_contract_path("sim_panda").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1


def test_the_line_of_the_key_is_named(tmp_path, capsys):
    text = text_with("horizon: 8", "horizon: 800")
    path = write(tmp_path, text)
    (fault,) = check_contract(path)
    assert (fault.file, fault.key, fault.line) == (
        str(path),
        "action.horizon",
        line_of(text, "horizon: 800"),
    )
    assert contract_check_main(path) == 1
    error = capsys.readouterr().err
    assert f"{path}:{fault.line}: action.horizon: found 800, expected a whole number" in error
    assert f"{path}: 1 error(s), 0 warning(s)" in error


def test_a_missing_key_names_the_line_of_its_parent(tmp_path):
    text = text_with("    topic: ee_pose\n", "")
    (fault,) = check_contract(write(tmp_path, text))
    assert fault.key == "observations[2].topic"
    assert fault.line == line_of(text, "- key: state.ee")


def test_a_duplicate_key_is_an_error(tmp_path):
    text = text_with("rate_hz: 10.0", "rate_hz: 10.0\nrate_hz: 20.0")
    (fault,) = check_contract(write(tmp_path, text))
    assert fault.key == "rate_hz" and fault.line == line_of(text, "rate_hz: 20.0")
    assert f"once (first in line {fault.line - 1})" in str(fault)


def test_a_duplicate_key_inside_a_flow_mapping(tmp_path):
    text = text_with("{name: joint1, path:", "{name: joint1, name: j, path:")
    (fault,) = check_contract(write(tmp_path, text))
    assert fault.key == "observations[1].fields[0].name"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty file"),
        ("# only a comment\n", "an empty file"),
        ("a: [1, 2", "not plain YAML"),
        ("a: b: c", "not plain YAML"),
        ("a: 1\n---\nb: 2\n", "not plain YAML"),
        ("a: \x00", "not plain YAML"),
        ("name: !!python/object/apply:os.system ['true']", "not plain YAML"),
        ("name: !degrees 3", "not plain YAML"),
        ("date: 2026-99-99", "a value that cannot be read"),
        ("? [a, b]\n: 1\n", ""),
        ("a: &a [*a]\n", "unknown key"),
        ("- 1\n- 2\n", "a mapping with schema"),
    ],
)
def test_text_that_is_no_contract(tmp_path, text, words):
    faults = check_contract(write(tmp_path, text))
    assert faults and words in "\n".join(map(str, faults))


def test_deep_nesting_is_refused_without_a_crash(tmp_path):
    faults = check_contract(write(tmp_path, "a: " + "[" * 700 + "]" * 700))
    assert faults


def test_aliases_that_expand_without_end_are_quickly_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    faults = check_contract(write(tmp_path, "\n".join(lines)))
    assert len(faults) > 10 and max(len(str(fault)) for fault in faults) < 2000


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in str(check_contract(tmp_path / "none.yaml")[0])
    assert check_contract(tmp_path)[0].file == str(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    assert "offset 6" in str(check_contract(binary)[0])
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 1_000_001)
    assert "at most 1000000 bytes" in str(check_contract(large)[0])


def test_warnings_do_not_refuse_the_contract(tmp_path, capsys):
    text = text_with("topic: camera/front/image_raw", "topic: /camera/front/image_raw")
    text = text.replace("dx: {path: twist.linear.x, gain: 2.0}", "dx: {path: twist.linear.x}")
    path = write(tmp_path, text)
    faults = check_contract(path)
    assert [(f.key, f.severity) for f in faults] == [
        ("observations[0].topic", "warning"),
        ("action.commands[0].fields.dx.gain", "warning"),
    ]
    assert "expected 2 = 1 / (unit * rate_hz)" in str(faults[1])
    assert contract_check_main(path) == 0
    assert f"{path}: ok, 2 warning(s)" in capsys.readouterr().out
    assert load_contract(path).observations[0].topic == "/camera/front/image_raw"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"max_age_s": 0.05}, "observations[0].max_age_s"),
        ({"align": {"method": "asof", "tolerance_s": 1.0}}, "observations[0].align.tolerance_s"),
    ],
)
def test_warnings_of_timing(tmp_path, change, key):
    data = load_contract("sim_panda").to_dict()
    data["observations"][0].update(change)
    path = write(tmp_path, yaml.safe_dump(data))
    assert [(f.key, f.severity) for f in check_contract(path)] == [(key, "warning")]


def test_the_error_survives_a_process_boundary():
    with pytest.raises(ContractError) as caught:
        contract_from_dict({}, "x.yaml")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.faults == caught.value.faults
