"""What a launch file makes sure of before it starts anything. Pure: no launch, no ROS."""

from __future__ import annotations

import difflib
from collections.abc import Collection, MutableMapping, Sequence
from pathlib import Path

from roboalign_policy.core.parameters.declared import ParameterError
from roboalign_policy.core.parameters.files import find_parameter_file

#: Arguments that launch itself takes for every launch file.
_OF_LAUNCH = ("launch-prefix", "launch-prefix-filter", "emulate_tty")


class LaunchArgumentError(ValueError):
    """An argument of a launch file that nobody would take."""


def check_arguments(
    values: MutableMapping[str, str],
    files: Sequence[str],
    declared: Collection[str],
    given: Sequence[str],
) -> None:
    """Refuse what launch would drop: arguments that are not declared, files that are not there.

    Args:
        values: of the arguments; ``~`` in those of ``files`` is replaced.
        files: names of arguments that hold a parameter file.
        declared: names of all arguments.
        given: ``NAME:=VALUE`` as they were given to this launch file; empty where it is included
            in another one, whose arguments these are.

    Raises:
        LaunchArgumentError: an unknown name; says which was meant, or which there are.
        ParameterError: a file is not there; names the argument.
    """
    for text in given:
        name = text.partition(":=")[0]
        if name in declared or name in _OF_LAUNCH:
            continue
        close = difflib.get_close_matches(name, declared, 1)
        meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(declared)}"
        raise LaunchArgumentError(f"{text}: found no launch argument {name}; {meant}")
    for name in files:
        # An empty text is no file either: to launch it would be the present folder.
        if not values[name]:
            raise ParameterError(f"{name}: found an empty text, expected a parameter file")
        values[name] = str(find_parameter_file(values[name], name))


def arguments_given_to(file: str, package: str, command: Sequence[str], argv: list[str]) -> list:
    """Those arguments of the launch service that are meant for a launch file.

    Args:
        file: path of the launch file.
        package: that installs it.
        command: of the process: ``ros2 launch PACKAGE FILE ...`` or ``ros2 launch PATH ...``.
        argv: arguments of the launch service.

    Returns:
        ``argv`` where the command names the file; nothing where another one includes it.
    """
    path = Path(file)
    for before, part in zip(["", *command], command, strict=False):
        if part == path.name and before == package:
            return argv
        if part.endswith(path.name) and Path(part).is_file() and Path(part).samefile(path):
            return argv
    return []
