"""YAML for contracts: plain data only, duplicate keys refused, every key's line known."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from roboalign_policy.core.contract.faults import (
    ContractError,
    ContractFault,
    file_error,
    shown,
)
from roboalign_policy.core.git_lfs import pointer_fault

MAX_BYTES = 1_000_000  # a contract is a few kilobytes; more is not a contract
_STEP = re.compile(r"[^.\[\]]+|\[[0-9]+\]")


def _duplicates(node: yaml.Node, path: str, source: str, seen: set[int]) -> list[ContractFault]:
    """Find keys that stand twice in one mapping; YAML itself would keep the last in silence."""
    if id(node) in seen:
        return []
    seen.add(id(node))
    faults: list[ContractFault] = []
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            faults += _duplicates(item, f"{path}[{index}]", source, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value)
            where = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name in first and name != "<<":
                faults.append(
                    ContractFault(
                        source,
                        where,
                        "the key twice",
                        f"once (first in line {first[name]})",
                        "remove one of them",
                        line=line,
                    )
                )
            first.setdefault(name, line)
            faults += _duplicates(value, where, source, seen)
    return faults


def _parse(text: str, source: str) -> tuple[yaml.Node, object]:
    """Return the tree of a text and its data; SafeLoader makes nothing but plain data of it."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise file_error(source, "an empty file", "a contract (schema: roboalign-contract/1)")
        faults = _duplicates(root, "", source, set())
        if faults:
            raise ContractError(faults)
        try:
            return root, loader.construct_document(root)
        except (ValueError, OverflowError) as error:  # a date or number that does not exist
            found = f"a value that cannot be read: {error}"
            raise file_error(source, found, "plain values") from error
    finally:
        loader.dispose()


class ContractText:
    """The data of one YAML text and where each key of it stands.

    Attributes:
        data: what the text says, as plain dicts, lists, strings and numbers.
    """

    def __init__(self, text: str, source: str):
        """Parse a text.

        Raises:
            ContractError: the text is not YAML, is empty or has a key twice.
        """
        try:
            self._root, self.data = _parse(text, source)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
            found, expected = f"text that is not plain YAML: {problem}", "YAML of plain values"
            line = mark.line + 1 if mark else None
            raise file_error(source, found, expected, line=line) from error
        except RecursionError as error:
            raise file_error(source, "too many levels", "a few levels") from error

    def line(self, key: str) -> int | None:
        """Return the line (from 1) of a key path, or of its nearest parent that exists."""
        node, line = self._root, self._root.start_mark.line + 1
        for step in _STEP.findall(key):
            if step.startswith("["):
                index = int(step[1:-1])
                if not isinstance(node, yaml.SequenceNode) or index >= len(node.value):
                    return line
                node = node.value[index]
                line = node.start_mark.line + 1
            else:
                pairs = node.value if isinstance(node, yaml.MappingNode) else ()
                found = [pair for pair in pairs if pair[0].value == step]
                if not found:
                    return line
                line, node = found[0][0].start_mark.line + 1, found[0][1]
        return line


def read_contract_text(path: Path) -> ContractText:
    """Read and parse a contract file.

    Raises:
        ContractError: the file is missing, no file, a Git LFS pointer, too large, not UTF-8 or
            not YAML.
    """
    source = str(path)
    expected = "a readable YAML file in UTF-8"
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise file_error(source, f"{size} bytes", f"at most {MAX_BYTES} bytes")
        if pointer := pointer_fault(path):
            found, _, fix = pointer.removeprefix("is ").partition(": ")
            raise file_error(source, found, expected, fix)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise file_error(source, error.strerror or str(error), expected) from error
    except UnicodeDecodeError as error:
        byte = shown(error.object[error.start : error.start + 1])
        raise file_error(source, f"byte {byte} at offset {error.start}", expected) from error
    return ContractText(text, source)
