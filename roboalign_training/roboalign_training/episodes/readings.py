"""Which messages of a bag are readings of a contract's streams, told by the joints they name."""

from __future__ import annotations

from collections.abc import Sequence

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.frames.joint_readings import JointSets, Share, joint_lists, named_joint
from roboalign_policy.core.messages.selectors import by_name, names_of
from roboalign_training.bags.bags import Bag
from roboalign_training.episodes.topics import TopicMap


class Readings:
    """Told of the messages of a bag in order."""

    def __init__(self, bag: Bag, contract: Contract, topics: TopicMap) -> None:
        """Of the streams and commands of a contract that go by joints' names."""
        self._bag = bag
        self._sets: dict[str, JointSets] = {}
        for name, keys in topics.observations.items():
            stream = contract.stream(keys[0])  # a contract has each topic once
            self._add(name, [f.path for f in stream.fields], stream.max_age_ns)
        for name, index in topics.commands.items():
            command = contract.action.commands[index]
            self._add(name, by_name(command), command.align.tolerance_ns)
        self._layouts = {name: bag.layouts(name) for name in self._sets}

    def take(self, name: str, receive_ns: int, data: bytes) -> bool:
        """Whether a message is a reading, or completes one; yes where nothing tells."""
        sets = self._sets.get(name)
        if sets is None:
            return True
        layout = self._layouts[name].of(data)
        names = names_of(self._bag.decode(name, data) if layout is None else layout.message)
        return not names or sets.take(names, receive_ns) is Share.COMPLETE

    def note(self, name: str) -> str:
        """Which messages of a topic are no readings; empty where all are."""
        sets = self._sets.get(name)
        if sets is None:
            return ""
        found = ["its joints come in several messages"] if sets.parts else []
        if others := sets.others:
            found.append(f"{others.total()} messages of other joints ({joint_lists(others)})")
        if sets.lacking:
            found.append(sets.lacking_text())
        return "; ".join(found)

    def _add(self, name: str, paths: Sequence[str], apart_ns: int) -> None:
        joints = list(filter(None, map(named_joint, paths)))
        if joints:
            self._sets[name] = JointSets(joints, apart_ns)
