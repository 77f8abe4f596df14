"""Bags to episodes: which part of a recording is one demonstration, of what, with what outcome.

Name, instruction and outcome come from the recorder's custom data, else from `episode` markers,
else from the caller and the task topic. The frames themselves are made in `framing`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from roboalign_policy.core.contract.contract import Contract, ContractError, contract_from_yaml
from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.core.keys import (
    BAG_CONTRACT,
    BAG_EPISODE_ID,
    BAG_INSTRUCTION,
    BAG_OUTCOME,
)
from roboalign_policy.core.recording.episodes import (
    BAG_VERDICT,
    END,
    OUTCOMES,
    PAUSE,
    RESUME,
    START,
)
from roboalign_policy.core.recording.stream_stats import BY_TIMES, FIT
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.bags.folders import as_text
from roboalign_training.bags.losses import recovered_losses
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.pauses import Pauses, find_pauses
from roboalign_training.episodes.topics import TopicMap

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Span:
    """One demonstration within a bag.

    Attributes:
        episode_id: Unique name.
        instruction: What the demonstrator was asked to do.
        outcome: unknown, success, failure or discarded.
        start_ns, end_ns: First and last receive time that belong to it.
        fault: Why it must not be trained on (recorder's verdict, a part that is lost, an
            instruction with tags), or None.
        pauses: When recording was interrupted on purpose.
    """

    episode_id: str
    instruction: str
    outcome: str
    start_ns: int
    end_ns: int
    fault: str | None = None
    pauses: Pauses = ()


@dataclass(frozen=True)
class EpisodeFrames(Frames):
    """The frames of one demonstration, and what it is; see `Frames` for the arrays."""

    episode_id: str = ""
    instruction: str = ""
    outcome: str = UNKNOWN
    source: Path = Path()


def bag_contract(bag: Bag) -> Contract | None:
    """The contract that the recorder wrote into the bag, or None.

    Raises:
        EpisodeError: When there is one and it is not valid.
    """
    text = bag.custom.get(BAG_CONTRACT)
    if text is None:
        return None
    try:
        return _parsed(text)
    except ContractError as error:
        raise EpisodeError(bag.path, f"the contract in it is not valid: {error}") from error


@lru_cache(maxsize=8)
def _parsed(text: str) -> Contract:
    """The contract of a text; all episodes of a robot carry the same one, and parsing is slow."""
    return contract_from_yaml(text, source=f"custom data {BAG_CONTRACT}")


def find_spans(bag: Bag, topics: TopicMap, instruction: str | None = None) -> list[Span]:
    """Finds the demonstrations in a bag.

    A bag of the suite's recorder is one demonstration. Any other bag is split by its `episode`
    markers, and without markers the whole of it is one. One whose other marker is not there, or
    that a recovered bag lost a part of, has a fault; the ones beside it have none.

    Args:
        bag: The recording.
        topics: Where the contract's topics stand in it.
        instruction: What was asked for; None takes it from the bag.

    Returns:
        The demonstrations in order of time; at least one.

    Raises:
        EpisodeError: When there is no instruction, or two of them in one demonstration, an outcome
            that does not exist, or a marker that is none.
    """
    stream = bag.messages([topics.episode] if topics.episode else [])
    markers = [(receive_ns, marker) for _, receive_ns, marker in stream]
    pauses = find_pauses(markers, bag.end_ns)
    if BAG_EPISODE_ID in bag.custom:
        verdict = bag.custom.get(BAG_VERDICT, FIT)
        # Of times the frames tell more, and by the rules that hold now.
        judged_anew = verdict == FIT or verdict.startswith(BY_TIMES)
        spans = [
            Span(
                bag.custom[BAG_EPISODE_ID],
                bag.custom.get(BAG_INSTRUCTION, ""),
                bag.custom.get(BAG_OUTCOME, UNKNOWN),
                bag.start_ns,
                # `ros2 bag record` goes on for a moment after the recorder's last marker.
                max((t for t, m in markers if m.event == END), default=bag.end_ns),
                None if judged_anew else f"recorder's verdict: {verdict}",
            )
        ]
    else:
        spans = _marked(bag, markers)
        spans = spans or [Span(_name(bag), "", UNKNOWN, bag.start_ns, bag.end_ns)]
        spans = _with_losses(bag, spans)
    named = []
    for span in spans:
        text = instruction or span.instruction
        if not text and span.fault is None:
            text = _task(bag, topics, span)
        if span.outcome not in OUTCOMES:
            raise EpisodeError(
                bag.path, f"outcome: found {span.outcome!r}, expected one of {', '.join(OUTCOMES)}"
            )
        within = tuple(p for p in pauses if p[0] <= span.end_ns and p[1] >= span.start_ns)
        fault = span.fault
        if fault is None and (why := instruction_fault(text)):
            fault = f"instruction: {why}"
        named.append(replace(span, instruction=text.strip(), pauses=within, fault=fault))
    return named


def _name(bag: Bag) -> str:
    """Name of a plain recording: that of its folder, or of the one file."""
    return as_text(bag.path.resolve().name if bag.path.is_dir() else bag.path.stem)


def _marked(bag: Bag, markers: list[tuple[int, Any]]) -> list[Span]:
    """Demonstrations between `episode` markers; the bag's messages between them belong to each."""
    spans: list[Span] = []
    start = None
    for receive_ns, marker in markers:
        if marker.event in (PAUSE, RESUME):
            continue
        if marker.event == START:
            if start is not None:
                spans.append(_endless(start, receive_ns - 1))
            start = (receive_ns, marker)
        elif marker.event != END:
            raise EpisodeError(bag.path, f"episode marker: event {marker.event}, expected 0 to 3")
        elif start is None or start[1].episode_id != marker.episode_id:
            begin = spans[-1].end_ns + 1 if spans else bag.start_ns
            fault = f"episode {marker.episode_id!r} ends and never started"
            spans.append(
                Span(marker.episode_id, marker.instruction, UNKNOWN, begin, receive_ns, fault)
            )
        else:
            text = marker.instruction or start[1].instruction
            outcome = marker.outcome or UNKNOWN
            spans.append(Span(marker.episode_id, text, outcome, start[0], receive_ns))
            start = None
    if start is not None:
        spans.append(_endless(start, bag.end_ns))
    return spans


