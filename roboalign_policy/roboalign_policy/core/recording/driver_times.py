"""Who drove the arm while an episode was recorded, by what the safety gate said."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from roboalign_policy.core.gate.safety_gate import TELEOPERATION

HOLD_NS = 1_000_000_000  # a gate that says nothing for longer drives nobody
_HASH_SHOWN = 12


class DriverTimes:
    """The sources whose commands passed, from one status of the gate to the next.

    All times are of one clock, in ns.
    """

    def __init__(self) -> None:
        """Nobody has driven so far."""
        self._spans: deque[tuple[int, int, str]] = deque()  # begin, end, source
        self._source, self._since_ns = "", 0

    def status(self, source: str, now_ns: int) -> None:
        """Take a status: whose commands pass now; empty where none do."""
        self._close(now_ns)
        self._source = source

    def forget(self, before_ns: int) -> None:
        """Drop what ended before that time."""
        while self._spans and self._spans[0][1] < before_ns:
            self._spans.popleft()

    def seconds(self, since_ns: int, until_ns: int) -> dict[str, float]:
        """S a source between two times, in the order in which they came.

        ``until_ns`` is the present.
        """
        self._close(until_ns)
        found: dict[str, float] = {}
        for begin_ns, end_ns, source in self._spans:
            within_ns = min(end_ns, until_ns) - max(begin_ns, since_ns)
            if within_ns > 0:
                found[source] = found.get(source, 0.0) + within_ns / 1e9
        return found

    def _close(self, now_ns: int) -> None:
        """Write down how long the last status held."""
        end_ns = min(now_ns, self._since_ns + HOLD_NS)
        if self._source and end_ns > self._since_ns:
            begin_ns = self._since_ns
            if self._spans and self._spans[-1][1:] == (begin_ns, self._source):
                begin_ns = self._spans.pop()[0]  # one span, however often it was said
            self._spans.append((begin_ns, end_ns, self._source))
        self._since_ns = now_ns


def driver_note(seconds: Mapping[str, float]) -> str:
    """Notes about who drove the arm; empty if no policy did.

    Args:
        seconds: s a source.
    """
    policies = {source: s for source, s in seconds.items() if source != TELEOPERATION}
    if not policies:
        return ""
    total_s = sum(seconds.values())
    named = ", ".join(f"{source[:_HASH_SHOWN]} {s:.1f} s" for source, s in policies.items())
    return f"driven by a policy for {sum(policies.values()):.1f} of {total_s:.1f} s ({named})"
