"""Looks at a contract's streams for safety_gate_node, in a process of its own.

Of images only stamp, size and a CRC are looked at. What was seen goes to the gate over a socket
pair; the gate itself so never waits for an image, nor for a lock in shared memory.
"""

from __future__ import annotations

import functools
import socket
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import msgpack
from rclpy.node import Node

from roboalign_policy.core import keys
from roboalign_policy.core.contract.contract import Contract, contract_from_yaml
from roboalign_policy.core.frames.joint_readings import StateReader
from roboalign_policy.core.host.ending import EndRequest
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.image_layout import image_fault
from roboalign_policy.ros.qos import SHARED_DEPTH, qos_from_contract
from roboalign_policy.ros.stamps import leading_stamp_ns

NAME = "safety_gate_observer"
CONTRACT_BYTES = 1 << 20
_STAMP_END = 12  # bytes: CDR encapsulation 4, seconds 4, nanoseconds 4


class GateObserver(Node):
    """Subscribes to all streams of a contract, newest message only."""

    def __init__(self, contract: Contract, report: Callable[..., None]) -> None:
        """Subscribe as the contract says.

        Args:
            contract: the streams.
            report: called for every message with key, stamp (ns or None), arrival (ns of the ROS
                clock), arrival (s of the steady clock), CRC of an image or None, values of a state
                or None, why it could not be read or "", and which messages came beside those of
                the stream's own joints or "". One of other joints, or of a part of them, is
                reported only where that text changes: values and fault are None and "" then.
        """
        # A launch file names the gate by a global argument, which would name this one too.
        own_name = ["--ros-args", "-r", f"__node:={NAME}"]
        super().__init__(NAME, cli_args=own_name, start_parameter_services=False)
        self._report = report
        self._notes: dict[str, str] = {}
        for stream in contract.observations:
            qos = qos_from_contract(stream.qos)
            qos.depth = 1  # what is older than the newest says nothing about freshness
            image = keys.is_image(stream.key)
            if image:
                take = functools.partial(self._on_image, stream)
            else:
                qos.depth = SHARED_DEPTH
                take = functools.partial(self._on_state, stream, StateReader(stream))
            self.create_subscription(
                message_class(stream.type), stream.topic, take, qos, raw=image
            )

    def _on_image(self, stream: Any, serialised: bytes) -> None:
        now_ns, steady_s = self.get_clock().now().nanoseconds, time.monotonic()
        stamp_ns = leading_stamp_ns(serialised)
        fault = image_fault(serialised, stream.shape) if stream.type == keys.IMAGE_TYPE else ""
        digest = zlib.crc32(memoryview(serialised)[_STAMP_END:])
        self._report(stream.key, stamp_ns, now_ns, steady_s, digest, None, fault or "", "")

    def _on_state(self, stream: Any, reader: StateReader, msg: Any) -> None:
        now_ns, steady_s = self.get_clock().now().nanoseconds, time.monotonic()
        key, stamp_ns, values, fault = stream.key, stamp_ns_from_msg(msg), None, ""
        try:
            sample = reader.read(msg, now_ns)
        except ValueError as error:  # SelectorError, or no stamp where the contract wants one
            fault = str(error)
        else:
            if sample is not None:
                stamp_ns, values = sample.header_ns, sample.value.tolist()
        note = reader.sets.note()
        if values is not None or fault or note != self._notes.get(key, ""):
            self._notes[key] = note
            self._report(key, stamp_ns, now_ns, steady_s, None, values, fault, note)


def main() -> int:
    """Run until the gate ends: ``gate_observer.py DESCRIPTOR [arguments of the gate]``."""
    line = socket.socket(fileno=int(sys.argv[1]))
    contract = contract_from_yaml(line.recv(CONTRACT_BYTES).decode(), "contract of the gate")
    line.setblocking(False)

    def make_node(request: EndRequest) -> GateObserver:
        def report(*seen: Any) -> None:
            try:
                line.send(msgpack.packb(seen))
            except BlockingIOError:
                pass  # the gate does not read: what it misses is stale to it, and it stops
            except (BrokenPipeError, ConnectionResetError):
                request.ask("the gate has ended")

        return GateObserver(contract, report)

    return run_node(make_node, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
