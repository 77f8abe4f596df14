"""`RemotePolicy`: a policy on another machine, with the same methods as one on this."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from websockets.exceptions import InvalidStatus, WebSocketException

from roboalign_policy.core.contract.contract import Contract, ContractError, contract_from_yaml
from roboalign_policy.core.policy.prediction import ChunkStatus, Prediction
from roboalign_policy.remote.access import (
    authorization_header,
    check_token,
    is_this_machine,
    make_client_tls,
)
from roboalign_policy.remote.line import Line
from roboalign_policy.remote.messages import (
    Fault,
    Hello,
    Reply,
    Request,
    ThinkRequest,
    ThoughtReply,
    Welcome,
)
from roboalign_policy.remote.wire import MAX_MESSAGE_BYTES, WireError, pack, tool_name, unpack

log = logging.getLogger(__name__)

_Asked = TypeVar("_Asked", Request, ThinkRequest)
_Answered = TypeVar("_Answered", Reply, ThoughtReply)


class RemoteError(RuntimeError):
    """There is no answer: why, and from which server."""


@dataclass(frozen=True)
class Timings:
    """Where the time of an answer went, s.

    Attributes:
        round_trip_s: from before the request was packed until the answer was checked.
        queued_s: at the server, waiting for the model (other clients).
        model_s: in the policy.
        server_s: at the server, all together.
    """

    round_trip_s: float
    queued_s: float
    model_s: float
    server_s: float

    @property
    def network_s(self) -> float:
        """What is neither waiting nor the model: network, packing and unpacking, s."""
        return self.round_trip_s - self.server_s


class RemotePolicy:
    """Asks a `PolicyServer`. An answer is the one to the present request, in time, or an error.

    One request at a time. A connection that fails is thrown away with whatever may still come
    over it; the next `act` makes a new one, which must lead to the same policy.

    Attributes:
        contract: robot contract of the served policy.
        hash: SHA-256 of the served policy.
        horizon: steps of a chunk, T.
        dims: dimensions of an action, A.
        thinks: whether it has a thought before it acts.
        chunking: how its chunks continue the running one.
        replan_after_steps: how many of a chunk's steps to drive before the next one; 0: all.
        last_timings: of the last answer; None before the first, and after an error.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        policy_hash: str = "",
        timeout_s: float = 2.0,
        connect_timeout_s: float = 10.0,
        ca_file: str = "",
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        """Connect.

        Args:
            url: ws://host:port, or wss://host:port for TLS.
            token: what the server asks for; empty: nothing.
            policy_hash: hash of the policy that is expected; empty: any, then always the same.
            timeout_s: s; longest time from `act` to the answer.
            connect_timeout_s: s; longest time to make a connection, of each of them.
            ca_file: PEM file of the certificates that are believed (a self-signed server's own
                certificate); empty: the system's.
            max_message_bytes: longest message, either way.

        Raises:
            ValueError: an argument is wrong; also `AccessError`, for token or ca_file.
            RemoteError: the server cannot be reached, refuses, or runs another policy.
        """
        for name, value in (("timeout_s", timeout_s), ("connect_timeout_s", connect_timeout_s)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name}: found {value}, expected seconds above 0")
        if token:
            check_token(token)
        self._url, self._token, self._tls = url, token, make_client_tls(url, ca_file)
        if token and self._tls is None and not is_this_machine(url):
            log.warning("%s: without TLS, everybody on the way can read the token", url)
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._max_message_bytes = max_message_bytes
        # A thought is asked for over a connection of its own: an action does not wait behind it.
        self._more = {
            "token": token,
            "timeout_s": timeout_s,
            "connect_timeout_s": connect_timeout_s,
            "ca_file": ca_file,
            "max_message_bytes": max_message_bytes,
        }
        self._thinker: RemotePolicy | None = None
        self._thinking = threading.Lock()
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._closed = False
        self._last_id = 0
        self._known: tuple | None = None
        self.last_timings: Timings | None = None
        self.hash = policy_hash
        self._connect()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known; never waits."""
        line = self._line
        return line is not None and line.is_open

    def act(
        self,
        values: Mapping[str, np.ndarray],
        instruction: str,
        remaining: np.ndarray | None = None,
        thought: str | None = None,
        frozen: int = 0,
    ) -> Prediction:
        """Ask for the chunk that follows an observation.

        Without a connection it first makes one. Where that takes longer than ``timeout_s`` the
        observation is not sent any more, for it is old by then.

        Args:
            values: images (H, W, 3) uint8 rgb and states (D,) float32 by stream key.
            instruction: the task in words.
            remaining: (R, A) float32; what is left of the chunk that is being executed.
            thought: to act on; None: the policy thinks for itself.
            frozen: actions of ``remaining`` that will have been executed when the answer is there.

        Raises:
            RemoteError: the server is lost, late, refuses, or answers what cannot be.
            WireError: a value cannot be sent; nothing was.
        """
        with self._lock:
            asked = (values, instruction, remaining, thought, frozen)
            reply = self._ask(lambda id: Request(id, *asked), Reply)
            return reply.prediction

    def think(self, values: Mapping[str, np.ndarray], instruction: str) -> str:
        """Ask for a thought alone, also while another thread is in `act`.

        Args:
            values: as for `act`.
            instruction: the task in words.

        Raises:
            RemoteError: as `act`.
            WireError: as `act`.
        """
        with self._thinking:
            if self._thinker is None:
                self._thinker = RemotePolicy(self._url, policy_hash=self.hash, **self._more)
            thinker = self._thinker
            if self._closed:  # meanwhile, by another thread
                thinker.close()
            with thinker._lock:
                return thinker._ask(
                    lambda id: ThinkRequest(id, values, instruction), ThoughtReply
                ).thought

    def _ask(self, make: Callable[[int], _Asked], kind: type[_Answered]) -> _Answered:
        """Send a request and take its answer; hold the lock."""
        self.last_timings = None
        started_s = time.perf_counter()
        request = make(self._last_id + 1)
        data = pack(request, self._max_message_bytes)
        if not self.connected:
            self._connect()
        passed_s = time.perf_counter() - started_s
        if passed_s >= self._timeout_s:
            late = f"{passed_s:.1f} s before it could be, expected {self._timeout_s} s at most"
            raise self._error(f"not sent: {late}")
        self._last_id = request.id
        reply = self._exchange(self._line, data, self._timeout_s - passed_s)
        if isinstance(reply, Fault) and reply.id == request.id:
            raise self._error(f"the policy raised {reply.type}: {reply.message}")
        if not isinstance(reply, kind) or reply.id != request.id:
            self._drop()
            found = f"{type(reply).__name__} {getattr(reply, 'id', '')}"
            if isinstance(reply, Fault):
                found = f"{reply.type}: {reply.message}"
            raise self._error(f"found {found}, expected the answer to {request.id}")
        if isinstance(reply, Reply):
            self._check(reply.prediction)
        times = reply.timings
        self.last_timings = Timings(
            time.perf_counter() - started_s, times.queued_s, times.model_s, times.server_s
        )
        return reply

    def close(self) -> None:
        """Disconnect; an `act` or `think` that waits in another thread ends with an error."""
        self._closed = True
        if (thinker := self._thinker) is not None:
            thinker.close()
        if (line := self._line) is not None:
            line.close()

    def _exchange(self, line: Line, data: bytes, timeout_s: float) -> object:
        """Send one message and receive one."""
        until_s = time.monotonic() + timeout_s
        try:
            line.send(data, timeout_s)
            return unpack(line.receive(until_s - time.monotonic()), self._max_message_bytes)
        except (WebSocketException, OSError, WireError) as error:
            self._drop()
            if isinstance(error, TimeoutError) or time.monotonic() >= until_s:
                raise self._error(f"no answer within {self._timeout_s} s") from error
            text = str(error) if isinstance(error, WireError) else f"lost: {_text(error)}"
            raise self._error(text) from error

    def _check(self, prediction: Prediction) -> None:
        """An answer that is ``ok`` has actions that can be executed; any other has none."""
        actions, shape = prediction.actions, (self.horizon, self.dims)
        if prediction.status != ChunkStatus.OK:
            fault = "" if actions is None else f"actions with status {prediction.status}"
        elif actions is None or actions.shape != shape or actions.dtype != np.float32:
            found = "none" if actions is None else f"{actions.dtype} {actions.shape}"
            fault = f"actions {found}, expected float32 {shape}"
        else:
            fault = "" if np.isfinite(actions).all() else "actions that are not finite"
        if fault:
            self._drop()
            raise self._error(f"found {fault}")

    def _connect(self) -> None:
        """Make a connection and hold the policy behind it against the one known.

        Raises:
            RemoteError: see `__init__`.
        """
        self._drop()
        if self._closed:
            raise self._error("closed")
        until_s = time.monotonic() + self._connect_timeout_s
        try:
            line = self._line = Line(
                self._url,
                tls=self._tls,
                headers=authorization_header(self._token),
                connect_timeout_s=self._connect_timeout_s,
                silence_s=self._timeout_s,
                max_message_bytes=self._max_message_bytes,
            )
            line.send(pack(Hello(tool_name(), self.hash)), self._connect_timeout_s)
            welcome = unpack(line.receive(until_s - time.monotonic()), self._max_message_bytes)
            self._meet(welcome)
            if self._closed:  # meanwhile, by another thread
                raise WireError("closed")
        except TimeoutError as error:
            self._drop()
            raise self._error(f"no connection within {self._connect_timeout_s} s") from error
        except (WebSocketException, OSError, WireError, ContractError) as error:
            self._drop()
            raise self._error(f"no connection: {_text(error)}") from error

    def _meet(self, welcome: object) -> None:
        """Take what the server says of its policy, or refuse it.

        Raises:
            WireError: it is not a welcome, or another policy than expected or than before.
        """
        if isinstance(welcome, Fault):
            raise WireError(f"refused by the server: {welcome.type}: {welcome.message}")
        if not isinstance(welcome, Welcome):
            raise WireError(f"found {type(welcome).__name__}, expected a welcome")
        if self.hash and welcome.policy_hash != self.hash:
            raise WireError(f"policy: found {welcome.policy_hash}, expected {self.hash}")
        if min(welcome.horizon, welcome.dims) < 1 or not welcome.policy_hash:
            raise WireError("welcome: found no horizon, dims or hash, expected them")
        contract = contract_from_yaml(welcome.contract, f"contract of {self._url}")
        known = (
            contract.hash, welcome.horizon, welcome.dims, welcome.thinks, welcome.chunking
        )  # fmt: skip
        if self._known not in (None, known):
            names = "contract, horizon, dims, thinks, chunking"
            raise WireError(f"{names}: found {known}, expected {self._known}")
        self._known = known
        self.thinks, self.chunking = welcome.thinks, welcome.chunking
        self.replan_after_steps = welcome.replan_after_steps
        self.contract: Contract = contract
        self.hash, self.horizon, self.dims = welcome.policy_hash, welcome.horizon, welcome.dims

    def _drop(self) -> None:
        """Leave a connection for good, with all that may still come over it; never waits."""
        line, self._line = self._line, None
        if line is not None:
            line.cut()

    def _error(self, text: str) -> RemoteError:
        return RemoteError(f"{self._url}: {text}")


def _text(error: BaseException) -> str:
    """One line of an error, with its cause where the error itself says little."""
    if isinstance(error, InvalidStatus) and error.response.status_code == 401:
        return "the server asks for a token, and this is not it"
    text = str(error) or type(error).__name__
    return f"{text} ({error.__cause__})" if error.__cause__ is not None else text
