"""Options of a policy's answers, the same for node, server and evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PolicyOptions:
    """Options of `models.open_policy`; the defaults are those of policy_node.

    Attributes:
        grammar: keep generation inside the grammar of answers.
        think: reason before acting.
        max_think_tokens: longest thought, tokens.
        attempts: answers asked for until one is valid.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        num_threads: torch's threads in this process; 0 leaves them as they are.
        decoder: `fast` or `flow`, where a checkpoint has both; `auto`: its own choice.
    """

    grammar: bool = True
    think: bool = True
    max_think_tokens: int = 48
    attempts: int = 3
    device: str = "auto"
    dtype: str = "auto"
    num_threads: int = 0
    decoder: str = "auto"

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names option, value and range."""
        for name, low in (("attempts", 1), ("max_think_tokens", 0), ("num_threads", 0)):
            if (value := getattr(self, name)) < low:
                raise ValueError(f"{name}: found {value}, expected {low} or more")
