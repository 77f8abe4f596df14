"""FAST action tokens: the tokenizer and the grammars that keep what a model writes decodable."""

from roboalign_policy.fast.errors import FastError
from roboalign_policy.fast.tokenizer import FastTokenizer

__all__ = ["FastError", "FastTokenizer"]
