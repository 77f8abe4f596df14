"""Which process of this computer stands behind an endpoint of Fast DDS, and whether it is gone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

_VENDOR = (0x01, 0x0F)  # eProsima
_PID = slice(4, 6)
_TAIL = 0xFFFF


class EndpointProcesses:
    """Remembers whose process was seen; one that was and is no more has ended.

    A killed process takes no leave, and the middleware notices only after up to 20 s. Fast DDS
    writes the last 16 bits of the process id into the endpoint's identity (bytes 4 and 5 of the
    GUID). A process that was never seen, on another computer or in another container, is left to
    the middleware.

    Source: Fast DDS 2.14, RTPSDomain::create_participant_guid.
    """

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._seen: set[tuple[int, ...]] = set()

    def ended(self, gids: Iterable[Sequence[int]], tails: frozenset[int]) -> list[tuple[int, ...]]:
        """Tell which endpoints' processes were seen once and are no more.

        Args:
            gids: (16 or more,) bytes, identities of the endpoints that the middleware knows.
            tails: last 16 bits of the ids of all running processes, of `running_tails`.
        """
        known = [tuple(gid) for gid in gids if tuple(gid[:2]) == _VENDOR]
        self._seen &= set(known)
        ended = []
        for gid in known:
            if int.from_bytes(bytes(gid[_PID]), "little") in tails:
                self._seen.add(gid)
            elif gid in self._seen:
                ended.append(gid)
        return ended


def running_tails() -> frozenset[int]:
    """Last 16 bits of the ids of all processes that this one can see."""
    return frozenset(int(name) & _TAIL for name in os.listdir("/proc") if name.isdigit())
