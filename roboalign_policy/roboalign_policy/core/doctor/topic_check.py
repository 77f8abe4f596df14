"""Topics that are listened to, against the graph: name, type, publishers, quality of service."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from roboalign_policy.core import keys
from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.contract.faults import ERROR, WARNING
from roboalign_policy.core.contract.parts import Qos
from roboalign_policy.core.doctor.finding import OK, Finding
from roboalign_policy.core.doctor.graph_snapshot import GraphSnapshot
from roboalign_policy.core.graph.endpoints import Endpoint, EndpointQos, qos_conflicts

#: Like names share at least so much. Source: difflib's ratio; found to tell camera/color/image_raw
#: from camera/front/image_raw apart from joint_states.
_LIKE = 0.5


@dataclass(frozen=True)
class Heard:
    """One topic that the suite subscribes to.

    Attributes:
        where: its place in the contract, as in `observations[0]`.
        subject: key of the stream, or the topic.
        topic, type, qos: as in the contract.
        severity: of its faults: what is only recorded does not stop a robot.
    """

    where: str
    subject: str
    topic: str
    type: str
    qos: Qos
    severity: str


def observed(contract: Contract) -> tuple[Heard, ...]:
    """Return the observations, in order."""
    return tuple(
        Heard(f"observations[{index}]", s.key, s.topic, s.type, s.qos, ERROR)
        for index, s in enumerate(contract.observations)
    )


def extras(contract: Contract) -> tuple[Heard, ...]:
    """Return the topics that are recorded and not seen by the policy."""
    return tuple(
        Heard(f"extra_topics[{index}]", e.topic, e.topic, e.type, e.qos, WARNING)
        for index, e in enumerate(contract.extra_topics)
    )


def check_heard(
    heard: Heard, snapshot: GraphSnapshot, taken: frozenset[str] = frozenset()
) -> list[Finding]:
    """Check name, type, publishers and QoS of a topic; empty where all is well.

    Args:
        heard: the topic.
        snapshot: the graph.
        taken: full names that the contract has for something else: they are not suggested.
    """
    if heard.type in snapshot.uninstalled:
        return [_uninstalled(heard, snapshot)]
    publishers = snapshot.publishers_of(heard.topic)
    if not publishers:
        return [_missing(heard, snapshot, taken)]
    right = [p for p in publishers if p.type == heard.type]
    return [*_types(heard, publishers, snapshot, taken), *_qos(heard, right)]


def check_alone(heard: Heard, snapshot: GraphSnapshot) -> list[Finding]:
    """Check that an observation has one publisher; empty where that is so.

    Also where several share the topic and tell by the joints' names whose a message is.
    """
    right = [p for p in snapshot.publishers_of(heard.topic) if p.type == heard.type]
    record = snapshot.streams.get(heard.subject)
    if len(right) < 2 or (record is not None and (record.sets.others or record.sets.parts)):
        return []
    return [
        Finding(
            WARNING,
            "publisher",
            heard.subject,
            f"{len(right)} publishers on {snapshot.full_name(heard.topic)}: {names(right)}",
            "one: values of two devices alternate",
            f"stop one of them, or remap its topic and edit {heard.where}.topic",
        )
    ]


def check_task(contract: Contract, snapshot: GraphSnapshot) -> list[Finding]:
    """Check the topic of the instruction. It may be silent: a goal brings one too."""
    task = contract.task
    heard = Heard("task", task.topic, task.topic, keys.STRING_TYPE, task.qos, ERROR)
    if snapshot.publishers_of(task.topic):
        return check_heard(heard, snapshot)
    name = snapshot.full_name(task.topic)
    return [
        Finding(
            OK,
            "task",
            task.topic,
            f"nobody publishes {name} yet; a RunPolicy goal brings an instruction too",
            "an instruction on the topic, or in a RunPolicy goal",
            f"ros2 topic pub --once -w 1 --qos-durability transient_local {name} "
            f"{keys.STRING_TYPE} \"{{data: 'put the red cube on the plate'}}\"",
        )
    ]


def near_topics(
    topic: str,
    type_name: str,
    endpoints: Mapping[str, tuple[Endpoint, ...]],
    taken: frozenset[str],
) -> list[str]:
    """Return live topics of a type whose names come near to a full name, the nearest first.

    Args:
        topic: full name that is missing.
        type_name: type that is wanted.
        endpoints: by full topic name; those who publish it, or who subscribe to it.
        taken: full names that are not meant.
    """
    live = _live(type_name, endpoints, taken | {topic})
    same_end = [n for n in live if n.rsplit("/", 1)[-1] == topic.rsplit("/", 1)[-1]]
    near = difflib.get_close_matches(topic, live, n=3, cutoff=_LIKE)
    return list(dict.fromkeys([*near, *same_end]))[:3]


def _live(
    type_name: str, endpoints: Mapping[str, tuple[Endpoint, ...]], taken: frozenset[str]
) -> list[str]:
    return [
        name
        for name, ends in endpoints.items()
        if name not in taken and type_name in {end.type for end in ends}
    ]


def in_contract(name: str, snapshot: GraphSnapshot) -> str:
    """Return a full topic name as the contract would write it: relative where it can be."""
    prefix = snapshot.namespace.rstrip("/") + "/"
    return name.removeprefix(prefix)


def moved_namespace(topic: str, near: list[str]) -> str:
    """Return the namespace in which one of the near topics is the one wanted; else empty."""
    for name in near:
        prefix = name.removesuffix(f"/{topic}")
        if prefix != name and not topic.startswith("/"):
            return prefix or "/"
    return ""


def names(endpoints: list[Endpoint] | tuple[Endpoint, ...]) -> str:
    """Return the nodes of some endpoints."""
    return ", ".join(dict.fromkeys(endpoint.node for endpoint in endpoints))


def suggestion(heard: str, topic: str, near: list[str], snapshot: GraphSnapshot) -> str:
    """Return how to reach the topics that come near; empty where none does."""
    if not near:
        return ""
    space = moved_namespace(topic, near)
    if space:
        here = f"give --namespace {space}" if space != "/" else "leave --namespace out"
        return f"{near[0]} is in namespace {space}: {here}, and start the nodes in it"
    wanted = snapshot.full_name(topic)
    return (
        f"did you mean {' or '.join(near)}? Edit {heard}.topic to "
        f"{in_contract(near[0], snapshot)}, or start its node with "
        f"--ros-args -r {near[0]}:={wanted}"
    )


def _uninstalled(heard: Heard, snapshot: GraphSnapshot) -> Finding:
    package = heard.type.split("/", 1)[0]
    return Finding(
        heard.severity,
        "type",
        heard.subject,
        snapshot.uninstalled[heard.type],
        f"{heard.type}, as {heard.where}.type says",
        f"source the workspace that holds {package}, or install it "
        f"(apt install ros-$ROS_DISTRO-{package.replace('_', '-')})",
    )


def _missing(heard: Heard, snapshot: GraphSnapshot, taken: frozenset[str]) -> Finding:
    name = snapshot.full_name(heard.topic)
    live = _live(heard.type, snapshot.publishers, taken)
    near = near_topics(name, heard.type, snapshot.publishers, taken)
    if not near and len(live) == 1:
        near = live  # the only one of its type, whatever it is called
    listeners = snapshot.subscribers.get(name, ())
    found = f"nobody publishes {name}"
    if listeners:
        found += f" ({names(listeners)} waits for it too)"
    fix = suggestion(heard.where, heard.topic, near, snapshot)
    return Finding(
        heard.severity,
        "topic",
        heard.subject,
        found,
        f"a publisher of {heard.type}",
        fix
        or f"start the driver that publishes {heard.type}; `ros2 topic list -t` shows what "
        "there is",
    )


def _types(
    heard: Heard,
    publishers: tuple[Endpoint, ...],
    snapshot: GraphSnapshot,
    taken: frozenset[str],
) -> Iterator[Finding]:
    wrong = [p for p in publishers if p.type != heard.type]
    if not wrong:
        return
    name = snapshot.full_name(heard.topic)
    near = near_topics(name, heard.type, snapshot.publishers, taken)
    fix = suggestion(heard.where, heard.topic, near, snapshot)
    if {heard.type, wrong[0].type} <= set(keys.IMAGE_TYPES):
        fix = f"edit {heard.where}.type to {wrong[0].type}" + (f"; or {fix}" if fix else "")
    elif not fix:
        fix = f"edit {heard.where}.type to {wrong[0].type}, and the paths of its fields with it"
    yield Finding(
        heard.severity if len(wrong) == len(publishers) else WARNING,
        "type",
        heard.subject,
        f"{name} is {', '.join(dict.fromkeys(p.type for p in wrong))} (of {names(wrong)})",
        heard.type,
        fix,
    )


def _qos(heard: Heard, publishers: list[Endpoint]) -> Iterator[Finding]:
    asked = EndpointQos.from_contract(heard.qos)
    apart = [p for p in publishers if qos_conflicts(p.qos, asked)]
    if not apart:
        return
    conflicts = list(dict.fromkeys(c for p in apart for c in qos_conflicts(p.qos, asked)))
    offered = apart[0].qos
    weaker = [
        f"{name}: {mine}"
        for name, mine, theirs in (
            ("reliability", offered.reliability, asked.reliability),
            ("durability", offered.durability, asked.durability),
        )
        if mine != theirs and any(mine in conflict for conflict in conflicts)
    ]
    yield Finding(
        heard.severity if len(apart) == len(publishers) else WARNING,
        "qos",
        heard.subject,
        f"{'; '.join(conflicts)} ({names(apart)}): not one message arrives",
        f"a publisher that offers what {heard.where}.qos asks for",
        f"edit {heard.where}.qos to {{{', '.join(weaker)}}}, or let the node publish "
        + " and ".join(c.rpartition("subscription ")[2] for c in conflicts)
        + _latched_hint(conflicts),
    )


def _latched_hint(conflicts: list[str]) -> str:
    latched = any("transient_local" in conflict for conflict in conflicts)
    return " (ros2 topic pub: --qos-durability transient_local)" if latched else ""
