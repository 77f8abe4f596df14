"""Finds the contract's topics in a bag, in whichever namespace they were recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.keys import EPISODE_TOPIC
from roboalign_policy.core.recording.episodes import BAG_TOPICS
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import EpisodeError


@dataclass(frozen=True)
class TopicMap:
    """Where the streams of a contract stand in a bag.

    Attributes:
        observations: Name in the bag -> keys of the observation streams that it feeds.
        commands: Name in the bag -> index in the contract's list of commands.
        task: Name in the bag, or None where it was not recorded.
        episode: As `task`, for the marker topic.
        names: Name in the contract -> name in the bag, of all that were found.
        unread: Name in the bag of a task or marker topic that cannot be read -> why.
    """

    observations: Mapping[str, tuple[str, ...]]
    commands: Mapping[str, int]
    task: str | None
    episode: str | None
    names: Mapping[str, str]
    unread: Mapping[str, str] = field(default_factory=dict)


def map_topics(bag: Bag, contract: Contract, namespace: str | None = None) -> TopicMap:
    """Finds every topic of the contract in the bag.

    Args:
        bag: The recording.
        contract: The robot.
        namespace: Namespace of the recorded nodes, e.g. "/left"; None finds it out.

    Returns:
        The names in the bag.

    Raises:
        EpisodeError: When a topic is missing, has another type, cannot be decoded or holds no
            message (every such fault is named), or when several namespaces hold them all.
    """
    streams = [*contract.observations, *contract.action.commands]
    remapped = _remapped(bag)
    prefix = _prefix(bag, [s.topic for s in streams if s.topic not in remapped], namespace)
    found: dict[str, str] = {}
    faults = []
    for stream in streams:
        name = remapped.get(stream.topic) or _find(bag, stream.topic, prefix)
        if name is None:
            faults.append(f"{stream.topic} ({stream.type}) is missing")
            continue
        found[stream.topic] = name
        topic = bag.topics[name]
        if topic.type != stream.type:
            faults.append(f"{name} has type {topic.type}, expected {stream.type}")
        elif topic.fault:
            faults.append(f"{name}: {topic.fault}")
        elif not topic.count:
            faults.append(f"{name} ({topic.type}) holds no message")
    if faults:
        there = ", ".join(f"{t.name} ({t.type})" for t in sorted(bag.topics.values(), key=str))
        raise EpisodeError(
            bag.path,
            f"topics of contract {contract.name}: {'; '.join(faults)}. The bag has {there}",
        )
    observations: dict[str, tuple[str, ...]] = {}
    for observation in contract.observations:
        name = found[observation.topic]
        observations[name] = (*observations.get(name, ()), observation.key)
    commands = {found[c.topic]: index for index, c in enumerate(contract.action.commands)}
    unread: dict[str, str] = {}
    for extra in (contract.task.topic, EPISODE_TOPIC):
        name = remapped.get(extra) or _find(bag, extra, prefix)
        if name is not None and bag.topics[name].fault:
            unread[name] = bag.topics[name].fault
        elif name is not None:
            found[extra] = name
    task, episode = found.get(contract.task.topic), found.get(EPISODE_TOPIC)
    return TopicMap(observations, commands, task, episode, found, unread)


def _remapped(bag: Bag) -> dict[str, str]:
    """Name in the contract -> name in the bag, of what the recorder heard under another name."""
    try:
        found = json.loads(bag.custom.get(BAG_TOPICS, "{}"))
        return {str(k): str(v) for k, v in found.items() if v in bag.topics}
    except (ValueError, AttributeError) as error:
        raise EpisodeError(bag.path, f"custom data {BAG_TOPICS}: {error}") from error


def _prefix(bag: Bag, names: list[str], namespace: str | None) -> str:
    """The namespace, ending in a slash, in which the relative `names` were recorded."""
    if namespace is not None:
        return "/" + namespace.strip("/") + "/" if namespace.strip("/") else "/"
    relative = [name for name in names if not name.startswith("/")]
    fits: dict[str, int] = {}
    for name in relative:
        for topic in bag.topics:
            if topic.endswith("/" + name):
                prefix = topic[: -len(name)]
                fits[prefix] = fits.get(prefix, 0) + 1
    whole = sorted(prefix for prefix, count in fits.items() if count == len(relative))
    if "/" in whole or not fits:
        return "/"
    if len(whole) > 1:
        raise EpisodeError(
            bag.path,
            f"namespaces {', '.join(whole)} all hold the contract's topics: say which is meant",
        )
    # Where none holds them all, the best one makes the most useful list of what is missing.
    return whole[0] if whole else max(sorted(fits), key=fits.__getitem__)


def _find(bag: Bag, name: str, prefix: str) -> str | None:
    """The bag's name of a contract topic, or None."""
    candidates = [name] if name.startswith("/") else [prefix + name, name]
    return next((c for c in candidates if c in bag.topics), None)
