"""The topics on which a robot is driven, against the graph: who listens, and who else drives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roboalign_policy.core.contract.channels import CommandChannel
from roboalign_policy.core.contract.faults import ERROR, WARNING
from roboalign_policy.core.doctor.finding import OK, Finding
from roboalign_policy.core.doctor.graph_snapshot import GraphSnapshot
from roboalign_policy.core.doctor.topic_check import names, near_topics, suggestion
from roboalign_policy.core.graph.endpoints import (
    GATE,
    POLICY,
    UNNAMED,
    Endpoint,
    EndpointQos,
    qos_conflicts,
)

ESTOP_SERVICE = f"{GATE}/estop"


def check_command(
    channel: CommandChannel, snapshot: GraphSnapshot, taken: frozenset[str]
) -> Iterator[Finding]:
    """Check one command topic, or action: an `ok` where a controller hears and nobody else drives.

    Args:
        channel: where the robot is driven.
        snapshot: the graph.
        taken: full names that the contract has for something else: they are not suggested.
    """
    if channel.is_action:
        found = list(_action(channel, snapshot))
    else:
        found = list(_topic(channel, snapshot, taken))
    yield from found
    if not found:
        listeners = names(snapshot.subscribers_of(channel.topic)) or "an action server"
        drivers = names(snapshot.publishers_of(channel.topic))
        sent = f"sent by {drivers}" if drivers else "nobody sends yet"
        yield Finding(OK, "command", channel.topic, f"heard by {listeners}; {sent}")


def check_gate(snapshot: GraphSnapshot) -> Finding:
    """Check whether the safety gate stands between the policy and the arm."""
    service = snapshot.full_name(ESTOP_SERVICE)
    if service in snapshot.services:
        return _gate_state(snapshot, service)
    return Finding(
        WARNING,
        "gate",
        GATE,
        f"no service {service}: nothing holds limits, freshness and emergency stop",
        "safety_gate_node between the policy and the arm",
        "roboalign up --policy CHECKPOINT, or ros2 launch roboalign_policy real_robot.launch.py "
        "policy:=CHECKPOINT (both start it; docs/safety.md); not needed while only recording",
    )


def _gate_state(snapshot: GraphSnapshot, service: str) -> Finding:
    """What a gate that is there does: one that has latched lets nothing pass until it is reset."""
    gate = snapshot.gate
    if gate is None:
        return Finding(
            WARNING,
            "gate",
            GATE,
            f"{service} is there, and {GATE} says nothing of its state",
            "a status twenty times a second",
            "it hangs or has been killed: end it and start it anew",
        )
    namespace = "" if snapshot.namespace == "/" else f" --namespace {snapshot.namespace}"
    if gate.state in ("stopped", "estop"):
        reset = f"roboalign gate reset{namespace}, then roboalign gate enable{namespace}"
        if gate.estop_pressed:
            reset = f"release the emergency stop; {reset}"
        return Finding(
            WARNING,
            "gate",
            GATE,
            f"it has latched a stop ({gate.state}) and lets nothing pass: {gate.detail}",
            "a gate that is ready, or active while somebody drives",
            f"see to it that the reason is gone and the arm may move; {reset}",
        )
    dry = ", dry run: commands go to dry_run/..., not to the arm" if gate.dry_run else ""
    hint = ""
    if gate.state == "disabled":
        hint = f"nothing passes before: roboalign gate enable{namespace}"
    return Finding(OK, "gate", GATE, f"{gate.state}{dry}", fix=hint)


def _action(channel: CommandChannel, snapshot: GraphSnapshot) -> Iterator[Finding]:
    name = snapshot.full_name(channel.topic)
    if f"{name}/_action/send_goal" not in snapshot.services:
        suffix = "/_action/send_goal"
        live = sorted(s.removesuffix(suffix) for s in snapshot.services if s.endswith(suffix))
        there = f" (there are {', '.join(live)})" if live else ""
        yield Finding(
            ERROR,
            "subscriber",
            channel.topic,
            f"no action server {name}{there}",
            f"a controller that takes {channel.type}",
            f"start the gripper's controller, or edit {channel.where}.topic",
        )
        return
    servers = snapshot.publishers_of(f"{channel.topic}/_action/status")
    if servers:  # else the graph does not show yet whose it is
        yield from _named(channel, snapshot, servers)


def _topic(
    channel: CommandChannel, snapshot: GraphSnapshot, taken: frozenset[str]
) -> Iterator[Finding]:
    if channel.type in snapshot.uninstalled:
        package = channel.type.split("/", 1)[0]
        yield Finding(
            ERROR,
            "type",
            channel.topic,
            snapshot.uninstalled[channel.type],
            f"{channel.type}, as {channel.where}.type says",
            f"source the workspace that holds {package}, or install it",
        )
    listeners = snapshot.subscribers_of(channel.topic)
    right = [e for e in listeners if e.type == channel.type]
    if not listeners:
        yield _unheard(channel, snapshot, taken)
    elif not right:
        kinds = ", ".join(dict.fromkeys(e.type for e in listeners))
        yield Finding(
            ERROR,
            "type",
            channel.topic,
            f"{names(listeners)} takes {kinds} on {snapshot.full_name(channel.topic)}",
            channel.type,
            f"edit {channel.where}.type to {listeners[0].type} and the paths of its fields, or "
            f"set the controller to {channel.type}",
        )
    else:
        yield from _qos(channel, right)
        yield from _named(channel, snapshot, right)
    yield from _drivers(channel, snapshot)


def _unheard(channel: CommandChannel, snapshot: GraphSnapshot, taken: frozenset[str]) -> Finding:
    name = snapshot.full_name(channel.topic)
    others = {
        topic: kept
        for topic, ends in snapshot.subscribers.items()
        if (kept := tuple(end for end in ends if not end.is_bystander))
    }
    near = near_topics(name, channel.type, others, taken)
    fix = suggestion(channel.where, channel.topic, near, snapshot)
    start = (
        "start the controller (`ros2 control list_controllers` must show it active; MoveIt "
        "Servo: start its node)"
    )
    return Finding(
        ERROR,
        "subscriber",
        channel.topic,
        f"nobody listens on {name}: the controller is not running",
        f"a controller that takes {channel.type}",
        f"{fix}; or {start}" if fix else start,
    )


def _named(
    channel: CommandChannel, snapshot: GraphSnapshot, there: Sequence[Endpoint]
) -> Iterator[Finding]:
    """The controllers that the contract names and the graph lacks: the gate waits for them."""
    if any(end.node == UNNAMED for end in there):
        return  # it may be the one
    nodes = {end.node for end in there}
    absent = [name for name in map(snapshot.full_name, channel.controllers) if name not in nodes]
    if not absent:
        return
    yield Finding(
        ERROR,
        "subscriber",
        channel.topic,
        f"no controller {', '.join(absent)} on {snapshot.full_name(channel.topic)}; there: "
        f"{names(there)}",
        f"every node that {channel.where}.controllers names: the gate is not enabled without",
        f"start {', '.join(absent)}, or edit {channel.where}.controllers",
    )


def _qos(channel: CommandChannel, listeners: list[Endpoint]) -> Iterator[Finding]:
    offered = EndpointQos.from_contract(channel.qos)
    apart = [e for e in listeners if qos_conflicts(offered, e.qos)]
    if not apart:
        return
    conflicts = list(dict.fromkeys(c for e in apart for c in qos_conflicts(offered, e.qos)))
    asked = apart[0].qos
    stronger = [
        f"{key}: {value}"
        for key, value, conflict in (
            ("reliability", asked.reliability, "best_effort"),
            ("durability", asked.durability, "transient_local"),
        )
        if any(conflict in text for text in conflicts)
    ]
    fix = "set the controller's subscription to what the contract offers"
    if stronger:
        fix = f"edit {channel.where}.qos to {{{', '.join(stronger)}}}"
    yield Finding(
        ERROR if len(apart) == len(listeners) else WARNING,
        "qos",
        channel.topic,
        f"{'; '.join(conflicts)} ({names(apart)}): not one command arrives there",
        f"a subscription that {channel.where}.qos serves",
        fix,
    )


def _drivers(channel: CommandChannel, snapshot: GraphSnapshot) -> Iterator[Finding]:
    publishers = snapshot.publishers_of(channel.topic)
    own = {snapshot.full_name(GATE), snapshot.full_name(POLICY), UNNAMED}
    strangers = [p for p in publishers if p.node not in own]
    name = snapshot.full_name(channel.topic)
    teleop = snapshot.full_name(f"teleop/{channel.topic.lstrip('/')}")
    if len(publishers) > 1:
        fix = "start policy_node with the parameter output: candidate, so that only the gate sends"
        if strangers:
            fix = (
                f"stop {names(strangers)}, or let the gate decide who drives: start it with "
                f"--ros-args -r {name}:={teleop}"
            )
        yield Finding(
            ERROR,
            "commander",
            channel.topic,
            f"{len(publishers)} publishers on {name}: {names(publishers)}",
            "one, the safety gate: two senders pull the arm to and fro",
            fix,
        )
    elif strangers:
        yield Finding(
            WARNING,
            "commander",
            channel.topic,
            f"{names(strangers)} sends on {name}, past the safety gate",
            "nobody but the safety gate, once a policy drives",
            "in order while demonstrations are recorded; before a policy drives stop it, or start "
            f"it with --ros-args -r {name}:={teleop}",
        )
