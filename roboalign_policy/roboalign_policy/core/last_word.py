"""One message that is heard by several subscriptions counts once, and in its order."""

from __future__ import annotations

from collections import deque

_KEPT = 64


class LastWord:
    """Tells new messages of a topic from copies that come late by another subscription.

    Subscriptions of several QoS hear each message more than once: the best-effort one may lose it,
    the reliable one may get it later, by then perhaps after a newer one. What is heard for the
    first time always counts, whatever its publisher's clock says. A copy counts only where it is
    newer than what was taken last: then an older message slipped in between.
    """

    def __init__(self) -> None:
        """Nothing heard yet."""
        self._heard: deque[int] = deque(maxlen=_KEPT)
        self._last_ns = 0

    def is_news(self, published_ns: int) -> bool:
        """Take a message; whether it counts.

        Args:
            published_ns: ns; its publisher's clock when it was published; 0: not known.
        """
        if not published_ns:
            return True
        copy = published_ns in self._heard
        if copy and published_ns <= self._last_ns:
            return False
        if not copy:
            self._heard.append(published_ns)
        self._last_ns = published_ns
        return True
