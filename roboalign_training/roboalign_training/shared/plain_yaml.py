"""YAML of plain data in which no key stands twice: PyYAML would keep the last in silence."""

from __future__ import annotations

from typing import Any

import yaml


class _OnceLoader(yaml.SafeLoader):
    """Refuses a mapping with a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = (key.tag, key.value)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                first = seen[name].line + 1
                fault = (
                    f"found the key {key.value!r} twice, expected it once (first in line {first})"
                )
                raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
            seen[name] = key.start_mark
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """Plain data from YAML.

    Raises:
        yaml.YAMLError: it is none, or a key stands twice in a mapping.
    """
    loader = _OnceLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
