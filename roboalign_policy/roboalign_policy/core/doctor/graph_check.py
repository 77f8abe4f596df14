"""A robot contract against the live graph: everything that is wrong, each with its fix.

Pure: `nodes.clients.graph_probe` takes the snapshot, `core.host.facts` looks at the computer.
"""

from __future__ import annotations

from collections.abc import Iterator

from roboalign_policy.core.contract.channels import command_channels
from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.contract.faults import ERROR, WARNING
from roboalign_policy.core.doctor.command_check import check_command, check_gate
from roboalign_policy.core.doctor.finding import OK, Finding
from roboalign_policy.core.doctor.graph_snapshot import GraphSnapshot
from roboalign_policy.core.doctor.host_check import check_host
from roboalign_policy.core.doctor.stream_audit import StreamAudit, audit_stream
from roboalign_policy.core.doctor.stream_check import check_stream, is_simulated
from roboalign_policy.core.doctor.topic_check import (
    check_alone,
    check_heard,
    check_task,
    extras,
    observed,
)
from roboalign_policy.core.graph.endpoints import GATE, POLICY, RECORDER
from roboalign_policy.core.host.facts import HostFacts


def check_graph(contract: Contract, snapshot: GraphSnapshot, host: HostFacts) -> list[Finding]:
    """Check everything.

    Args:
        contract: what should be there.
        snapshot: what is there.
        host: the computer that listened.

    Returns:
        The findings in the order of the contract, computer first; `ok` ones too.
    """
    found = list(check_host(contract, snapshot, host))
    if snapshot.is_empty:
        return found  # one cause: that every topic is missing would hide it
    channels = command_channels(contract.action)
    parts = (*contract.observations, *contract.extra_topics, *channels, contract.task)
    taken = frozenset(snapshot.full_name(part.topic) for part in parts)
    for index, heard in enumerate(observed(contract)):
        faults = check_heard(heard, snapshot, taken) + check_alone(heard, snapshot)
        found += faults
        # What was heard is looked at also where the QoS of the contract would not hear it.
        typed = any(p.type == heard.type for p in snapshot.publishers_of(heard.topic))
        if typed and heard.subject in snapshot.streams:
            listened = check_stream(contract, index, snapshot)
            found += [f for f in listened if not (faults and f.severity == OK)]
    found += check_task(contract, snapshot) or [_right("task", contract.task.topic)]
    for heard in extras(contract):
        found += check_heard(heard, snapshot, taken) or [_right("extra topic", heard.subject)]
    for channel in channels:
        found += check_command(channel, snapshot, taken)
    found.append(check_gate(snapshot))
    found += check_time(snapshot)
    return found


def check_time(snapshot: GraphSnapshot) -> Iterator[Finding]:
    """Check that the nodes of the suite and those that publish live in the robot's time."""
    simulated = is_simulated(snapshot)
    suite = {snapshot.full_name(name) for name in (GATE, POLICY, RECORDER)}
    for node, by_clock in sorted(snapshot.use_sim_time.items()):
        if simulated and not by_clock and node in suite:
            yield Finding(
                ERROR,
                "sim_time",
                node,
                "use_sim_time is false",
                "true: /clock is published and is another time than the system's",
                f"ros2 param set {node} use_sim_time true, or start it with "
                "--ros-args -p use_sim_time:=true",
            )
        elif by_clock and snapshot.clock is None:
            yield Finding(
                ERROR,
                "sim_time",
                node,
                "use_sim_time is true, and nobody publishes /clock: its time stands at 0",
                "use_sim_time false, or a simulator that publishes /clock",
                f"ros2 param set {node} use_sim_time false",
            )
        elif by_clock and not simulated and node in suite:
            yield Finding(
                WARNING,
                "sim_time",
                node,
                "use_sim_time is true, and /clock tells the system's time, in steps",
                "use_sim_time false: a clock in steps makes ages and rates coarse",
                f"ros2 param set {node} use_sim_time false",
            )


def audit_streams(contract: Contract, snapshot: GraphSnapshot) -> list[StreamAudit]:
    """Measure every stream that could be listened to, in the order of the contract."""
    return [
        audit_stream(
            snapshot.streams[stream.key],
            contract.rate_hz,
            snapshot.start_ns,
            snapshot.end_ns,
            is_simulated(snapshot),
        )
        for stream in contract.observations
        if stream.key in snapshot.streams
    ]


def _right(what: str, topic: str) -> Finding:
    return Finding(OK, what, topic, "published, with type and QoS as in the contract")
