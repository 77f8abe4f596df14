"""`PolicyServer`: a policy that answers over websockets, one inference at a time."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.protocol import State
from websockets.sync.server import ServerConnection, serve

from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.remote.access import check_exposure, is_authorised, resolve_address
from roboalign_policy.remote.messages import (
    Fault,
    Hello,
    Reply,
    Request,
    ServerTimings,
    ThinkRequest,
    ThoughtReply,
    Welcome,
)
from roboalign_policy.remote.wire import MAX_MESSAGE_BYTES, WireError, pack, tool_name, unpack

_HELLO_S = 10.0  # time that a client has for its first message
_CLOSE_S = 1.0  # a client that does not answer must not hold up the end of the program
_MAX_FAULT_TEXT = 2000

log = logging.getLogger(__name__)


class PolicyServer:
    """Listens from its making until `close`; a context manager.

    Attributes:
        address: where it listens, as a number.
        port: the TCP port.
        url: what a client on this machine is given.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        insecure_no_tls: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        """Start to listen.

        Args:
            policy: what answers; its ``act`` is called in one thread only, and its ``think`` in
                another one.
            host: name or address to listen on; any but this machine's own needs token and TLS.
            port: 0 takes a free one.
            token: what clients must show; empty: nothing.
            tls: see `make_server_tls`; None: none.
            insecure_no_tls: listen to other machines without TLS all the same.
            max_message_bytes: longest message, either way.

        Raises:
            AccessError: the address is open to other machines, and token or TLS are missing.
            OSError: the port is taken, or not allowed.
        """
        family, self.address = resolve_address(host, port)
        check_exposure(self.address, token, tls is not None, insecure_no_tls)
        self._policy, self._token, self._max_message_bytes = policy, token, max_message_bytes
        # One thread, so that there is one inference at a time, in the order of arrival, and torch
        # and CUDA see the same thread whoever asks. Thoughts, which are made beside actions, have
        # theirs.
        self._model = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._thinker = ThreadPoolExecutor(1, thread_name_prefix="thought")
        self._connections: set[ServerConnection] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._server = serve(
            self._handle,
            self.address,
            port,
            family=family,
            ssl=tls,
            compression=None,  # pictures do not shrink, and deflate takes longer than the network
            origins=[None],  # browsers name one: no page may ask, least of all of localhost
            process_request=self._admit,
            close_timeout=_CLOSE_S,
            max_size=max_message_bytes,
            max_queue=1,
        )
        self.port = int(self._server.socket.getsockname()[1])
        shown = f"[{self.address}]" if ":" in self.address else self.address
        self.url = f"{'wss' if tls else 'ws'}://{shown}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="policy-server", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> PolicyServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Stop listening and tell the clients; False where an inference still runs after that."""
        until_s = time.monotonic() + timeout_s
        self._closing = True
        for threads in (self._model, self._thinker):
            threads.shutdown(wait=False, cancel_futures=True)
        # Up to websockets 16 this only stops to listen; later ones close connections as well and
        # wait for every handler, so also for a model that hangs.
        ending = threading.Thread(target=self._server.shutdown, daemon=True)
        ending.start()
        self._thread.join(max(until_s - time.monotonic(), 0.0))
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            connection.close(1001, "server stopped")
        with self._changed:
            idle = self._changed.wait_for(
                lambda: not self._connections, max(until_s - time.monotonic(), 0.0)
            )
        ending.join(max(until_s - time.monotonic(), 0.0))
        return idle and not ending.is_alive()

    def _admit(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Refuse who does not show the token, before a byte of a message is read."""
        if is_authorised(request.headers.get_all("Authorization"), self._token):
            return None
        log.warning("%s: refused: no token, or not the right one", _name(connection))
        return connection.respond(401, "expected Authorization: Bearer <token of this server>\n")

    def _handle(self, connection: ServerConnection) -> None:
        """Serve one client, in a thread of its own."""
        with self._changed:
            self._connections.add(connection)
        try:
            if not self._closing:
                self._serve(connection, _name(connection))
        finally:
            with self._changed:
                self._connections.discard(connection)
                self._changed.notify_all()

    def _serve(self, connection: ServerConnection, name: str) -> None:
        answered, model_s = 0, 0.0
        try:
            hello = unpack(connection.recv(_HELLO_S), self._max_message_bytes)
            if not self._welcome(connection, name, hello):
                return
            last_id = 0
            while True:
                data = connection.recv()
                received_s = time.perf_counter()
                request = unpack(data, self._max_message_bytes)
                asks = isinstance(request, (Request, ThinkRequest))
                if not asks or request.id <= last_id:
                    found = getattr(request, "id", type(request).__name__)
                    raise WireError(f"act.id: found {found}, expected one above {last_id}")
                last_id = request.id
                thread = self._thinker if isinstance(request, ThinkRequest) else self._model
                reply = thread.submit(self._answer, connection, name, request, received_s).result()
                if reply is None:
                    return
                if isinstance(reply, (Reply, ThoughtReply)):
                    answered, model_s = answered + 1, model_s + reply.timings.model_s
                connection.send(self._packed(reply))
        except WireError as error:
            log.warning("%s: refused: %s", name, error)
            self._last_word(connection, error)
        except TimeoutError:
            log.warning("%s: refused: no hello within %.0f s", name, _HELLO_S)
        except (CancelledError, RuntimeError):
            if not self._closing:  # the model's thread takes nothing more once closed
                raise
        except ConnectionClosed as error:
            mean_ms = 1e3 * model_s / answered if answered else 0.0
            log.info("%s: left: %s; %d answers, %.0f ms each", name, error, answered, mean_ms)

    def _welcome(self, connection: ServerConnection, name: str, hello: object) -> bool:
        """Answer the first message; False where the client wants another policy."""
        if not isinstance(hello, Hello):
            raise WireError(f"hello: found {type(hello).__name__}, expected the first message")
        policy = self._policy
        # The client sees it from this, and says so with both hashes.
        welcome = Welcome(
            tool_name(), policy.hash, policy.contract.to_yaml(), policy.horizon, policy.dims,
            policy.thinks, policy.chunking, policy.replan_after_steps,
        )  # fmt: skip
        connection.send(pack(welcome, self._max_message_bytes))
        if hello.policy_hash in ("", policy.hash):
            log.info("%s: connected: %s", name, hello.tool)
            return True
        log.warning("%s: expects policy %s, found %s", name, hello.policy_hash, policy.hash)
        return False

    def _answer(
        self,
        connection: ServerConnection,
        name: str,
        request: Request | ThinkRequest,
        received_s: float,
    ) -> Reply | ThoughtReply | Fault | None:
        """Ask the policy, in the model's thread; None where the client has gone meanwhile."""
        if connection.state is not State.OPEN:
            return None
        started_s = time.perf_counter()
        try:
            if isinstance(request, ThinkRequest):
                kind = ThoughtReply
                answer = self._policy.think(request.values, request.instruction)
            else:
                kind = Reply
                answer = self._policy.act(
                    request.values,
                    request.instruction,
                    remaining=request.remaining,
                    thought=request.thought,
                    frozen=request.frozen,
                )
        except Exception as error:
            log.exception("%s: request %d failed", name, request.id)
            return Fault(request.id, type(error).__name__, str(error)[:_MAX_FAULT_TEXT])
        ended_s = time.perf_counter()
        timings = ServerTimings(
            started_s - received_s, ended_s - started_s, time.perf_counter() - received_s
        )
        return kind(request.id, answer, timings)

    def _packed(self, reply: Reply | ThoughtReply | Fault) -> bytes:
        try:
            return pack(reply, self._max_message_bytes)
        except WireError as error:
            log.error("an answer of the policy cannot be sent: %s", error)
            return pack(Fault(reply.id, "WireError", str(error)[:_MAX_FAULT_TEXT]))

    def _last_word(self, connection: ServerConnection, error: WireError) -> None:
        """Say why the connection ends; the client may be gone already."""
        try:
            connection.send(pack(Fault(None, type(error).__name__, str(error)[:_MAX_FAULT_TEXT])))
        except ConnectionClosed:
            log.info("client left before it was told")


def _name(connection: ServerConnection) -> str:
    """Address of a client, for the log."""
    try:
        host, port = connection.remote_address[:2]
    except OSError:  # gone
        return "a client"
    return f"{host}:{port}"
