"""YAML of plain data: no key twice, of which PyYAML would keep the last in silence, no circle."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError

_MERGE, _VALUE = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"


class _PlainLoader(yaml.SafeLoader):
    """Refuses what it cannot make as a YAML fault with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML's own constructors leave a bare ValueError, or worse, of a date or number."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            kind = node.tag.rpartition(":")[2]
            fault = f"found {node.value!r}, expected a valid {kind}, or quotes around a text"
            raise ConstructorError(None, None, fault, node.start_mark) from error

    def check(self, node: yaml.Node, above: frozenset[int] = frozenset()) -> None:
        """Look through a document, before merging changes its nodes.

        Raises:
            ConstructorError: a key stands twice in a mapping, or an alias is within its anchor.
        """
        if id(node) in above:
            fault = "found an alias within what it names, expected plain data"
            raise ConstructorError(None, None, fault, node.start_mark)
        if id(node) in self._checked or not isinstance(node, yaml.CollectionNode):
            return
        above |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            parts = [part for pair in node.value for part in pair]
        else:
            parts = node.value
        for part in parts:
            self.check(part, above)
        self._checked.add(id(node))

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[Any, yaml.ScalarNode] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            name = key.value if key.tag == _VALUE else self.construct_object(key)
            first = seen.setdefault(name, key)
            if first is key:
                continue
            line, fault = first.start_mark.line + 1, f"found the key {key.value!r}"
            if first.value == key.value:
                fault += f" twice, expected it once (first in line {line})"
            else:
                fault += f", which is the same as {first.value!r} in line {line}, expected one"
            raise ConstructorError(None, None, fault, key.start_mark)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._checked: set[int] = set()


def load_yaml(text: str) -> Any:
    """Plain data from YAML.

    Raises:
        yaml.YAMLError: it is none, a key stands twice in a mapping, or a value is not what its
            form or tag says, such as `2026-13-45`.
    """
    loader = _PlainLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        loader.check(node)
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("found too many levels, one within the other") from error
    finally:
        loader.dispose()
