"""The automata of a chunk and of a whole answer: what may come next, so that every end decodes.

`<think>text</think><answer><ACTION_START>FAST tokens<ACTION_END></answer>` and the end of the
sequence, where a FAST token is allowed while what it stands for fits in what is left of horizon x
dims *and* the rest can still be filled exactly (`ActionGrammar`). Plain numpy on ids, no torch: a
logits processor masks with what this returns.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from roboalign_policy.fast.dct import check_size
from roboalign_policy.fast.errors import GrammarError


class ActionGrammar:
    """Which FAST tokens may come next while a chunk is written.

    Tokens of length 0 (parts of a character) are never allowed. A state is the number of
    coefficients still missing; it is entered only if some sequence of tokens fills it exactly,
    found by dynamic programming from the end, so generation can never get stuck.

    Args:
        token_lengths: Integers (V,), coefficients of each token, 0 for tokens that are no whole
            number of coefficients (`FastTokenizer.token_lengths`).
        horizon: Steps of a chunk.
        dims: Dimensions of a step.

    Raises:
        GrammarError: No sequence of tokens fills horizon x dims exactly, or bad lengths.
    """

    def __init__(self, token_lengths: np.ndarray, horizon: int, dims: int) -> None:
        lengths = np.asarray(token_lengths)
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
            raise GrammarError(
                f"token_lengths are {lengths.dtype} of shape {lengths.shape}, expected (V,)"
                " integers of at least 0"
            )
        self.lengths = lengths.astype(np.int64)
        self.lengths.setflags(write=False)
        self.total = check_size(horizon, "horizon") * check_size(dims, "dims")
        steps = np.unique(self.lengths[(self.lengths > 0) & (self.lengths <= self.total)])
        self._reachable = np.zeros(self.total + 1, dtype=bool)
        self._reachable[0] = True
        for remaining in range(1, self.total + 1):
            self._reachable[remaining] = self._reachable[
                remaining - steps[: np.searchsorted(steps, remaining, side="right")]
            ].any()
        if not self._reachable[self.total]:
            raise GrammarError(
                f"no sequence of tokens has exactly {self.total} coefficients (horizon {horizon}"
                f" x dims {dims}); token lengths are {steps.tolist()}"
            )
        self._masks: dict[int, np.ndarray] = {}

    def allowed(self, remaining: int) -> np.ndarray:
        """Mask (V,) bool, read-only, of the tokens that may come when `remaining` are missing.

        All False at 0: the chunk is full. Computed once for each `remaining`.

        Raises:
            GrammarError: `remaining` is not a state that `advance` leads to.
        """
        mask = self._masks.get(remaining)
        if mask is None:
            if not 0 <= remaining <= self.total or not self._reachable[remaining]:
                raise GrammarError(f"{remaining} missing of {self.total} cannot be completed")
            mask = (self.lengths > 0) & (self.lengths <= remaining)
            mask &= self._reachable[np.where(mask, remaining - self.lengths, 0)]
            mask.setflags(write=False)
            self._masks[remaining] = mask
        return mask

    def advance(self, remaining: int, token: int) -> int:
        """How many coefficients are missing after `token`.

        Raises:
            GrammarError: The token is not allowed here.
        """
        if not 0 <= token < len(self.lengths) or not self.allowed(remaining)[token]:
            raise GrammarError(f"FAST token {token} is not allowed with {remaining} missing")
        return remaining - int(self.lengths[token])


@dataclass(frozen=True)
class AnswerIds:
    """The language model's ids that an answer is made of.

    Attributes:
        think_open: Ids of `<think>`, one or several.
        think_close: Ids of `</think>`.
        answer_open: Ids of `<answer>`.
        start: Id of `<ACTION_START>`.
        end: Id of `<ACTION_END>`.
        answer_close: Ids of `</answer>`.
        eos: Id that ends the generation.
        fast_offset: Id of `<fast_0>`; token k of the FAST vocabulary is fast_offset + k.
        text: Ids a thought may be made of. Leave out ids whose text holds `<`, or a thought
            could spell a tag by other tokens than these.
    """

    think_open: Sequence[int]
    think_close: Sequence[int]
    answer_open: Sequence[int]
    start: int
    end: int
    answer_close: Sequence[int]
    eos: int
    fast_offset: int
    text: Sequence[int]


class AnswerState(NamedTuple):
    """Where in an answer one sequence is; immutable, hashable, made by `AnswerGrammar`.

    Attributes:
        phase: "open" (thought or answer, not yet decided), "think_open", "think", "answer",
            "action", "close" or "done".
        at: Ids of the present tag written; in "action" the coefficients still missing.
        used: Ids of thought written, tag excluded.
    """

    phase: str
    at: int
    used: int = 0


class AnswerGrammar:
    """Which ids may come next in an answer; a step costs a dictionary look-up.

    Args:
        ids: The ids of tags, text and FAST tokens.
        action: The grammar of the chunk.
        max_think_tokens: Ids a thought may have; then its closing tag is all that is allowed.
        think: "optional", "required" or "never".

    Raises:
        GrammarError: Ids overlap or are missing, so that an answer could not be read back.
    """

    def __init__(
        self,
        ids: AnswerIds,
        action: ActionGrammar,
        *,
        max_think_tokens: int = 256,
        think: str = "optional",
    ) -> None:
        if think not in ("optional", "required", "never"):
            raise GrammarError(f"think is {think!r}, expected optional, required or never")
        if not isinstance(max_think_tokens, numbers.Integral) or max_think_tokens < 0:
            raise GrammarError(f"max_think_tokens is {max_think_tokens!r}, expected 0 or more")
        self.action = action
        self.max_think_tokens = int(max_think_tokens)
        self.think = think
        self._offset = _id(ids.fast_offset, "fast_offset")
        self._think_open = _sequence(ids.think_open, "think_open")
        self._think_close = _sequence(ids.think_close, "think_close")
        self._start, end, eos = (_id(getattr(ids, key), key) for key in ("start", "end", "eos"))
        self._answer = (*_sequence(ids.answer_open, "answer_open"), self._start)
        self._close = (end, *_sequence(ids.answer_close, "answer_close"), eos)
        self._text = np.unique(np.array([_id(i, "text") for i in ids.text], dtype=np.int64))
        self._text_set = frozenset(self._text.tolist())
        self._fall = _prefix_table(self._think_close)
        self._check(end, eos)
        self._allowed: dict[tuple[str, int, bool], np.ndarray] = {}

    def start(self) -> AnswerState:
        """The state before the first id."""
        phase = {"optional": "open", "required": "think_open", "never": "answer"}[self.think]
        return AnswerState(phase, 0)

    def done(self, state: AnswerState) -> bool:
        """Whether the answer is complete, end of sequence included."""
        return state.phase == "done"

    def key(self, state: AnswerState) -> tuple[str, int, bool]:
        """States with equal keys allow the same ids: what to cache a device mask by."""
        return state.phase, state.at, state.used >= self.max_think_tokens

    def allowed_ids(self, state: AnswerState) -> np.ndarray:
        """Sorted int64 ids, read-only, that may come next; empty when done, never otherwise."""
        key = self.key(state)
        found = self._allowed.get(key)
        if found is None:
            found = self._next_ids(*key)
            found.setflags(write=False)
            self._allowed[key] = found
        return found

    def advance(self, state: AnswerState, token: int) -> AnswerState:
        """The state after `token`.

        Raises:
            GrammarError: The token is not in `allowed_ids(state)`.
        """
        phase, at, used = state
        if phase == "action":
            missing = self.action.advance(at, int(token) - self._offset)
            return AnswerState("action" if missing else "close", missing, used)
        if phase == "open":
            thought, answer = self._think_open[at] == token, self._answer[at] == token
            if thought and answer:
                return AnswerState("open", at + 1)
            phase = "think_open" if thought else "answer"
        if phase == "think":
            return self._advance_thought(at, used, int(token))
        tag = self._tag(phase)
        if at >= len(tag) or tag[at] != token:
            raise GrammarError(f"id {token} is not allowed in phase {state.phase} at {at}")
        if at + 1 < len(tag):
            return AnswerState(phase, at + 1, used)
        return {
            "think_open": AnswerState("think", 0),
            "answer": AnswerState("action", self.action.total, used),
            "close": AnswerState("done", 0, used),
        }[phase]

    def split(self, ids: Iterable[int]) -> tuple[list[int] | None, list[int]]:
        """Takes a complete answer apart.

        Args:
            ids: Generated ids, end of sequence included.

        Returns:
            (ids of the thought without its tags or None, FAST tokens from 0).

        Raises:
            GrammarError: Not a complete answer of this grammar.
        """
        state, thought, tokens = self.start(), None, []
        for token in ids:
            if state.phase == "action":
                tokens.append(int(token) - self._offset)
            elif state.phase == "think":
                thought = [*(thought or []), int(token)]
            state = self.advance(state, token)
        if not self.done(state):
            raise GrammarError(f"the answer ends in phase {state.phase}")
        return (thought[: -len(self._think_close)] if thought else None), tokens

    def _advance_thought(self, at: int, used: int, token: int) -> AnswerState:
        full = used >= self.max_think_tokens
        if token != self._think_close[at] and (full or token not in self._text_set):
            raise GrammarError(f"id {token} is not allowed in a thought, {used} ids used")
        # Knuth-Morris-Pratt: text may hold the beginning of the tag and then go on.
        while at and token != self._think_close[at]:
            at = self._fall[at - 1]
        at += token == self._think_close[at]
        if at == len(self._think_close):
            return AnswerState("answer", 0, used + 1)
        return AnswerState("think", at, used + 1)

    def _next_ids(self, phase: str, at: int, full: bool) -> np.ndarray:
        if phase == "action":
            return np.flatnonzero(self.action.allowed(at)) + self._offset
        if phase == "think":
            close = np.array([self._think_close[at]], dtype=np.int64)
            return close if full else np.union1d(self._text, close)
        if phase == "open":
            return np.unique(np.array([self._think_open[at], self._answer[at]], dtype=np.int64))
        return np.array(self._tag(phase)[at : at + 1], dtype=np.int64)

    def _tag(self, phase: str) -> tuple[int, ...]:
        tags = {"think_open": self._think_open, "answer": self._answer, "close": self._close}
        return tags.get(phase, ())

    def _check(self, end: int, eos: int) -> None:
        fast = range(self._offset, self._offset + len(self.action.lengths))
        controls = {"start": self._start, "end": end, "eos": eos}
        if len(set(controls.values())) < len(controls):
            raise GrammarError(f"start, end and eos must differ, found {controls}")
        tags = (*self._think_open, *self._think_close, *self._answer, *self._close)
        if any(token in fast for token in (*self._text_set, *tags)):
            raise GrammarError(f"text or tag ids lie among the FAST ids {fast.start}..{fast[-1]}")
        for name, token in controls.items():
            if token in self._text_set or token in self._think_close:
                raise GrammarError(f"{name} id {token} is also an id of thoughts")
        short = min(len(self._think_open), len(self._answer))
        if self.think == "optional" and self._think_open[:short] == self._answer[:short]:
            raise GrammarError("one of think_open and answer_open begins with the other")


def _prefix_table(tag: tuple[int, ...]) -> tuple[int, ...]:
    """For each end in `tag`, the longest proper prefix of `tag` that is a suffix there."""
    table, length = [0] * len(tag), 0
    for index in range(1, len(tag)):
        while length and tag[index] != tag[length]:
            length = table[length - 1]
        length += tag[index] == tag[length]
        table[index] = length
    return tuple(table)


def _id(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise GrammarError(f"{name}: found {value!r}, expected an id of 0 or more")
    return int(value)


def _sequence(values: Sequence[int], name: str) -> tuple[int, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not values:
        raise GrammarError(f"{name}: found {values!r}, expected one or more ids")
    return tuple(_id(value, name) for value in values)
