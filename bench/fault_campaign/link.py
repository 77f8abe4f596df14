"""A TCP connection to the policy server that can be cut: what is sent then arrives nowhere."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Link:
    """Forwards both ways between a port of its own and the server's, until it is cut.

    Attributes:
        port: where a client connects to.
    """

    def __init__(self, server_port: int) -> None:
        """Listen on a free port of the loopback interface; ``server_port``: where to forward."""
        self._server_port = server_port
        self._cut = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="link", daemon=True).start()

    def cut(self) -> int:
        """Pull the cable; returns the instant, ns on the monotonic clock."""
        t_ns = time.monotonic_ns()
        self._cut.set()
        return t_ns

    def mend(self) -> None:
        """Plug it in again: connections from before are dead, new ones work."""
        ends, self._open = self._open, []
        for end in ends:
            _end(end)
        self._cut.clear()

    def close(self) -> None:
        """End."""
        self._listener.close()
        self.mend()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port), 2.0)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._cut.is_set():
                    sink.sendall(data)
        if not self._cut.is_set():  # through a cut cable nobody hears of an end either
            _end(source)
            _end(sink)


def _end(end: socket.socket) -> None:
    """Close a socket in a way that a thread which reads from it notices."""
    with contextlib.suppress(OSError):  # the other side was faster
        end.shutdown(socket.SHUT_RDWR)
    end.close()
