"""Runs the fenced blocks of a document as a reader would: files, commands, three terminals.

What the words after ```bash mean:

| nothing | run it; it must end with 0; the ```text block after it must be in what it prints |
| exits=N | the same, ending with N |
| until | run it again until what it prints holds the ```text block after it |
| terminal=N | stays running in another terminal; ctrl-C ends what ran there before |
| ros2 | needs the command line of ROS 2; another block does the same; not run |

``file=NAME`` writes a block into a file. In ```text blocks "..." stands for anything.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\S*) ?(.*?)$\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
_WORDS = re.compile(r"(|ros2|until|(exits|terminal)=\d+|file=[\w.]+)\Z")
COMMAND_TIMEOUT_S, UNTIL_S = 400.0, 120.0


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: word behind the fence: bash, yaml, python, text ...
        words: what follows it on that line.
        text: the lines between the fences.
        section: heading that it stands under.
        line: of the fence, from 1.
    """

    language: str
    words: str
    text: str
    section: str
    line: int

    def value(self, name: str) -> str:
        """What stands behind ``name=``; empty without it."""
        return self.words.partition(f"{name}=")[2]


def blocks_of(path: Path) -> list[Block]:
    """Read the blocks of a document.

    Raises:
        ValueError: a block says something that this module does not know, naming its line.
    """
    document = path.read_text(encoding="utf-8")
    headings = [(match.start(), match[1]) for match in _HEADING.finditer(document)]
    found = []
    for match in _FENCE.finditer(document):
        line = document[: match.start()].count("\n") + 1
        if not _WORDS.match(match[2]):
            raise ValueError(f"{path.name}:{line}: found {match[2]!r} behind ```{match[1]}")
        section = next((text for at, text in reversed(headings) if at < match.start()), "")
        found.append(Block(match[1], match[2], match[3], section, line))
    return found


class Shell:
    """A reader's folder and terminals.

    Attributes:
        folder: where everything happens.
        output: what the last command printed.
    """

    def __init__(self, folder: Path, meanwhile: Callable[[], object]) -> None:
        """Put ``python`` and ``roboalign`` of this interpreter first in the path.

        Args:
            folder: made where it is missing.
            meanwhile: called over and over while a command runs.
        """
        self.folder, self.output = folder, ""
        self._meanwhile = meanwhile
        self._terminals: dict[str, subprocess.Popen] = {}
        programs = folder.with_name(f"{folder.name}-bin")
        for path in (folder, programs):
            path.mkdir(exist_ok=True)
        for name, module in (("python", ""), ("roboalign", "-m roboalign_training.cli")):
            script = programs / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            script.chmod(0o755)
        self._env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def follow(self, blocks: list[Block]) -> Iterator[str]:
        """Do what the blocks say, in order; yields each section's heading when it is done."""
        for number, block in enumerate(blocks):
            following = blocks[number + 1] if number + 1 < len(blocks) else None
            if block.value("file"):
                (self.folder / block.value("file")).write_text(block.text, encoding="utf-8")
            elif block.language == "bash" and block.words != "ros2":
                expected = following.text if following and following.language == "text" else ""
                self._do(block, expected)
            if following is None or following.section != block.section:
                yield block.section

    def close(self) -> None:
        """ctrl-C in every terminal."""
        for name in list(self._terminals):
            self._end(name)

    def log(self, terminal: str) -> str:
        """What the program of a terminal has printed."""
        return (self.folder / f"terminal-{terminal}.log").read_text(errors="replace")

    def _do(self, block: Block, expected: str) -> None:
        if terminal := block.value("terminal"):
            self._end(terminal)
            self._terminals[terminal] = self._start(block, f"terminal-{terminal}.log")
            return
        until_s = time.monotonic() + UNTIL_S
        while True:
            code = self._run(block)
            missing = missing_lines(expected, self.output)
            if block.words != "until" or not missing or time.monotonic() > until_s:
                break
        where = f"line {block.line}: {block.text.strip()}"
        if block.words != "until":
            assert code == int(block.value("exits") or 0), f"{where}: {code}\n{self._everything()}"
        assert not missing, f"{where}: not printed: {missing}\n{self._everything()}"

    def _run(self, block: Block) -> int:
        process = self._start(block, "terminal-1.log")
        until_s = time.monotonic() + COMMAND_TIMEOUT_S
        try:
            while (code := process.poll()) is None:
                assert time.monotonic() < until_s, f"line {block.line} has not ended"
                self._meanwhile()
        finally:
            _interrupt(process)
        self.output = self.log("1")
        return code

    def _start(self, block: Block, log: str) -> subprocess.Popen:
        with (self.folder / log).open("w") as output:
            return subprocess.Popen(
                ["bash", "-e", "-c", block.text],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _end(self, terminal: str) -> None:
        if (process := self._terminals.pop(terminal, None)) is not None:
            _interrupt(process)

    def _everything(self) -> str:
        logs = sorted(self.folder.glob("terminal-*.log"))
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in logs)


def missing_lines(expected: str, printed: str) -> list[str]:
    """Lines of a text block that no printed line holds."""
    return [
        line
        for line in expected.splitlines()
        if not re.search(".*".join(map(re.escape, line.split("..."))), printed)
    ]


def _interrupt(process: subprocess.Popen) -> None:
    """ctrl-C for the whole group, as a terminal does; in the end by force."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            continue
