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

from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_policy.core.parameters.declared import ParameterError

KEY = "ros__parameters"
COMMAND_LINE = "command line"
#: Parameters that every node of ROS 2 has.
_OWN = ("use_sim_time", "start_type_description_service")
#: Keys that nodes of other packages have too: they alone do not tell for which node an entry is.
_COMMON = ("compression", "device", "enabled", "mode", "output", "policy", "robot_description")
_COMMON += ("seed", "storage", "task")
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

    @property
    def is_particular(self) -> bool:
        """Whether it is for one full name, or for all nodes of one namespace."""
        space = self.node.rpartition("/")[0]
        return "*" not in self.node or (self.is_shared and bool(space) and "*" not in space)


def find_parameter_file(text: str, option: str) -> Path:
    """Path of a parameter file as somebody wrote it, ``~`` included.

    Raises:
        ParameterError: there is no such file; names the option.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ParameterError(f"{option}: found {text!r} ({what}), expected a parameter file")
    if fault := pointer_fault(path):
        raise ParameterError(f"{option}: {text} {fault}")
    return path


def entries_from_file(path: str | Path) -> list[Entry]:
    """Read a parameter file.

    Raises:
        ParameterError: it cannot be read, is not of ROS 2's form, or has a key twice, be it under
            two spellings of a node's name.
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
    found: list[tuple[tuple[str, ...], str, list[tuple[str, Any]]]] = []
    _walk(data, (), source, found)
    seen: dict[tuple[str, str], tuple[str, Any]] = {}
    for path, node, pairs in found:
        for key, value in pairs:
            here = ": ".join(path)
            if (node, key) in seen:
                there, other = seen[node, key]
                both = here if there == here else f"{there} and {here} are one node"
                given = f"{_short(other)} and {_short(value)}"
                raise ParameterError(f"{source}: {both}: {key}: found {given}, expected once")
            seen[node, key] = here, value
    return [Entry(source, node, dict(pairs)) for _, node, pairs in found]


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
    entries: Sequence[Entry],
    node: str,
    keys: Collection[str],
    others: Mapping[str, Collection],
    usual: str = "",
) -> list[str]:
    """Refuse what was meant for a node and would not be taken.

    Keys of other nodes are left alone in entries for nodes of any name, and so are entries of
    other nodes' names, as long as the file has something for this node. Entries for nodes of this
    kind, of another namespace or number, are left alone only beside one for just this node.

    Args:
        entries: as given to the process.
        node: its name with the namespace.
        keys: that it takes.
        others: the suite's other nodes by name, with the keys that they take.
        usual: name of such a node that nobody renamed; empty: this one's.

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
                if key in keys or key in _OWN:
                    continue
                owners = [name for name, known in others.items() if key in known]
                if entry.is_shared and owners:
                    text = f"{source}: {entry.node}: {key} is for {' and '.join(owners)}"
                    left_alone.append(f"{text}, not for {node}")
                else:
                    faults.append(_unknown(entry, key, node, keys))
        own = any(entry.is_particular for entry in met)
        # Renamed nodes of one kind, such as left_gate and right_gate, have the same keys.
        renamed = own and node.rpartition("/")[2] != (usual or node.rpartition("/")[2])
        told_by = () if renamed else keys
        for entry in mine:
            if entry not in met and (not met or _is_meant(entry, node, told_by, others, own)):
                faults.append(_untaken(entry, node, keys))
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


def _is_meant(entry: Entry, node: str, keys: Collection, others: Mapping, own: bool) -> bool:
    """Whether an entry not for ``node`` looks as if it was; ``own``: beside one that is."""
    space, _, name = entry.node.rpartition("/")
    own_name = node.rpartition("/")[2]
    if name == own_name:  # of another namespace: without one it is no other robot's
        return not space or not own
    if name in others:
        return False
    mine = [key for key in entry.values if key in keys]
    if entry.is_shared:
        return bool(mine) and not own
    plain = re.sub(r"\d+", "", name)
    if name.startswith(f"{own_name}_") or plain == re.sub(r"\d+", "", own_name):
        return not own  # safety_gate_node_left is one of several
    alike = difflib.SequenceMatcher(None, name, own_name).ratio()
    if alike >= 0.85 or f"{name}_node" == own_name:
        return True
    telling = [key for key in mine if key not in _COMMON]
    if set(telling).difference(*others.values()):
        return True
    if telling and all(key in keys or key in _OWN for key in entry.values):
        return True
    words = set(re.findall("[a-z]+", plain)) & set(re.findall("[a-z]+", own_name))
    return bool(mine) and (alike >= 0.6 or bool(words - {"node"}))


def _untaken(entry: Entry, node: str, keys: Collection[str]) -> str:
    near = any(key in keys for key in entry.values) and not entry.is_shared
    close = f": did you mean {node}?" if near else _close(entry.node, [node])
    values = ", ".join(f"{key}: {_short(value)}" for key, value in entry.values.items())
    where = f"{entry.source}: {entry.node}: found no such node{close}"
    return f"{where}, expected {node} or /**; {values or 'it'} would not be taken"


def _unknown(entry: Entry, key: str, node: str, keys: Collection[str]) -> str:
    where = f"{entry.source}: {entry.node}: {key}"
    if close := _close(key, keys):
        return f"{where}: {node} has no such parameter{close}"
    advice = "; keys of other nodes belong under their names" if entry.is_shared else ""
    return f"{where}: {node} has no such parameter, expected one of {', '.join(keys)}{advice}"


def _close(text: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(text, known, 1, 0.6)
    return f": did you mean {found[0]}?" if found else ""


def _walk(data: Mapping[Any, Any], path: tuple[str, ...], source: str, found: list) -> None:
    """Collect names, as they are written, and key-value pairs below a name or namespace."""
    node = "".join(f"/{part}" for part in path).replace("//", "/")
    for name, value in data.items():
        if name == KEY:
            if not node or not isinstance(value, dict):
                where = f"{node}: {KEY}" if node else KEY
                raise ParameterError(f"{source}: {where}: found {_short(value)}, expected {_FORM}")
            found.append((path, node, _flat(value, "")))
        elif isinstance(value, dict) and value:
            _walk(value, (*path, str(name)), source, found)
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
