"""YAML of plain data: what PyYAML takes in silence or leaves as a bare error is a YAML fault."""

import pytest
import yaml

from roboalign_training.shared.plain_yaml import load_yaml


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2026-13-45", "found '2026-13-45', expected a valid timestamp, or quotes around a text"),
        ("!!int foo", "found 'foo', expected a valid int"),
        ("!!float foo", "found 'foo', expected a valid float"),
        ("!!bool foo", "found 'foo', expected a valid bool"),
        ("!!timestamp foo", "found 'foo', expected a valid timestamp"),
        ("!!int ''", "found '', expected a valid int"),
        ("!!map foo", "expected a mapping node, but found scalar"),
        ("!!map [a]", "expected a mapping node, but found sequence"),
        ("!!seq foo", "expected a sequence node, but found scalar"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("{[a]: 1}", "found unhashable key"),
        ("{b: 1, b: 2}", "found the key 'b' twice, expected it once (first in line 2)"),
        ("{1: a, 0x1: b}", "found the key '0x1', which is the same as '1' in line 2, expected"),
        ("{1: a, true: b}", "found the key 'true', which is the same as '1' in line 2"),
        ("&b {c: *b}", "found an alias within what it names"),
        ("&b [[*b]]", "found an alias within what it names"),
    ],
)
def test_faults_have_a_line(value, said):
    with pytest.raises(yaml.constructor.ConstructorError) as refused:
        load_yaml(f"a: 1\nx: {value}\n")
    assert said in refused.value.problem
    assert refused.value.problem_mark.line == 1


def test_too_many_levels_are_a_yaml_fault():
    with pytest.raises(yaml.YAMLError, match="too many levels"):
        load_yaml("[" * 5000 + "]" * 5000)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a: 1", "{'1': a, 1: b}", "{on: 1, 'on': 2}", "- [a, {b: c}]", "x: 2026-12-01",
        "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}", "a: [&b {c: 1}, *b]", "=: 1",
        "p: {q: &b {<<: &a {x: 1}, x: 2}}\nc: {<<: *b, x: 3}\nd: {<<: [*a, *b]}",
        "!!set {a, b}", "!!omap [a: 1]", "!!binary aGk=",
    ],
)  # fmt: skip
def test_all_else_is_as_pyyaml_has_it(text):
    try:
        expected = yaml.safe_load(text)
    except yaml.constructor.ConstructorError:
        with pytest.raises(yaml.constructor.ConstructorError):
            load_yaml(text)
    else:
        assert load_yaml(text) == expected
