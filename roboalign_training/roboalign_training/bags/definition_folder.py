"""Message definitions that a user hands in: a folder of `.msg` files, `--definitions FOLDER`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from roboalign_training.bags.definition_text import parse_fault, plain_text
from roboalign_training.bags.errors import BagError

VARIABLE = "ROBOALIGN_DEFINITIONS"
"""Environment variable that names the folder: processes that a command starts see it too."""


def add_definitions(parser: argparse.ArgumentParser) -> None:
    """Add the option `--definitions` to the parser of a command that reads bags."""
    parser.add_argument(
        "--definitions",
        type=use_definitions,
        metavar="FOLDER",
        help="folder with package/msg/Name.msg files, such as a workspace or an installed share/: "
        "for types that a bag does not define (SQLite before Iron defines none); default: "
        f"${VARIABLE}",
    )


def use_definitions(folder: str | Path) -> Path:
    """Has all bags that this process and those it starts open from now on know a folder's types.

    Args:
        folder: With files `package/msg/Name.msg` at any depth.

    Raises:
        argparse.ArgumentTypeError: It is no folder, or has no such file, or two for one type.
    """
    try:
        _folder(os.path.abspath(folder))
    except BagError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    os.environ[VARIABLE] = os.path.abspath(folder)
    return Path(folder)


def handed_folder() -> DefinitionFolder | None:
    """The folder that was handed in; None without one.

    Raises:
        BagError: It is no folder of definitions.
    """
    named = os.environ.get(VARIABLE)
    return _folder(os.path.abspath(named)) if named else None


class DefinitionFolder:
    """The types of a folder; a file is parsed when its type is asked for.

    Raises:
        BagError: It is no folder, has no `.msg` file in such a place, or two that differ for one
            type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, Path] = {}
        if not path.is_dir():
            raise BagError(
                path, "--definitions: expected a folder with package/msg/Name.msg files"
            )
        for file in sorted(path.rglob("*.msg")):
            if file.parent.name != "msg":
                continue
            name = f"{file.parents[1].name or path.name}/msg/{file.stem}"
            known = self._files.setdefault(name, file)
            if known != file and known.read_bytes() != file.read_bytes():
                raise BagError(
                    path,
                    f"--definitions: two files for {name} that differ: "
                    f"{known.relative_to(path)} and {file.relative_to(path)}",
                )
        if not self._files:
            raise BagError(
                path, "--definitions: no package/msg/Name.msg file in it, at whatever depth"
            )
        self._stores: dict[str, tuple[Typestore | None, str | None]] = {}

    def has(self, name: str) -> bool:
        """Whether there is a file for a type."""
        return name in self._files

    def store(
        self, name: str, standard: Callable[[str], Typestore]
    ) -> tuple[Typestore | None, str | None]:
        """What decodes a type that the folder has.

        Args:
            name: ROS 2 type name.
            standard: Gives the store that may know a type which the folder does not have.

        Returns:
            (store, None), or (None, reason).
        """
        if name not in self._stores:
            self._stores[name] = self._build(name, standard)
        return self._stores[name]

    def _build(
        self, name: str, standard: Callable[[str], Typestore]
    ) -> tuple[Typestore | None, str | None]:
        types: dict = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in types:
                continue
            file = self._files.get(current)
            if file is None and current in (known := standard(current).fielddefs):
                types[current] = known[current]
            elif file is None:
                return None, f"in {self.path} it needs {current}, which is not there"
            else:
                try:
                    text = plain_text(file.read_bytes().decode("utf-8", errors="replace"))
                    types[current] = get_types_from_msg(text, current)[current]
                except Exception as error:  # noqa: BLE001 - the parser raises anything
                    return None, f"{file} does not parse {parse_fault(error)}"
            waiting += [part for _, desc in types[current][1] for part in _parts(desc)]
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        return store, None


@lru_cache(maxsize=4)
def _folder(path: str) -> DefinitionFolder:
    return DefinitionFolder(Path(path))


def _parts(desc: tuple) -> list[str]:
    """The types that a field is made of."""
    form, detail = desc
    if form == Nodetype.NAME:
        return [detail]
    return [] if form == Nodetype.BASE else _parts(detail[0])
