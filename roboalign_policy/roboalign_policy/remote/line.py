"""A client's connection, whose every call ends in time, whatever the network does."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from websockets.protocol import State
from websockets.sync.client import connect

_CLOSE_S = 1.0


class Line:
    """A websocket that is opened once, and thrown away once anything is wrong with it."""

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None,
        headers: Mapping[str, str],
        connect_timeout_s: float,
        silence_s: float,
        max_message_bytes: int,
    ):
        """Connect.

        Args:
            url: ws://host:port, or wss://host:port.
            tls: see `make_client_tls`.
            headers: of the opening handshake.
            connect_timeout_s: s; longest time for TCP, TLS and the opening handshake together.
            silence_s: s; a peer that answers no ping for so long is gone.
            max_message_bytes: longest message that is received.

        Raises:
            OSError: there is no connection in time (`TimeoutError`), or no trust.
            WebSocketException: the peer is no websocket, or refuses.
        """
        until_s = time.monotonic() + connect_timeout_s
        parts = urlsplit(url)
        place = (parts.hostname, parts.port or (80 if tls is None else 443))
        with ExitStack() as stack:
            # Not through a proxy of the environment, and never redirected (the token goes along):
            # a robot's policy is on its own network or at a tunnel's end.
            tcp = stack.enter_context(socket.create_connection(place, connect_timeout_s))
            tcp.settimeout(None)
            # A second handle of the same connection. It can be shut from any thread and wakes who
            # is stuck in a send; a timeout on the socket would break the reading thread's calls.
            self._tcp = stack.enter_context(tcp.dup())
            self._websocket = stack.enter_context(
                connect(
                    url,
                    sock=tcp,
                    ssl=tls,
                    additional_headers=dict(headers),
                    compression=None,
                    open_timeout=max(until_s - time.monotonic(), 0.001),
                    # Two halves, so that a cut network is noticed in time also when idle.
                    ping_interval=silence_s / 2,
                    ping_timeout=silence_s / 2,
                    close_timeout=_CLOSE_S,
                    max_size=max_message_bytes,
                    max_queue=1,
                )
            )
            self._stack = stack.pop_all()

    @property
    def is_open(self) -> bool:
        """As far as is known; never waits."""
        return self._websocket.state is State.OPEN

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send a message; a peer that does not take it in time is cut off.

        Raises:
            ConnectionClosed: the line is lost, or was cut.
        """
        watchdog = threading.Timer(timeout_s, self._shut)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._websocket.send(data)
        finally:
            watchdog.cancel()

    def receive(self, timeout_s: float) -> bytes | str:
        """The next message.

        Raises:
            TimeoutError: there is none in time.
            ConnectionClosed: the line is lost.
        """
        return self._websocket.recv(max(timeout_s, 0.0))

    def close(self) -> None:
        """Take leave of the peer; waits for its answer for a second at most."""
        self._stack.close()

    def cut(self) -> None:
        """Give up at once whatever is under way; never waits."""
        self._shut()
        threading.Thread(target=self._stack.close, name="closing", daemon=True).start()

    def _shut(self) -> None:
        with suppress(OSError):  # gone already
            self._tcp.shutdown(socket.SHUT_RDWR)
