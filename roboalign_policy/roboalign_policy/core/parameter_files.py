"""What parameter files and ``-p`` say for one node, and what of it the node would never take.

ROS 2 itself drops in silence what matches no node or no parameter. Here that is an error which
names file and key: a setting that was meant and not taken must not be found out by the arm.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from roboalign_policy.core.parameters import ParameterError

KEY = "ros__parameters"
COMMAND_LINE = "command line"
#: Parameters that every node of ROS 2 has, and what their names begin with.
_OWN = ("use_sim_time", "start_type_description_service")
_OWN_PREFIXES = ("qos_overrides.",)
_FORM = f"'NODE: {KEY}: KEY: VALUE', NODE the node's name or /**"


@dataclass(frozen=True)
class Entry:
    """Parameters that one place gives to the nodes of one name.

    Attributes:
        source: the file, or `COMMAND_LINE`.
        node: its name as given, ``*`` and ``**`` for any; always begins with a slash.
        values: by key; keys of nested tables are joined by dots.
    """

    source: str
    node: str
    values: Mapping[str, Any]

    def meets(self, node: str) -> bool:
        """Whether it is for a node, named with its namespace.

        Source: rclcpp, parameter_map.cpp.
        """
        pattern = re.escape(self.node).replace(r"/\*\*", r"(/\w+)*").replace(r"/\*", r"/\w+")
        return re.fullmatch(pattern, node) is not None

    @property
    def is_shared(self) -> bool:
        """Whether it is for nodes of any name."""
        return "*" in self.node.rpartition("/")[2]


def find_parameter_file(text: str, option: str) -> Path:
    """Path of a parameter file as somebody wrote it, ``~`` included.

    Raises:
        ParameterError: there is no such file; names the option.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ParameterError(f"{option}: found {text!r} ({what}), expected a parameter file")
    return path


def entries_from_file(path: str | Path) -> list[Entry]:
    """Read a parameter file.

    Raises:
        ParameterError: it cannot be read, is not of ROS 2's form, or has a key twice.
    """
    source = str(path)
    try:
        text = find_parameter_file(source, "--params-file").read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _check_once(root, source, "")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"{source}: not to be read: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not data:
        raise ParameterError(f"{source}: found {_short(data)}, expected {_FORM}")
    found: list[Entry] = []
    _walk(data, "", source, found)
    return found


def entries_from_arguments(argv: Sequence[str]) -> list[Entry]:
    """All that a command line gives to nodes, in its order.

    Args:
        argv: of the process; what stands between ``--ros-args`` and ``--`` counts.

    Raises:
        ParameterError: a file as of `entries_from_file`.
    """
    found: list[Entry] = []
    ours = False
    for flag, value in zip(argv, [*argv[1:], ""], strict=True):
        if flag in ("--ros-args", "--"):
            ours = flag == "--ros-args"
        elif ours and flag == "--params-file":
            found += entries_from_file(value)
        elif ours and flag in ("-p", "--param"):
            name, _, given = value.partition(":=")
            node, _, key = name.rpartition(":")
            found.append(Entry(COMMAND_LINE, _rooted(node or "/**"), {key: _read(given)}))
    return found


def check_taken(
    entries: Sequence[Entry], node: str, keys: Collection[str], others: Mapping[str, Collection]
) -> list[str]:
    """Refuse what was meant for a node and would not be taken.

    Keys of other nodes are left alone in entries for nodes of any name, and so are entries of
    other nodes' names, as long as the file has something for this node.

    Args:
        entries: as given to the process.
        node: its name with the namespace.
        keys: that it takes.
        others: the suite's other nodes by name, with the keys that they take.

    Returns:
        What is left alone although it stands in an entry for this node: one text each.

    Raises:
        ParameterError: one line a fault, all at once.
    """
    faults: list[str] = []
    left_alone: list[str] = []
    for source in dict.fromkeys(entry.source for entry in entries):
        mine = [e for e in entries if e.source == source]
        met = [e for e in mine if e.meets(node)]
        for entry in met:
            for key in entry.values:
                if key in keys or key in _OWN or key.startswith(_OWN_PREFIXES):
                    continue
                owners = [name for name, known in others.items() if key in known]
                if entry.is_shared and owners:
                    text = f"{source}: {entry.node}: {key} is for {' and '.join(owners)}"
                    left_alone.append(f"{text}, not for {node}")
                else:
                    faults.append(_unknown(entry, key, node, keys))
        for entry in mine:
            if not entry.meets(node) and (not met or _is_meant(entry, node, others)):
                faults.append(
                    f"{source}: {entry.node}: found no such node{_close(entry.node, [node])}, "
                    f"expected {node} or /**; {', '.join(entry.values)} would not be taken"
                )
    if faults:
        raise ParameterError("\n".join(faults))
    return left_alone


def given_value(entries: Sequence[Entry], node: str, key: str) -> tuple[str, Any]:
    """Where the value of a key comes from, for an error text, and what it is.

    Returns:
        Two empty texts where it is not given.
    """
    found = [e for e in entries if e.meets(node) and key in e.values]
    return (f"{found[-1].source}: {found[-1].node}", found[-1].values[key]) if found else ("", "")


def _is_meant(entry: Entry, node: str, others: Collection[str]) -> bool:
    """Whether an entry that is not for ``node`` looks as if it was meant to be."""
    space, _, name = entry.node.rpartition("/")
    own_name = node.rpartition("/")[2]
    if name == own_name:
        return not space  # without a namespace; of another one it is another robot's
    if name in others or name.startswith(own_name):  # safety_gate_node_left is one of several
        return False
    forgotten = f"{name}_node" == own_name
    return forgotten or bool(difflib.get_close_matches(name, [own_name], 1, 0.85))


def _unknown(entry: Entry, key: str, node: str, keys: Collection[str]) -> str:
    where = f"{entry.source}: {entry.node}: {key}"
    if close := _close(key, keys):
        return f"{where}: {node} has no such parameter{close}"
    advice = "; keys of other nodes belong under their names" if entry.is_shared else ""
    return f"{where}: {node} has no such parameter, expected one of {', '.join(keys)}{advice}"


def _close(text: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(text, known, 1, 0.6)
    return f": did you mean {found[0]}?" if found else ""


def _walk(data: Mapping[Any, Any], node: str, source: str, found: list[Entry]) -> None:
    """Collect the entries below a node's name or namespace."""
    for name, value in data.items():
        if name == KEY:
            if not node or not isinstance(value, dict):
                where = f"{node}: {KEY}" if node else KEY
                raise ParameterError(f"{source}: {where}: found {_short(value)}, expected {_FORM}")
            found.append(Entry(source, _rooted(node), dict(_flat(value, ""))))
        elif isinstance(value, dict) and value:
            _walk(value, f"{node}/{name}".replace("//", "/"), source, found)
        else:
            where = f"{node}/{name}" if node else name
            close = _close(str(name), [KEY])
            raise ParameterError(
                f"{source}: {where}: found {_short(value)}{close}, expected {_FORM}"
            )


def _flat(values: Mapping[Any, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        pairs += _flat(value, f"{name}.") if isinstance(value, dict) else [(name, value)]
    return pairs


def _check_once(node: yaml.Node, source: str, path: str) -> None:
    """Refuse a key that stands twice in one table: the last would win in silence."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            raise ParameterError(
                f"{source}: {path}{name}: found in lines {seen[name]} and {line}, expected once"
            )
        seen[name] = line
        _check_once(value, source, f"{path}{name}: ")


def _read(text: str) -> Any:
    """Value of ``-p``, which is YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _rooted(node: str) -> str:
    return node if node.startswith("/") else f"/{node}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
