"""From a model's answer to its reward, top to bottom: text, tokens, chunk, rewards, their sum.

A reward is one plain function below, `reward(answered, wanted) -> float`, with a name in
`REWARDS`. `rewards:` in the YAML of GRPO says which of them count, and how much; the same weighted
sum scores held-out frames.

Source: RoboAlign (arXiv 2603.21341), Eq. 2: r = (r_f + r_a) / 2 is `DEFAULT_WEIGHTS`. What the
paper leaves open is fixed here:

- no common first token gives 0; a generation that stops early counts its matching prefix; tokens
  after a full match still give 1;
- when the format is broken the accuracy is that of the tokens after the first `<ACTION_START>`, up
  to `<ACTION_END>` or, when that is missing, the end of the text. Anything but a FAST token in
  there ends the prefix (the tokens behind it have no place in the chunk). Without `<ACTION_START>`
  it is 0. `core.policy.prompt.parse_answer` reads them so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.policy.prompt import ParsedAnswer, parse_answer

if TYPE_CHECKING:
    from roboalign_policy.core.policy.normalise import QuantileStats
    from roboalign_policy.fast import FastTokenizer


# 1. What the model wrote.


def completion_text(completion: str | list[dict]) -> str:
    """The text of one completion, given as TRL gives it.

    Args:
        completion: a string, or the list of chat messages that conversational prompts lead to; a
            message's content may itself be a string or a list of `{"type": "text", "text": ...}`
            parts.

    Raises:
        TypeError: when it is none of these.
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, list | tuple):
        raise TypeError(
            f"completion: found {type(completion).__name__}, expected str or list of messages"
        )
    return "".join(_content_text(message["content"]) for message in completion)


