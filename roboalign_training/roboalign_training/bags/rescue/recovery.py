"""A new, whole bag of what still reads of an unfinished or damaged one."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from roboalign_policy.core.keys import BAG_EPISODE_ID, BAG_INSTRUCTION, BAG_OUTCOME, BAG_RECOVERED
from roboalign_policy.core.recording.compression import AUTO, CompressionChoice
from roboalign_policy.core.recording.episodes import BAG_VERDICT
from roboalign_policy.core.recording.stream_stats import FIT
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.cdr import DecodeError, decode_cdr
from roboalign_training.bags.errors import BagError
from roboalign_training.bags.losses import Loss, joined, recovered_text
from roboalign_training.bags.rescue.damaged import (
    Damaged,
    find_damaged,
    open_salvage,
    profiles,
    written_definition,
)
from roboalign_training.bags.rescue.recovered import (
    check_replaceable,
    file_hashes,
    recovered_before,
    room_for,
    undefined_types,
)
from roboalign_training.bags.rescue.rescue_report import (
    Recovery,
    Rescued,
    count_losses,
    nothing_reads,
    rescued_topics,
)
from roboalign_training.bags.rescue.salvage_mcap import McapSalvage
from roboalign_training.bags.rescue.salvage_sqlite import SqliteSalvage
from roboalign_training.bags.storage import StoredTopic
from roboalign_training.bags.typestores import store_for
from roboalign_training.bags.unpacking import ZSTD_MAGIC, UnpackError, unpack_message
from roboalign_training.shared.left_out import LeftOut
from roboalign_training.shared.outputs import publish, refuse_link
from roboalign_training.shared.places import RECORDING, check_place
from roboalign_training.shared.version import tool_version
from roboalign_training.shared.write_errors import writing

__all__ = ["Recovery", "Rescued", "recover"]

EPISODE_TYPE = "roboalign_msgs/msg/Episode"


def recover(
    path: str | Path,
    out: str | Path | None = None,
    *,
    accept: bool = False,
    overwrite: bool = False,
    on_share: Callable[[float], None] = lambda _: None,
) -> Recovery:
    """Writes a new bag with every message of a recording that still reads.

    The recording is not changed. The new bag appears under its name when it is whole. Its custom
    data is what is left of the recording's, with outcome unknown and a verdict that says what was
    lost, so that it is not trained on unless that is accepted.

    Args:
        path: A bag folder, what a killed recorder left (`.<id>.partial`), or a storage file.
        out: Folder of the new bag; None for `<name>-recovered` beside the recording.
        accept: Keep the outcome and call the bag fit; its gaps are still judged when converted.
        overwrite: Whether another recovered bag at `out` is replaced, once the new one is whole.
        on_share: Told how much of the work is done, from 0 to 1.

    Returns:
        What was kept and what was lost.

    Raises:
        BagError: When nothing can be read.
        OutputError: When `out` lies in the recording, or is another kind of result.
        RefusedError: When something is at `out`, and not the same recovered bag.
        OSError: When the new bag cannot be written.
    """
    path = Path(path)
    damaged = find_damaged(path)
    target = Path(out) if out else path.resolve().parent / f"{damaged.name}-recovered"
    target = target.resolve() if target.name in ("", "..") else target.absolute()
    check_place("--out", target, RECORDING, [("the recording", path)])
    if (before := recovered_before(damaged, target, accept, overwrite)) is not None:
        return before
    with tempfile.TemporaryDirectory(prefix="roboalign-recover-") as folder:
        work = _Work(damaged, Path(folder), on_share)
        work.survey()
        with writing(target, "the recovered bag"), room_for(target) as room:
            recovery = work.write(room, target.name, accept)
            refuse_link(target)
            if target.is_dir() and not any(target.iterdir()):
                target.rmdir()
            if overwrite:  # something may have come in meanwhile
                check_replaceable(target)
            publish(recovery.folder, target, overwrite=overwrite)
    return replace(recovery, folder=target)


class _Work:
    """The two passes over a recording: what there is, then writing it."""

    def __init__(self, damaged: Damaged, folder: Path, on_share: Callable[[float], None]) -> None:
        self.damaged = damaged
        self.losses: list[Loss] = [
            Loss(name, 0, 0, "the file is missing") for name in damaged.missing
        ]
        self.salvages: list[McapSalvage | SqliteSalvage] = []
        self.kept: Counter[str] = Counter()
        self.topics: dict[str, StoredTopic] = {}
        self.foreign: dict[str, str] = {}
        self.left_out = LeftOut()
        self._done, self._on_share = 0, on_share
        for number, file in enumerate(damaged.files):
            try:
                salvage, losses = open_salvage(file, folder / str(number), self._progress)
            except BagError as error:
                self.losses.append(Loss(file.name, 0, file.stat().st_size, error.cause))
                continue
            self.salvages.append(salvage)
            self.losses += losses

    def survey(self) -> None:
        """Counts what reads, finds the topics, and bounds the time of what is lost."""
        counted: list[Counter[int]] = []
        for salvage in self.salvages:
            counts: Counter[int] = Counter()
            for number, _, _, data in salvage.messages():
                counts[number] += 1
                self.damaged.zipped = self.damaged.zipped or data[:4] == ZSTD_MAGIC
            counted.append(counts)
            self._done += salvage.size
            self.damaged.understand(salvage.information)
            for key, value in salvage.begun.items():
                self.damaged.custom.setdefault(key, value)
            self.losses += salvage.losses
        self._join(counted)
        if not self.kept.total():
            cause = nothing_reads(self.damaged, self.losses, self.foreign.values())
            raise BagError(self.damaged.path, cause)
        self._bound()

    def _join(self, counted: list[Counter[int]]) -> None:
        """Joins the topics of all files; of two types the one that a CRC vouches for holds."""
        found = [
            (number in salvage.sure, salvage, counts, number, topic)
            for salvage, counts in zip(self.salvages, counted, strict=True)
            for number, topic in salvage.topics.items()
        ]
        for _, _, counts, number, topic in sorted(found, key=lambda entry: not entry[0]):
            if self.topics.setdefault(topic.name, topic).type == topic.type:
                self.kept[topic.name] += counts.pop(number, 0)
        for salvage, counts in zip(self.salvages, counted, strict=True):
            for number, topic in salvage.foreign.items():
                self.foreign[topic.name] = f"{topic.name}: {topic.foreign}"
                count = counts.pop(number, 0)
                self.left_out.add("message", "on topics that ROS 2 does not have", count)
        for cause in self.foreign.values():
            self.left_out.add("topic", cause)
        for salvage, counts in zip(self.salvages, counted, strict=True):
            if left := counts.total():
                cause = f"{left} messages whose topic is not known, or not its type"
                start, end = (salvage.first or (None,))[0], (salvage.last or (None,))[-1]
                self.losses.append(Loss(salvage.name, 0, 0, cause, start, end))

    def write(self, root: Path, name: str, accept: bool) -> Recovery:
        """Writes the new bag into a folder."""
        from roboalign_policy.ros.recording.bag_writer import (  # it needs no ROS
            BagTopic,
            BagWriter,
        )

        definitions = frozenset(
            (t.type, t.form, t.definition) for t in self.topics.values() if t.form
        )
        written = {t.name: written_definition(t, definitions) for t in self.topics.values()}
        names = {name: index for index, name in enumerate(self.topics)}
        choice = CompressionChoice(AUTO)
        topics = [
            BagTopic(
                t.name,
                t.type,
                written[t.name],
                t.type_hash,
                profiles(t.qos),
                choice.of(t.name, t.type),
            )
            for t in self.topics.values()
        ]
        writer = BagWriter(root, name, topics)
        custom = dict(self.damaged.custom)
        for topic, log_ns, publish_ns, data in self._messages():
            if self.topics[topic].type == EPISODE_TYPE and BAG_INSTRUCTION not in custom:
                self._read_marker(custom, data, definitions)
            writer.write(names[topic], log_ns, publish_ns, data)
        types = {t.name: t.type for t in self.topics.values()}
        promised, known = self._promised(), bool(self.losses)
        rescued = rescued_topics(types, self.kept, promised, self.foreign, known)
        if not known and (short := {t.name: t.lost for t in rescued if t.lost}):
            cause = "fewer messages than it promises"
            self.losses.append(Loss(self.damaged.name, 0, 0, cause, messages=short))
        count_losses(self.left_out, rescued, self.losses, len(self.damaged.missing))
        custom |= self._remarks(accept, undefined_types(self.topics.values(), written))
        finished = writer.finish(custom)
        bag = read_bag(finished.path)  # no word of success for a bag that does not read
        return Recovery(finished.path, rescued, tuple(self.losses), bag.duration_s, self.left_out)

    def _messages(self) -> Iterator[tuple[str, int, int, bytes]]:
        """(topic, log time, publish time, data) of all that reads."""
        for salvage in self.salvages:
            for number, log_ns, publish_ns, data in salvage.messages():
                topic = salvage.topics.get(number)
                if topic is None or topic.type != self.topics[topic.name].type:
                    continue  # counted as lost
                if self.damaged.zipped:
                    try:
                        data = unpack_message(data)
                    except UnpackError as error:
                        cause = f"a message of {topic.name} {error}"
                        self.losses.append(Loss(salvage.name, 0, 1, cause, log_ns, log_ns))
                        self.kept[topic.name] -= 1
                        continue
                yield topic.name, log_ns, publish_ns, data
            self._done += salvage.size

    def _bound(self) -> None:
        """Losses at the end of a file end before the next file's messages, and the other way."""
        order = self.damaged.order
        first = {s.name: s.first for s in self.salvages if s.first}
        last = {s.name: s.last for s in self.salvages if s.last}
        bounded = []
        for loss in self.losses:
            if loss.file in order:
                place = order.index(loss.file)
                after = next((first[n] for n in order[place + 1 :] if n in first), None)
                before = next((last[n] for n in reversed(order[:place]) if n in last), None)
                if loss.end_ns is None and after:
                    loss = replace(loss, end_ns=after[1])
                if loss.start_ns is None and before:
                    loss = replace(loss, start_ns=before[0])
            bounded.append(loss)
        self.losses = bounded

    def _promised(self) -> dict[str, int] | None:
        """Messages by topic that the recording held once, if anything says so."""
        if self.damaged.promised is not None:
            return dict(self.damaged.promised)
        total: Counter[str] = Counter()
        for salvage in self.salvages:
            if salvage.promised is None:
                return None
            for number, count in salvage.promised.items():
                topic = salvage.topics.get(number)
                if number not in salvage.foreign:
                    total[topic.name if topic else f"channel {number}"] += count
        return dict(total) if self.salvages and not self.damaged.missing else None

    def _remarks(self, accept: bool, undefined: dict[str, list]) -> dict[str, str]:
        """The entries by which the bag says that it was recovered."""
        losses, source = joined(self.losses), str(self.damaged.path)
        text = recovered_text(
            source, file_hashes(self.damaged), _tool(), accept, losses,
            undefined=undefined, left_out=self.left_out.to_dict(),
        )  # fmt: skip
        remarks = {BAG_RECOVERED: text}
        if accept:
            return {**remarks, BAG_VERDICT: FIT}
        lost = "; ".join(dict.fromkeys(f"{loss.file}: {loss.cause}" for loss in losses[:5]))
        verdict = f"unfit: recovered by {_tool()}; lost: {lost or 'nothing that is known of'}"
        return {**remarks, BAG_VERDICT: verdict, BAG_OUTCOME: "unknown"}

    def _read_marker(
        self, custom: dict[str, str], data: bytes, definitions: frozenset[tuple[str, str, str]]
    ) -> None:
        """Takes the instruction of an unfinished episode from its first marker."""
        if BAG_EPISODE_ID not in custom:
            return  # a recording of many episodes
        store, fault = store_for(EPISODE_TYPE, definitions, "")
        if store is not None and fault is None:
            with contextlib.suppress(DecodeError):  # damaged like the rest
                custom[BAG_INSTRUCTION] = decode_cdr(store, EPISODE_TYPE, data).instruction

    def _progress(self, at: int) -> None:
        total = 2 * sum(salvage.size for salvage in self.salvages)
        self._on_share((self._done + at) / max(total, 1))


def _tool() -> str:
    return tool_version().replace("roboalign", "roboalign recover", 1)
