"""The balance sheet of a bag: messages, episodes, frames and images, from recording to data set.

Each figure is counted where it comes about, not as the rest of others, so that sums can disagree:
then something was lost on the way, and the conversion says so instead of ending well.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from roboalign_training.bags.bags import Bag
from roboalign_training.conversion.kinds import kind_of
from roboalign_training.data.index import DUPLICATE_ID
from roboalign_training.episodes.frame_plan import FramePlan
from roboalign_training.episodes.scan import Scan
from roboalign_training.episodes.topics import TopicMap

FRAME_KEYS = ("kept", "dropped", "trimmed", "left_out")
IMAGE_KEYS = ("used", "decoded", "passed_through", "encoded", "undecodable")


def new_balance(bag: Bag, source: str) -> dict:
    """The sheet of a bag of which nothing was read."""
    return {
        "source": source,
        "bag_sha256": "",
        "messages": bag.message_count,
        "topics": {},
        "episodes": {"found": 0, "taken": 0, "left_out": {}},
        "frames": {"times": 0, **dict.fromkeys(FRAME_KEYS, 0), "reasons": {}, "causes": {}},
        "images": {"in_frames": 0, **dict.fromkeys(IMAGE_KEYS, 0)},
    }


def open_topics(balance: dict, bag: Bag, topics: TopicMap) -> None:
    """Enters what the bag promises on the contract's topics."""
    for name in dict.fromkeys([*topics.observations, *topics.commands]):
        balance["topics"][name] = {
            "promised": bag.topics[name].count,
            "read": 0,
            "paused": 0,
            "unreadable": 0,
            "off_clock": 0,
            "of_other_joints": {},
        }
    balance["unread_topics"] = {**balance.get("unread_topics", {}), **topics.unread}


def add_messages(balance: dict, scan: Scan, topics: TopicMap) -> None:
    """Enters the messages of one episode."""
    for name, count in scan.counts.items():
        balance["topics"][name]["read"] += count
        balance["topics"][name]["paused"] += scan.paused.get(name, 0)
    # A contract has each topic once.
    columns = {name: scan.observed[keys[0]] for name, keys in topics.observations.items()}
    columns |= {name: scan.commands[index] for name, index in topics.commands.items()}
    for name, found in columns.items():
        entry = balance["topics"][name]
        entry["unreadable"] += found.unreadable
        others = Counter(entry["of_other_joints"])
        others.update(found.others)
        entry["of_other_joints"] = dict(others)


def add_off_clock(balance: dict, plan: FramePlan, topics: TopicMap) -> None:
    """Enters the messages of one episode that have a stamp of another time."""
    for name, topic in balance["topics"].items():
        streams = [*topics.observations.get(name, ())]
        if name in topics.commands:
            streams.append(next(n for n, found in topics.names.items() if found == name))
        topic["off_clock"] += max((plan.off_clock.get(key, 0) for key in streams), default=0)


def add_frames(balance: dict, plan: FramePlan, *, taken: bool) -> None:
    """Enters the frame times of one episode; of one that is left out all of them are."""
    frames = balance["frames"]
    frames["times"] += plan.frame_times
    if not taken:
        frames["left_out"] += plan.frame_times
        return
    frames["kept"] += len(plan)
    frames["dropped"] += plan.lost_inside
    frames["trimmed"] += plan.lost_outside
    reasons = Counter(frames["reasons"])
    reasons.update(plan.dropped)
    reasons.update(plan.trimmed)
    frames["reasons"] = dict(sorted(reasons.items()))
    frames["causes"] = dict(sorted((Counter(frames["causes"]) + Counter(plan.causes)).items()))


def add_images(balance: dict, plan: FramePlan, counts: dict) -> None:
    """Enters the images of one episode that is taken."""
    images = balance["images"]
    images["in_frames"] += sum(len(places) for places in plan.pictures.values())
    images["used"] += sum(len(np.unique(places)) for places in plan.pictures.values())
    for key, count in counts.items():
        images[key] += count


def leave_out(balance: dict, reason: str) -> None:
    """Enters an episode that is left out."""
    left_out = balance["episodes"]["left_out"]
    kind = kind_of(reason)
    left_out[kind] = left_out.get(kind, 0) + 1


def turn_down(balance: dict, entry: dict) -> None:
    """Moves an episode that was taken to those left out: its id is another recording's."""
    balance["episodes"]["taken"] -= 1
    leave_out(balance, f"episode id {DUPLICATE_ID} another")
    frames, facts = balance["frames"], entry["frame_times"]
    frames["kept"] -= entry["frames"]
    frames["dropped"] -= facts["dropped"]
    frames["trimmed"] -= facts["trimmed"]
    frames["left_out"] += facts["times"]
    frames["causes"] = dict(Counter(frames["causes"]) - Counter(facts["causes"]))


def balance_faults(balance: dict, rows: int) -> list[str]:
    """Which sums of a sheet do not agree.

    Args:
        balance: The sheet.
        rows: Frames that the bag's files in the data set hold, as these files say.
    """
    faults = []

    def expect(what: str, found: int, expected: int) -> None:
        if found != expected:
            faults.append(f"{balance['source']}: {what}: found {found}, expected {expected}")

    episodes, frames, images = balance["episodes"], balance["frames"], balance["images"]
    expect(
        "episodes taken and left out",
        episodes["taken"] + sum(episodes["left_out"].values()),
        episodes["found"],
    )
    whole = balance.get("whole", False)
    for name, topic in balance["topics"].items():
        if whole:
            expect(f"messages read of {name}", topic["read"], topic["promised"])
        elif topic["read"] > topic["promised"]:
            expect(f"messages read of {name}, at most", topic["read"], topic["promised"])
        left = topic["read"] - topic["paused"] - sum(topic["of_other_joints"].values())
        if left < topic["unreadable"]:
            expect(f"unreadable messages of {name}, at most", topic["unreadable"], left)
    expect(
        "frame times kept, dropped, trimmed and left out",
        sum(frames[key] for key in FRAME_KEYS),
        frames["times"],
    )
    if "causes" in frames:  # not in sheets of older versions
        lost = frames["dropped"] + frames["trimmed"]
        expect("frame times left out by cause", sum(frames["causes"].values()), lost)
    expect("frames in the files of the data set", rows, frames["kept"])
    expect("images decoded", images["decoded"], images["used"])
    stored = images["passed_through"] + images["encoded"]
    expect("images passed through and encoded", stored, images["decoded"])
    return faults
