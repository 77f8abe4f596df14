"""Who of those that listen on a command topic is a controller, and which of them was lost.

A listener is no controller: `ros2 bag record`, `ros2 topic echo` come and go. Controllers are the
nodes that the contract names; where it names none, those that listened when the gate was enabled,
the tools of ROS left out. One that leaves, ends or is started anew makes what the arm does
unknown: that is a stop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from roboalign_policy.core.graph.endpoints import is_bystander

Gid = tuple[int, ...]
#: Bytes of an identity that name the process: the DDS participant.
_PARTICIPANT = slice(0, 12)


@dataclass(frozen=True)
class Listener:
    """One subscription of a command topic, or one server of an action.

    Attributes:
        gid: its identity; another one after a restart.
        node: full name; empty while the middleware does not know it.
        hears: its type and QoS are those of the commands.
    """

    gid: Gid
    node: str
    hears: bool = True

    @property
    def shown(self) -> str:
        """Its node, for people."""
        return self.node or "a node whose name is not known"


class ControllerWatch:
    """The controllers of one command topic."""

    def __init__(self, topic: str, named: Iterable[str] = ()) -> None:
        """Know nobody yet.

        Args:
            topic: full name.
            named: full names of the nodes that the contract takes for controllers; none: see the
                module.
        """
        self.topic, self._named = topic, tuple(named)
        self._now: dict[Gid, Listener] = {}
        self._ended: frozenset[Gid] = frozenset()
        self._held: dict[Gid, Listener] = {}
        self._there: frozenset[Gid] = frozenset()  # at `take`, whether controllers or not

    def look(self, listeners: Iterable[Listener], ended: Collection[Gid] = ()) -> None:
        """Take what the graph shows now.

        Args:
            listeners: all of the topic, except the gate's own.
            ended: identities of those whose process is known to be gone.
        """
        self._now = {listener.gid: listener for listener in listeners}
        self._ended = frozenset(ended)
        for gid in self._held.keys() & self._now.keys():
            self._held[gid] = self._now[gid]  # its name may have become known only now
        if not self._named:
            self._held = {g: one for g, one in self._held.items() if not is_bystander(one.node)}

    def missing(self) -> str:
        """Say which controller does not listen; empty: all do."""
        there = [c for c in self._now.values() if c.gid not in self._ended]
        controllers = {c.node for c in self._controllers()}
        absent = [name for name in self._named if name not in controllers]
        if absent:
            deaf = [name for name in absent if name in {c.node for c in there}]
            if deaf:
                return f"{', '.join(deaf)} on {self.topic} takes another type or QoS"
            heard = _shown(there)
            beside = f" (there: {heard})" if heard else ""
            return f"no controller {', '.join(absent)} on {self.topic}{beside}"
        if controllers:
            return ""
        observers = _shown(c for c in there if c.hears)
        if observers:
            return f"nobody but observers on {self.topic}: {observers}"
        return f"no subscriber with matching QoS on {self.topic}"

    def take(self) -> None:
        """Hold on to the controllers of this moment: the gate is enabled."""
        self._held = {one.gid: one for one in self._controllers()}
        self._there = frozenset(self._now)

    def lost(self) -> str:
        """Say which controllers have left, ended or were started anew since `take`."""
        found = []
        alive = [c for g, c in self._held.items() if g in self._now and g not in self._ended]
        for gid, one in self._held.items():
            if gid in self._ended:
                found.append(f"{one.shown} on {self.topic} has ended")
            elif gid not in self._now and not _among(one, alive):
                found.append(f"{one.shown} on {self.topic} has left{self._doubt()}")
        processes = {(one.node, gid[_PARTICIPANT]) for gid, one in self._held.items()}
        names = {one.node for one in self._held.values()} - {""}
        found += [
            f"{one.node} on {self.topic} was started anew"
            for gid, one in self._now.items()
            if gid not in self._there | self._ended  # a dead one stays known for a while
            and one.node in names
            and (one.node, gid[_PARTICIPANT]) not in processes  # else the same process's second
        ]
        return ", ".join(found)

    def _controllers(self) -> list[Listener]:
        able = [c for c in self._now.values() if c.hears and c.gid not in self._ended]
        if self._named:
            return [c for c in able if c.node in self._named]
        return [c for c in able if not is_bystander(c.node)]

    def _doubt(self) -> str:
        """What helps where the contract names nobody: it may have been an observer."""
        if self._named:
            return ""
        return (
            "; it listened when the gate was enabled: were it no controller, name the controllers "
            "in the contract (key controllers)"
        )


def _among(one: Listener, alive: Iterable[Listener]) -> bool:
    """Whether a node of the same name still listens: a dead one stays known for a while."""
    return any(one.node and one.node == other.node for other in alive)


def _shown(listeners: Iterable[Listener]) -> str:
    return ", ".join(dict.fromkeys(one.shown for one in listeners))
