"""Replay of a recorded episode: which frames are asked, and whether live is as offline.

The live half is made by ``roboalign_training.nodes.replay_worker``, the offline half by
``replay_cli``; both ask in the same frames, those of the data pipeline. No ROS, no torch here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roboalign_policy.core.contract.contract import (
    Contract,
    ContractError,
    contract_from_dict,
)
from roboalign_policy.core.contract.faults import ContractFault
from roboalign_policy.core.contract.message_fields import has_header
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.episodes.episodes import EpisodeFrames, Span, find_spans
from roboalign_training.episodes.framing import frames_from_bag
from roboalign_training.episodes.topics import TopicMap, map_topics
from roboalign_training.shared.json_lines import read_json_lines

JOB, ANSWERS, REPORT = "job.json", "answers.jsonl", "replay.json"
LIMIT = 1e-6
"""Greatest difference, in action units, between live and offline chunks that count as the same."""


@dataclass(frozen=True)
class ReplaySettings:
    """How an episode is replayed; live and offline alike.

    Attributes:
        every: every k-th frame of the episode is asked.
        max_frames: so many frames at most; 0: all.
        think: reason before acting.
        grammar: keep answers inside the grammar.
        max_think_tokens: longest thought.
        attempts: answers asked for until one is valid.
        threads: torch threads; the same number on both sides, since sums depend on it.
        decoder: `fast` or `flow`, where the policy has both; `auto`: its own choice.
        stall_s: s; an answer that is missing for so long is an error.
    """

    every: int = 1
    max_frames: int = 0
    think: bool = True
    grammar: bool = True
    max_think_tokens: int = 48
    attempts: int = 3
    threads: int = 1
    decoder: str = "auto"
    stall_s: float = 120.0

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names field, value and range."""
        for name, low in (("every", 1), ("max_frames", 0), ("threads", 1)):
            if (value := getattr(self, name)) < low:
                raise ValueError(f"{name}: found {value}, expected {low} or more")

    def policy_options(self) -> PolicyOptions:
        """How the policy answers, in the node and without one."""
        return PolicyOptions(
            think=self.think,
            grammar=self.grammar,
            max_think_tokens=self.max_think_tokens,
            attempts=self.attempts,
            device="cpu",
            num_threads=self.threads,
            decoder=self.decoder,
        )


@dataclass(frozen=True)
class Recording:
    """One recorded episode with its frames, as conversion to a data set makes them."""

    bag: Bag
    contract: Contract
    topics: TopicMap
    span: Span
    frames: EpisodeFrames

    def chosen(self, settings: ReplaySettings) -> list[int]:
        """Rows of the frames that are asked."""
        rows = list(range(0, len(self.frames), settings.every))
        return rows[: settings.max_frames] if settings.max_frames else rows


def make_recording(bag: Bag, contract: Contract) -> Recording:
    """Make the frames of a bag that holds one episode.

    Raises:
        EpisodeError: it does not fit the contract, holds several episodes, or no whole frame.
        BagError: it is damaged.
    """
    topics = map_topics(bag, contract)
    frames = frames_from_bag(bag, contract, topics=topics)
    if not len(frames):
        lost = ", ".join(f"{why} ({count})" for why, count in frames.trimmed.items())
        raise EpisodeError(bag.path, f"no frame has every stream and a command: {lost}")
    (span,) = find_spans(bag, topics)
    return Recording(bag, contract, topics, span, frames)


def lockstep_contract(contract: Contract) -> Contract:
    """Make the contract that policy_node replays with: every stream aligned on header stamps.

    A replay stamps messages anew with the time of their frame, so the header says what the time
    of receipt said in the recording.

    Raises:
        ContractError: a stream's type has no header to stamp.
    """
    hint = "a replay goes in lock step by header stamps"
    faults = [
        ContractFault(
            contract.name, f"observations[{i}].type", s.type, "a type with a header", hint
        )
        for i, s in enumerate(contract.observations)
        if not has_header(s.type)
    ]
    if faults:
        raise ContractError(faults)
    data = contract.to_dict()
    for stream in data["observations"]:
        stream["align"]["clock"] = "header"
    return contract_from_dict(data, source=f"{contract.name} in lock step")