def _content_text(content: str | list[dict]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


# 2. What that means: the parsed answer, and the chunk that a robot would get.


@dataclass(frozen=True)
class ChunkDecoder:
    """FAST tokens to actions in the contract's units.

    Attributes:
        fast: the data set's tokenizer.
        stats: its statistics.
        horizon: steps in a chunk, T.
        dims: dimensions of an action, A.
    """

    fast: FastTokenizer
    stats: QuantileStats
    horizon: int
    dims: int

    def __call__(self, tokens: Sequence[int]) -> np.ndarray | None:
        """(T, A) float32; None where the tokens make no whole chunk of finite actions."""
        from roboalign_policy.fast import FastError

        try:
            chunk = self.fast.decode([list(tokens)], horizon=self.horizon, dims=self.dims)[0]
        except FastError:
            return None
        actions = self.stats.denormalise(chunk).astype(np.float32)
        return actions if np.isfinite(actions).all() else None


@dataclass(frozen=True, eq=False)
class Answered:
    """One answer of the model.

    Attributes:
        text: as it was written.
        decode: FAST tokens to actions (T, A) float32, or None.
    """

    text: str
    decode: Callable[[Sequence[int]], np.ndarray | None]

    @cached_property
    def parsed(self) -> ParsedAnswer:
        """Thought, tokens, and whether the format is kept."""
        return parse_answer(self.text)

    @cached_property
    def actions(self) -> np.ndarray | None:
        """(T, A) float32, contract units, read-only: the chunk that this answer stands for.

        Made when first asked for. None where the format is broken or the tokens do not decode: as
        when driving, nothing is made up for it. Limits are not applied.
        """
        actions = self.decode(self.parsed.tokens) if self.parsed.well_formed else None
        if actions is not None:
            actions.flags.writeable = False
        return actions


@dataclass(frozen=True, eq=False)
class Wanted:
    """What the demonstration has for the frame that was asked about.

    Attributes:
        tokens: m >= 1 FAST token ids (indices into the FAST vocabulary).
        actions: (T, A) float32, contract units: the chunk before it became tokens.
        ranges: (A,) float32, contract units: upper minus lower limit of each dimension.
        thinks: whether the prompt asked for a thought.
        thought: the demonstrated one; None where none was asked for, or the prompt has no state
            to tell one from.
    """

    tokens: Sequence[int]
    actions: np.ndarray
    ranges: np.ndarray
    thinks: bool
    thought: str | None


# 3. What it is worth.

Reward = Callable[[Answered, Wanted], float]


def format_reward(answered: Answered, wanted: Wanted) -> float:
    """r_f: 1 where all tags stand where they belong, the thought's if it was asked for; else 0."""
    parsed = answered.parsed
    return float(parsed.well_formed and (parsed.reasoning is not None) == wanted.thinks)


def prefix_accuracy_reward(answered: Answered, wanted: Wanted) -> float:
    """r_a: length of the longest common prefix with the demonstrated tokens, over their number.

    Raises:
        ValueError: when nothing was demonstrated: the accuracy is not defined.
    """
    return prefix_accuracy(answered.parsed.tokens, wanted.tokens)


def action_reward(answered: Answered, wanted: Wanted) -> float:
    """exp(-e), e the mean error of the actions in shares of their ranges; 0 without a chunk.

    e is the mean over (T, A) of |action - demonstrated| / (upper - lower limit).
    """
    if answered.actions is None:
        return 0.0
    return math.exp(-float(np.mean(np.abs(answered.actions - wanted.actions) / wanted.ranges)))


REWARDS: dict[str, Reward] = {
    "format": format_reward,
    "prefix": prefix_accuracy_reward,
    "action": action_reward,
}
"""By the name that stands in the YAML. Metrics have the name of the function."""
DEFAULT_WEIGHTS = {"format": 0.5, "prefix": 0.5}


def prefix_accuracy(generated: Sequence[int], target: Sequence[int]) -> float:
    """Length of the longest common prefix over `len(target)`.

    Raises:
        ValueError: when `target` is empty.

    Source: RoboAlign (arXiv 2603.21341), Eq. 2, r_a.
    """
    if len(target) == 0:
        raise ValueError("target_tokens: found an empty list, expected at least one FAST token")
    common = 0
    for ours, theirs in zip(generated, target, strict=False):
        if int(ours) != int(theirs):
            break
        common += 1
    return common / len(target)


# 4. What all of it comes to.


class WeightedRewards:
    """Rewards by name and weight, for TRL and for held-out frames."""

    def __init__(
        self,
        weights: Mapping[str, float],
        decode: Callable[[Sequence[int]], np.ndarray | None],
    ) -> None:
        """Looks the rewards up.

        Args:
            weights: by a name of `REWARDS`; a reward of weight 0 is measured and does not count.
            decode: FAST tokens to actions (T, A) float32, or None; a `ChunkDecoder`.
        """
        self.weights = dict(weights)
        # Each reward is asked about the same answers: they are read once.
        self._answered = lru_cache(maxsize=4096)(lambda text: Answered(text, decode))

    def values(
        self, name: str, completions: Sequence[str | list[dict]], wanted: Sequence[Wanted]
    ) -> list[float]:
        """One reward of B completions.

        Args:
            name: of the reward.
            completions: B of them, as TRL gives them.
            wanted: B.

        Raises:
            ValueError: the reward is no finite number or fails, or the lengths differ.
        """
        reward = REWARDS[name]
        found = []
        for completion, target in zip(completions, wanted, strict=True):
            answered = self._answered(completion_text(completion))
            try:
                value = float(reward(answered, target))
            except Exception as error:
                raise ValueError(
                    f"rewards.{name}: {type(error).__name__}: {error}; the answer: "
                    f"{answered.text!r}"
                ) from error
            if not math.isfinite(value):
                raise ValueError(
                    f"rewards.{name}: found {value}, expected a finite number; the answer: "
                    f"{answered.text!r}"
                )
            found.append(value)
        return found

    def functions(self) -> list[Callable[..., list[float]]]:
        """The rewards as TRL's GRPO trainer calls them, in the order of the weights.

        The columns of its data set have to hold `wanted`; the others are not used.
        """
        return [self._function(name) for name in self.weights]

    def _function(self, name: str) -> Callable[..., list[float]]:
        def function(completions, wanted, **columns):
            return self.values(name, completions, wanted)

        function.__name__ = REWARDS[name].__name__  # TRL logs it: rewards/<name>/mean
        return function


def measure_name(name: str) -> str:
    """What a reward's mean over held-out frames is called: `dev_` and its function's name."""
    return f"dev_{REWARDS[name].__name__.removesuffix('_reward')}"
