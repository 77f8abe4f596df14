"""The error of reading a message by a contract; in a file of its own to keep imports acyclic."""

from __future__ import annotations


class SelectorError(ValueError):
    """A message that does not hold what the contract says it holds."""
