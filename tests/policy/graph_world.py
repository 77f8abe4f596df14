"""A graph made of plain data for tests of `roboalign doctor`: contract sim_panda, all in order."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace as Message

import numpy as np

from roboalign_policy.core.contract.contract import contract_from_dict, load_contract
from roboalign_policy.core.doctor.graph_check import check_graph
from roboalign_policy.core.doctor.graph_snapshot import ClockRecord, GraphSnapshot, HeardGate
from roboalign_policy.core.doctor.stream_audit import StreamRecord
from roboalign_policy.core.graph.endpoints import Endpoint, EndpointQos
from roboalign_policy.core.host.facts import DdsProfile, HostFacts

START_NS, SECONDS = 1_700_000_000 * 10**9, 5
END_NS = START_NS + SECONDS * 10**9
LATCHED = EndpointQos("reliable", "transient_local")
WEAK = EndpointQos("best_effort", "volatile")
HOST = HostFacts(
    cores=8,
    load=1.0,
    governors=("performance",),
    shm_free_bytes=2**30,
    shm_abandoned_bytes=0,
    profile=DdsProfile("profile.xml", segment_bytes=64 * 2**20),
    domains=(),
    environment={"ROS_DOMAIN_ID": "7"},
)


def panda(edit=None):
    """Contract sim_panda; `edit(data)` changes its plain data in place."""
    data = load_contract("sim_panda").to_dict()
    if edit is not None:
        edit(data)
    return contract_from_dict(data)


def message(stream, **changes):
    """What a healthy driver sends on a stream."""
    if stream.is_image:
        height, width, _ = stream.shape
        size = {"height": height, "width": width, "step": 3 * width, "encoding": "rgb8", **changes}
        data = bytes(size["height"] * size["step"])
        return Message(**{**size, "data": data})
    if stream.type.endswith("PoseStamped"):
        axes = {"x": 0.4, "y": 0.0, "z": 0.2}
        pose = Message(position=Message(**axes), orientation=Message(**axes, w=1.0))
        return Message(pose=pose, **changes)
    joints = [field.path[len("position[") : -1] for field in stream.fields]
    return Message(**{"name": joints, "position": [0.05] * len(joints), **changes})


def record(
    stream,
    rate_hz=10.0,
    late_s=0.005,
    *,
    wire_s=0.001,
    offset_s=0.0,
    clock_offset_s=None,
    skip=(),
    msg=None,
):
    """Messages of one stream over the time of listening.

    Args:
        stream: of the contract.
        rate_hz: of the messages.
        late_s: receipt minus stamp: a number, or one for each message.
        wire_s: receipt minus sending.
        offset_s: of the publisher's clock to the system's.
        clock_offset_s: of /clock; None: there is none.
        skip: numbers of messages that did not come.
        msg: content of each message; a healthy one where left out.
    """
    found = StreamRecord(stream)
    count = int(SECONDS * rate_hz)
    lates_s = np.broadcast_to(late_s, count)
    for number in range(count):
        if number in skip:
            continue
        receive_ns = START_NS + round((number + 0.5) * 1e9 / rate_hz)
        header_ns = receive_ns + round((offset_s - lates_s[number]) * 1e9)
        clock_ns = 0 if clock_offset_s is None else receive_ns + round(clock_offset_s * 1e9)
        found.arrived(header_ns, receive_ns, receive_ns - round(wire_s * 1e9), clock_ns, 50_000)
        found.content.take(message(stream) if msg is None else msg)
    return found


def graph(contract, **changes):
    """A graph on which everything of the contract is in order; `changes`: fields of it."""
    driver = "/driver"
    publishers = {
        f"/{s.topic}": (Endpoint(driver, s.type, EndpointQos()),) for s in contract.observations
    }
    publishers["/task"] = (Endpoint("/operator", "std_msgs/msg/String", LATCHED),)
    publishers["/scene"] = (Endpoint(driver, "std_msgs/msg/String", EndpointQos()),)
    subscribers = {
        f"/{c.topic}": (Endpoint("/controller", c.type, EndpointQos()),)
        for c in contract.action.commands
    }
    whole = GraphSnapshot(
        namespace="/",
        nodes=(driver, "/controller", "/safety_gate_node"),
        publishers=publishers,
        subscribers=subscribers,
        services=frozenset({"/safety_gate_node/estop"}),
        gate=HeardGate("ready", ""),
        streams={s.key: record(s) for s in contract.observations},
        start_ns=START_NS,
        end_ns=END_NS,
    )
    return replace(whole, **changes)


def with_publishers(snapshot, topic, *endpoints):
    """The snapshot with other publishers on a topic; none: the topic is not there."""
    left = {name: ends for name, ends in snapshot.publishers.items() if name != topic}
    return replace(snapshot, publishers={**left, topic: endpoints} if endpoints else left)


def with_subscribers(snapshot, topic, *endpoints):
    """The snapshot with other subscriptions of a topic; none: nobody listens."""
    left = {name: ends for name, ends in snapshot.subscribers.items() if name != topic}
    return replace(snapshot, subscribers={**left, topic: endpoints} if endpoints else left)


def with_record(snapshot, contract, key, **arguments):
    """The snapshot with other messages of a stream; see `record`."""
    made = record(contract.stream(key), **arguments)
    return replace(snapshot, streams={**snapshot.streams, key: made})


def clock_record(offset_s):
    """What was heard on a /clock that differs so much from the system's time."""
    times = tuple(range(START_NS, END_NS, 10**8))
    return ClockRecord(times, tuple(t + round(offset_s * 1e9) for t in times))


def faults(contract, snapshot, host=HOST):
    """Findings that are not `ok`."""
    return [f for f in check_graph(contract, snapshot, host) if f.severity != "ok"]


def only(contract, snapshot, host=HOST):
    """The one finding that is not `ok`."""
    (finding,) = faults(contract, snapshot, host)
    return finding
