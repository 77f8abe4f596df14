"""The two rewards of RoboAlign: right tags, and how far the tokens follow the demonstration.

Both are plain functions as TRL's GRPO trainer calls them: `(completions, **columns)` to a list of
floats. It weights them with [0.5, 0.5], which is the paper's r = (r_f + r_a) / 2.

Source: RoboAlign (arXiv 2603.21341), Eq. 2. What the paper leaves open is fixed here:

- no common first token gives 0; a generation that stops early counts its matching prefix; tokens
  after a full match still give 1;
- when the format is broken the accuracy is that of the tokens after the first `<ACTION_START>`, up
  to `<ACTION_END>` or, when that is missing, the end of the text. Anything but a FAST token in
  there ends the prefix (the tokens behind it have no place in the chunk). Without `<ACTION_START>`
  it is 0. `core.policy.prompt.parse_answer` reads them so.
"""

from __future__ import annotations

from collections.abc import Sequence

from roboalign_policy.core.policy.prompt import parse_answer


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


def format_reward(
    completions: Sequence[str | list[dict]], think: Sequence[bool] | None = None, **columns: object
) -> list[float]:
    """r_f: 1 where all tags stand where they belong, else 0.

    Args:
        completions: B completions.
        think: (B,) whether the prompt asked for reasoning; without this column all of them did.
        columns: the other columns of the data set, not used.

    Returns:
        (B,) 1.0 or 0.0.
    """
    wanted = [True] * len(completions) if think is None else think
    rewards = []
    for completion, with_reasoning in zip(completions, wanted, strict=True):
        answer = parse_answer(completion_text(completion))
        rewards.append(
            float(answer.well_formed and (answer.reasoning is not None) == bool(with_reasoning))
        )
    return rewards


def prefix_accuracy_reward(
    completions: Sequence[str | list[dict]],
    target_tokens: Sequence[Sequence[int]],
    **columns: object,
) -> list[float]:
    """r_a: length of the longest common prefix with the demonstrated tokens, over their number.

    Args:
        completions: B completions.
        target_tokens: B lists of m >= 1 FAST token ids (indices into the FAST vocabulary).
        columns: the other columns of the data set, not used.

    Returns:
        (B,) values in [0, 1].

    Raises:
        ValueError: when a target is empty: its accuracy is not defined.
    """
    return [
        prefix_accuracy(parse_answer(completion_text(completion)).tokens, target)
        for completion, target in zip(completions, target_tokens, strict=True)
    ]


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


def _content_text(content: str | list[dict]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
