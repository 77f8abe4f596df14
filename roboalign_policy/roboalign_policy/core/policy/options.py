"""Options of a policy's answers, the same for node, server and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

FRESH, GUIDED, CONSTANT, PREFIX = "fresh", "guided", "constant", "prefix"
#: fresh: every chunk is made anew; guided: led on through the head's Jacobian (real-time
#: chunking); constant: led on as if the velocity did not depend on the actions; prefix: what will
#: have been executed is given to the head, which was trained with it.
CHUNKING = (FRESH, GUIDED, CONSTANT, PREFIX)


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
        chunking: how a chunk continues the one that is being executed, one of `CHUNKING`; all but
            `fresh` take a decoder that can.
    """

    grammar: bool = True
    think: bool = True
    max_think_tokens: int = 48
    attempts: int = 3
    device: str = "auto"
    dtype: str = "auto"
    num_threads: int = 0
    decoder: str = "auto"
    chunking: str = FRESH

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names option, value and range."""
        for name, low in (("attempts", 1), ("max_think_tokens", 0), ("num_threads", 0)):
            if (value := getattr(self, name)) < low:
                raise ValueError(f"{name}: found {value}, expected {low} or more")
        if self.chunking not in CHUNKING:
            expected = ", ".join(CHUNKING)
            raise ValueError(f"chunking: found {self.chunking!r}, expected one of {expected}")