@dataclass(frozen=True, eq=False)
class ReplayAnswer:
    """What the policy answered in one frame; live and offline alike.

    Attributes:
        stamp_ns: time of the frame.
        status: a `ChunkStatus`.
        detail: why there are no actions.
        actions: (T, A) float32 in the contract's units; None unless the status is ``ok``.
        tokens: FAST tokens as generated.
        inference_s: s; from observation to actions.
    """

    stamp_ns: int
    status: str
    detail: str
    actions: np.ndarray | None
    tokens: list[int]
    inference_s: float

    def to_json(self) -> str:
        """One line of JSON; every float32 comes back as it was."""
        actions = None if self.actions is None else self.actions.tolist()
        return json.dumps({**vars(self), "actions": actions})


def read_answers(path: Path) -> list[ReplayAnswer]:
    """Answers of a file with one `ReplayAnswer.to_json` a line."""
    answers = []
    for _, data in read_json_lines(path):
        actions = data.pop("actions")
        array = None if actions is None else np.array(actions, np.float32)
        answers.append(ReplayAnswer(actions=array, **data))
    return answers


@dataclass(frozen=True)
class ReplayIdentity:
    """Whether the live node answers as the offline evaluation does.

    Attributes:
        n: chunks compared, valid and invalid ones.
        valid: those valid on both sides.
        greatest: greatest absolute difference over the valid ones, action units; None without any.
        where: frame, step and dimension of it.
        differing: one line for every frame that is valid on one side alone, or refused for another
            reason.
    """

    n: int
    valid: int
    greatest: float | None
    where: str
    differing: tuple[str, ...]

    @property
    def fault(self) -> str:
        """What is not identical; empty where all is."""
        faults = list(self.differing[:5])
        if more := len(self.differing) - len(faults):
            faults.append(f"and {more} more frames")
        if self.greatest is not None and self.greatest > LIMIT:
            faults.append(
                f"{self.where}: live and offline differ by {self.greatest:.3g}, limit {LIMIT:g}"
            )
        return "; ".join(faults)


def compare(
    live: Sequence[ReplayAnswer],
    offline: Sequence[ReplayAnswer],
    rows: Sequence[int],
    names: Sequence[str],
) -> ReplayIdentity:
    """Compare the answers of the live node with those of the offline evaluation.

    Args:
        live: N answers.
        offline: N answers.
        rows: N frames that they answer, for the text.
        names: A dimension names.

    Raises:
        ValueError: the two did not answer the same frames.
    """
    theirs, ours = [a.stamp_ns for a in live], [a.stamp_ns for a in offline]
    if theirs != ours or len(rows) != len(ours):
        raise ValueError(
            f"replay: found {len(theirs)} live answers, expected one to each of {len(ours)} "
            "frames in order"
        )
    valid, greatest, where, differing = 0, None, "", []
    for row, a, b in zip(rows, live, offline, strict=True):
        if a.status != b.status:
            said = [f"{x.status}{f' ({x.detail})' if x.detail else ''}" for x in (a, b)]
            differing.append(f"frame {row}: live {said[0]}, offline {said[1]}")
        elif a.status == ChunkStatus.OK and a.actions.shape != b.actions.shape:
            differing.append(f"frame {row}: live {a.actions.shape}, offline {b.actions.shape}")
        elif a.status == ChunkStatus.OK:
            valid += 1
            gaps = np.nan_to_num(np.abs(a.actions.astype(np.float64) - b.actions), nan=np.inf)
            step, dim = np.unravel_index(int(gaps.argmax()), gaps.shape)
            if greatest is None or gaps[step, dim] > greatest:
                greatest = float(gaps[step, dim])
                where = f"frame {row}, step {step}, {names[dim]}"
    return ReplayIdentity(len(rows), valid, greatest, where, tuple(differing))
