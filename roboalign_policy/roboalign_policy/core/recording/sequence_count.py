"""Finds what got lost between a publisher and a subscription, from the middleware's numbers."""

from __future__ import annotations


class SequenceCount:
    """Gaps in the numbers that one publisher gives its messages."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._last = 0

    def restart(self) -> None:
        """The next number begins anew: another subscription."""
        self._last = 0

    def take(self, number: int, publishers: int) -> int | None:
        """Take the number of a message that arrived.

        Args:
            number: given by its publisher, counting from 1; 0 where the middleware gives none.
            publishers: how many there are on the topic.

        Returns:
            Messages lost just before it; None where that is not known: several publishers mix
            their numbers.
        """
        if publishers > 1 or not number:
            self._last = 0
            return None
        # A number that is not greater: the publisher was started anew, or told to send again.
        gap = number - self._last - 1 if 0 < self._last < number else 0
        self._last = number
        return gap
