"""One thing that was looked at on a robot: what was found, what was expected, and the fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from roboalign_policy.core.contract.faults import ERROR, WARNING

OK = "ok"
#: From the least to the most urgent.
SEVERITIES = (OK, WARNING, ERROR)


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        severity: `error` (the contract does not hold), `warning` or `ok`.
        check: what was looked at, one word: `topic`, `type`, `qos`, `rate`, `clock` ...
        subject: key of the stream, topic, or part of the machine.
        found: what is there.
        expected: what the contract or the suite needs.
        fix: a command or an edit; empty where nothing is to be done.
    """

    severity: str
    check: str
    subject: str
    found: str
    expected: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the finding as plain data."""
        return asdict(self)


def counted(number: int, what: str) -> str:
    """Return a number of things: `1 core`, `2 cores`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def milliseconds(seconds: float) -> str:
    """Return a duration as people read it: `12 ms`, `1.4 s`."""
    if abs(seconds) < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if abs(seconds) < 600 else f"{seconds:.0f} s"