def _endless(start: tuple[int, Any], end_ns: int) -> Span:
    """A demonstration that was begun and has no end marker."""
    begin, marker = start
    fault = f"episode {marker.episode_id!r} starts and never ends"
    return Span(marker.episode_id, marker.instruction, UNKNOWN, begin, end_ns, fault)


def _with_losses(bag: Bag, spans: list[Span]) -> list[Span]:
    """The demonstrations of a recovered bag: those that may lack something get a fault."""
    try:
        losses = recovered_losses(bag.custom)
    except ValueError as error:
        raise EpisodeError(bag.path, str(error)) from error
    checked = []
    for span in spans:
        lost = [loss for loss in losses if loss.touches(span.start_ns, span.end_ns)]
        if lost and span.fault is None:
            span = replace(span, fault=f"recovered, and a part is lost: {lost[0].cause}")
        checked.append(span)
    return checked


def _task(bag: Bag, topics: TopicMap, span: Span) -> str:
    """The instruction on the task topic that was in force during `span`."""
    before, during = "", []
    for _, receive_ns, msg in bag.messages([topics.task] if topics.task else []):
        if receive_ns < span.start_ns:
            before = msg.data
        elif receive_ns <= span.end_ns:
            during.append(msg.data)
    texts = list(dict.fromkeys(t.strip() for t in (during or [before]) if t.strip()))
    if len(texts) == 1:
        return texts[0]
    if not texts:
        raise EpisodeError(
            bag.path, "no instruction: none given, none in the bag's custom data or task topic"
        )
    raise EpisodeError(
        bag.path,
        f"the instruction changes within episode {span.episode_id!r} "
        f"({'; '.join(map(repr, texts))}): mark episodes or give the instruction",
    )
