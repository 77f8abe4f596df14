"""The last seconds before somebody says "record that", bounded in time and in bytes."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Arrival(NamedTuple):
    """One message as it arrived; times in ns.

    Attributes:
        index: of its topic.
        header_ns: stamp it carries; None for a type without.
        receive_ns: when it arrived.
        send_ns: when it was sent; 0 where the middleware does not say.
        data: CDR.
        lost: messages of the topic that were sent just before it and did not arrive; None: not
            known.
        names: joints that it names, of a topic that is read by them.
    """

    index: int
    header_ns: int | None
    receive_ns: int
    send_ns: int
    data: bytes
    lost: int | None = 0
    names: tuple[str, ...] = ()


class Ring:
    """Keeps the newest arrivals.

    Attributes:
        bytes: of the messages that are kept.
    """

    def __init__(self, span_s: float, limit_bytes: int) -> None:
        """Start empty.

        Args:
            span_s: s; older messages are forgotten; 0 keeps nothing.
            limit_bytes: the oldest are forgotten before more bytes are kept.
        """
        self._span_ns, self._limit = round(span_s * 1e9), limit_bytes
        self._kept: deque[Arrival] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        """Messages that are kept."""
        return len(self._kept)

    def add(self, arrival: Arrival) -> None:
        """Keep a message and forget what is too old or too much."""
        if not self._span_ns:
            return
        self._kept.append(arrival)
        self.bytes += len(arrival.data)
        oldest_ns = arrival.receive_ns - self._span_ns
        while self._kept and (self.bytes > self._limit or self._kept[0].receive_ns < oldest_ns):
            self.bytes -= len(self._kept.popleft().data)

    def since(self, since_ns: int) -> list[Arrival]:
        """What arrived since then, in the order in which it was kept."""
        return [arrival for arrival in self._kept if arrival.receive_ns >= since_ns]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.bytes = 0

    def span_s(self) -> float:
        """Seconds from the oldest message to the newest."""
        if not self._kept:
            return 0.0
        return (self._kept[-1].receive_ns - self._kept[0].receive_ns) / 1e9
