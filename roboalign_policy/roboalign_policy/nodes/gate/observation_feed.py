"""The gate's end of its observer process: takes what was seen, without ever waiting for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

import msgpack
import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.gate.stage_latency import StageLatency
from roboalign_policy.core.gate.streams import StreamWatch
from roboalign_policy.core.host.ending import ENDS_WITH, ends_with_this_process

_MODULE = "roboalign_policy.nodes.gate.gate_observer"
_MESSAGE_BYTES = 1 << 16
_END_S = 5.0


class ObservationFeed:
    """Runs `gate_observer` and hands its reports to the stream watch.

    Attributes:
        failed: why nothing comes any more; empty while all is well.
    """

    def __init__(
        self,
        contract: Contract,
        streams: StreamWatch,
        latency: StageLatency,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Start the process.

        Args:
            contract: the streams.
            streams: told of every sample.
            latency: told of every arrival.
            arguments: ROS arguments: namespace and remappings of the gate are the observer's too.
            environment: of the process: with shared memory, which the gate goes without.
        """
        self._streams, self._latency, self.failed = streams, latency, ""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._line.send(contract.to_yaml().encode())
            self._line.setblocking(False)
            descriptor = theirs.fileno()
            # A group of its own: ctrl-C reaches the gate, which ends it when the arm has stopped.
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(descriptor), *arguments],
                pass_fds=(descriptor,),
                stdin=subprocess.DEVNULL,
                env={**environment, ENDS_WITH: ends_with_this_process()},
                start_new_session=True,
            )

    def drain(self) -> None:
        """Take what was seen since the last call; it raises nothing, see ``failed``."""
        while not self.failed:
            try:
                data = self._line.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self.failed = f"observer: {error}"
                return
            if not data:
                self.failed = f"the observer process ended (code {self._process.poll()})"
                return
            try:
                self._take(*msgpack.unpackb(data))
            except Exception as error:  # noqa: BLE001 - a stop, too, asks: it must go on
                self.failed = f"a report of the observer: {type(error).__name__}: {error}"

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._line.close()

    def _take(
        self,
        key: str,
        header_ns: int | None,
        receive_ns: int,
        steady_s: float,
        digest: int | None,
        values: list[float] | None,
        fault: str,
        note: str,
    ) -> None:
        self._streams.note(key, note)
        if fault:
            self._latency.sample(key, header_ns, receive_ns, steady_s)
            self._streams.unreadable(key, fault)
            return
        if digest is None and values is None:
            return  # of other joints: no sample of this stream
        self._latency.sample(key, header_ns, receive_ns, steady_s)
        value = None if values is None else np.array(values)
        self._streams.sample(key, header_ns, receive_ns, steady_s, value, digest)
