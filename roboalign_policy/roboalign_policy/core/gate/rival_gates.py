"""Other publishers of a gate's command topics: another safety gate, or somebody past the gates.

Two gates of one arm know nothing of each other's limits, steps and stops. Which of them lives is
told by its status, which a gate repeats whatever it does: one that was killed stays in the graph
for a while, and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from roboalign_policy.core.gate.types import GateState

#: s; a gate says its status 20 times a second. As long may take the first word of a new one.
SILENT_S = 1.0
#: s; longer: a word too much of this one would end what the other one's policy does.
_TWIN_SILENT_S = 5.0
_ENABLED = (GateState.READY, GateState.ACTIVE)


@dataclass
class _Other:
    """Another node that publishes on command topics."""

    topics: tuple[str, ...]
    is_gate: bool
    seen_s: float
    heard_s: float | None = None
    state: GateState = GateState.DISABLED


class RivalGates:
    """The other publishers of one gate's command topics, by the full names of their nodes."""

    def __init__(self, own: str) -> None:
        """Know nobody; ``own``: full name of the gate's node, which another may bear, too."""
        self._own = own
        self._others: dict[str, _Other] = {}
        self._steady_s = 0.0

    def look(
        self, topics: Mapping[str, Iterable[str]], gates: Iterable[str], steady_s: float
    ) -> None:
        """Take who publishes now.

        Args:
            topics: by command topic, full names of the nodes of all its publishers, the gate's own
                among them; empty where the middleware does not know a name yet.
            gates: those of them that publish a gate's status.
            steady_s: s; steady clock.
        """
        self._steady_s, gates = steady_s, set(gates)
        found: dict[str, list[str]] = {}
        for topic, nodes in topics.items():
            rest = list(nodes)
            if self._own in rest:
                rest.remove(self._own)
            for node in rest:
                found.setdefault(node, []).append(topic)
        before, self._others = self._others, {}
        for node, named in found.items():
            other = before.get(node) or _Other((), False, steady_s)
            other.topics, other.is_gate = tuple(dict.fromkeys(named)), node in gates
            self._others[node] = other

    def heard(self, node: str, state: GateState, steady_s: float) -> None:
        """Take a status of another gate."""
        if node in self._others:
            self._others[node].heard_s, self._others[node].state = steady_s, state

    @property
    def gates(self) -> tuple[str, ...]:
        """Full names of the nodes that are gates; they need not live."""
        return tuple(node for node, other in self._others.items() if other.is_gate)

    @property
    def strangers(self) -> str:
        """Who else publishes, past the gates; empty: nobody."""
        return ", ".join(
            f"{node or 'a node whose name is not known'} on {', '.join(other.topics)}"
            for node, other in self._others.items()
            if not other.is_gate and not self._new(other)
        )

    def refusal(self) -> str:
        """Why this gate must not be enabled; empty: no other one is there."""
        for node, other in self._others.items():
            if not (self._new(other) or (other.is_gate and self._lives(other))):
                continue
            if not other.is_gate:
                return (
                    f"{node or 'a node'} publishes on {other.topics[0]}: not known yet who it is"
                )
            return f"{self._told(node, other)}; end one of them, or {_APART}"
        return ""

    def heard_now(self) -> bool:
        """Whether another gate was heard to live: not only seen."""
        return any(
            other.is_gate and other.heard_s is not None and self._lives(other)
            for other in self._others.values()
        )

    def enabled(self) -> str:
        """Which other gate is enabled, too; empty: none."""
        for node, other in self._others.items():
            if other.is_gate and self._lives(other) and other.state in _ENABLED:
                return f"{self._told(node, other)}, and is enabled"
        return ""

    def speaks_for_own(self) -> bool:
        """Whether another gate of the same name has more to say than this one while disabled.

        What listens to the status cannot tell the two apart.
        """
        twin = self._others.get(self._own)
        return bool(
            twin
            and twin.is_gate
            and twin.heard_s is not None
            and self._steady_s - twin.heard_s < _TWIN_SILENT_S
            and twin.state is not GateState.DISABLED
        )

    def _told(self, node: str, other: _Other) -> str:
        name = f"{node} (of the same name: a second launch?)" if node == self._own else node
        topic = other.topics[0]
        return (
            f"another safety gate, {name}, publishes on {topic} (`ros2 topic info -v {topic}` "
            "shows both)"
        )

    def _new(self, other: _Other) -> bool:
        return self._steady_s - other.seen_s < SILENT_S

    def _lives(self, other: _Other) -> bool:
        since_s = other.seen_s if other.heard_s is None else other.heard_s
        return self._steady_s - since_s < SILENT_S


_APART = "give each launch its own ROS_DOMAIN_ID or namespace"
